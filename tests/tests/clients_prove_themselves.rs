//! C7, S1: client certificates that a domain asks for, what backends are told of them, and that nobody else can say it.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Request;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;
use switchyard_proto::v1::{ClientAuthentication, ClientCertificateMode, Domain, DomainTls};
use switchyard_tests::{
    api::domain,
    authority::{Authority, Issued},
    client::{Answer, Client, empty},
    database::Database,
    eventually::eventually,
    fleet::Fleet,
    install_crypto_provider, on_both_databases,
    shop::{HOST, Shop},
};
use tonic::Code;

const STRICT: &str = "strict.example";

fn asking(authority: &Authority, mode: ClientCertificateMode) -> Option<DomainTls> {
    let authentication = ClientAuthentication { ca_bundle_pem: authority.pem(), mode: mode.into() };
    let mut tls = DomainTls { client_authentication: Some(authentication), ..DomainTls::default() };
    tls.set_certificate_source(switchyard_proto::v1::CertificateSource::Internal);
    Some(tls)
}

/// The shop, and a domain beside it that asks for certificates of `authority`.
async fn open(fleet: &Fleet, authority: &Authority, mode: ClientCertificateMode) -> Result<Shop> {
    let shop = Shop::open(fleet).await?;
    let strict = Domain { tls: asking(authority, mode), ..domain(STRICT, "shop", "a") };
    fleet.live(fleet.api()?.create(strict).await?.revision).await?;
    Ok(shop)
}

/// A client that shows a certificate, or none.
async fn client(fleet: &Fleet, certificate: Option<&Issued>, protocol: &str) -> Result<Client> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(fleet.api()?.internal_ca().await?.as_bytes())?)?;
    let builder = ClientConfig::builder().with_root_certificates(Arc::new(roots));
    let mut config = match certificate {
        Some(issued) => builder.with_client_auth_cert(issued.chain.clone(), issued.key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(Client::https_with(fleet.edge().https, config))
}

/// A request to `host` over a connection that was opened for `server_name`, forging who it is from.
async fn ask(client: &Client, server_name: &str, host: &str) -> Result<Answer> {
    let request = Request::get(format!("https://{server_name}/headers"))
        .header("host", host)
        .header("client-cert", ":Zm9yZ2Vk:")
        .header("client-cert-chain", ":Zm9yZ2Vk:")
        .header("x-forwarded-client-cert", "Subject=\"CN=forged\"")
        .header("client_cert", ":Zm9yZ2Vk:")
        .header("x_forwarded_client-cert", "Subject=\"CN=forged\"")
        .header("X_Forwarded_For", "192.0.2.1")
        .header("x-real-ip", "192.0.2.1");
    client.exchange(request.body(empty())?).await
}

/// What the backend was told; nothing of it was forged.
fn told(answer: &Answer) -> Result<Value> {
    ensure!(answer.status == 200, "{answer:?}");
    let headers = answer.json()?["headers"].take();
    let forged = ["Zm9yZ2Vk", "forged", "192.0.2.1"];
    ensure!(!forged.iter().any(|text| headers.to_string().contains(text)), "{headers}");
    Ok(headers)
}

#[tokio::test]
async fn only_who_has_a_certificate_of_the_domains_ca_gets_in_and_backends_are_told_who() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let (clients, others) = (Authority::generate()?, Authority::generate()?);
    let _shop = open(&fleet, &clients, ClientCertificateMode::Required).await?;
    let own = clients.issue(&["pump.example"])?;
    for protocol in ["h2", "http/1.1"] {
        let with_own = client(&fleet, Some(&own), protocol).await?;
        // The second connection would resume the session of the first, if that were possible.
        for client in [with_own.clone(), with_own.another(false)] {
            let headers = told(&ask(&client, STRICT, STRICT).await?)?;
            let certificate = headers["client-cert"][0].as_str().context("Client-Cert")?;
            ensure!(certificate == format!(":{}:", STANDARD.encode(&own.chain[0])), "{protocol}: {certificate}");
            let summary = headers["x-forwarded-client-cert"][0].as_str().context("X-Forwarded-Client-Cert")?;
            ensure!(summary.contains("DNS=\"pump.example\"") && summary.starts_with("Hash="), "{protocol}: {summary}");
        }
        let without = client(&fleet, None, protocol).await?;
        ensure!(ask(&without, STRICT, STRICT).await.is_err(), "{protocol}: without a certificate");
        let stranger = client(&fleet, Some(&others.issue(&["pump.example"])?), protocol).await?;
        ensure!(ask(&stranger, STRICT, STRICT).await.is_err(), "{protocol}: with a certificate of another CA");
        // Elsewhere nobody is asked, and nobody believed.
        let headers = told(&ask(&without, HOST, HOST).await?)?;
        ensure!(headers["client-cert"].is_null() && headers["x-forwarded-client-cert"].is_null(), "{headers}");
    }
    // Nor does a client have the edge's own headers taken away as hop-by-hop (RFC 9110, section 7.6.1).
    let nominated = Request::get(format!("https://{STRICT}/headers"))
        .header("connection", "keep-alive, client-cert, x-forwarded-client-cert");
    let answer = client(&fleet, Some(&own), "http/1.1").await?.exchange(nominated.body(empty())?).await?;
    let headers = told(&answer)?;
    for name in ["client-cert", "x-forwarded-client-cert"] {
        ensure!(headers[name].is_array(), "{name}: {headers}");
    }
    ensure!(!headers["connection"].to_string().contains("client-cert"), "{headers}");
    let refused = fleet.edge().process()?.log().line("a client was refused").await?;
    ensure!(refused.contains(STRICT), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_request_for_another_host_than_its_connection_is_misdirected() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let clients = Authority::generate()?;
    let _shop = open(&fleet, &clients, ClientCertificateMode::Required).await?;
    let own = clients.issue(&["pump.example"])?;
    let own = client(&fleet, Some(&own), "http/1.1").await?;
    for (server_name, host) in [(HOST, STRICT), (STRICT, HOST)] {
        let answer = ask(&own, server_name, host).await?;
        ensure!(answer.status == 421 && answer.tag().is_empty(), "{host} by {server_name}: {answer:?}");
    }
    let plain = Request::get(format!("http://{STRICT}/a?b=c")).body(empty())?;
    let plain = fleet.http().exchange(plain).await?;
    ensure!(plain.status == 308, "in the clear: {plain:?}");
    let location = format!("https://{STRICT}:{}/a?b=c", fleet.edge().https.port());
    ensure!(plain.header("location") == location, "{plain:?}");
    Ok(())
}

#[tokio::test]
async fn certificates_that_are_optional_give_an_identity_to_those_who_have_one() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let (clients, others) = (Authority::generate()?, Authority::generate()?);
    let _shop = open(&fleet, &clients, ClientCertificateMode::Optional).await?;
    let own = clients.issue(&["pump.example"])?;
    let headers = told(&ask(&client(&fleet, Some(&own), "h2").await?, STRICT, STRICT).await?)?;
    ensure!(!headers["client-cert"].is_null(), "{headers}");
    let without = client(&fleet, None, "h2").await?;
    let headers = told(&ask(&without, STRICT, STRICT).await?)?;
    ensure!(headers["client-cert"].is_null() && headers["x-forwarded-client-cert"].is_null(), "{headers}");
    let stranger = client(&fleet, Some(&others.issue(&["pump.example"])?), "h2").await?;
    ensure!(ask(&stranger, STRICT, STRICT).await.is_err(), "of another CA");
    let misdirected = ask(&client(&fleet, None, "http/1.1").await?, HOST, STRICT).await?;
    ensure!(misdirected.status == 421, "{misdirected:?}");
    ensure!(fleet.http().get(&format!("http://{STRICT}/")).await?.tag() == "a", "in the clear nobody is asked");
    Ok(())
}

