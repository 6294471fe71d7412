//! Certificates are ordered from a CA, whatever edge it asks, and every edge serves them (C1, S5).

use anyhow::{Result, ensure};
use http::StatusCode;
use switchyard_proto::v1::{AcmeChallenge, AcmeSettings, IssuanceState};
use switchyard_tests::{
    client::Client,
    database::Database,
    eventually::eventually,
    fleet::{Fleet, Plan},
    install_crypto_provider,
    pebble::{Pebble, PebbleOptions},
};

async fn fleet_of(edges: usize, database: Database) -> Result<Fleet> {
    install_crypto_provider();
    let control_plane_arguments = ["--order-retry-pause", "100ms"].map(str::to_owned).into();
    Fleet::start_with(database, Plan { edges, control_plane_arguments, ..Plan::default() }).await
}

/// A CA that asks the edge of this number.
async fn pebble_of(fleet: &Fleet, edge: usize, options: PebbleOptions) -> Result<Pebble> {
    let (http_port, https_port) = (fleet.edges[edge].http.port(), fleet.edges[edge].https.port());
    let pebble = Pebble::start(PebbleOptions { http_port, https_port, ..options }).await?;
    fleet.api()?.create_issuer("pebble", &pebble.directory(), pebble.root_pem()).await?;
    Ok(pebble)
}

fn by(challenge: AcmeChallenge) -> AcmeSettings {
    AcmeSettings { challenge: challenge.into(), ..AcmeSettings::default() }
}

/// Every edge shows a certificate of the CA for the host: the domain has no backend, so the answer is its own.
async fn all_serve(fleet: &Fleet, pebble: &Pebble, host: &str) -> Result<()> {
    let root = pebble.issuing_root_pem().await?;
    for edge in &fleet.edges {
        let answer = Client::https(edge.https, &root)?.get(&format!("https://{host}/")).await?;
        ensure!(answer.status == StatusCode::SERVICE_UNAVAILABLE, "{}: {}", edge.name, answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn a_domain_has_a_trusted_certificate_on_every_edge_when_waiting_ends() -> Result<()> {
    let fleet = fleet_of(2, Database::postgres().await?).await?;
    let pebble = pebble_of(&fleet, 1, PebbleOptions::default()).await?;
    let create = ["domain", "create", "shop.test", "--tag", "a", "--tls", "acme", "--http-to-https", "--wait"];
    let created = fleet.cli().run(&create).await?;
    ensure!(created.code == 0, "{created:?}");
    ensure!(created.stdout.contains("certificate issued by pebble"), "{created:?}");
    all_serve(&fleet, &pebble, "shop.test").await?;

    let shown = fleet.cli().run(&["domain", "get", "shop.test"]).await?;
    ensure!(shown.stdout.contains("certificate state:") && shown.stdout.contains("issued"), "{shown:?}");
    let issuer = fleet.cli().run(&["issuer", "list"]).await?;
    ensure!(issuer.stdout.contains("/my-account/") || issuer.stdout.contains("/acct/"), "{issuer:?}");

    let renewed = fleet.cli().run(&["certificate", "renew", "shop.test"]).await?;
    ensure!(renewed.code == 0 && renewed.stderr.contains("renewing"), "{renewed:?}");
    all_serve(&fleet, &pebble, "shop.test").await
}

#[tokio::test]
async fn a_name_proves_itself_over_tls() -> Result<()> {
    let fleet = fleet_of(2, Database::Sqlite).await?;
    let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    fleet.api()?.create_acme_domain("shop.test", by(AcmeChallenge::TlsAlpn01)).await?;
    fleet.api()?.issued("shop.test").await?;
    all_serve(&fleet, &pebble, "shop.test").await
}

#[tokio::test]
async fn a_name_that_cannot_prove_itself_one_way_does_so_the_other() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let https_port = fleet.edge().https.port();
    let pebble = Pebble::start(PebbleOptions { https_port, ..PebbleOptions::default() }).await?;
    let api = fleet.api()?;
    api.create_issuer("pebble", &pebble.directory(), pebble.root_pem()).await?;
    api.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    api.issued("shop.test").await?;
    all_serve(&fleet, &pebble, "shop.test").await
}

#[tokio::test]
async fn a_failure_says_why_and_is_tried_again() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let api = fleet.api()?;
    let pebble = Pebble::start(PebbleOptions::default()).await?;
    api.create_issuer("pebble", &pebble.directory(), pebble.root_pem()).await?;
    api.create_acme_domain("shop.test", by(AcmeChallenge::Http01)).await?;
    let failing = eventually("it has failed twice", async || {
        let issuance = api.issuance("shop.test").await?;
        ensure!(issuance.failures >= 2, "{issuance:?}");
        Ok(issuance)
    })
    .await?;
    ensure!(failing.failure.starts_with("pebble: the CA says: "), "{failing:?}");
    ensure!(failing.certificate.is_empty());
    let shown = fleet.cli().run(&["domain", "get", "shop.test"]).await?;
    ensure!(shown.stdout.contains("the CA says"), "{shown:?}");
    Ok(())
}

#[tokio::test]
async fn a_ca_that_is_dead_is_passed_over() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let api = fleet.api()?;
    let nobody = switchyard_tests::port::free()?;
    let second = {
        let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
        api.create_issuer("dead", &format!("https://{nobody}/dir"), pebble.root_pem()).await?;
        pebble
    };
    let issuers = ["issuers/dead", "issuers/pebble"].map(str::to_owned).into();
    api.create_acme_domain("shop.test", AcmeSettings { issuers, ..AcmeSettings::default() }).await?;
    let issued = api.issued("shop.test").await?;
    ensure!(issued.issuer == "issuers/pebble" && issued.state() == IssuanceState::Issued, "{issued:?}");
    all_serve(&fleet, &second, "shop.test").await
}

