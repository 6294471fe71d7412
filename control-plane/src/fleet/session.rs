use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use switchyard_process::chain;
use switchyard_proto::vocab::{Labels, Revision};
use tokio::{
    sync::mpsc,
    time::{error::Elapsed, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    message::{Ack, AckOutcome, Hello, Message, MessageError},
    view::{FleetView, Link},
};
use crate::{
    feed::{BatchKind, Feed, NotRead, Part, State},
    model::EdgeIdentity,
};

/// How long things may take on a stream.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The edge's: to say what it has.
    pub hello: Duration,
    /// The edge's: to receive one part of a batch.
    pub part: Duration,
    /// The edge's: to apply a batch.
    pub ack: Duration,
    /// The database's: to be read, when an edge is ahead of what was read from it.
    pub read: Duration,
}

impl Deadlines {
    /// Generous: what takes longer is broken.
    pub const DEFAULT: Self = Self {
        hello: Duration::from_secs(10),
        part: Duration::from_secs(60),
        ack: Duration::from_secs(120),
        read: Duration::from_secs(5),
    };
}

/// One stream of one edge: brings it to the newest revision, and keeps it there.
#[derive(Debug)]
pub struct Session<M> {
    /// Which edge.
    pub identity: EdgeIdentity,
    /// What it is brought to.
    pub feed: Feed,
    /// Where it is taken note of.
    pub view: FleetView,
    /// What the edge says.
    pub messages: M,
    /// What it is sent; an error is the last.
    pub parts: mpsc::Sender<Result<Part, SessionError>>,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// Cancelled when the program ends.
    pub ending: CancellationToken,
}

impl<M: Stream<Item = Result<Message, MessageError>> + Unpin> Session<M> {
    /// Runs until the edge ends the stream, or it has to be ended.
    pub async fn run(mut self) {
        let parts = self.parts.clone();
        let served = tokio::select! {
            served = self.serve() => served,
            // Whoever took the parts is gone: so is the connection.
            () = parts.closed() => Err(SessionError::Gone),
        };
        match served {
            Ok(never) => match never {},
            Err(SessionError::Gone) => warn!(event = "edge_disconnected", "edge disconnected"),
            Err(error) => {
                match error {
                    SessionError::Ending => info!(event = "edge_disconnected", reason = %error, "edge disconnected"),
                    _ => warn!(event = "edge_disconnected", error = chain(&error), "edge disconnected"),
                }
                // An edge that takes nothing is not told either.
                let _ = timeout(self.deadlines.part, parts.send(Err(error))).await;
            }
        }
    }

    async fn serve(&mut self) -> Result<Never, SessionError> {
        let hello = match timeout(self.deadlines.hello, self.message()).await {
            Ok(Ok(Message::Hello(hello))) => hello,
            Ok(Ok(Message::Ack(_))) => return Err(SessionError::Unexpected("an acknowledgement before Hello")),
            Ok(Err(error)) => return Err(error),
            Err(Elapsed { .. }) => return Err(SessionError::NoHello),
        };
        let received = self.received(&hello).await?;
        let withheld = Withheld::of(&hello);
        info!(
            event = "edge_connected",
            version = hello.version,
            revision = hello.revision.0,
            resumed = received.is_some(),
            "edge connected"
        );
        let link = self.view.connect(&self.identity, hello, received);
        // From here on a removal is noticed by the view; it may have come just before.
        if !self.feed.state().has_edge(&self.identity.id, self.identity.key) {
            return Err(SessionError::Removed);
        }
        let ending = self.ending.clone();
        tokio::select! {
            result = self.follow(&link, received, withheld) => result,
            () = link.replaced() => Err(SessionError::Replaced),
            () = link.removed() => Err(SessionError::Removed),
            () = ending.cancelled() => Err(SessionError::Ending),
        }
    }

    /// What the edge has of what there is; `None` if it has to be sent everything.
    async fn received(&self, hello: &Hello) -> Result<Option<Revision>, SessionError> {
        let mut state = self.feed.state();
        if hello.revision > state.revision() {
            // Another control plane may just have told it of more than was read here.
            state = self.feed.read(self.deadlines.read).await?;
        }
        if hello.revision == Revision::ZERO {
            return Ok(None);
        }
        if hello.revision > state.revision() {
            warn!(
                revision = hello.revision.0,
                database = state.revision().0,
                "the edge is ahead of the database, as after a restore; it is sent everything"
            );
            return Ok(None);
        }
        if hello.revision == state.revision() && hello.digest != state.visible(&self.labels(&state)).digest() {
            warn!(revision = hello.revision.0, "the edge has something else at this revision; it is sent everything");
            return Ok(None);
        }
        Ok(Some(hello.revision))
    }

