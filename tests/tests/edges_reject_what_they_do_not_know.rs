//! What an edge does not know, it does not acknowledge as live: it is rejected by name, its last good version serves, and all else goes live.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use prost::Message;
use switchyard_proto::{
    fleet::v1::{Ack, AckOutcome, Challenge, Resource, ResourceKey, TicketKey, TicketKeyRole, TicketKeys},
    v1::ProgressState,
    vocab::ResourceKind,
};
use switchyard_tests::{
    authority::Authority,
    client::Client,
    eventually::eventually,
    fleet::{Edge, Fleet},
    install_crypto_provider,
    newer::{UNKNOWN_FIELD, unknown_fields, unknown_numbers},
    on_both_databases,
    origin::Origin,
    relay::Relay,
    shop::{HOST, Shop},
    wire::{Feed, ScriptedControlPlane, Stream},
};

/// The id of the ticket keys of edges without labels.
const TICKET_KEYS: &str = "e3b0c44298fc1c149afbf4c8996fb924";
/// What answers a CA.
const THUMBPRINT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A resource of each kind that `shop.example` is served with.
struct Good {
    kind: &'static str,
    message: &'static str,
    id: &'static str,
    body: Bytes,
}

/// A real edge that serves `shop.example`, with a resource of every kind, and `other.example`, which has nothing in common with it.
struct World {
    control_plane: ScriptedControlPlane,
    stream: Stream,
    feed: Feed,
    edge: Edge,
    good: Vec<Good>,
    root: String,
    /// The tag that `other.example` is on.
    other: &'static str,
    _origins: Vec<Origin>,
    // Last, so that it outlives the process.
    _dir: tempfile::TempDir,
}

impl World {
    async fn start() -> Result<Self> {
        install_crypto_provider();
        let dir = tempfile::tempdir()?;
        let mut control_plane = ScriptedControlPlane::start().await?;
        let listener = &control_plane.listener;
        let mut edge = Edge::new(dir.path(), "edge-1", listener.address, &listener.token, Vec::new())?;
        edge.start().await?;
        let (stream, _) = control_plane.stream().await?;
        let (a, b) = (Origin::start("a", "a").await?, Origin::start("b", "b").await?);
        let mut feed = Feed::default();
        let authority = Authority::generate()?;
        feed.service("shop").backend("shop-a", "shop", &a.address(), "a").domain(HOST, "shop", "a");
        feed.certificate("shop", HOST, &authority.issue(&[HOST])?);
        let key = TicketKey {
            name: vec![7; 16].into(),
            secret: vec![7; 32].into(),
            role: TicketKeyRole::Current.into(),
            created_at_ms: 1,
        };
        feed.put("ticketKeys", TICKET_KEYS, TicketKeys { keys: vec![key] }.encode_to_vec());
        let challenge = Challenge { http_01_thumbprint: THUMBPRINT.to_owned(), ..Challenge::default() };
        feed.put("challenges", HOST, challenge.encode_to_vec());
        let good = [
            ("services", "switchyard.v1.Service", "shop"),
            ("backends", "switchyard.v1.Backend", "shop-a"),
            ("certificates", "switchyard.fleet.v1.Certificate", "shop"),
            ("domains", "switchyard.v1.Domain", HOST),
            ("challenges", "switchyard.fleet.v1.Challenge", HOST),
            ("ticketKeys", "switchyard.fleet.v1.TicketKeys", TICKET_KEYS),
        ];
        let kinds: BTreeSet<_> = good.iter().map(|(kind, ..)| *kind).collect();
        ensure!(ResourceKind::KNOWN.iter().all(|kind| kinds.contains(kind.collection())), "every kind is tried");
        let body = |kind, id| feed.body(kind, id).with_context(|| format!("{kind}/{id}"));
        let good = good.into_iter().map(|(kind, message, id)| Ok(Good { kind, message, id, body: body(kind, id)? }));
        let good = good.collect::<Result<Vec<_>>>()?;
        feed.service("other").backend("other-a", "other", &a.address(), "a");
        feed.backend("other-b", "other", &b.address(), "b").domain("other.example", "other", "a");
        let root = authority.pem();
        let _origins = vec![a, b];
        let mut world = Self { control_plane, stream, feed, edge, good, root, other: "a", _origins, _dir: dir };
        let ack = world.apply().await?;
        ensure!(ack.rejections.is_empty() && ack.rejections_total == 0, "{ack:?}");
        world.serves_on().await?;
        Ok(world)
    }

    /// Sends the changes of the feed as one batch.
    async fn apply(&mut self) -> Result<Ack> {
        let ack = self.stream.apply(self.feed.delta()).await?;
        ensure!(ack.outcome() == AckOutcome::Applied && ack.revision == self.feed.received().0, "{ack:?}");
        Ok(ack)
    }

