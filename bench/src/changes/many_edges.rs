use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use switchyard_proto::{
    fleet::v1::{Ack, AckOutcome, Hello, SyncRequest, sync_request, sync_response},
    v1::EdgeState,
    vocab::limits::FLEET_MESSAGE_BYTES_MAX,
};
use switchyard_tests::{api::Api, eventually::eventually, fleet_client::Member};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::site::Site;
use crate::{
    report::{self, progress},
    statistics::{Values, rounded},
};

/// What was measured with many edges on one control plane.
pub(super) struct Measured {
    edges: usize,
    domains: usize,
    first: Duration,
    acknowledged_ms: Values,
    resumed: Duration,
    anew: Duration,
    memory_bytes: u64,
    memory_peak_bytes: u64,
}

/// An edge that keeps nothing but its place.
#[derive(Clone, Debug, Default)]
struct Position {
    revision: u64,
    digest: bytes::Bytes,
}

/// Edges that say that they apply everything.
struct Crowd {
    members: Vec<(Arc<Member>, Arc<Mutex<Position>>)>,
    control_plane: SocketAddr,
    connected: JoinSet<Result<()>>,
}

pub(super) async fn measure(edges: usize, domains: usize, changes: usize) -> Result<Measured> {
    let site = Site::with(domains).await?;
    let api = site.api()?;
    let meter = site.meter()?;
    let token = api.invite(u32::try_from(edges)?, &[]).await?;
    let control_plane = site.control_plane.fleet;
    let mut members = Vec::new();
    for number in 0..edges {
        let member = Member::join(control_plane, &token, &format!("edge-{number}")).await?;
        members.push((Arc::new(member), Arc::default()));
    }
    let mut crowd = Crowd { members, control_plane, connected: JoinSet::new() };
    let first = crowd.connect(&api).await?;
    let memory_bytes = meter.memory_bytes()?;
    progress(&format!("{edges} edges have {domains} domains"));
    let mut acknowledged_ms = Values::default();
    for number in 0..changes {
        let begun = Instant::now();
        let revision = api.switch_domain(&site.host(number), "b").await?.revision;
        ensure!(api.progress(revision).await?.len() == edges, "all edges are there");
        acknowledged_ms.push_ms(begun.elapsed());
    }
    crowd.disconnect(&api).await?;
    let resumed = crowd.connect(&api).await?;
    crowd.disconnect(&api).await?;
    for (_, position) in &crowd.members {
        *position.lock().expect("nothing panics while it is held") = Position::default();
    }
    let anew = crowd.connect(&api).await?;
    Ok(Measured {
        edges,
        domains,
        first,
        acknowledged_ms,
        resumed,
        anew,
        memory_bytes,
        memory_peak_bytes: meter.memory_peak_bytes()?,
    })
}

impl Crowd {
    /// Connects all at once; how long it takes until all have everything.
    async fn connect(&mut self, api: &Api) -> Result<Duration> {
        let begun = Instant::now();
        for (member, position) in &self.members {
            let edge = edge(self.control_plane, member.clone(), position.clone());
            self.connected.spawn(edge);
        }
        self.await_state(api, "all have everything", self.members.len()).await?;
        Ok(begun.elapsed())
    }

    async fn disconnect(&mut self, api: &Api) -> Result<()> {
        self.connected.shutdown().await;
        self.await_state(api, "all are gone", 0).await
    }

    /// Awaits that so many are connected and have the newest revision.
    async fn await_state(&mut self, api: &Api, what: &str, expected: usize) -> Result<()> {
        let settled = eventually(what, async || {
            let listed = api.list_edges().await?;
            let there: Vec<_> = listed.edges.iter().filter(|edge| edge.state() == EdgeState::Connected).collect();
            let complete = there.iter().filter(|edge| edge.acknowledged_revision == listed.revision).count();
            let connected = there.len();
            ensure!(connected == expected && complete == expected, "{connected} are connected, {complete} complete");
            Ok(())
        });
        tokio::select! {
            settled = settled => settled,
            Some(ended) = self.connected.join_next() => ended?.context("an edge lost its stream"),
        }
    }
}

/// One edge, until its stream ends.
async fn edge(control_plane: SocketAddr, member: Arc<Member>, position: Arc<Mutex<Position>>) -> Result<()> {
    let mut client = member.connect(control_plane)?.max_decoding_message_size(FLEET_MESSAGE_BYTES_MAX);
    let (outgoing, messages) = mpsc::channel(1);
    let Position { revision, digest } = position.lock().expect("nothing panics while it is held").clone();
    let hello = Hello { version: "simulated".to_owned(), revision, digest, ..Hello::default() };
    outgoing.send(SyncRequest { message: Some(sync_request::Message::Hello(hello)) }).await?;
    let mut incoming = client.sync(Request::new(ReceiverStream::new(messages))).await?.into_inner();
    while let Some(response) = incoming.message().await? {
        let Some(sync_response::Message::Batch(batch)) = response.message else { continue };
        if batch.last {
            let ack = Ack { revision: batch.revision, outcome: AckOutcome::Applied.into(), ..Ack::default() };
            *position.lock().expect("nothing panics while it is held") =
                Position { revision: batch.revision, digest: batch.digest };
            outgoing.send(SyncRequest { message: Some(sync_request::Message::Ack(ack)) }).await?;
        }
    }
    Ok(())
}

impl Measured {
    pub(super) fn describe(&self) -> String {
        let Self { edges, domains, first, acknowledged_ms, resumed, anew, memory_bytes, memory_peak_bytes } = self;
        let mebibytes = |bytes: u64| format!("{} MiB", rounded(bytes as f64 / f64::from(1 << 20)));
        let seconds = |time: Duration| format!("{} s", rounded(time.as_secs_f64()));
        let rows = [
            ("the first time, everything", seconds(*first)),
            ("one change acknowledged by all", format!("{acknowledged_ms} ms")),
            ("all reconnect with what they have", seconds(*resumed)),
            ("all reconnect with nothing", seconds(*anew)),
            ("control plane's memory, all connected", mebibytes(*memory_bytes)),
            ("control plane's memory, most", mebibytes(*memory_peak_bytes)),
        ];
        let rows = rows.map(|(what, value)| vec![what.to_owned(), value]).to_vec();
        format!(
            "\n### {edges} edges with {domains} domains\n\nThe edges are simulated, by one thread: they apply nothing, and \
             acknowledge at once.\n\n{}\n",
            report::table(&["", ""], rows)
        )
    }
}