    /// Sends a batch whenever the edge has not the newest revision, or has to be told of all that is withheld.
    async fn follow(
        &mut self,
        link: &Link,
        mut received: Option<Revision>,
        mut withheld: Withheld,
    ) -> Result<Never, SessionError> {
        let mut states = self.feed.subscribe();
        let mut labels = self.labels(&self.feed.state());
        loop {
            let state = states.borrow_and_update().clone();
            let now = self.labels(&state);
            if now != labels {
                info!(%now, "the edge has other labels, and is sent everything that goes with them");
                (labels, received) = (now, None);
            }
            if received != Some(state.revision()) || withheld == Withheld::Unclear {
                received = self.bring(link, received, withheld, &state).await?;
                // A batch that was not applied is followed by one with everything.
                withheld = Withheld::Clear;
                continue;
            }
            tokio::select! {
                // The feed is held here, so it does not go away.
                _ = states.changed() => {}
                message = self.message() => match message? {
                    Message::Hello(_) => return Err(SessionError::Unexpected("a second Hello")),
                    Message::Ack(_) => return Err(SessionError::Unexpected("an acknowledgement of nothing")),
                },
            }
        }
    }

    /// Sends one batch, and awaits what became of it: what the edge has then.
    async fn bring(
        &mut self,
        link: &Link,
        received: Option<Revision>,
        withheld: Withheld,
        state: &Arc<State>,
    ) -> Result<Option<Revision>, SessionError> {
        let mut batch = state.visible(&self.labels(state)).batch(received, state.revision());
        if withheld == Withheld::Unclear {
            batch = batch.naming_all_withheld();
        }
        let (kind, revision) = (batch.kind(), batch.revision());
        while let Some(part) = batch.next_part() {
            match timeout(self.deadlines.part, self.parts.send(Ok(part))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(SessionError::Gone),
                Err(Elapsed { .. }) => return Err(SessionError::NotTaken),
            }
        }
        // It may be long until it is acknowledged.
        drop(batch);
        link.sent(kind);
        let ack = match timeout(self.deadlines.ack, self.message()).await {
            Ok(Ok(Message::Ack(ack))) => ack,
            Ok(Ok(Message::Hello(_))) => return Err(SessionError::Unexpected("a second Hello")),
            Ok(Err(error)) => return Err(error),
            Err(Elapsed { .. }) => return Err(SessionError::NoAck),
        };
        let Ack { revision: acknowledged, outcome, rejections: _, persistence: _ } = &ack;
        if *acknowledged != revision {
            return Err(SessionError::Unexpected("an acknowledgement of another revision than that of the batch"));
        }
        match (outcome, kind) {
            (AckOutcome::Applied, _) => {
                link.acknowledged(ack);
                Ok(Some(revision))
            }
            (AckOutcome::DigestMismatch, BatchKind::Delta) => {
                warn!(revision = revision.0, "the edge has something else than it should; it is sent everything");
                Ok(None)
            }
            // Sending the same again would not help.
            (AckOutcome::DigestMismatch, BatchKind::Snapshot) => Err(SessionError::DigestMismatch),
        }
    }

    /// The edge's labels. One that was removed has none; its stream ends for that.
    fn labels(&self, state: &State) -> Labels {
        state.labels(&self.identity.id).cloned().unwrap_or_default()
    }

    async fn message(&mut self) -> Result<Message, SessionError> {
        match self.messages.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(MessageError::Invalid(what))) => Err(SessionError::Invalid(what)),
            Some(Err(MessageError::Broken(_))) | None => Err(SessionError::Gone),
        }
    }
}

/// Whether what an edge knows to be withheld is known here. It does not count in the digest, so a deletion that nobody told of while the edge
/// was away would not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Withheld {
    /// It is, or the edge knows of nothing.
    Clear,
    /// It is not: the next batch names all that is withheld.
    Unclear,
}

impl Withheld {
    fn of(hello: &Hello) -> Self {
        if hello.withheld == 0 { Self::Clear } else { Self::Unclear }
    }
}

/// A session never ends but by an error.
#[derive(Debug)]
enum Never {}

