//! What each command asks the control plane for.

use serde_json::json;
use switchyard_proto::v1::CertificateSource;

use crate::fake::{Fake, run_alone};

#[tokio::test]
async fn a_domain_is_created_as_the_flags_say() {
    let fake = Fake::start().await;
    let args = ["domain", "create", "Shop.Example", "--service", "shop", "--tag", "a", "--tls", "internal"];
    assert_eq!(
        fake.request_of("CreateDomain", &[&args[..], &["--http-to-https"]].concat()).await,
        json!({"domain": {
            "name": "domains/shop.example",
            "service": "services/shop",
            "activeTag": "a",
            "tls": {"certificateSource": "CERTIFICATE_SOURCE_INTERNAL"},
            "httpToHttps": true,
        }})
    );
    assert_eq!(
        fake.request_of("CreateDomain", &["domain", "create", "bücher.example", "--tag", "a", "--dry-run"]).await,
        json!({"domain": {"name": "domains/xn--bcher-kva.example", "activeTag": "a"}, "validateOnly": true})
    );
}

#[tokio::test]
async fn the_source_of_a_certificate_that_was_chosen_is_told() {
    let fake = Fake::start().await;
    fake.choose(CertificateSource::Acme);
    let create = ["domain", "create", "shop.example", "--tag", "a"];
    let ended = fake.run(&create).await;
    let told = "the certificate is ordered from a CA, as for every public name (--tls acme)";
    assert!(ended.code == 0 && ended.stdout.contains(told), "{ended:?}");
    fake.choose(CertificateSource::Internal);
    let ended = fake.run(&create).await;
    assert!(ended.stdout.contains("from the internal CA") && ended.stdout.contains("--tls internal"), "{ended:?}");
    let ended = fake.run(&[&create[..], &["--tls", "internal"]].concat()).await;
    assert!(!ended.stdout.contains("internal CA"), "who says it is not told: {ended:?}");
}

#[tokio::test]
async fn an_update_names_exactly_the_fields_that_were_given() {
    let fake = Fake::start().await;
    let request = fake
        .request_of(
            "UpdateDomain",
            &["domain", "update", "domains/shop.example", "--http-to-https=false", "--etag", "5"],
        )
        .await;
    assert_eq!(request["domain"], json!({"name": "domains/shop.example", "etag": "5"}));
    assert_eq!(request["updateMask"], mask(&["http_to_https"]));

    let args = ["domain", "update", "shop.example", "--service", "s", "--tag", "b", "--tls", "uploaded"];
    let request = fake.request_of("UpdateDomain", &args).await;
    assert_eq!(request["updateMask"], mask(&["service", "active_tag", "tls.certificate_source"]));

    let args = ["service", "update", "shop", "--connect-timeout", "1500ms", "--idle-timeout", "default"];
    let request = fake.request_of("UpdateService", &args).await;
    assert_eq!(request["service"], json!({"name": "services/shop", "timeouts": {"connect": "1.500s"}}));
    assert_eq!(request["updateMask"], mask(&["timeouts.connect", "timeouts.idle"]));

    let args = ["backend", "update", "shop-1", "--tag", "a", "--tag", "b", "--state", "active"];
    let request = fake.request_of("UpdateBackend", &args).await;
    assert_eq!(
        request["backend"],
        json!({"name": "backends/shop-1", "tags": ["a", "b"], "state": "BACKEND_STATE_ACTIVE"})
    );
    assert_eq!(request["updateMask"], mask(&["tags", "state"]));
}

#[tokio::test]
async fn certificates_come_on_demand_as_the_flags_say() {
    let fake = Fake::start().await;
    let hook = "http://127.0.0.1:9000/ask";
    let args = ["domain", "create", "*.sites.example", "--tag", "a", "--tls", "acme", "--on-demand-hook", hook];
    let request = fake.request_of("CreateDomain", &args).await;
    assert_eq!(
        request["domain"]["tls"],
        json!({"certificateSource": "CERTIFICATE_SOURCE_ACME", "acme": {"onDemand": {"hookUrl": hook}}})
    );
    let request = fake.request_of("UpdateDomain", &["domain", "update", "*.sites.example", "--no-on-demand"]).await;
    assert_eq!(request["domain"], json!({"name": "domains/*.sites.example"}));
    assert_eq!(request["updateMask"], mask(&["tls.acme.on_demand"]));
}

#[tokio::test]
async fn services_and_backends_are_created_as_the_flags_say() {
    let fake = Fake::start().await;
    let request = fake.request_of("CreateService", &["service", "create", "shop", "--protocol", "http2"]).await;
    assert_eq!(request, json!({"service": {"name": "services/shop", "protocol": "BACKEND_PROTOCOL_HTTP2"}}));
    let args = ["backend", "create", "shop-1", "--service", "shop", "--address", "10.0.0.5:3000", "--tag", "a"];
    assert_eq!(
        fake.request_of("CreateBackend", &args).await,
        json!({"backend": {
            "name": "backends/shop-1",
            "service": "services/shop",
            "address": "10.0.0.5:3000",
            "tags": ["a"],
        }})
    );
    assert_eq!(
        fake.request_of("DrainBackend", &["backend", "drain", "shop-1", "--etag", "3"]).await,
        json!({"name": "backends/shop-1", "etag": "3"})
    );
}

