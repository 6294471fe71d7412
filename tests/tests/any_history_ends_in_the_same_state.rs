//! Whatever happens on the way, an edge ends with what a fresh one gets.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use switchyard_proto::v1::BackendState;
use switchyard_tests::{
    api::Api,
    client::Client,
    database::Database,
    eventually::eventually,
    fleet::{Edge, Fleet},
    on_both_databases,
    origin::Origin,
    relay::Relay,
    shop::{HOST, Shop},
};

/// How many steps one history has, and how many histories each database sees. Bounded by the time that real processes
/// take; what the edge makes of a batch is tested with many more in the edge's own tests.
const STEPS: usize = 40;
const HISTORIES: u8 = 4;

/// How many of each resource there are.
const NAMES: u8 = 4;

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    CreateDomain(u8, Tag),
    DeleteDomain(u8),
    Switch(u8, Tag),
    CreateBackend(u8, Tag),
    DeleteBackend(u8),
    Drain(u8),
    /// A version of a backend that the edge cannot read.
    Spoil(u8),
    /// The edge acknowledges all there is; without this, it skips.
    CatchUp,
    RestartEdge,
    KillEdge,
    RestartControlPlane,
    KillControlPlane,
    /// The edge is away while the next changes are made.
    StopEdge,
}

#[derive(Clone, Copy, Debug)]
struct Tag(&'static str);

fn step() -> impl Strategy<Value = Step> {
    let tag = || prop_oneof![Just(Tag("a")), Just(Tag("b"))];
    let name = || 0..NAMES;
    prop_oneof![
        4 => (name(), tag()).prop_map(|(name, tag)| Step::CreateDomain(name, tag)),
        2 => name().prop_map(Step::DeleteDomain),
        4 => (name(), tag()).prop_map(|(name, tag)| Step::Switch(name, tag)),
        3 => (name(), tag()).prop_map(|(name, tag)| Step::CreateBackend(name, tag)),
        2 => name().prop_map(Step::DeleteBackend),
        2 => name().prop_map(Step::Drain),
        2 => name().prop_map(Step::Spoil),
        4 => Just(Step::CatchUp),
        1 => Just(Step::RestartEdge),
        1 => Just(Step::KillEdge),
        1 => Just(Step::RestartControlPlane),
        1 => Just(Step::KillControlPlane),
        1 => Just(Step::StopEdge),
    ]
}

/// The same histories in every run.
fn history(seed: u8) -> Result<Vec<Step>> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree =
        prop::collection::vec(step(), STEPS).new_tree(&mut runner).map_err(|reason| anyhow::anyhow!("{reason}"))?;
    Ok(tree.current())
}

/// A fleet with an edge behind a relay, that some steps stop.
struct World {
    fleet: Fleet,
    shop: Shop,
    relay: Relay,
    edge: Edge,
    edge_runs: bool,
}

impl World {
    async fn take(&mut self, step: &Step) -> Result<()> {
        let api = self.fleet.api()?;
        let (a, b) = (self.shop.a.address(), self.shop.b.address());
        // Steps that do not fit what is there are refused; that is part of a history.
        match step {
            Step::CreateDomain(name, tag) => drop(api.create_domain(&domain(*name), "shop", tag.0).await),
            Step::DeleteDomain(name) => drop(api.delete_domain(&domain(*name)).await),
            Step::Switch(name, tag) => drop(api.switch_domain(&domain(*name), tag.0).await),
            Step::CreateBackend(name, tag) => drop(api.create_backend(&backend(*name), "shop", &a, &[tag.0]).await),
            Step::DeleteBackend(name) => drop(api.delete_backend(&backend(*name)).await),
            Step::Drain(name) => drop(api.set_backend_state(&backend(*name), BackendState::Draining).await),
            Step::Spoil(name) => {
                let resource = format!("backends/{}", backend(*name));
                self.relay.spoil(&resource);
                drop(api.move_backend(&backend(*name), &b).await);
            }
            Step::CatchUp => self.catch_up(&api).await?,
            Step::StopEdge => self.stop_edge().await?,
            Step::RestartEdge => {
                self.stop_edge().await?;
                self.start_edge().await?;
            }
            Step::KillEdge => {
                self.start_edge().await?;
                self.edge.kill().await?;
                self.edge_runs = false;
            }
            Step::RestartControlPlane => {
                self.fleet.control_plane.terminate().await?;
                self.fleet.control_plane.start().await?;
            }
            Step::KillControlPlane => {
                self.fleet.control_plane.kill().await?;
                self.fleet.control_plane.start().await?;
            }
        }
        Ok(())
    }