    /// Sends the changes of the feed, and a good one with them. The resources that are rejected, each with the reason.
    async fn apply_with_a_good_change(&mut self) -> Result<Vec<(String, String)>> {
        self.other = if self.other == "a" { "b" } else { "a" };
        self.feed.domain("other.example", "other", self.other);
        let ack = self.apply().await?;
        ensure!(ack.rejections_total == ack.rejections.len() as u64, "all are counted: {ack:?}");
        ensure!(ack.rejections.iter().all(|rejection| rejection.revision == ack.revision), "{ack:?}");
        let name = |key: ResourceKey| format!("{}/{}", key.kind, key.id);
        let named = |rejection: switchyard_proto::fleet::v1::Rejection| {
            Ok((name(rejection.key.context("a key")?), rejection.reason))
        };
        ack.rejections.into_iter().map(named).collect()
    }

    /// Checks that the last good version of everything serves, and the newest of what is good.
    async fn serves_on(&self) -> Result<()> {
        let url = format!("https://{HOST}/");
        // Each time anew, so that the certificate is presented.
        let https = Client::https(self.edge.https, &self.root)?;
        ensure!(https.get(&url).await?.tag() == "a", "{HOST} is served");
        let http = Client::http(self.edge.http);
        let challenge = http.get(&format!("http://{HOST}/.well-known/acme-challenge/token")).await?;
        ensure!(challenge.text()? == format!("token.{THUMBPRINT}"), "a CA is answered: {challenge:?}");
        ensure!(http.get("http://other.example/").await?.tag() == self.other, "what is good is live");
        Ok(())
    }

    /// Sends resources that the edge must reject for needing a newer one, together with a good change, and then good ones again.
    async fn rejects(&mut self, what: &str, name: &str) -> Result<()> {
        let rejected = self.apply_with_a_good_change().await?;
        let [(resource, reason)] = &rejected[..] else { anyhow::bail!("{what}: {rejected:?}") };
        ensure!(resource == name && reason.starts_with("needs a newer edge: "), "{what}: {rejected:?}");
        self.serves_on().await.with_context(|| what.to_owned())
    }

    /// Ends the edge and starts it again.
    async fn restart(&mut self) -> Result<switchyard_proto::fleet::v1::Hello> {
        self.edge.kill().await?;
        self.edge.start().await?;
        self.edge.configured().await?;
        let (stream, hello) = self.control_plane.stream().await?;
        self.stream = stream;
        let (revision, digest) = self.feed.received();
        ensure!(hello.revision == revision && hello.digest == digest.to_bytes()[..], "it has what it got: {hello:?}");
        Ok(hello)
    }
}

