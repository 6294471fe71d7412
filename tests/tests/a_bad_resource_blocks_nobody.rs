//! H8: what an edge cannot apply is rejected with the reason, and holds up nothing else.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use switchyard_proto::{
    fleet::v1::{Ack, AckOutcome, Batch},
    v1::ProgressState,
};
use switchyard_tests::{
    authority::Authority,
    client::Client,
    eventually::eventually,
    fleet::{Edge, Fleet},
    install_crypto_provider, on_both_databases,
    origin::Origin,
    relay::Relay,
    shop::{HOST, Shop},
    wire::{Feed, ScriptedControlPlane, Stream},
};

/// A real edge that is told what to serve by the test.
struct Told {
    control_plane: ScriptedControlPlane,
    stream: Stream,
    feed: Feed,
    edge: Edge,
    _a: Origin,
    b: Origin,
    // Last, so that it outlives the process.
    _dir: tempfile::TempDir,
}

impl Told {
    /// An edge that serves `shop.example` and `other.example` from tag `a`.
    async fn start() -> Result<Self> {
        install_crypto_provider();
        let dir = tempfile::tempdir()?;
        let mut control_plane = ScriptedControlPlane::start().await?;
        let listener = &control_plane.listener;
        let mut edge = Edge::new(dir.path(), "edge-1", listener.address, &listener.token, Vec::new())?;
        edge.start().await?;
        let (mut stream, hello) = control_plane.stream().await?;
        ensure!(hello.revision == 0, "it has nothing yet: {hello:?}");
        let (a, b) = (Origin::start("a", "a").await?, Origin::start("b", "b").await?);
        let mut feed = Feed::default();
        feed.service("shop").backend("shop-a", "shop", &a.address(), "a").domain("shop.example", "shop", "a").domain(
            "other.example",
            "shop",
            "a",
        );
        accepted(&stream.apply(feed.snapshot()).await?)?;
        Ok(Self { control_plane, stream, feed, edge, _a: a, b, _dir: dir })
    }

    /// Sends the changes of the feed as one batch.
    async fn apply(&mut self) -> Result<Ack> {
        let ack = self.stream.apply(self.feed.delta()).await?;
        ensure!(ack.outcome() == AckOutcome::Applied && ack.revision == self.feed.received().0, "{ack:?}");
        Ok(ack)
    }

    /// The tag that answers for a host, or else the status.
    async fn serves(&self, host: &str) -> Result<String> {
        let answer = Client::http(self.edge.http).get(&format!("http://{host}/")).await?;
        Ok(if answer.status == 200 { answer.tag().to_owned() } else { answer.status.as_str().to_owned() })
    }
}

fn accepted(ack: &Ack) -> Result<()> {
    ensure!(ack.outcome() == AckOutcome::Applied && ack.rejections.is_empty(), "{ack:?}");
    Ok(())
}

