//! C5: a TLS session that was begun at one edge goes on at any other with the same labels, at any moment of a rotation of the keys.

use std::{path::Path, process::Stdio, sync::Arc, time::SystemTime};

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion, client::Resumption, version,
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use switchyard_proto::{
    fleet::v1::{AckOutcome, TicketKey, TicketKeyRole, TicketKeys},
    v1::{ClientAuthentication, ClientCertificateMode, Domain, DomainTls},
};
use switchyard_tests::{
    api::domain,
    authority::{Authority, Issued},
    database::Database,
    eventually::{eventually, within},
    fleet::{Edge, Fleet, Plan},
    install_crypto_provider, on_both_databases,
    origin::Origin,
    relay::Relay,
    shop::{HOST, Shop},
    wire::{Feed, ScriptedControlPlane, Stream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};
use tokio_rustls::TlsConnector;

const STRICT: &str = "strict.example";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// What a client trusts, speaks and shows; it remembers its sessions, and clones share them.
async fn client(
    fleet: &Fleet,
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<&Issued>,
) -> Result<ClientConfig> {
    client_that_trusts(&fleet.api()?.internal_ca().await?, versions, certificate)
}

fn client_that_trusts(
    root_pem: &str,
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<&Issued>,
) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes())?)?;
    let builder = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
    Ok(match certificate {
        Some(issued) => builder.with_client_auth_cert(issued.chain.clone(), issued.key())?,
        None => builder.with_no_client_auth(),
    })
}