#[tokio::test]
async fn an_edge_answers_without_a_control_plane_and_no_rule_is_in_the_way() -> Result<()> {
    let mut fleet = fleet_of(1, Database::Sqlite).await?;
    let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    let api = fleet.api()?;
    api.create_acme_domain("first.test", AcmeSettings::default()).await?;
    api.issued("first.test").await?;
    // The account is known now: what a domain answers is there with it.
    let create = ["domain", "create", "shop.test", "--tag", "a", "--tls", "acme", "--http-to-https", "--wait"];
    let created = fleet.cli().run(&create).await?;
    ensure!(created.code == 0, "{created:?}");
    fleet.control_plane.kill().await?;
    let http = fleet.http();
    let answer = http.get("http://shop.test/.well-known/acme-challenge/any_Token-1").await?;
    ensure!(answer.status == StatusCode::OK && answer.text()?.starts_with("any_Token-1."), "{answer:?}");
    ensure!(answer.headers["content-type"] == "text/plain", "{answer:?}");
    ensure!(answer.headers["x-content-type-options"] == "nosniff", "{answer:?}");
    let other = http.get("http://shop.test/.well-known/acme-challenge/not%20one").await?;
    ensure!(other.status == StatusCode::PERMANENT_REDIRECT, "{other:?}");
    let unknown = http.get("http://unknown.test/.well-known/acme-challenge/any").await?;
    ensure!(unknown.status == StatusCode::NOT_FOUND, "{unknown:?}");
    drop(pebble);
    Ok(())
}

#[tokio::test]
async fn a_domain_that_comes_back_keeps_its_certificate() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let _pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    let api = fleet.api()?;
    api.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    let before = api.issued("shop.test").await?;
    api.delete_domain("shop.test").await?;
    ensure!(api.issuance("shop.test").await.is_err());
    api.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    let after = api.issued("shop.test").await?;
    ensure!(after.certificate_revision == before.certificate_revision, "{before:?} {after:?}");
    Ok(())
}