    async fn start_edge(&mut self) -> Result<()> {
        if !self.edge_runs {
            self.edge.start().await?;
            self.edge_runs = true;
        }
        Ok(())
    }

    async fn stop_edge(&mut self) -> Result<()> {
        if self.edge_runs {
            self.edge.terminate().await?;
            self.edge_runs = false;
        }
        Ok(())
    }

    /// Awaits that both edges have acknowledged all there is.
    async fn catch_up(&mut self, api: &Api) -> Result<()> {
        self.start_edge().await?;
        eventually("the edges catch up", async || {
            let listed = api.list_edges().await?;
            ensure!(listed.edges.len() == 2, "{listed:?}");
            for edge in &listed.edges {
                ensure!(edge.acknowledged_revision == listed.revision, "{edge:?} at {}", listed.revision);
            }
            Ok(())
        })
        .await
    }
}

fn domain(name: u8) -> String {
    format!("d{name}.example")
}

fn backend(name: u8) -> String {
    format!("backend-{name}")
}

/// How an edge answers for a host, by which backends: several take turns.
async fn answers(edge: &Edge, host: &str) -> Result<BTreeSet<(u16, String)>> {
    let client = Client::http(edge.http);
    let mut answers = BTreeSet::new();
    for _ in 0..2 * (NAMES + 2) {
        let answer = client.get(&format!("http://{host}/")).await?;
        answers.insert((answer.status.as_u16(), answer.header("x-backend").to_owned()));
    }
    Ok(answers)
}

async fn live_through(database: Database, seed: u8) -> Result<()> {
    let fleet = Fleet::start(database).await?;
    let shop = Shop::open(&fleet).await?;
    let token = fleet.control_plane.join_token().await?;
    let relay = Relay::start(fleet.control_plane.fleet, &token, "relayed").await?;
    let listener = &relay.listener;
    let mut edge = Edge::new(fleet.dir(), "relayed", listener.address, &listener.token, Vec::new())?;
    edge.start().await?;
    edge.configured().await?;
    let mut world = World { fleet, shop, relay, edge, edge_runs: true };
    let history = history(seed)?;
    for step in &history {
        world.take(step).await?;
    }

    // Everything that was spoilt is mended.
    let api = world.fleet.api()?;
    let repaired = Origin::start("repaired", "b").await?;
    for name in 0..NAMES {
        world.relay.spare(&format!("backends/{}", backend(name)));
        drop(api.move_backend(&backend(name), &repaired.address()).await);
    }
    world.catch_up(&api).await?;
    let fresh = world.fleet.new_edge("fresh", Vec::new()).await?;
    let (whole, ours) = (fresh.received().await?, world.edge.received().await?);
    ensure!(whole == ours, "after {history:?}: a fresh edge has {whole:?}, this one {ours:?}");
    let rejections = api.edge("relayed").await?.rejections;
    ensure!(rejections.is_empty(), "after {history:?}: {rejections:?}");
    for host in (0..NAMES).map(domain).chain([HOST.to_owned()]) {
        let (fresh, ours) = (answers(&fresh, &host).await?, answers(&world.edge, &host).await?);
        ensure!(fresh == ours, "after {history:?}: {host}: {fresh:?} {ours:?}");
    }
    Ok(())
}

on_both_databases! {
    async fn changes_restarts_and_disconnects_in_any_order_end_with_the_digest_of_a_fresh_edge(
        database: Database
    ) -> Result<()> {
        for seed in 0..HISTORIES {
            let database = match &database {
                Database::Sqlite => Database::Sqlite,
                Database::Postgres { .. } => Database::postgres().await?,
            };
            live_through(database, seed).await?;
        }
        Ok(())
    }
}
