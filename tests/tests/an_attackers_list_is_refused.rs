//! F3, F4, X1, X5: everything on an attacker's list, against one fleet: each is refused with its code, and somebody who reads the
//! log sees it.

use anyhow::{Context, Result, bail, ensure};
use http::Request;
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use switchyard_proto::{
    Bearer,
    fleet::v1::{Hello, Resource, sync_response},
    v1::{
        ClientAuthentication, ClientCertificateMode, CreateTokenRequest, DeleteTokenRequest, Domain, DomainTls,
        ListDomainsRequest, ListTokensRequest, Role, Token,
    },
    vocab::ResourceKey,
};
use switchyard_tests::{
    api::{Api, domain},
    authority::Authority,
    client::{Client, empty},
    database::Database,
    eventually::{eventually, within},
    fleet::{Fleet, Plan},
    fleet_client::{Invitation, Member, begin, connect, edge_params, nothing},
    install_crypto_provider,
    process::Process,
    shop::{HOST, Shop},
};
use tonic::{Code, Status};

/// What a program has logged, and how much of it was looked at.
struct Watch<'a> {
    process: &'a Process,
    seen: usize,
}

impl Watch<'_> {
    /// An attempt ended with one of these codes, and the log has a new line with this text.
    async fn refused<T>(&mut self, what: &str, result: Result<T, Status>, codes: &[Code], line: &str) -> Result<()> {
        let Err(status) = result else { bail!("{what}: it is let in") };
        ensure!(codes.contains(&status.code()), "{what}: {status:?}");
        self.says(what, line).await
    }

    async fn says(&mut self, what: &str, line: &str) -> Result<()> {
        eventually(&format!("the log says of {what}"), async || {
            let lines = self.process.log().lines();
            let found = lines.iter().skip(self.seen).position(|said| said.contains(line));
            self.seen += 1 + found.with_context(|| format!("no line with {line:?}"))?;
            Ok(())
        })
        .await
    }
}

async fn token(admin: &Api, token: Token) -> Result<String> {
    let request = CreateTokenRequest { token: Some(token), validate_only: false };
    Ok(admin.tokens.clone().create_token(request).await?.into_inner().secret)
}

async fn list(api: &Api) -> Result<(), Status> {
    api.domains.clone().list_domains(ListDomainsRequest::default()).await.map(drop)
}

#[tokio::test]
async fn nobody_gets_at_the_api_who_may_not() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let _shop = Shop::open(&fleet).await?;
    let (admin, place) = (fleet.api()?, fleet.control_plane.admin);
    admin.create_domain("other.example", "shop", "a").await?;
    let of = |name: &str, role: Role| Token { name: format!("tokens/{name}"), role: role.into(), ..Token::default() };
    let mut log = Watch { process: fleet.control_plane.process()?, seen: 0 };

    let nobody = Api::with(place, Bearer::none())?;
    log.refused("no token", list(&nobody).await, &[Code::Unauthenticated], "a call without a token").await?;
    let unknown = "a call with a token that is unknown, revoked or expired";
    log.refused("a guess", list(&Api::new(place, "sy_guess")?).await, &[Code::Unauthenticated], unknown).await?;

    let viewer = Api::new(place, &token(&admin, of("viewer", Role::Viewer)).await?)?;
    let role = "its role or scope does not suffice";
    log.refused("a wrong role", viewer.switch_domain(HOST, "b").await, &[Code::PermissionDenied], role).await?;
    let operator = Api::new(place, &token(&admin, of("operator", Role::Operator)).await?)?;
    let tokens = operator.tokens.clone().list_tokens(ListTokensRequest::default()).await;
    log.refused("a wrong role", tokens, &[Code::PermissionDenied], role).await?;

    let scoped = Token { domains: vec![HOST.to_owned()], ..of("scoped", Role::Operator) };
    let scoped = Api::new(place, &token(&admin, scoped).await?)?;
    let others = scoped.switch_domain("other.example", "b").await;
    log.refused("another's scope", others, &[Code::PermissionDenied], "out of the token's scope").await?;
    let others = scoped.get_domain("other.example").await;
    log.refused("another's scope", others, &[Code::PermissionDenied], "out of the token's scope").await?;

    let made = fleet.cli().run(&["token", "create", "brief", "--role", "viewer", "--expires", "1s"]).await?;
    ensure!(made.code == 0, "{made:?}");
    let brief = Api::new(place, made.stdout.trim())?;
    eventually("it has expired", async || {
        ensure!(list(&brief).await.is_err(), "not yet");
        Ok(())
    })
    .await?;
    log.refused("an expired token", list(&brief).await, &[Code::Unauthenticated], unknown).await?;

    let request = DeleteTokenRequest { name: "tokens/viewer".to_owned(), ..DeleteTokenRequest::default() };
    admin.tokens.clone().delete_token(request).await?;
    log.refused("a revoked token", list(&viewer).await, &[Code::Unauthenticated], unknown).await?;

    ensure!(admin.get_domain(HOST).await?.active_tag == "a", "nothing of it has changed anything");
    Ok(())
}