#[tokio::test]
async fn a_connection_is_good_for_as_long_as_what_it_was_opened_under_holds() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let (clients, others) = (Authority::generate()?, Authority::generate()?);
    let _shop = open(&fleet, &clients, ClientCertificateMode::Required).await?;
    let api = fleet.api()?;
    let own = client(&fleet, Some(&clients.issue(&["pump.example"])?), "h2").await?;
    ensure!(ask(&own, STRICT, STRICT).await?.tag() == "a", "before");
    fleet.live(api.switch_domain(STRICT, "b").await?.revision).await?;
    ensure!(ask(&own, STRICT, STRICT).await?.tag() == "b", "another change of the domain changes nothing");
    let tls = asking(&others, ClientCertificateMode::Required);
    let changed = api.update_domain(Domain { tls, ..domain(STRICT, "shop", "b") }, "tls.client_authentication").await?;
    fleet.live(changed.revision).await?;
    ensure!(ask(&own, STRICT, STRICT).await?.status == 421, "its CA is not trusted any more");
    ensure!(ask(&own.another(false), STRICT, STRICT).await.is_err(), "nor is it on a new connection");
    Ok(())
}

on_both_databases! {
    async fn the_command_line_sets_and_ends_it(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let shop = Shop::open(&fleet).await?;
        let clients = Authority::generate()?;
        let bundle = fleet.dir().join("clients.pem");
        std::fs::write(&bundle, clients.pem())?;
        let bundle = bundle.to_string_lossy();
        let create = [
            "domain", "create", STRICT, "--service", "shop", "--tag", "a", "--tls", "internal", "--client-ca-file", &bundle,
        ];
        let created = fleet.cli().run(&create).await?;
        ensure!(created.code == 0, "{created:?}");
        fleet.control_plane.terminate().await?;
        fleet.control_plane.start().await?;
        let shown = fleet.cli().run(&["domain", "get", STRICT]).await?.stdout;
        ensure!(shown.lines().any(|line| line.starts_with("tls.client_authentication.mode:") && line.ends_with("required")), "{shown}");
        let revision = fleet.api()?.list_edges().await?.revision;
        eventually("the edge is back", async || fleet.live(revision).await).await?;
        let without = client(&fleet, None, "h2").await?;
        ensure!(ask(&without, STRICT, STRICT).await.is_err(), "it is asked for");
        let ended = fleet.cli().run(&["domain", "update", STRICT, "--no-client-ca", "--wait"]).await?;
        ensure!(ended.code == 0, "{ended:?}");
        ensure!(ask(&without, STRICT, STRICT).await?.tag() == "a", "it is not");
        drop(shop);
        Ok(())
    }
}

#[tokio::test]
async fn cas_that_are_none_are_refused_by_their_field() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let authority = Authority::generate()?;
    for bundle in
        [String::new(), "no PEM".to_owned(), authority.issue(&["a.example"])?.key_pem, authority.pem().repeat(60)]
    {
        let authentication = ClientAuthentication { ca_bundle_pem: bundle, ..ClientAuthentication::default() };
        let tls = DomainTls { client_authentication: Some(authentication), ..DomainTls::default() };
        let bad = Domain { tls: Some(tls), ..domain(STRICT, "default", "a") };
        let refused = fleet.api()?.create(bad).await.expect_err("no CA");
        ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
        ensure!(refused.message().contains("domain.tls.client_authentication.ca_bundle_pem"), "{refused:?}");
    }
    Ok(())
}