#[tokio::test]
async fn an_unknown_field_at_any_level_of_any_kind_is_rejected() -> Result<()> {
    let mut world = World::start().await?;
    for at in 0..world.good.len() {
        let Good { kind, message, id, body } = &world.good[at];
        let (kind, id, body, name) = (*kind, *id, body.clone(), format!("{kind}/{id}"));
        let variants = unknown_fields(message, &body)?;
        ensure!(!variants.is_empty(), "{name} has levels");
        for variant in variants {
            world.feed.put(kind, id, variant.encoded);
            world.rejects(&format!("{name}, {}", variant.path), &name).await?;
            world.feed.put(kind, id, body.clone());
            ensure!(world.apply_with_a_good_change().await?.is_empty(), "{name} is as it was");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_number_in_any_enum_is_rejected_by_the_name_of_its_field() -> Result<()> {
    let mut world = World::start().await?;
    let mut fields = 0;
    for at in 0..world.good.len() {
        let Good { kind, message, id, body } = &world.good[at];
        let (kind, id, body, name) = (*kind, *id, body.clone(), format!("{kind}/{id}"));
        for variant in unknown_numbers(message, &body)? {
            world.feed.put(kind, id, variant.encoded);
            let rejected = world.apply_with_a_good_change().await?;
            let reason = format!("needs a newer edge: {} has a value that is not known here", variant.path);
            ensure!(rejected == [(name.clone(), reason)], "{}: {rejected:?}", variant.path);
            world.serves_on().await.with_context(|| variant.path.clone())?;
            world.feed.put(kind, id, body.clone());
            ensure!(world.apply_with_a_good_change().await?.is_empty(), "{name} is as it was");
            fields += 1;
        }
    }
    ensure!(fields > 0, "there are enums");
    Ok(())
}

#[tokio::test]
async fn an_unknown_kind_id_or_envelope_is_kept_rejected_and_survives_a_restart() -> Result<()> {
    let mut world = World::start().await?;
    world.feed.put("gadgets", "Any Thing", &b"\xff\xff whatever"[..]);
    world.rejects("an unknown kind", "gadgets/Any Thing").await?;
    let hello = world.restart().await?;
    ensure!(hello.rejections.len() == 1 && hello.rejections_total == 1, "it says so again: {hello:?}");
    world.serves_on().await?;
    world.feed.remove("gadgets", "Any Thing");
    ensure!(world.apply_with_a_good_change().await?.is_empty(), "it is gone");

    // Another spelling of a name that is served is not that name.
    let body = world.good.iter().find(|good| good.kind == "domains").context("a domain")?.body.clone();
    world.feed.put("domains", "SHOP.example", body.clone());
    let rejected = world.apply_with_a_good_change().await?;
    ensure!(rejected.len() == 1 && rejected[0].0 == "domains/SHOP.example", "{rejected:?}");
    world.feed.remove("domains", "SHOP.example");
    ensure!(world.apply_with_a_good_change().await?.is_empty(), "it is gone");
    world.serves_on().await?;

    let key = ResourceKey { kind: "domains".to_owned(), id: HOST.to_owned() };
    let envelope = Resource { key: Some(key), revision: world.feed.next_revision(), body: body.clone() };
    world.feed.put_encoded("domains", HOST, [&envelope.encode_to_vec()[..], UNKNOWN_FIELD].concat());
    world.rejects("an unknown field of the envelope", "domains/shop.example").await?;
    let hello = world.restart().await?;
    ensure!(hello.rejections_total == 1, "{hello:?}");
    world.serves_on().await?;
    world.feed.put("domains", HOST, body);
    ensure!(world.apply_with_a_good_change().await?.is_empty(), "the good one goes live");
    Ok(())
}

#[tokio::test]
async fn what_the_control_plane_cannot_read_serves_on_with_all_it_uses() -> Result<()> {
    let mut world = World::start().await?;
    let all: Vec<(&str, &str)> = world.good.iter().map(|good| (good.kind, good.id)).collect();
    for (kind, id) in &all {
        world.feed.withhold(kind, id);
    }
    ensure!(world.apply_with_a_good_change().await?.is_empty(), "it is no rejection");
    world.serves_on().await?;
    let hello = world.restart().await?;
    ensure!(hello.rejections_total == 0 && hello.withheld_total == all.len() as u64, "{hello:?}");
    world.serves_on().await?;

    // What the withheld domain uses stays, though it is removed.
    for (kind, id) in all.iter().filter(|(kind, _)| ["services", "backends", "certificates"].contains(kind)) {
        world.feed.remove(kind, id);
    }
    let rejected = world.apply_with_a_good_change().await?;
    ensure!(rejected.len() == 3, "they wait: {rejected:?}");
    world.serves_on().await?;
    world.restart().await?;
    world.serves_on().await?;
    world.feed.remove("domains", HOST);
    ensure!(world.apply_with_a_good_change().await?.is_empty(), "with the domain goes all it used");
    let answer = Client::http(world.edge.http).get(&format!("http://{HOST}/")).await?;
    ensure!(answer.status == 404, "{answer:?}");
    Ok(())
}

on_both_databases! {
    async fn a_wait_for_what_an_edge_does_not_know_ends_with_3_and_says_why(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let shop = Shop::open(&fleet).await?;
        let (api, cli) = (fleet.api()?, fleet.cli());
        let token = fleet.control_plane.join_token().await?;
        let relay = Relay::start(fleet.control_plane.fleet, &token, "older").await?;
        let listener = &relay.listener;
        let mut edge = Edge::new(fleet.dir(), "older", listener.address, &listener.token, Vec::new())?;
        edge.start().await?;
        edge.configured().await?;
        let client = Client::http(edge.http);
        let url = format!("http://{HOST}/");
        ensure!(client.get(&url).await?.tag() == "a", "it serves");

        // To this edge, the domain has a field that it does not know.
        relay.spoil("domains/shop.example");
        let switched = cli.run(&["switch", HOST, "--to", "b", "--wait"]).await?;
        ensure!(switched.code == 3, "committed, not live everywhere: {switched:?}");
        let told = "older: rejected domains/shop.example";
        ensure!(switched.stderr.contains(told) && switched.stderr.contains("needs a newer edge"), "{switched:?}");
        ensure!(client.get(&url).await?.tag() == "a", "its last good version serves");
        ensure!(fleet.http().get(&url).await?.tag() == "b", "the other edge has switched");
        let revision = api.get_domain(HOST).await?.revision;
        let progress = api.progress(revision).await?;
        let older = progress.iter().find(|edge| edge.edge == "edges/older").context("the edge")?;
        ensure!(older.state() == ProgressState::Rejected && older.rejections_total == 1, "{progress:?}");
        let listed = cli.run(&["edge", "list"]).await?;
        ensure!(listed.stdout.contains("needs a newer edge"), "{listed:?}");
        let other = api.create_domain("other.example", "shop", "a").await?;
        let progress = api.progress(other.revision).await?;
        ensure!(progress.iter().all(|edge| edge.state() == ProgressState::Live), "all else goes live: {progress:?}");

        // Once it is known, it is live, whatever the rest.
        relay.spare("domains/shop.example");
        let switched = cli.run(&["switch", HOST, "--to", "a", "--wait"]).await?;
        ensure!(switched.code == 0, "{switched:?}");
        eventually("nothing is rejected any more", async || {
            let edge = api.edge("older").await?;
            ensure!(edge.rejections_total == 0 && edge.rejections.is_empty(), "{edge:?}");
            Ok(())
        })
        .await?;
        drop(shop);
        Ok(())
    }
}
