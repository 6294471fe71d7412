//! C8: TLS toward backends is verified unless told otherwise, and each service has its own say.

use anyhow::{Result, ensure};
use serde_json::Value;
use switchyard_proto::v1::{
    BackendClientCertificate, BackendProtocol, BackendTls, CreateServiceRequest, Service, UpdateServiceRequest,
};
use switchyard_tests::{
    api::{Api, mask},
    authority::Authority,
    client::{Client, empty},
    database::Database,
    eventually::eventually,
    fleet::Fleet,
    install_crypto_provider, on_both_databases,
    origin::Origin,
};
use tonic::Code;

/// Creates a service with one backend, and a domain of the same name that goes to it; awaits that it is live.
async fn site(fleet: &Fleet, name: &str, address: &str, service: Service) -> Result<()> {
    let api = fleet.api()?;
    let service = Service { name: format!("services/{name}"), ..service };
    let request = CreateServiceRequest { service: Some(service), validate_only: false };
    api.services.clone().create_service(request).await?;
    api.create_backend(name, name, address, &["a"]).await?;
    let domain = api.create_domain(&format!("{name}.example"), name, "a").await?;
    fleet.live(domain.revision).await
}

/// Gives a service another TLS; awaits that it is live.
async fn change(fleet: &Fleet, name: &str, tls: Option<BackendTls>, paths: &str) -> Result<Service> {
    let service = Service { name: format!("services/{name}"), tls, ..Service::default() };
    let service = update(&fleet.api()?, service, paths).await?;
    fleet.live(service.revision).await?;
    Ok(service)
}

async fn update(api: &Api, service: Service, paths: &str) -> Result<Service, tonic::Status> {
    let request = UpdateServiceRequest { service: Some(service), update_mask: Some(mask(paths)), validate_only: false };
    Ok(api.services.clone().update_service(request).await?.into_inner())
}

fn over_tls(tls: BackendTls) -> Service {
    Service { tls: Some(tls), ..Service::default() }
}

fn trusting(authority: &Authority) -> BackendTls {
    BackendTls { ca_bundle_pem: authority.pem(), ..BackendTls::default() }
}

/// What the backend of a site says of a request.
async fn seen(client: &Client, name: &str) -> Result<Value> {
    let answer = client.get(&format!("http://{name}.example/headers")).await?;
    ensure!(answer.status == 200, "{name}: {} {:?}", answer.status, answer.text());
    answer.json()
}

/// That no request reaches the backend of a site, and why not is said.
async fn is_refused(client: &Client, name: &str, what: &str) -> Result<()> {
    let answer = client.get(&format!("http://{name}.example/headers")).await?;
    ensure!(answer.status == 503 && answer.tag().is_empty(), "{what}: {} {:?}", answer.status, answer.text());
    ensure!(answer.text()?.contains("No secure connection"), "{what}: {:?}", answer.text());
    Ok(())
}

