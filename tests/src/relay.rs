//! Stands between a real control plane and a real edge, and spoils the resources that a test names: what a control plane
//! of a newer version may send. It also holds back what the edge is sent, as a slow network does.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use bytes::Bytes;
use prost::Message;
use switchyard_proto::{
    fleet::v1::{
        Batch, BatchKind, Hello, Resource, SyncRequest, SyncResponse, fleet_service_client::FleetServiceClient,
        sync_request, sync_response,
    },
    vocab::{Digest, ResourceKey},
};
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::{Request, Status, Streaming, codegen::BoxStream, transport::Channel};

use crate::{
    fleet_client::Member,
    newer::UNKNOWN_FIELD,
    wire::{FleetListener, Streams},
};

/// A relay for one edge.
pub struct Relay {
    /// Where the edge reaches it, and with what.
    pub listener: FleetListener,
    state: Arc<Mutex<State>>,
    gate: watch::Sender<Gate>,
}

/// What is let through to the edge.
#[derive(Clone, Copy, Debug)]
enum Gate {
    Open,
    /// So many messages.
    Held(u64),
}

/// What differs between the two sides.
#[derive(Default)]
struct State {
    /// Names of resources (`backends/shop-1`) that are to be spoilt.
    spoil: HashSet<String>,
    /// What the edge holds in spoilt form: the hashes of the real and of the spoilt one.
    spoilt: HashMap<String, (Digest, Digest)>,
    /// Whether more parts of the present batch are to come.
    within_batch: bool,
}

impl Relay {
    /// Relays to the fleet listener of a control plane, which it joins with `token`, for an edge of this name.
    pub async fn start(control_plane: SocketAddr, token: &str, name: &str) -> Result<Self> {
        let member = Member::join(control_plane, token, name).await?;
        let state = Arc::<Mutex<State>>::default();
        let gate = watch::Sender::new(Gate::Open);
        let service = Relayed { upstream: member.connect(control_plane)?, state: state.clone(), gate: gate.clone() };
        Ok(Self { listener: FleetListener::start(service).await?, state, gate })
    }

    /// Holds back what the edge is sent, but for so many messages.
    pub fn hold_after(&self, messages: u64) {
        self.gate.send_replace(Gate::Held(messages));
    }

    /// Lets everything through.
    pub fn release(&self) {
        self.gate.send_replace(Gate::Open);
    }

    /// Gives every version of a resource (`backends/shop-1`) from now on a field that no edge knows.
    pub fn spoil(&self, name: &str) {
        self.state.lock().expect(HELD).spoil.insert(name.to_owned());
    }

    /// Lets further versions of a resource through as they are.
    pub fn spare(&self, name: &str) {
        self.state.lock().expect(HELD).spoil.remove(name);
    }
}

struct Relayed {
    upstream: FleetServiceClient<Channel>,
    state: Arc<Mutex<State>>,
    gate: watch::Sender<Gate>,
}

#[tonic::async_trait]
impl Streams for Relayed {
    async fn open(&self, requests: Streaming<SyncRequest>) -> Result<BoxStream<SyncResponse>, Status> {
        let state = self.state.clone();
        // A stream that breaks on one side ends on the other.
        let requests = requests.map_while(Result::ok);
        let requests = requests.map(move |request| state.lock().expect(HELD).upward(request));
        let responses = self.upstream.clone().sync(Request::new(requests)).await?;
        let state = self.state.clone();
        let gate = self.gate.clone();
        let responses = responses.into_inner().then(move |response| pass(gate.clone(), response));
        let responses = responses.map(move |response| Ok(state.lock().expect(HELD).downward(response?)));
        Ok(Box::pin(responses))
    }
}

/// Waits until it is let through.
async fn pass<T>(gate: watch::Sender<Gate>, message: T) -> T {
    let mut changes = gate.subscribe();
    loop {
        let mut is_through = false;
        gate.send_if_modified(|gate| {
            match gate {
                Gate::Open => is_through = true,
                Gate::Held(0) => {}
                Gate::Held(left) => {
                    *left -= 1;
                    is_through = true;
                }
            }
            false
        });
        if is_through {
            return message;
        }
        // The gate is held here, so it does not go away.
        let _ = changes.changed().await;
    }
}

const HELD: &str = "nothing panics while it is held";

impl State {
    fn upward(&mut self, mut request: SyncRequest) -> SyncRequest {
        if let Some(sync_request::Message::Hello(Hello { digest, .. })) = &mut request.message {
            self.within_batch = false;
            *digest = self.translate(digest, |sum, real, spoilt| sum.minus(spoilt).plus(real));
        }
        request
    }

    fn downward(&mut self, mut response: SyncResponse) -> SyncResponse {
        if let Some(sync_response::Message::Batch(batch)) = &mut response.message {
            self.spoil(batch);
        }
        response
    }

    fn spoil(&mut self, batch: &mut Batch) {
        if batch.kind() == BatchKind::Snapshot && !self.within_batch {
            self.spoilt.clear();
        }
        self.within_batch = !batch.last;
        for encoded in &mut batch.resources {
            let Ok(mut resource) = Resource::decode(encoded.clone()) else { continue };
            let Some(name) = resource.key.as_ref().and_then(name_of) else { continue };
            self.spoilt.remove(&name);
            if self.spoil.contains(&name) {
                resource.body = [&resource.body[..], UNKNOWN_FIELD].concat().into();
                let spoilt = Bytes::from(resource.encode_to_vec());
                self.spoilt.insert(name, (Digest::of(encoded), Digest::of(&spoilt)));
                *encoded = spoilt;
            }
        }
        for key in &batch.removed {
            if let Some(name) = name_of(key) {
                self.spoilt.remove(&name);
            }
        }
        batch.digest = self.translate(&batch.digest, |sum, real, spoilt| sum.minus(real).plus(spoilt));
    }

    /// A digest of one side as the other has it.
    fn translate(&self, digest: &Bytes, replace: impl Fn(Digest, Digest, Digest) -> Digest) -> Bytes {
        let Some(sum) = Digest::from_bytes(digest) else { return digest.clone() };
        let sum = self.spoilt.values().fold(sum, |sum, (real, spoilt)| replace(sum, *real, *spoilt));
        sum.to_bytes().to_vec().into()
    }
}

fn name_of(key: &switchyard_proto::fleet::v1::ResourceKey) -> Option<String> {
    ResourceKey::from_wire(key).ok().map(|key| key.to_string())
}