fn request(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

/// Asks over a connection of its own, and reads all that comes, a ticket included. How the connection came about, and in which version.
async fn ask(client: &ClientConfig, edge: &Edge, host: &'static str) -> Result<(HandshakeKind, ProtocolVersion)> {
    let asking = async {
        let tcp = TcpStream::connect(edge.https).await?;
        let connector = TlsConnector::from(Arc::new(client.clone()));
        let mut tls = connector.connect(ServerName::try_from(host)?, tcp).await?;
        tls.write_all(request(host).as_bytes()).await?;
        let mut answer = Vec::new();
        tls.read_to_end(&mut answer).await?;
        ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        let session = tls.get_ref().1;
        Ok((session.handshake_kind().context("a handshake")?, session.protocol_version().context("a version")?))
    };
    within(&format!("{host} at {}", edge.name), asking).await?
}

/// A client that has a session of this edge.
async fn session(fleet: &Fleet, edge: &Edge, version: &'static SupportedProtocolVersion) -> Result<ClientConfig> {
    let client = client(fleet, &[version], None).await?;
    let (kind, _) = ask(&client, edge, HOST).await?;
    ensure!(kind == HandshakeKind::Full, "it has none yet: {kind:?}");
    Ok(client)
}

async fn resumes(client: &ClientConfig, edge: &Edge) -> Result<bool> {
    let (kind, _) = ask(client, edge, HOST).await?;
    Ok(kind == HandshakeKind::Resumed)
}

/// Every session that is begun at one edge goes on at the other.
async fn check(fleet: &Fleet, from: &Edge, to: &Edge, goes_on: bool, when: &str) -> Result<()> {
    for version in VERSIONS {
        let client = session(fleet, from, version).await?;
        let resumed = resumes(&client, to).await?;
        ensure!(resumed == goes_on, "{when}: from {} to {}: {resumed} ({:?})", from.name, to.name, version.version);
    }
    Ok(())
}

/// What `openssl s_client` says of its connection: `New, ...` or `Reused, ...`.
async fn openssl(edge: &Edge, host: &str, arguments: &[&str]) -> Result<String> {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", &edge.https.to_string(), "-servername", host])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("run openssl")?;
    let mut input = child.stdin.take().context("a pipe")?;
    input.write_all(request(host).as_bytes()).await?;
    let output = within("openssl ends", child.wait_with_output()).await??;
    drop(input);
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find(|line| line.starts_with("New, ") || line.starts_with("Reused, ")) {
        Some(line) => Ok(line.to_owned()),
        None => bail!("{text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

async fn two_edges(database: Database) -> Result<Fleet> {
    Fleet::start_with(database, Plan { edges: 2, ..Plan::default() }).await
}

on_both_databases! {
    async fn a_session_of_one_edge_goes_on_at_the_other_and_after_a_restart(database: Database) -> Result<()> {
        let mut fleet = two_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let (one, other) = (&fleet.edges[0], &fleet.edges[1]);
        check(&fleet, one, other, true, "at first").await?;
        check(&fleet, other, one, true, "at first").await?;

        let before = session(&fleet, one, &version::TLS13).await?;
        fleet.control_plane.terminate().await?;
        let other = &mut fleet.edges[1];
        other.terminate().await?;
        other.start().await?;
        ensure!(resumes(&before, other).await?, "an edge that was started anew, without a control plane");
        Ok(())
    }
}

#[tokio::test]
async fn openssl_resumes_its_session_at_another_edge() -> Result<()> {
    install_crypto_provider();
    let fleet = two_edges(Database::Sqlite).await?;
    let _shop = Shop::open(&fleet).await?;
    let modern = ["domain", "create", "modern.example", "--service", "shop", "--tag", "a", "--tls", "internal"];
    let created = fleet.cli().run(&[&modern[..], &["--minimum-tls", "1.3", "--wait"]].concat()).await?;
    ensure!(created.code == 0, "{created:?}");
    let (one, other) = (&fleet.edges[0], &fleet.edges[1]);
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let file = fleet.dir().join(name);
        let file = file.to_string_lossy();
        let first = openssl(one, HOST, &[version, "-sess_out", &file]).await?;
        ensure!(first.starts_with("New, "), "{first}");
        ensure!(Path::new(&*file).exists(), "a session was written");
        let second = openssl(other, HOST, &[version, "-sess_in", &file]).await?;
        ensure!(second.starts_with(&format!("Reused, {name}")), "{second}");
        // The session of one domain is none of another's, in whichever version that is served.
        let elsewhere = openssl(other, "modern.example", &["-tls1_3", "-sess_in", &file]).await?;
        ensure!(elsewhere.starts_with("New, TLSv1.3"), "{elsewhere}");
    }
    Ok(())
}

#[tokio::test]
async fn sessions_go_on_in_every_phase_of_a_rotation_and_none_of_a_removed_edges_keys_after_it() -> Result<()> {
    install_crypto_provider();
    let fleet = two_edges(Database::Sqlite).await?;
    let token = fleet.control_plane.join_token().await?;
    let relay = Relay::start(fleet.control_plane.fleet, &token, "slow").await?;
    let mut slow = Edge::new(fleet.dir(), "slow", relay.listener.address, &relay.listener.token, Vec::new())?;
    slow.start().await?;
    slow.configured().await?;
    let _shop = Shop::open(&fleet).await?;
    let (quick, removed) = (&fleet.edges[0], &fleet.edges[1]);
    let (before, before_1_2) =
        (session(&fleet, removed, &version::TLS13).await?, session(&fleet, removed, &version::TLS12).await?);
    let serves = async |edge: &Edge, revision: u64| {
        eventually(&format!("{} has revision {revision}", edge.name), async || {
            let (received, _) = edge.received().await?;
            ensure!(received >= revision, "it has {received}");
            Ok(())
        })
        .await
    };

    // One has the next key, the other has not.
    relay.hold_after(0);
    let begun = fleet.api()?.delete_edge("edge-2").await?;
    serves(quick, begun).await?;
    ensure!(slow.received().await?.0 < begun, "it is held back");
    for (from, to) in [(quick, &slow), (&slow, quick)] {
        check(&fleet, from, to, true, "while the next key is given").await?;
    }
    // Both have it, and one issues with it.
    relay.hold_after(1);
    serves(&slow, begun).await?;
    serves(quick, begun + 1).await?;
    ensure!(slow.received().await?.0 == begun, "it is held back");
    check(&fleet, quick, &slow, true, "while the next key is taken").await?;
    check(&fleet, &slow, quick, false, "what the removed edge knows is not accepted any more").await?;
    // Both do.
    relay.release();
    serves(&slow, begun + 1).await?;
    for (from, to) in [(quick, &slow), (&slow, quick)] {
        check(&fleet, from, to, true, "afterwards").await?;
    }
    for edge in [quick, &slow] {
        check(&fleet, removed, edge, false, "from the edge that was removed").await?;
    }
    for (client, edge) in [(&before, quick), (&before_1_2, &slow)] {
        ensure!(!resumes(client, edge).await?, "a ticket of before goes on at {}", edge.name);
    }
    Ok(())
}

#[tokio::test]
async fn edges_with_other_labels_have_other_keys() -> Result<()> {
    install_crypto_provider();
    let fleet = two_edges(Database::Sqlite).await?;
    let _shop = Shop::open(&fleet).await?;
    let labelled = fleet.cli().run(&["edge", "label", "edge-2", "region=eu", "--wait"]).await?;
    ensure!(labelled.code == 0, "{labelled:?}");
    let (one, other) = (&fleet.edges[0], &fleet.edges[1]);
    check(&fleet, one, other, false, "apart").await?;
    check(&fleet, other, one, false, "apart").await?;
    check(&fleet, other, other, true, "by itself").await?;
    let labelled = fleet.cli().run(&["edge", "label", "edge-2", "region-", "--wait"]).await?;
    ensure!(labelled.code == 0, "{labelled:?}");
    check(&fleet, one, other, true, "together again").await
}

#[tokio::test]
async fn no_session_goes_on_past_what_its_domain_asks_for() -> Result<()> {
    install_crypto_provider();
    let fleet = two_edges(Database::Sqlite).await?;
    let _shop = Shop::open(&fleet).await?;
    let (one, other) = (&fleet.edges[0], &fleet.edges[1]);
    let authority = Authority::generate()?;
    let own = authority.issue(&["pump.example"])?;
    let asking = |mode: ClientCertificateMode| {
        let authentication = ClientAuthentication { ca_bundle_pem: authority.pem(), mode: mode.into() };
        let mut tls = DomainTls { client_authentication: Some(authentication), ..DomainTls::default() };
        tls.set_certificate_source(switchyard_proto::v1::CertificateSource::Internal);
        Some(tls)
    };
    let strict = Domain { tls: asking(ClientCertificateMode::Required), ..domain(STRICT, "shop", "a") };
    fleet.live(fleet.api()?.create(strict).await?.revision).await?;
    for version in VERSIONS {
        let client = client(&fleet, &[version], Some(&own)).await?;
        for edge in [one, one, other] {
            let (kind, _) = ask(&client, edge, STRICT).await?;
            ensure!(kind == HandshakeKind::Full, "who proves himself does so each time: {kind:?}");
        }
    }

    // A session of before 1.3 was asked for.
    let old = session(&fleet, one, &version::TLS12).await?;
    let updated = fleet.cli().run(&["domain", "update", HOST, "--minimum-tls", "1.3", "--wait"]).await?;
    ensure!(updated.code == 0, "{updated:?}");
    ensure!(ask(&old, other, HOST).await.is_err(), "1.2 is spoken no more, resumed or not");
    let mut both = client(&fleet, &VERSIONS, None).await?;
    both.resumption = old.resumption.clone();
    let (kind, spoken) = ask(&both, other, HOST).await?;
    ensure!((kind, spoken) == (HandshakeKind::Full, ProtocolVersion::TLSv1_3), "{kind:?} {spoken:?}");

    // A session of before certificates were asked for.
    let stranger = client(&fleet, &[&version::TLS13], None).await?;
    ask(&stranger, one, HOST).await?;
    let mut stranger_again = stranger.clone();
    stranger_again.resumption = Resumption::disabled();
    let asked = Domain { tls: asking(ClientCertificateMode::Required), ..domain(HOST, "shop", "a") };
    let asked = fleet.api()?.update_domain(asked, "tls.client_authentication").await?;
    fleet.live(asked.revision).await?;
    ensure!(ask(&stranger, other, HOST).await.is_err(), "without a certificate, with a session of before");
    ensure!(ask(&stranger_again, other, HOST).await.is_err(), "or without one");
    Ok(())
}

/// A real edge that is told what to serve by the test.
struct Told {
    _control_plane: ScriptedControlPlane,
    stream: Stream,
    feed: Feed,
    edge: Edge,
}

impl Told {
    /// An edge that serves the shop, with a certificate of its own.
    async fn start(dir: &Path, name: &str, authority: &Authority, origin: &Origin) -> Result<Self> {
        let mut control_plane = ScriptedControlPlane::start().await?;
        let listener = &control_plane.listener;
        let mut edge = Edge::new(dir, name, listener.address, &listener.token, Vec::new())?;
        edge.start().await?;
        let (stream, _) = control_plane.stream().await?;
        let mut feed = Feed::default();
        feed.service("shop").backend("shop-a", "shop", &origin.address(), "a").domain(HOST, "shop", "a");
        feed.certificate("shop", HOST, &authority.issue(&[HOST])?);
        let mut told = Self { _control_plane: control_plane, stream, feed, edge };
        told.apply().await?;
        Ok(told)
    }

    async fn apply(&mut self) -> Result<()> {
        let ack = self.stream.apply(self.feed.delta()).await?;
        ensure!(ack.outcome() == AckOutcome::Applied && ack.rejections.is_empty(), "{ack:?}");
        Ok(())
    }

    /// Gives it a key that is issued with, and was made so many hours ago.
    async fn give_key(&mut self, hours: i64) -> Result<()> {
        let now = SystemTime::UNIX_EPOCH.elapsed()?.as_millis();
        let key = TicketKey {
            name: vec![7; 16].into(),
            secret: vec![7; 32].into(),
            role: TicketKeyRole::Current.into(),
            created_at_ms: i64::try_from(now)? - hours * 60 * 60 * 1_000,
        };
        let keys = TicketKeys { keys: vec![key] }.encode_to_vec();
        self.feed.put("ticketKeys", "e3b0c44298fc1c149afbf4c8996fb924", keys);
        self.apply().await
    }
}

#[tokio::test]
async fn an_edge_that_is_told_nothing_for_too_long_issues_with_keys_of_its_own() -> Result<()> {
    install_crypto_provider();
    let (dir, authority, origin) = (tempfile::tempdir()?, Authority::generate()?, Origin::start("a", "a").await?);
    let mut one = Told::start(dir.path(), "one", &authority, &origin).await?;
    let mut other = Told::start(dir.path(), "other", &authority, &origin).await?;
    // A session of one; how it goes on there and elsewhere.
    let goes_on = async |from: &Edge, to: &Edge| {
        let mut resumed = Vec::new();
        for version in VERSIONS {
            let client = client_that_trusts(&authority.pem(), &[version], None)?;
            ask(&client, from, HOST).await?;
            resumed.push(resumes(&client, to).await?);
        }
        anyhow::Ok((resumed[0], resumed[1]))
    };
    const YES: (bool, bool) = (true, true);
    const NO: (bool, bool) = (false, false);
    ensure!(goes_on(&one.edge, &one.edge).await? == YES, "without keys, with its own");
    ensure!(goes_on(&one.edge, &other.edge).await? == NO, "which others do not have");
    one.give_key(71).await?;
    other.give_key(1).await?;
    ensure!(goes_on(&one.edge, &other.edge).await? == YES, "with keys that both have");
    one.give_key(73).await?;
    ensure!(goes_on(&one.edge, &one.edge).await? == YES, "too old: with its own again");
    ensure!(goes_on(&one.edge, &other.edge).await? == NO, "which others do not have");
    ensure!(goes_on(&other.edge, &one.edge).await? == YES, "and what it knows is accepted still");
    one.give_key(97).await?;
    ensure!(goes_on(&other.edge, &one.edge).await? == NO, "until nobody can have a ticket that is good");
    Ok(())
}