#[tokio::test]
async fn nobody_joins_or_stays_in_the_fleet_who_may_not() -> Result<()> {
    install_crypto_provider();
    let arguments = ["--edge-certificate-lifetime", "3s"].map(String::from).to_vec();
    let plan = Plan { edges: 0, control_plane_arguments: arguments, ..Plan::default() };
    let fleet = Fleet::start_with(Database::Sqlite, plan).await?;
    let (api, place) = (fleet.api()?, fleet.control_plane.fleet);
    let token = fleet.control_plane.join_token().await?;
    let invitation = Invitation::of(&token)?;
    let mut log = Watch { process: fleet.control_plane.process()?, seen: 0 };
    let request = |params: CertificateParams, key: &KeyPair| -> Result<Vec<u8>> {
        Ok(params.serialize_request(key)?.der().to_vec())
    };

    let stream = begin(connect(place, &invitation.authority, None)?, nothing()).await;
    let line = "a stream without a client certificate of an edge was refused";
    log.refused("no certificate", stream, &[Code::Unauthenticated], line).await?;

    let key = KeyPair::generate()?;
    let chain = Authority::generate()?.sign(&request(edge_params("edge-1")?, &key)?)?;
    let own = (chain, PrivatePkcs8KeyDer::from(key.serialize_der()));
    let stream = begin(connect(place, &invitation.authority, Some(own))?, nothing()).await;
    // The handshake fails, and so there is no code of the control plane's.
    let broken = [Code::Unavailable, Code::Unknown, Code::Cancelled];
    log.refused("a certificate of another CA", stream, &broken, "a client certificate was refused").await?;

    // Asks for a CA and somebody else's name, and is given neither.
    let key = KeyPair::generate()?;
    let asked = request(edge_params("somebody-else")?, &key)?;
    let member = Member::join_with(place, &invitation, "edge-1", key, asked).await??;
    log.says("a certificate request that asks for more", "an edge has joined").await?;
    {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let (_, issued) = X509Certificate::from_der(&member.chain[0])?;
        let names = format!("{:?}", issued.subject_alternative_name()?.context("a name")?.value.general_names);
        ensure!(names.contains("edge/edge-1") && !names.contains("somebody-else"), "{names}");
        ensure!(!issued.is_ca(), "it is no CA");
    }

    let key = KeyPair::generate()?;
    let asked = request(CertificateParams::default(), &key)?;
    let copied = Member::join_with(place, &invitation, "edge-2", key, asked);
    let used = "an edge that does not belong to the fleet";
    log.refused("a join token used twice", copied.await?, &[Code::Unauthenticated], used).await?;

    // Nothing is sent to who cannot prove to be what the token says: the control plane sees a handshake that ends.
    let foreign =
        Invitation { authority: "00".repeat(32), ..Invitation::of(&fleet.control_plane.join_token().await?)? };
    let key = KeyPair::generate()?;
    let asked = request(CertificateParams::default(), &key)?;
    let joined = Member::join_with(place, &foreign, "edge-3", key, asked).await?;
    ensure!(joined.is_err_and(|status| broken.contains(&status.code())), "a wrong CA fingerprint");
    ensure!(api.list_edges().await?.edges.len() == 1, "nobody else has joined");

    eventually("its certificate has expired", async || {
        let stream = begin(member.connect(place)?, nothing()).await;
        let refused = within("an answer", async { stream?.message().await }).await?;
        ensure!(refused.is_err_and(|status| broken.contains(&status.code())), "not yet");
        Ok(())
    })
    .await?;
    let expired = begin(member.connect(place)?, nothing()).await;
    log.refused("an expired certificate", expired, &broken, "a client certificate was refused").await?;

    api.delete_edge("edge-1").await?;
    let removed = member.renew(place).await?;
    let line = "an edge that does not belong to the fleet";
    log.refused("a removed edge", removed, &[Code::PermissionDenied], line).await?;
    let history = fleet.cli().json(&["audit", "edges/edge-1"]).await?.to_string();
    ensure!(history.contains("ORIGIN_FLEET") && history.contains("DELETED"), "who joined and was removed: {history}");
    Ok(())
}