/// Why a stream was ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The edge ended it, or the connection broke.
    #[error("the edge is gone")]
    Gone,
    /// The edge did not say what it has.
    #[error("no Hello came in time")]
    NoHello,
    /// The edge takes nothing.
    #[error("a part of a batch was not taken in time")]
    NotTaken,
    /// The edge did not acknowledge a batch.
    #[error("a batch was not acknowledged in time")]
    NoAck,
    /// The edge said something that cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// The edge said something at the wrong time.
    #[error("{0} is not expected")]
    Unexpected(&'static str),
    /// The edge computes another digest even of everything.
    #[error("the digest of everything is another one at the edge; the programs' versions do not fit")]
    DigestMismatch,
    /// The edge has opened another stream.
    #[error("another stream of the same edge has taken its place")]
    Replaced,
    /// The edge is ahead, and the database does not answer.
    #[error("the edge is ahead of what is known here, and {0}")]
    Unread(#[from] NotRead),
    /// The edge does not belong to the fleet any more.
    #[error("the edge was removed from the fleet")]
    Removed,
    /// The program ends.
    #[error("the control plane ends")]
    Ending,
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use switchyard_proto::vocab::{Digest, EdgeId};
    use tokio::task::JoinHandle;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::{
        clock::SystemClock,
        fleet::Rejections,
        model::{EdgeKey, Enrolment},
    };

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    struct Peer {
        messages: mpsc::Sender<Result<Message, MessageError>>,
        parts: mpsc::Receiver<Result<Part, SessionError>>,
        session: JoinHandle<()>,
    }

    /// A session of an edge that belongs to the fleet.
    fn peer(deadlines: Deadlines) -> Peer {
        let enrolment = Enrolment {
            id: EdgeId::parse("edge-1").unwrap(),
            key: EdgeKey::of(b"key"),
            labels: Labels::default(),
            invite: None,
        };
        peer_among(deadlines, vec![enrolment])
    }

    /// A session of a feed that is at revision 0, that nobody fills, and that has these edges.
    fn peer_among(deadlines: Deadlines, members: Vec<Enrolment>) -> Peer {
        let (messages, incoming) = mpsc::channel(4);
        let (outgoing, parts) = mpsc::channel(1);
        let session = Session {
            identity: EdgeIdentity {
                id: EdgeId::parse("edge-1").unwrap(),
                key: EdgeKey::of(b"key"),
                peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            },
            feed: Feed::holding(members),
            view: FleetView::new(vec![], Arc::new(SystemClock)),
            messages: ReceiverStream::new(incoming),
            parts: outgoing,
            deadlines,
            ending: CancellationToken::new(),
        };
        Peer { messages, parts, session: tokio::spawn(session.run()) }
    }

    fn hello(revision: u64) -> Result<Message, MessageError> {
        hello_with(revision, 0)
    }

    fn hello_with(revision: u64, withheld: u64) -> Result<Message, MessageError> {
        let (digest, rejections) = (Digest::default(), Rejections::default());
        let revision = Revision(revision);
        Ok(Message::Hello(Hello { version: "test".into(), revision, digest, rejections, withheld, schema: None }))
    }

    impl Peer {
        async fn next(&mut self) -> Option<Result<Part, SessionError>> {
            timeout(LONG, self.parts.recv()).await.expect("something comes, or the end")
        }
    }

    #[tokio::test]
    async fn an_edge_that_says_nothing_is_sent_away() {
        let mut peer = peer(Deadlines { hello: SHORT, ..Deadlines::DEFAULT });
        assert_eq!(peer.next().await, Some(Err(SessionError::NoHello)));
        assert_eq!(peer.next().await, None);
    }

    #[tokio::test]
    async fn an_edge_that_acknowledges_nothing_is_sent_away() {
        let mut peer = peer(Deadlines { ack: SHORT, ..Deadlines::DEFAULT });
        peer.messages.send(hello(0)).await.unwrap();
        let part = peer.next().await.unwrap().unwrap();
        assert_eq!((part.kind, part.revision), (BatchKind::Snapshot, Revision::ZERO));
        assert_eq!(peer.next().await, Some(Err(SessionError::NoAck)));
    }

    #[tokio::test]
    async fn an_edge_that_is_ahead_waits_for_the_database() {
        let mut peer = peer(Deadlines { read: SHORT, ..Deadlines::DEFAULT });
        peer.messages.send(hello(7)).await.unwrap();
        assert_eq!(peer.next().await, Some(Err(SessionError::Unread(NotRead))));
    }

    #[tokio::test]
    async fn an_edge_that_was_removed_meanwhile_is_sent_away() {
        let mut peer = peer_among(Deadlines::DEFAULT, vec![]);
        peer.messages.send(hello(0)).await.unwrap();
        assert_eq!(peer.next().await, Some(Err(SessionError::Removed)));
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_ends_the_session() {
        let Peer { messages, parts, session } = peer(Deadlines::DEFAULT);
        drop(parts);
        timeout(LONG, session).await.unwrap().unwrap();
        drop(messages);
        let Peer { messages, mut parts, session } = peer(Deadlines::DEFAULT);
        drop(messages);
        timeout(LONG, session).await.unwrap().unwrap();
        assert_eq!(parts.recv().await, None);
    }
}