#[tokio::test]
async fn deletes_ask_nothing_and_take_an_etag() {
    let fake = Fake::start().await;
    for (method, noun, collection) in [
        ("DeleteDomain", "domain", "domains"),
        ("DeleteService", "service", "services"),
        ("DeleteBackend", "backend", "backends"),
        ("DeleteCertificate", "certificate", "certificates"),
    ] {
        assert_eq!(
            fake.request_of(method, &[noun, "delete", "x.y", "--etag", "3", "--dry-run"]).await,
            json!({"name": format!("{collection}/x.y"), "etag": "3", "validateOnly": true})
        );
    }
}

#[tokio::test]
async fn a_certificate_is_uploaded_and_replaced_from_its_files() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    std::fs::write(&chain, "the chain").unwrap();
    std::fs::write(&key, "the key").unwrap();
    let files = ["--chain", chain.to_str().unwrap(), "--key", key.to_str().unwrap()];
    assert_eq!(
        fake.request_of("CreateCertificate", &[&["certificate", "upload", "shop"][..], &files].concat()).await,
        json!({"certificate": {"name": "certificates/shop", "chainPem": "the chain"}, "privateKeyPem": "the key"})
    );
    let args = [&["certificate", "replace", "shop", "--etag", "3"][..], &files].concat();
    let request = fake.request_of("UpdateCertificate", &args).await;
    assert_eq!(request["certificate"], json!({"name": "certificates/shop", "chainPem": "the chain", "etag": "3"}));

    std::fs::write(&key, [0xff, 0xfe]).unwrap();
    let ended = fake.run(&[&["certificate", "upload", "shop"][..], &files].concat()).await;
    assert_eq!(ended.code, 1);
    assert_eq!(ended.stderr, format!("switchyard: {}: not a text; PEM is required\n", key.display()));
    std::fs::write(&key, "k".repeat(200_000)).unwrap();
    let ended = fake.run(&[&["certificate", "upload", "shop"][..], &files].concat()).await;
    assert!(ended.code == 1 && ended.stderr.contains("is it the right file?"), "{ended:?}");
}

#[tokio::test]
async fn wrong_usage_ends_with_2_before_anything_is_asked() {
    for args in [
        &["domain", "create", "shop.example"][..],
        &["domain", "update", "shop.example"],
        &["domain", "update", "shop.example", "--etag", "3"],
        &["service", "update", "shop"],
        &["backend", "update", "shop-1", "--wait"],
        &["domain", "delete", "shop.example", "--dry-run", "--wait"],
        &["domain", "delete", "shop.example", "--timeout", "3s"],
        &["domain", "list", "--control-plane", "ftp://x"],
        &["switch", "shop.example", "--to", "b", "--back"],
        &["service", "create", "s", "--idle-timeout", "soon"],
        &["frobnicate"],
    ] {
        let ended = run_alone(args).await;
        assert_eq!(ended.code, 2, "{args:?}: {ended:?}");
        assert!(!ended.stderr.is_empty() && ended.stdout.is_empty());
    }
}

#[tokio::test]
async fn help_and_version_are_commands() {
    let version = run_alone(&["version"]).await;
    assert_eq!((version.code, version.stdout), (0, format!("switchyard {}\n", env!("CARGO_PKG_VERSION"))));
    let version = run_alone(&["version", "-o", "json"]).await.stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&version).unwrap()["version"], env!("CARGO_PKG_VERSION"));
    let help = run_alone(&["help", "domain", "update"]).await;
    assert_eq!(help.code, 0, "{help:?}");
    for heading in ["Change options:", "Wait options:", "TLS options:", "Global options:", "Example:"] {
        assert!(help.stdout.contains(&format!("\n{heading}\n")), "{heading}: {}", help.stdout);
    }
}

#[tokio::test]
async fn a_verb_before_its_noun_is_told_where_it_goes() {
    for word in ["ls", "list"] {
        let ended = run_alone(&[word, "domain"]).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains("the noun comes first: switchyard domain list, "), "{ended:?}");
    }
    let ended = run_alone(&["edge", "create"]).await;
    assert!(ended.code == 2 && !ended.stderr.contains("noun comes first"), "{ended:?}");
}

/// As pbjson writes a field mask.
pub(crate) fn mask(paths: &[&str]) -> serde_json::Value {
    let mask = pbjson_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
    serde_json::to_value(mask).unwrap()
}
