//! An edge that only receives: what it has is what it was sent.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use switchyard_proto::{
    fleet::v1::{
        Ack, AckOutcome, Batch, BatchKind, Hello, Question, Rejection, Resource, ResourceKey, SyncRequest,
        SyncResponse, Verdict, fleet_service_client::FleetServiceClient, sync_request, sync_response,
    },
    vocab::Digest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::support::{ControlPlane, within};

/// What an edge has received.
#[derive(Default)]
pub(crate) struct FakeEdge {
    pub(crate) resources: BTreeMap<(String, String), Bytes>,
    pub(crate) revision: u64,
    pub(crate) rejections: Vec<Rejection>,
    /// How many more it rejects, and does not name.
    pub(crate) unnamed: u64,
    /// What it knows to be withheld.
    pub(crate) withheld: BTreeSet<String>,
    /// What it will have after the last part of the batch that is coming.
    pub(crate) coming: Option<BTreeMap<(String, String), Bytes>>,
}

/// An open stream of an edge.
pub(crate) struct Stream {
    pub(crate) requests: mpsc::Sender<SyncRequest>,
    responses: Streaming<SyncResponse>,
}

impl FakeEdge {
    pub(crate) fn received_digest(&self) -> Vec<u8> {
        let sum = self.resources.values().fold(Digest::default(), |sum, encoded| sum.plus(Digest::of(encoded)));
        sum.to_bytes().to_vec()
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            version: "test".to_owned(),
            capabilities: vec![],
            revision: self.revision,
            digest: self.received_digest().into(),
            rejections: self.rejections.clone(),
            rejections_total: self.rejections.len() as u64 + self.unnamed,
            withheld_total: self.withheld.len() as u64,
            schema: None,
        }
    }

    /// Opens a stream and says what it has.
    pub(crate) async fn join(&self, control_plane: &ControlPlane, id: &str) -> Stream {
        let stream = open(control_plane, id).await.unwrap();
        stream.say(sync_request::Message::Hello(self.hello())).await;
        stream
    }

    /// Takes all parts of the next batch; what kind it was.
    pub(crate) async fn receive(&mut self, stream: &mut Stream) -> BatchKind {
        loop {
            let batch = stream.batch().await.unwrap();
            if let Some(kind) = self.take(batch) {
                return kind;
            }
        }
    }

    /// Takes one part; the kind of the batch if that was its last.
    pub(crate) fn take(&mut self, batch: Batch) -> Option<BatchKind> {
        let kind = batch.kind();
        let Batch { revision, kind: _, last, resources, removed, digest, withheld, withheld_complete } = batch;
        let coming = self.coming.get_or_insert_with(|| match kind {
            BatchKind::Snapshot => BTreeMap::new(),
            _ => self.resources.clone(),
        });
        for encoded in resources {
            let Resource { key, .. } = Resource::decode(encoded.clone()).unwrap();
            let key = key.unwrap();
            self.withheld.remove(&name(&key));
            coming.insert((key.kind, key.id), encoded);
        }
        for key in removed {
            self.withheld.remove(&name(&key));
            coming.remove(&(key.kind, key.id));
        }
        let named: BTreeSet<String> = withheld.iter().map(name).collect();
        if withheld_complete {
            // Everything of these tests fits one part.
            self.withheld = named;
        } else {
            self.withheld.extend(named);
        }
        for key in withheld {
            coming.remove(&(key.kind, key.id));
        }
        if last {
            self.resources = self.coming.take().unwrap();
            self.revision = revision;
            assert_eq!(self.received_digest(), digest, "the digest is that of what was received");
        }
        last.then_some(kind)
    }

    pub(crate) async fn acknowledge(&self, stream: &Stream) {
        let ack = Ack {
            revision: self.revision,
            outcome: AckOutcome::Applied.into(),
            rejections: self.rejections.clone(),
            not_persisted: false,
            rejections_total: self.rejections.len() as u64 + self.unnamed,
        };
        stream.say(sync_request::Message::Ack(ack)).await;
    }

    /// Takes batches until it has a revision.
    pub(crate) async fn reach(&mut self, stream: &mut Stream, revision: u64) {
        while self.revision < revision {
            self.receive(stream).await;
            self.acknowledge(stream).await;
        }
    }

    pub(crate) fn has(&self, kind: &str, id: &str) -> bool {
        self.resources.contains_key(&(kind.to_owned(), id.to_owned()))
    }
}

fn name(key: &ResourceKey) -> String {
    format!("{}/{}", key.kind, key.id)
}

impl Stream {
    pub(crate) async fn say(&self, message: sync_request::Message) {
        self.requests.send(SyncRequest { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn batch(&mut self) -> Result<Batch, Status> {
        let response = within("the next batch", self.responses.message()).await?;
        let SyncResponse { message } = response.expect("the stream goes on");
        let sync_response::Message::Batch(batch) = message.unwrap() else { panic!("nothing was asked") };
        Ok(batch)
    }

    /// Asks for a name; the answer.
    pub(crate) async fn ask(&mut self, id: u64, server_name: &str) -> Verdict {
        let question = Question { id, server_name: server_name.to_owned() };
        self.say(sync_request::Message::Question(question)).await;
        loop {
            let response = within("an answer", self.responses.message()).await.unwrap();
            let SyncResponse { message } = response.expect("the stream goes on");
            match message.unwrap() {
                // What was approved takes a revision, of which the edge is told before the answer or after it.
                sync_response::Message::Batch(_) => {}
                sync_response::Message::Answer(answer) => {
                    assert_eq!(answer.id, id);
                    return answer.verdict();
                }
            }
        }
    }

    /// Awaits the end of the stream; why.
    pub(crate) async fn ended(&mut self) -> Status {
        loop {
            match within("the end of the stream", self.responses.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a stream ends with a status that says why"),
                Err(status) => return status,
            }
        }
    }
}

/// Opens a stream as the edge of this name, which joins the first time.
pub(crate) async fn open(control_plane: &ControlPlane, id: &str) -> Result<Stream, Status> {
    let member = control_plane.member(id).await;
    open_on(member.connect(control_plane.server.fleet).unwrap()).await
}

/// Opens a stream with a client.
pub(crate) async fn open_on(mut client: FleetServiceClient<Channel>) -> Result<Stream, Status> {
    let (requests, incoming) = mpsc::channel(4);
    let responses = within("an answer", client.sync(ReceiverStream::new(incoming))).await?.into_inner();
    Ok(Stream { requests, responses })
}