#[tokio::test]
async fn backends_prove_themselves_by_the_name_and_the_ca_that_their_service_says() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let (authority, other) = (Authority::generate()?, Authority::generate()?);
    let client = fleet.http();
    let by_address =
        Origin::start_tls("by-address", "a", authority.issue(&["127.0.0.1"])?.server_config(None)?).await?;
    let by_name = Origin::start_tls("by-name", "a", authority.issue(&["inside.example"])?.server_config(None)?).await?;

    site(&fleet, "address", &by_address.address(), over_tls(trusting(&authority))).await?;
    let tls = &seen(&client, "address").await?["tls"];
    ensure!(tls["server_name"] == "" && tls["client_certificate"] == false, "an address is no server name: {tls}");

    site(&fleet, "system", &by_address.address(), over_tls(BackendTls::default())).await?;
    is_refused(&client, "system", "the system trusts no CA of the tests").await?;
    // Nobody shares its connections with those who ask for less.
    seen(&client, "address").await?;
    is_refused(&client, "system", "also when somebody else has a connection").await?;

    site(&fleet, "name", &by_name.address(), over_tls(trusting(&authority))).await?;
    is_refused(&client, "name", "it is for another name").await?;
    let named = BackendTls { server_name: "inside.example".to_owned(), ..BackendTls::default() };
    let changed = change(&fleet, "name", Some(named), "tls.server_name").await?;
    ensure!(changed.tls.is_some_and(|tls| tls.ca_bundle_pem == authority.pem()), "the rest stays");
    ensure!(seen(&client, "name").await?["tls"]["server_name"] == "inside.example", "it is asked for by its name");

    change(&fleet, "name", Some(trusting(&other)), "tls.ca_bundle_pem").await?;
    is_refused(&client, "name", "its CA is not trusted any more, nor its open connections").await?;
    change(&fleet, "name", None, "tls").await?;
    let answer = client.get("http://name.example/headers").await?;
    ensure!(answer.status.is_server_error() && answer.tag().is_empty(), "it does not speak in the clear: {answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_backend_may_prove_itself_by_the_alternative_name() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let authority = Authority::generate()?;
    let client = fleet.http();
    let old = Origin::start_tls("old", "a", authority.issue(&["old.example"])?.server_config(None)?).await?;
    let new = Origin::start_tls("new", "a", authority.issue(&["new.example"])?.server_config(None)?).await?;
    let tls = BackendTls { server_name: "new.example".to_owned(), ..trusting(&authority) };
    site(&fleet, "shop", &old.address(), over_tls(tls)).await?;
    is_refused(&client, "shop", "it has only the old name").await?;
    let both = BackendTls { alternative_name: "old.example".to_owned(), ..BackendTls::default() };
    change(&fleet, "shop", Some(both), "tls.alternative_name").await?;
    // Both names are there while backends move from one to the other, and no request fails for it.
    let api = fleet.api()?;
    fleet.live(api.create_backend("new", "shop", &new.address(), &["a"]).await?.revision).await?;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        names.insert(seen(&client.another(false), "shop").await?["tls"]["server_name"].as_str().map(str::to_owned));
    }
    ensure!(names.len() == 2, "both are asked for by their own names: {names:?}");
    let neither = BackendTls { alternative_name: "other.example".to_owned(), ..BackendTls::default() };
    change(&fleet, "shop", Some(neither), "tls.alternative_name").await?;
    fleet.live(api.delete_backend("new").await?).await?;
    is_refused(&client, "shop", "it has neither name").await?;
    Ok(())
}

#[tokio::test]
async fn an_edge_proves_itself_to_backends_with_the_certificate_of_their_service() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let (authority, clients) = (Authority::generate()?, Authority::generate()?);
    let config = authority.issue(&["127.0.0.1"])?.server_config(Some(&clients))?;
    let origin = Origin::start_tls("strict", "a", config).await?;
    let client = fleet.http();
    site(&fleet, "strict", &origin.address(), over_tls(trusting(&authority))).await?;
    let answer = client.get("http://strict.example/headers").await?;
    ensure!(answer.status.is_server_error() && answer.tag().is_empty(), "it asks for a certificate: {answer:?}");

    let own = clients.issue(&["edges.example"])?;
    let certificate = |chain_pem: &str, private_key_pem: &str| BackendTls {
        client_certificate: Some(BackendClientCertificate {
            chain_pem: chain_pem.to_owned(),
            private_key_pem: private_key_pem.to_owned(),
            ..BackendClientCertificate::default()
        }),
        ..BackendTls::default()
    };
    let path = "tls.client_certificate";
    let shown = change(&fleet, "strict", Some(certificate(&own.chain_pem, &own.key_pem)), path).await?;
    ensure!(seen(&client, "strict").await?["tls"]["client_certificate"] == true, "it is shown");
    let shown = shown.tls.and_then(|tls| tls.client_certificate).unwrap_or_default();
    ensure!(shown.private_key_pem.is_empty() && shown.chain_pem == own.chain_pem, "{shown:?}");
    ensure!(shown.fingerprint_sha256.len() == 64 && shown.not_after_time.is_some(), "{shown:?}");

    // What was read can be written again, without the key that is never told.
    let again = change(&fleet, "strict", Some(certificate(&own.chain_pem, "")), path).await?;
    ensure!(again.tls.is_some() && seen(&client, "strict").await?["tls"]["client_certificate"] == true, "{again:?}");
    let stranger = certificate(&clients.issue(&["edges.example"])?.chain_pem, "");
    let service = Service { name: "services/strict".to_owned(), tls: Some(stranger), ..Service::default() };
    let refused = update(&fleet.api()?, service, path).await.expect_err("another certificate needs its key");
    ensure!(refused.code() == Code::InvalidArgument && refused.message().contains("private_key_pem"), "{refused:?}");
    Ok(())
}

