//! Certificates are ordered from a CA, whatever edge it asks, and every edge serves them (C1, S5).

use std::{
    fs,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use http::StatusCode;
use switchyard_proto::v1::{AcmeChallenge, AcmeSettings, CreateIssuerRequest, IssuanceState, Issuer};
use switchyard_tests::{
    bind::{Bind, KEY_NAME, KEY_SECRET},
    client::Client,
    database::Database,
    eventually::{eventually, within},
    faulty_ca::{Fault, NonsenseCa},
    fleet::{Edge, Fleet, Plan},
    install_crypto_provider,
    pebble::{Pebble, PebbleOptions},
};
use tokio::{net::TcpListener, process::Command, sync::watch, task::JoinSet};

async fn fleet_of(edges: usize, database: Database) -> Result<Fleet> {
    fleet_with(edges, database, &[]).await
}

async fn fleet_with(edges: usize, database: Database, more: &[&str]) -> Result<Fleet> {
    install_crypto_provider();
    let arguments = [&["--order-retry-pause", "100ms"], more].concat();
    let control_plane_arguments = arguments.into_iter().map(str::to_owned).collect();
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
    let issuers = fleet.cli().json(&["issuer", "list"]).await?.to_string();
    ensure!(issuers.contains("/my-account/") || issuers.contains("/acct/"), "{issuers}");

    let renewed = fleet.cli().run(&["certificate", "renew", "shop.test"]).await?;
    ensure!(renewed.code == 0 && renewed.stderr.contains("renewing"), "{renewed:?}");
    all_serve(&fleet, &pebble, "shop.test").await
}

#[tokio::test]
async fn orders_wait_for_the_first_edge_and_redirects_for_the_certificate() -> Result<()> {
    let mut fleet = fleet_of(0, Database::Sqlite).await?;
    let token = fleet.control_plane.join_token().await?;
    // Not started yet.
    let mut edge = Edge::new(fleet.dir(), "edge-1", fleet.control_plane.fleet, &token, vec![])?;
    let (http_port, https_port) = (edge.http.port(), edge.https.port());
    let pebble = Pebble::start(PebbleOptions { http_port, https_port, ..PebbleOptions::default() }).await?;
    let api = fleet.api()?;
    api.create_issuer("pebble", &pebble.directory(), pebble.root_pem()).await?;
    // The source is chosen by the name; nobody could answer the CA yet.
    let created = fleet.cli().run(&["domain", "create", "shop.test", "--tag", "a", "--http-to-https"]).await?;
    ensure!(created.code == 0 && created.stdout.contains("--tls acme"), "{created:?}");
    fleet.control_plane.process()?.log().line("\"waiting_for\":\"the first edge\"").await?;
    let waiting = api.issuance("shop.test").await?;
    ensure!(waiting.state() == IssuanceState::Pending && waiting.order_issuer.is_empty(), "{waiting:?}");

    edge.start().await?;
    fleet.edges.push(edge);
    let issued = api.issued("shop.test").await?;
    ensure!(issued.failures == 0, "it was not ordered in vain: {issued:?}");
    all_serve(&fleet, &pebble, "shop.test").await?;
    ensure!(fleet.http().get("http://shop.test/").await?.status == 308, "it has a certificate");
    Ok(())
}

#[tokio::test]
async fn a_name_proves_itself_over_tls() -> Result<()> {
    let fleet = fleet_of(2, Database::Sqlite).await?;
    let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    fleet.api()?.create_acme_domain("shop.test", by(AcmeChallenge::TlsAlpn01)).await?;
    fleet.api()?.issued("shop.test").await?;
    all_serve(&fleet, &pebble, "shop.test").await
}

/// Whether the edge shows what proves a name over TLS (RFC 8737, section 3).
async fn proves_over_tls(fleet: &Fleet, host: &str) -> Result<bool> {
    let edge = fleet.edge().https.to_string();
    let arguments = ["s_client", "-connect", &edge, "-servername", host, "-alpn", "acme-tls/1"];
    let openssl = Command::new("openssl").args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within("openssl ends", openssl).await??;
    Ok(String::from_utf8_lossy(&output.stdout).contains("ALPN protocol: acme-tls/1"))
}

#[tokio::test]
async fn a_name_can_be_proven_until_the_ca_has_decided() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    // The CA is not answered where it looks, so it decides nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let https_port = silent.local_addr()?.port();
    let mut pebble = Pebble::start(PebbleOptions { https_port, ..PebbleOptions::default() }).await?;
    let api = fleet.api()?;
    api.create_issuer("pebble", &pebble.directory(), pebble.root_pem()).await?;
    api.create_acme_domain("shop.test", by(AcmeChallenge::TlsAlpn01)).await?;
    let looking = within("the CA looks", silent.accept()).await??;
    pebble.kill().await?;
    eventually("the CA is missed", async || {
        let issuance = api.issuance("shop.test").await?;
        ensure!(issuance.failures >= 1, "{issuance:?}");
        Ok(())
    })
    .await?;
    ensure!(proves_over_tls(&fleet, "shop.test").await?, "the CA may still look");

    drop((silent, looking));
    pebble.restart().await?;
    eventually("what the CA has decided on is not proven any more", async || {
        ensure!(!proves_over_tls(&fleet, "shop.test").await?);
        Ok(())
    })
    .await
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
async fn a_private_name_is_ordered_from_private_cas_only() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let public = format!("https://{}/dir", switchyard_tests::port::free()?);
    let made = fleet.cli().run(&["issuer", "create", "public", "--directory", &public]).await?;
    ensure!(made.code == 0, "{made:?}");
    let create = ["domain", "create", "shop.internal", "--tag", "a", "--tls", "acme", "--wait"];
    let refused = fleet.cli().run(&create).await?;
    ensure!(refused.code != 0 && refused.stderr.contains("no public CA signs shop.internal"), "{refused:?}");

    let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    let created = fleet.cli().run(&create).await?;
    ensure!(created.code == 0, "{created:?}");
    let issued = fleet.api()?.issued("shop.internal").await?;
    ensure!(issued.issuer == "issuers/pebble" && issued.failures == 0, "{issued:?}");
    all_serve(&fleet, &pebble, "shop.internal").await
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
async fn a_wildcard_is_proven_by_a_record_of_its_zone() -> Result<()> {
    let bind = Bind::start().await?;
    let (server, port) = (bind.address.to_string(), bind.address.port().to_string());
    let fleet = fleet_with(1, Database::Sqlite, &["--dns-server", &server, "--dns-port", &port]).await?;
    let pebble =
        pebble_of(&fleet, 0, PebbleOptions { name_server: Some(bind.address), ..PebbleOptions::default() }).await?;
    let cli = fleet.cli();
    let create = ["domain", "create", "*.zone.test", "--tag", "a", "--tls", "acme", "--wait"];
    let refused = cli.run(&create).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("no DNS provider has the zone"), "{refused:?}");

    // One with a key that the server does not know, which is told of and replaced.
    let secret = fleet.dir().join("key");
    let secret_file = secret.to_string_lossy().into_owned();
    let settings = ["--zone", "zone.test", "rfc2136", "--server", &server, "--key-name", KEY_NAME, "--key-secret-file"];
    fs::write(&secret, "YW5vdGhlci1zZWNyZXQtYW5vdGhlci1zZWNyZXQtLi4=")?;
    let made = cli.run(&[&["dns-provider", "create", "home"], &settings[..], &[&secret_file]].concat()).await?;
    ensure!(made.code == 0, "{made:?}");
    let failed = cli.run(&create).await?;
    ensure!(failed.code == 3 && failed.stderr.contains("no certificate: pebble: "), "{failed:?}");
    ensure!(failed.stderr.contains("BADSIG") || failed.stderr.contains("secret"), "{failed:?}");

    fs::write(&secret, KEY_SECRET)?;
    let replaced = cli.run(&[&["dns-provider", "replace", "home"], &settings[..], &[&secret_file]].concat()).await?;
    ensure!(replaced.code == 0, "{replaced:?}");
    fleet.api()?.issued("*.zone.test").await?;
    all_serve(&fleet, &pebble, "any.zone.test").await?;
    ensure!(bind.records("_acme-challenge", "TXT").await?.is_empty(), "the record is taken away");
    let shown = cli.run(&["dns-provider", "get", "home", "--output", "json"]).await?;
    ensure!(shown.code == 0 && !shown.stdout.contains(KEY_SECRET), "{shown:?}");
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

/// How many lines of Pebble's log contain `text`.
fn said(pebble: &Pebble, text: &str) -> usize {
    pebble.log().lines().iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a_kill_at_any_step_costs_at_most_the_order_that_was_not_written_yet() -> Result<()> {
    let mut fleet = fleet_of(1, Database::Sqlite).await?;
    let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    let orders = || said(&pebble, "Added order");
    // What Pebble says at each step, in order; and whether the order may not have been written by then.
    let steps = [
        ("POST /sign-me-up", true),
        ("POST /order-plz", true),
        ("Added order", true),
        ("POST /authZ/", false),
        ("POST /chalZ/", false),
        ("Attempting to validate", false),
        ("set VALID", false),
        ("POST /finalize-order/", false),
        ("Issued certificate", false),
        ("POST /certZ/", false),
    ];
    for (number, (step, may_be_unwritten)) in steps.into_iter().enumerate() {
        let host = format!("shop-{number}.test");
        let (before, orders_before) = (said(&pebble, step), orders());
        fleet.api()?.create_acme_domain(&host, AcmeSettings::default()).await?;
        eventually(&format!("Pebble says {step:?}"), async || {
            ensure!(said(&pebble, step) > before);
            Ok(())
        })
        .await?;
        fleet.control_plane.kill().await?;
        fleet.control_plane.start().await?;
        fleet.api()?.issued(&host).await?;
        let extra = orders() - orders_before - 1;
        ensure!(extra == 0 || (may_be_unwritten && extra == 1), "{extra} extra orders after a kill at {step:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_ca_that_forgets_everything_in_the_middle_is_begun_with_anew() -> Result<()> {
    let fleet = fleet_of(1, Database::postgres().await?).await?;
    let mut pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    let api = fleet.api()?;
    for (number, step) in ["Added order", "POST /chalZ/", "POST /finalize-order/"].into_iter().enumerate() {
        let host = format!("shop-{number}.test");
        api.create_acme_domain(&host, AcmeSettings::default()).await?;
        eventually(&format!("Pebble says {step:?}"), async || {
            ensure!(said(&pebble, step) > 0);
            Ok(())
        })
        .await?;
        pebble.kill().await?;
        pebble.restart().await?;
        api.issued(&host).await?;
    }
    Ok(())
}

#[tokio::test]
async fn refused_nonces_are_gone_on_with() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let pebble = pebble_of(&fleet, 0, PebbleOptions { nonce_reject_percent: 20, ..PebbleOptions::default() }).await?;
    let api = fleet.api()?;
    let hosts: Vec<String> = (0..20).map(|number| format!("shop-{number}.test")).collect();
    for host in &hosts {
        api.create_acme_domain(host, AcmeSettings::default()).await?;
    }
    for host in &hosts {
        let issued = api.issued(host).await?;
        ensure!(issued.failures == 0, "{issued:?}");
    }
    ensure!(said(&pebble, "Added order") == hosts.len(), "no order is made twice");
    Ok(())
}

#[tokio::test]
async fn an_account_is_bound_to_an_external_one() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let account = ("kid-1".to_owned(), "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W".to_owned());
    let (http_port, external_accounts) = (fleet.edge().http.port(), vec![account.clone()]);
    let pebble = Pebble::start(PebbleOptions { http_port, external_accounts, ..PebbleOptions::default() }).await?;
    let (cli, api) = (fleet.cli(), fleet.api()?);
    let [root, key] = ["root.pem", "key"].map(|name| fleet.dir().join(name));
    fs::write(&root, pebble.root_pem())?;
    let [root, key_file] = [&root, &key].map(|path| path.to_string_lossy().into_owned());
    let directory = pebble.directory();
    let create = |name| ["issuer", "create", name, "--directory", &directory, "--root-ca-file", &root];

    let unbound = cli.run(&create("unbound")).await?;
    ensure!(unbound.code == 0, "{unbound:?}");
    fs::write(&key, "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXk")?;
    let external = ["--external-account-key-id", "kid-1", "--external-account-key-file", &key_file];
    ensure!(cli.run(&[&create("wrong")[..], &external].concat()).await?.code == 0);
    api.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    let failing = eventually("it fails", async || {
        let issuance = api.issuance("shop.test").await?;
        ensure!(issuance.failures > 0, "{issuance:?}");
        Ok(issuance)
    })
    .await?;
    ensure!(failing.failure.contains("--external-account-key-id"), "{failing:?}");
    ensure!(failing.failure.contains("wrong: the CA says: "), "{failing:?}");

    fs::write(&key, account.1)?;
    ensure!(cli.run(&[&create("right")[..], &external].concat()).await?.code == 0);
    let issued = api.issued("shop.test").await?;
    ensure!(issued.issuer == "issuers/right", "{issued:?}");
    Ok(())
}

#[tokio::test]
async fn a_chain_is_chosen_by_its_end() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let http_port = fleet.edge().http.port();
    let pebble = Pebble::start(PebbleOptions { http_port, alternate_roots: 2, ..PebbleOptions::default() }).await?;
    let api = fleet.api()?;
    let root = pebble.alternate_root_pem(2).await?;
    let (_, root_der) = x509_parser::pem::parse_x509_pem(root.as_bytes())?;
    let root_certificate = root_der.parse_x509()?;
    let name = root_certificate.subject().iter_common_name().next().map(|name| name.as_str()).transpose()?;
    let issuer = Issuer {
        name: "issuers/pebble".to_owned(),
        directory: pebble.directory(),
        root_ca_pem: pebble.root_pem().to_owned(),
        preferred_chain: name.unwrap_or_default().to_owned(),
        ..Issuer::default()
    };
    api.issuers.clone().create_issuer(CreateIssuerRequest { issuer: Some(issuer), validate_only: false }).await?;
    api.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    api.issued("shop.test").await?;
    let answer = Client::https(fleet.edge().https, &root)?.get("https://shop.test/").await?;
    ensure!(answer.status == StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    let first = pebble.issuing_root_pem().await?;
    ensure!(Client::https(fleet.edge().https, &first)?.get("https://shop.test/").await.is_err());
    Ok(())
}

#[tokio::test]
async fn nonsense_of_a_ca_is_survived_and_its_wishes_are_obeyed() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let api = fleet.api()?;
    let ca = NonsenseCa::start().await?;
    api.create_issuer("odd", &ca.directory(), ca.root_pem()).await?;
    let faults = [
        (Fault::Html, "answers no ACME directory"),
        (Fault::Drop, "cannot be reached"),
        (Fault::Endless, "more than"),
        (Fault::Redirects, "redirect"),
        (Fault::Unavailable, "status 503"),
        (Fault::Problem { status: StatusCode::FORBIDDEN, kind: "rejectedIdentifier" }, "answers no ACME directory"),
    ];
    for (number, (fault, words)) in faults.into_iter().enumerate() {
        ca.set(fault.clone());
        let host = format!("shop-{number}.test");
        api.create_acme_domain(&host, AcmeSettings::default()).await?;
        eventually(&format!("{fault:?} is told of"), async || {
            let issuance = api.issuance(&host).await?;
            ensure!(issuance.failure.contains(words), "{issuance:?}");
            Ok(())
        })
        .await?;
        api.delete_domain(&host).await?;
    }
    ca.set_after_nonces(Fault::RateLimited { retry_after: "3600".to_owned() });
    api.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    let limited = eventually("the limit is told of", async || {
        let issuance = api.issuance("shop.test").await?;
        ensure!(issuance.failures == 1, "{issuance:?}");
        Ok(issuance)
    })
    .await?;
    let next = limited.next_time.map(|time| time.seconds).unwrap_or_default();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    ensure!((now + 3_000..now + 3_700).contains(&next), "{limited:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_ca_allows_is_asked_before_it_is() -> Result<()> {
    let fleet = fleet_of(1, Database::postgres().await?).await?;
    let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    let (cli, api) = (fleet.cli(), fleet.api()?);
    let limited = cli.run(&["issuer", "update", "pebble", "--limit-orders", "2/1h", "--limit-names", "9/1h"]).await?;
    ensure!(limited.code == 0, "{limited:?}");
    for host in ["a.test", "b.test"] {
        api.create_acme_domain(host, AcmeSettings::default()).await?;
        api.issued(host).await?;
    }
    api.create_acme_domain("c.test", AcmeSettings::default()).await?;
    let waiting = eventually("it waits", async || {
        let issuance = api.issuance("c.test").await?;
        ensure!(issuance.failure.contains("it allows 2 orders in 1h"), "{issuance:?}");
        Ok(issuance)
    })
    .await?;
    ensure!(waiting.failures == 0 && said(&pebble, "Added order") == 2, "{waiting:?}");
    let budget = cli.run(&["certificate", "budget"]).await?;
    ensure!(budget.stdout.contains("orders") && budget.stdout.contains("2 in 1h"), "{budget:?}");
    let status = cli.run(&["certificate", "status"]).await?;
    ensure!(status.stdout.contains("c.test") && status.stdout.contains("used up"), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_revoked_once_another_is_served() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    let api = fleet.api()?;
    api.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    let before = api.issued("shop.test").await?;
    let revoked = fleet.cli().run(&["certificate", "revoke", "shop.test"]).await?;
    ensure!(revoked.code == 0, "{revoked:?}");
    eventually("Pebble is told", async || {
        ensure!(said(&pebble, "revoke") > 0);
        Ok(())
    })
    .await?;
    let after = api.issued("shop.test").await?;
    ensure!(after.certificate_revision > before.certificate_revision, "{before:?} {after:?}");
    Ok(())
}

#[tokio::test]
async fn another_account_is_made_when_it_is_asked_for() -> Result<()> {
    let fleet = fleet_of(1, Database::Sqlite).await?;
    let _pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    let (cli, api) = (fleet.cli(), fleet.api()?);
    api.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    api.issued("shop.test").await?;
    let before = cli.json(&["issuer", "get", "pebble"]).await?;
    let rotated = cli.run(&["issuer", "rotate-account", "pebble"]).await?;
    ensure!(rotated.code == 0, "{rotated:?}");
    let renewed = cli.run(&["certificate", "renew", "shop.test"]).await?;
    ensure!(renewed.code == 0, "{renewed:?}");
    let after = cli.json(&["issuer", "get", "pebble"]).await?;
    ensure!(before["account"] != after["account"] && after["account"].is_string(), "{before} {after}");
    ensure!(before["accountThumbprint"] != after["accountThumbprint"]);
    Ok(())
}

#[tokio::test]
async fn no_handshake_fails_while_a_certificate_is_replaced() -> Result<()> {
    let fleet = fleet_of(2, Database::Sqlite).await?;
    let pebble = pebble_of(&fleet, 0, PebbleOptions::default()).await?;
    fleet.api()?.create_acme_domain("shop.test", AcmeSettings::default()).await?;
    fleet.api()?.issued("shop.test").await?;
    let root = pebble.issuing_root_pem().await?;
    let (stop, stopped) = watch::channel(());
    let mut clients = JoinSet::new();
    for edge in &fleet.edges {
        for _ in 0..2 {
            let (address, root, stopped) = (edge.https, root.clone(), stopped.clone());
            clients.spawn(async move {
                let mut handshakes = 0;
                while !stopped.has_changed().unwrap_or(true) {
                    // A connection of its own each time.
                    let answer = Client::https(address, &root)?.get("https://shop.test/").await?;
                    ensure!(answer.status == StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
                    handshakes += 1;
                }
                anyhow::Ok(handshakes)
            });
        }
    }
    for _ in 0..5 {
        let renewed = fleet.cli().run(&["certificate", "renew", "shop.test"]).await?;
        ensure!(renewed.code == 0, "{renewed:?}");
    }
    drop(stop);
    while let Some(handshakes) = clients.join_next().await {
        ensure!(handshakes?? > 0, "each client had its turn");
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_warned_about() -> Result<()> {
    let mut fleet = fleet_of(0, Database::Sqlite).await?;
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(["old.test".to_owned()])?;
    let day = Duration::from_secs(24 * 60 * 60);
    params.not_before = (SystemTime::now() - 80 * day).into();
    params.not_after = (SystemTime::now() + 10 * day).into();
    let chain = params.self_signed(&key)?.pem();
    fleet.api()?.create_certificate("old", &chain, &key.serialize_pem()).await?;
    let certificate = fleet.cli().json(&["certificate", "get", "old"]).await?;
    ensure!(certificate["warning"] == "it ends in 9 days, and was not replaced", "{certificate}");
    let listed = fleet.cli().run(&["certificate", "list"]).await?;
    ensure!(listed.stdout.contains("(!)"), "{listed:?}");

    // It is looked for at the start, and then every ten minutes.
    fleet.control_plane.terminate().await?;
    fleet.control_plane.start().await?;
    let told =
        fleet.control_plane.process()?.log().find("a warning", |record| {
            (record["event"] == "certificate_expiring").then(|| record["certificate"].clone())
        });
    ensure!(told.await? == "old");
    let metrics = Client::http(fleet.control_plane.admin);
    let url = "http://localhost/metrics";
    ensure!(metrics.get(url).await?.status == StatusCode::UNAUTHORIZED);
    let token = format!("Bearer {}", fleet.control_plane.admin_token()?);
    let request = http::Request::get(url).header("authorization", token).body(switchyard_tests::client::empty())?;
    let answer = metrics.exchange(request).await?;
    ensure!(answer.text()?.contains("switchyard_certificates_expiring 1\n"), "{answer:?}");
    Ok(())
}
