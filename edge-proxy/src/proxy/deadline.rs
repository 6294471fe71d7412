//! Connections to HTTP/1.1 backends that end when an answer does not come in time.
//!
//! Pingora has one limit for every read of a connection: it is the same before and after the head of an answer, begins anew with each piece of
//! a request, and cannot be changed once the request is sent. So a connection has a deadline of our own beside it, which whoever
//! handles its request sets and clears; when it passes, the socket is shut down, and Pingora finds the connection closed.

use std::{
    io,
    net::Shutdown,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::StatusCode;
use pingora_core::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    protocols::{
        Digest, GetProxyDigest,
        l4::{socket::SocketAddr, stream::Stream},
        raw_connect::ProxyDigest,
    },
};
use pingora_http::ResponseHeader;
use socket2::{SockRef, Socket};
use tokio::{net::TcpStream, sync::Notify, time::Instant};

/// Nothing is awaited.
const NONE: u64 = 0;
/// The time was up, and the connection has ended.
const EXPIRED: u64 = u64::MAX;

/// Makes connections that have a [`Deadline`].
#[derive(Debug)]
pub(super) struct Connector;

#[async_trait]
impl L4Connect for Connector {
    /// Pingora bounds the time.
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(inet) = address.as_inet() else {
            return Error::e_explain(ErrorType::ConnectError, "backends have internet addresses");
        };
        let failed = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, format!("connect to {inet}"), error)
        };
        let tcp = TcpStream::connect(inet).await.map_err(failed)?;
        let socket = SockRef::from(&tcp).try_clone().map_err(failed)?;
        let mut stream = Stream::from(tcp);
        // It stays with the connection for as long as that is kept, and is found by who is given it.
        let unused = ResponseHeader::build(StatusCode::OK, None)?;
        stream.set_proxy_digest(ProxyDigest::new(Box::new(unused), Some(Box::new(Deadline::new(socket)))));
        Ok(stream)
    }
}

/// When a connection ends, unless its backend does what is awaited. One task watches it, for as long as something is awaited now and then.
#[derive(Debug)]
pub(super) struct Deadline {
    /// The same socket as Pingora's.
    socket: Socket,
    /// Times are counted from here.
    began: Instant,
    /// In milliseconds; or [`NONE`] or [`EXPIRED`].
    at: AtomicU64,
    /// When the task looks again, in milliseconds.
    looks_at: AtomicU64,
    is_watched: AtomicBool,
    /// Told when that is too late.
    sooner: Arc<Notify>,
}

impl Deadline {
    fn new(socket: Socket) -> Arc<Self> {
        Arc::new(Self {
            socket,
            began: Instant::now(),
            at: AtomicU64::new(NONE),
            looks_at: AtomicU64::new(NONE),
            is_watched: AtomicBool::new(false),
            sooner: Arc::default(),
        })
    }

    /// That of a connection, if a [`Connector`] has made it.
    pub(super) fn of(digest: &Digest) -> Option<Arc<Self>> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Arc<Self>>().cloned()
    }

    /// Ends the connection after this time, in place of any that was set before. Returns what it was set to.
    pub(super) fn set(self: &Arc<Self>, after: Duration) -> u64 {
        let at = u64::try_from((self.began.elapsed() + after).as_millis()).unwrap_or(EXPIRED - 1).max(1);
        let set = self.at.fetch_update(SeqCst, SeqCst, |old| (old != EXPIRED).then_some(at));
        if set.is_err() {
            return EXPIRED;
        }
        if !self.is_watched.swap(true, SeqCst) {
            tokio::spawn(watch(Arc::downgrade(self)));
        } else if at < self.looks_at.load(SeqCst) {
            self.sooner.notify_one();
        }
        at
    }

    /// Nothing is awaited any more by whoever set it to this; the connection may be somebody else's by now.
    pub(super) fn unset(&self, at: u64) {
        if at != EXPIRED {
            let _ = self.at.compare_exchange(at, NONE, SeqCst, SeqCst);
        }
    }

    /// Nothing is awaited any more. Whether the time was up before.
    pub(super) fn clear(&self) -> bool {
        self.at.fetch_update(SeqCst, SeqCst, |at| (at != EXPIRED).then_some(NONE)).is_err()
    }

    /// Does what is due now; until when there is nothing to do, or `None` if there is no need to watch.
    fn enforce(&self) -> Option<Instant> {
        loop {
            let at = self.at.load(SeqCst);
            let moment = self.began + Duration::from_millis(at);
            match at {
                EXPIRED => return None,
                NONE => {
                    self.is_watched.store(false, SeqCst);
                    // Whoever set it in between has found it watched.
                    if self.at.load(SeqCst) == NONE || self.is_watched.swap(true, SeqCst) {
                        return None;
                    }
                }
                at if moment > Instant::now() => {
                    self.looks_at.store(at, SeqCst);
                    if self.at.load(SeqCst) == at {
                        return Some(moment);
                    }
                }
                at => {
                    if self.at.compare_exchange(at, EXPIRED, SeqCst, SeqCst).is_ok() {
                        // One that is closed already has ended as well.
                        let _ = self.socket.shutdown(Shutdown::Both);
                        return None;
                    }
                }
            }
        }
    }
}

/// Watches a deadline until nothing is awaited, or the connection is gone: it does not keep that open.
async fn watch(deadline: Weak<Deadline>) {
    loop {
        let Some(watched) = deadline.upgrade() else { return };
        let Some(moment) = watched.enforce() else { return };
        let sooner = watched.sooner.clone();
        drop(watched);
        // Whichever comes first.
        let _ = tokio::time::timeout_at(moment, sooner.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(600);

    async fn connected() -> (Arc<Deadline>, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (Deadline::new(SockRef::from(&ours).try_clone().unwrap()), ours, theirs)
    }

    async fn ends(stream: &mut TcpStream) {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0; 1])).await;
        assert_eq!(read.expect("it ends").unwrap(), 0);
    }

    #[tokio::test]
    async fn a_connection_ends_when_its_time_is_up_and_not_when_that_was_cleared() {
        let (deadline, mut ours, mut theirs) = connected().await;
        deadline.set(LATE);
        assert!(!deadline.clear());
        // A later request may have less time than what the task waits for.
        deadline.set(SOON);
        ends(&mut ours).await;
        ends(&mut theirs).await;
        assert!(deadline.clear(), "whoever asks is told why");
        let at = deadline.set(LATE);
        deadline.unset(at);
        assert!(deadline.clear(), "it stays so");
    }

    #[tokio::test]
    async fn what_is_cleared_is_watched_no_more_and_again_when_it_is_set() {
        let (deadline, mut ours, _theirs) = connected().await;
        deadline.set(SOON);
        assert!(!deadline.clear());
        while deadline.is_watched.load(SeqCst) {
            tokio::task::yield_now().await;
        }
        deadline.set(SOON);
        ends(&mut ours).await;
        assert!(deadline.clear());
    }

    #[tokio::test]
    async fn what_somebody_else_has_set_meanwhile_is_not_unset() {
        let (deadline, mut ours, _theirs) = connected().await;
        let before = deadline.set(LATE);
        deadline.set(SOON);
        deadline.unset(before);
        ends(&mut ours).await;
    }

    #[tokio::test]
    async fn the_task_does_not_keep_the_connection_open() {
        let (deadline, ours, mut theirs) = connected().await;
        deadline.set(LATE);
        drop((deadline, ours));
        ends(&mut theirs).await;
    }
}