on_both_databases! {
    async fn all_of_it_survives_a_restart(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let (authority, clients) = (Authority::generate()?, Authority::generate()?);
        let config = authority.issue(&["inside.example"])?.server_config(Some(&clients))?;
        let origin = Origin::start_tls("strict", "a", config).await?;
        let own = clients.issue(&["edges.example"])?;
        let tls = BackendTls {
            server_name: "inside.example".to_owned(),
            client_certificate: Some(BackendClientCertificate {
                chain_pem: own.chain_pem, private_key_pem: own.key_pem, ..BackendClientCertificate::default()
            }),
            ..trusting(&authority)
        };
        site(&fleet, "strict", &origin.address(), over_tls(tls)).await?;
        fleet.control_plane.terminate().await?;
        fleet.control_plane.start().await?;
        // An edge that was not there before, too.
        let fresh = fleet.new_edge("fresh", Vec::new()).await?;
        let revision = fleet.api()?.list_edges().await?.revision;
        eventually("both edges are there", async || fleet.live(revision).await).await?;
        seen(&Client::http(fresh.http), "strict").await?;
        fleet.edge_mut().kill().await?;
        fleet.edge_mut().start().await?;
        eventually("the edge serves from its disk", async || seen(&fleet.http(), "strict").await).await?;
        Ok(())
    }
}

#[tokio::test]
async fn every_protocol_goes_over_tls() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let authority = Authority::generate()?;
    let origin = Origin::start_tls("any", "a", authority.issue(&["127.0.0.1"])?.server_config(None)?).await?;
    let client = fleet.http();
    for (name, protocol, version) in [
        ("automatic", BackendProtocol::Automatic, "HTTP/1.1"),
        ("http1", BackendProtocol::Http1, "HTTP/1.1"),
        ("http2", BackendProtocol::Http2, "HTTP/2.0"),
    ] {
        let service = Service { protocol: protocol.into(), ..over_tls(trusting(&authority)) };
        site(&fleet, name, &origin.address(), service).await?;
        let seen = seen(&client, name).await?;
        ensure!(seen["version"] == version, "{name}: {seen}");
    }
    let grpc = http::Request::get("http://automatic.example/headers").header("content-type", "application/grpc");
    let seen = client.exchange(grpc.body(empty())?).await?.json()?;
    ensure!(seen["version"] == "HTTP/2.0", "gRPC: {seen}");
    let mut socket = client.websocket("ws://automatic.example/ws").await?;
    futures::SinkExt::send(&mut socket, "hello".into()).await?;
    let echoed = futures::StreamExt::next(&mut socket).await.transpose()?;
    ensure!(echoed.is_some_and(|message| message.to_text().is_ok_and(|text| text == "a:hello")), "a WebSocket");
    Ok(())
}