/// The resources that are rejected, as in the API.
fn rejected(ack: &Ack) -> Vec<String> {
    let keys = ack.rejections.iter().filter_map(|rejection| rejection.key.as_ref());
    let mut names: Vec<String> = keys.map(|key| format!("{}/{}", key.kind, key.id)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_rejected_domain_keeps_its_last_good_version_while_another_in_the_same_batch_goes_live() -> Result<()> {
    let mut told = Told::start().await?;
    told.feed.backend("shop-b", "shop", &told.b.address(), "b");
    accepted(&told.apply().await?)?;

    told.feed.put("domains", "shop.example", &b"\xff\xff\xff"[..]).domain("other.example", "shop", "b");
    let ack = told.apply().await?;
    ensure!(rejected(&ack) == ["domains/shop.example"], "{ack:?}");
    ensure!(ack.rejections[0].revision == ack.revision && !ack.rejections[0].reason.is_empty(), "{ack:?}");
    ensure!(told.serves("shop.example").await? == "a", "the last good version serves on");
    ensure!(told.serves("other.example").await? == "b", "the other domain has moved");

    told.feed.domain("shop.example", "shop", "b");
    accepted(&told.apply().await?)?;
    ensure!(told.serves("shop.example").await? == "b", "the fix goes live");
    Ok(())
}

#[tokio::test]
async fn a_revision_with_one_unacceptable_backend_does_not_switch_and_the_fix_brings_all_that_waited() -> Result<()> {
    let mut told = Told::start().await?;
    let (good, bad) = (told.b.address(), "no address");
    told.feed.backend("shop-b1", "shop", &good, "b").backend("shop-b2", "shop", bad, "b").domain(
        "shop.example",
        "shop",
        "b",
    );
    let ack = told.apply().await?;
    ensure!(rejected(&ack) == ["backends/shop-b2", "domains/shop.example"], "{ack:?}");
    let waits = ack.rejections.iter().any(|rejection| rejection.reason.contains("backends/shop-b2"));
    ensure!(waits, "it says what the domain waits for: {ack:?}");
    for _ in 0..10 {
        ensure!(told.serves("shop.example").await? == "a", "it has not switched");
    }

    // What the domain at its old version needs cannot be taken away meanwhile.
    told.feed.remove("backends", "shop-a");
    told.apply().await?;
    ensure!(told.serves("shop.example").await? == "a", "the old backend is still in use");

    // Another change looks at it again, and changes nothing about it.
    told.feed.backend("shop-c", "shop", &good, "c").domain("other.example", "shop", "c");
    told.apply().await?;
    ensure!(told.serves("shop.example").await? == "a", "it still has not switched");
    ensure!(told.serves("other.example").await? == "b", "the other domain has");

    told.feed.backend("shop-b2", "shop", &good, "b");
    accepted(&told.apply().await?)?;
    ensure!(told.serves("shop.example").await? == "b", "with the fix goes live what had waited for it");
    Ok(())
}

#[tokio::test]
async fn rejections_survive_a_restart_and_so_does_the_last_good_version() -> Result<()> {
    let mut told = Told::start().await?;
    told.feed.put("domains", "shop.example", &b"\xff\xff\xff"[..]);
    let before = told.apply().await?;
    told.edge.kill().await?;
    told.edge.start().await?;
    told.edge.configured().await?;
    ensure!(told.serves("shop.example").await? == "a", "the last good version comes from the disk");
    let (stream, hello) = told.control_plane.stream().await?;
    let (revision, digest) = told.feed.received();
    ensure!(hello.revision == revision && hello.digest == digest.to_bytes()[..], "it has what it received: {hello:?}");
    ensure!(hello.rejections == before.rejections, "it says again what it rejects: {hello:?}");

    told.stream = stream;
    told.feed.domain("shop.example", "shop", "a");
    accepted(&told.apply().await?)
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_its_key_is_rejected_and_the_old_one_is_presented() -> Result<()> {
    let mut told = Told::start().await?;
    let authority = Authority::generate()?;
    let good = authority.issue(&["shop.example"])?;
    told.feed.certificate("shop", "shop.example", &good);
    accepted(&told.apply().await?)?;
    let mut bad = authority.issue(&["shop.example"])?;
    bad.key_pkcs8 = authority.issue(&["shop.example"])?.key_pkcs8;
    told.feed.certificate("shop", "shop.example", &bad);
    let ack = told.apply().await?;
    ensure!(rejected(&ack).contains(&"certificates/shop".to_owned()), "{ack:?}");
    let client = Client::https(told.edge.https, &authority.pem())?;
    ensure!(client.get("https://shop.example/").await?.tag() == "a", "HTTPS goes on");
    Ok(())
}

#[tokio::test]
async fn garbage_ends_the_stream_and_not_the_edge() -> Result<()> {
    let mut told = Told::start().await?;
    type Spoil = fn(&mut Batch);
    let id = told.edge.process()?.id()?;
    let (revision, _) = told.feed.received();
    let garbage: [(&str, Spoil); 4] = [
        ("bytes that are no resource", |batch| batch.resources.push(Bytes::from_static(b"\xff\xff\xff\xff"))),
        ("a resource without a key", |batch| batch.resources.push(Bytes::from_static(b"\x10\x01"))),
        ("a batch of no kind", |batch| batch.kind = 0),
        ("a digest of another length", |batch| batch.digest = Bytes::from_static(b"short")),
    ];
    for (what, spoil) in garbage {
        let mut feed = Feed::default();
        let mut batch = feed.domain("shop.example", "shop", "b").delta();
        batch.revision = revision + 1;
        spoil(&mut batch);
        told.stream.send(batch).await?;
        let (stream, hello) = told.control_plane.stream().await.context(what)?;
        ensure!(hello.revision == revision, "{what}: nothing of it was taken: {hello:?}");
        std::mem::replace(&mut told.stream, stream).ended().await.context(what)?;
        ensure!(told.serves("shop.example").await? == "a", "{what}: it serves on");
    }
    told.feed.remove("domains", "other.example");
    accepted(&told.apply().await?)?;
    ensure!(told.serves("other.example").await? == "404", "changes reach it again");
    ensure!(told.edge.process()?.id()? == id, "it is the same process");
    Ok(())
}

#[tokio::test]
async fn a_batch_with_another_digest_is_not_applied_and_everything_is_asked_for() -> Result<()> {
    let mut told = Told::start().await?;
    let mut batch = told.feed.domain("shop.example", "shop", "b").delta();
    batch.digest = vec![7; 16].into();
    let ack = told.stream.apply(batch).await?;
    ensure!(ack.outcome() == AckOutcome::DigestMismatch, "{ack:?}");
    ensure!(told.serves("shop.example").await? == "a", "nothing was applied");
    told.feed.backend("shop-b", "shop", &told.b.address(), "b").remove("backends", "shop-a");
    let snapshot = told.feed.domain("other.example", "shop", "b").snapshot();
    accepted(&told.stream.apply(snapshot).await?)?;
    ensure!(told.serves("shop.example").await? == "b", "the whole snapshot is");
    Ok(())
}

#[tokio::test]
async fn nothing_of_a_batch_goes_live_before_its_last_part() -> Result<()> {
    let mut told = Told::start().await?;
    told.feed.backend("shop-b", "shop", &told.b.address(), "b").domain("shop.example", "shop", "b");
    told.feed.domain("other.example", "shop", "b");
    let mut last = told.feed.delta();
    let mut first = last.clone();
    first.last = false;
    first.digest = Bytes::new();
    first.resources = last.resources.drain(..2).collect();
    told.stream.send(first.clone()).await?;
    ensure!(told.serves("shop.example").await? == "a", "the first part is not live");
    // A stream that breaks in the middle leaves nothing behind.
    told.stream.end();
    let (mut stream, hello) = told.control_plane.stream().await?;
    ensure!(hello.revision == first.revision - 1, "{hello:?}");
    stream.send(first).await?;
    accepted(&stream.apply(last).await?)?;
    ensure!(told.serves("shop.example").await? == "b" && told.serves("other.example").await? == "b", "both are live");
    Ok(())
}

on_both_databases! {
    async fn the_api_and_the_command_line_say_which_edge_rejects_what_and_why(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let shop = Shop::open(&fleet).await?;
        let (api, cli) = (fleet.api()?, fleet.cli());
        let token = fleet.control_plane.join_token().await?;
        let relay = Relay::start(fleet.control_plane.fleet, &token, "spoilt").await?;
        let relayed = &relay.listener;
        let mut edge = Edge::new(fleet.dir(), "spoilt", relayed.address, &relayed.token, Vec::new())?;
        edge.start().await?;
        edge.configured().await?;
        let client = Client::http(edge.http);
        let url = format!("http://{HOST}/");
        ensure!(client.get(&url).await?.tag() == "a", "it serves");

        relay.spoil("backends/shop-b2");
        api.create_backend("shop-b2", "shop", &shop.b.address(), &["b"]).await?;
        let other = api.create_domain("other.example", "shop", "a").await?;
        let switched = cli.run(&["switch", HOST, "--to", "b", "--wait"]).await?;
        ensure!(switched.code == 3, "committed, not live everywhere: {switched:?}");
        ensure!(switched.stderr.contains("spoilt") && switched.stderr.contains("backends/shop-b2"), "{switched:?}");
        ensure!(client.get(&url).await?.tag() == "a", "the edge that rejects it has not switched");
        ensure!(fleet.http().get(&url).await?.tag() == "b", "the other edge has");
        ensure!(client.get("http://other.example/").await?.tag() == "a", "other changes go live on both");
        let progress = api.progress(other.revision).await?;
        ensure!(progress.iter().all(|edge| edge.state() == ProgressState::Live), "{progress:?}");

        let listed = cli.run(&["edge", "list"]).await?;
        ensure!(listed.code == 0 && listed.stdout.contains("backends/shop-b2"), "{listed:?}");
        let edges = cli.json(&["edge", "list"]).await?.to_string();
        ensure!(edges.contains("backends/shop-b2") && edges.contains("waits for"), "{edges}");

        relay.spare("backends/shop-b2");
        let fixed = api.move_backend("shop-b2", &shop.a.address()).await?;
        eventually("the fix is live", async || {
            let edge = api.edge("spoilt").await?;
            ensure!(edge.acknowledged_revision >= fixed.revision && edge.rejections.is_empty(), "{edge:?}");
            Ok(())
        })
        .await?;
        let answers = [client.get(&url).await?, client.get(&url).await?, client.get(&url).await?];
        ensure!(answers.iter().any(|answer| answer.tag() == "b"), "with the fix goes live what had waited for it");
        let progress = api.progress(fixed.revision).await?;
        ensure!(progress.iter().all(|edge| edge.state() == ProgressState::Live), "{progress:?}");
        Ok(())
    }
}