/// The names of what an edge is sent first.
async fn sent(fleet: &Fleet, member: &Member, hello: Hello) -> Result<Vec<String>> {
    let mut stream = begin(member.connect(fleet.control_plane.fleet)?, hello).await?;
    let mut names = Vec::new();
    loop {
        let message = within("a batch", stream.message()).await??.context("it is sent something")?;
        let Some(sync_response::Message::Batch(batch)) = message.message else { bail!("not a batch: {message:?}") };
        for encoded in batch.resources {
            names.push(ResourceKey::from_wire(&Resource::decode(encoded)?.key.context("a key")?)?.to_string());
        }
        if batch.last {
            return Ok(names);
        }
    }
}

#[tokio::test]
async fn an_edge_is_sent_what_its_labels_allow_whatever_it_says_it_has() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let _shop = Shop::open(&fleet).await?;
    let (api, place) = (fleet.api()?, fleet.control_plane.fleet);
    let hidden =
        Domain { edge_selector: [("region".to_owned(), "eu".to_owned())].into(), ..domain("eu.example", "shop", "a") };
    let revision = api.create(hidden).await?.revision;
    let us = Member::join(place, &api.invite(1, &[("region", "us")]).await?, "us-1").await?;
    let guesses = [
        nothing(),
        Hello { revision, digest: vec![7; 16].into(), ..nothing() },
        Hello { revision: revision - 1, digest: vec![7; 16].into(), ..nothing() },
        Hello { revision: u64::MAX, digest: vec![7; 16].into(), ..nothing() },
        Hello { capabilities: vec!["region=eu".to_owned()], ..nothing() },
    ];
    for hello in guesses {
        let what = format!("{hello:?}");
        let names = sent(&fleet, &us, hello).await?;
        ensure!(!names.iter().any(|name| name.contains("eu.example")), "{what}: {names:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_says_who_they_are_but_by_proof() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let _shop = Shop::open(&fleet).await?;
    let mut log = Watch { process: fleet.edge().process()?, seen: 0 };
    let forged = Request::get(format!("http://{HOST}/headers"))
        .header("x-forwarded-for", "203.0.113.7")
        .header("x_forwarded_for", "203.0.113.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "admin.example")
        .header("forwarded", "for=203.0.113.7;proto=https;host=admin.example")
        .header("x-real-ip", "203.0.113.7")
        .header("client-cert", ":Zm9yZ2Vk:")
        .header("x-forwarded-client-cert", "Subject=\"CN=admin.example\"");
    let answer = fleet.http().exchange(forged.body(empty())?).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let headers = answer.json()?["headers"].to_string();
    for text in ["203.0.113.7", "admin.example", "Zm9yZ2Vk", "https"] {
        ensure!(!headers.contains(text), "{text} is believed: {headers}");
    }
    log.says("who it was", "127.0.0.1").await?;

    let clients = Authority::generate()?;
    let authentication =
        ClientAuthentication { ca_bundle_pem: clients.pem(), mode: ClientCertificateMode::Required.into() };
    let mut tls = DomainTls { client_authentication: Some(authentication), ..DomainTls::default() };
    tls.set_certificate_source(switchyard_proto::v1::CertificateSource::Internal);
    let strict = Domain { tls: Some(tls), ..domain("strict.example", "shop", "a") };
    let api = fleet.api()?;
    fleet.live(api.create(strict).await?.revision).await?;
    let without = Client::https(fleet.edge().https, &api.internal_ca().await?)?;
    ensure!(without.get("https://strict.example/").await.is_err(), "no client certificate");
    log.says("no client certificate", "a client was refused").await?;
    let request = Request::get(format!("https://{HOST}/")).header("host", "strict.example").body(empty())?;
    let http1 = Client::https1(fleet.edge().https, &api.internal_ca().await?)?;
    ensure!(http1.exchange(request).await?.status == 421, "by the connection of another name");
    log.says("by the connection of another name", "421").await?;
    Ok(())
}