#[tokio::test]
async fn taking_any_certificate_is_possible_and_warned_of() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::start(Database::Sqlite).await?;
    let authority = Authority::generate()?;
    let origin = Origin::start_tls("any", "a", authority.issue(&["elsewhere.example"])?.server_config(None)?).await?;
    let bundle = fleet.dir().join("ca.pem");
    std::fs::write(&bundle, authority.pem())?;
    let bundle = bundle.to_string_lossy();
    let cli = fleet.cli();
    let both = ["service", "create", "shop", "--tls-insecure-skip-verify", "--tls-ca-file", &bundle];
    ensure!(cli.run(&both).await?.code == 2, "one of them has no effect");
    let created = cli.run(&["service", "create", "shop", "--tls-insecure-skip-verify"]).await?;
    ensure!(created.code == 0, "{created:?}");
    fleet.api()?.create_backend("shop", "shop", &origin.address(), &["a"]).await?;
    fleet.live(fleet.api()?.create_domain("shop.example", "shop", "a").await?.revision).await?;
    seen(&fleet.http(), "shop").await?;

    let metric = "switchyard_edge_unverified_services";
    ensure!(fleet.edge().metric(metric).await? == 1.0, "the metric");
    for process in [fleet.control_plane.process()?, fleet.edge().process()?] {
        process.log().line("insecure_skip_verify").await?;
    }
    let shown = cli.run(&["service", "get", "shop"]).await?.stdout;
    ensure!(shown.contains("WARNING") && shown.contains("NOT VERIFIED"), "{shown}");

    let updated = cli.run(&["service", "update", "shop", "--tls-ca-file", &bundle, "--wait"]).await?;
    ensure!(updated.code == 0, "{updated:?}");
    is_refused(&fleet.http(), "shop", "it is for another name").await?;
    let named = ["service", "update", "shop", "--tls-server-name", "elsewhere.example", "--wait"];
    ensure!(cli.run(&named).await?.code == 0, "the name");
    seen(&fleet.http(), "shop").await?;
    ensure!(fleet.edge().metric(metric).await? == 0.0, "the metric");
    let shown = cli.run(&["service", "get", "shop"]).await?.stdout;
    ensure!(!shown.contains("WARNING") && shown.contains("elsewhere.example"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_by_its_field() -> Result<()> {
    install_crypto_provider();
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let api = fleet.api()?;
    let authority = Authority::generate()?;
    let own = authority.issue(&["edges.example"])?;
    let client = |chain: &str, key: &str| BackendTls {
        client_certificate: Some(BackendClientCertificate {
            chain_pem: chain.to_owned(),
            private_key_pem: key.to_owned(),
            ..BackendClientCertificate::default()
        }),
        ..BackendTls::default()
    };
    let other_key = authority.issue(&["edges.example"])?.key_pem;
    let bundle = |pem: &str| BackendTls { ca_bundle_pem: pem.to_owned(), ..BackendTls::default() };
    let name = |name: &str| BackendTls { server_name: name.to_owned(), ..BackendTls::default() };
    let key = "service.tls.client_certificate.private_key_pem";
    for (tls, field) in [
        (bundle("no PEM"), "service.tls.ca_bundle_pem"),
        (bundle(&own.key_pem), "service.tls.ca_bundle_pem"),
        (bundle(&authority.pem().repeat(51)), "service.tls.ca_bundle_pem"),
        (name("*.example"), "service.tls.server_name"),
        (name("two names"), "service.tls.server_name"),
        (client("", &own.key_pem), "service.tls.client_certificate.chain_pem"),
        (client(&own.chain_pem, ""), key),
        (client(&own.chain_pem, &other_key), key),
        (
            BackendTls {
                insecure_skip_verify: true,
                alternative_name: "a.example".to_owned(),
                ..BackendTls::default()
            },
            "service.tls.alternative_name",
        ),
        (
            BackendTls { alternative_name: "*.a.example".to_owned(), ..BackendTls::default() },
            "service.tls.alternative_name",
        ),
        (BackendTls { insecure_skip_verify: true, ..trusting(&authority) }, "service.tls.insecure_skip_verify"),
    ] {
        let service = Service { name: "services/bad".to_owned(), ..over_tls(tls) };
        let request = CreateServiceRequest { service: Some(service), validate_only: false };
        let refused = api.services.clone().create_service(request).await.expect_err(field);
        ensure!(refused.code() == Code::InvalidArgument, "{field}: {refused:?}");
        ensure!(refused.message().contains(field), "{field}: {refused:?}");
    }
    Ok(())
}
