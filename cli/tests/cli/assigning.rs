//! Fields that are set by their paths, whether a flag knows them or not.

use std::process::Stdio;

use serde_json::json;
use switchyard_proto::v1::{BackendClientCertificate, BackendTls, Service};
use tokio::io::AsyncWriteExt;

use crate::{
    commands::mask,
    fake::{Fake, command},
};

#[tokio::test]
async fn flags_and_paths_are_one_change() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("ca.pem");
    std::fs::write(&bundle, "the CAs\n").unwrap();
    let bundle = format!("tls.client_authentication.ca_bundle_pem=@{}", bundle.display());
    let args = [
        &["domain", "update", "shop.example", "--tag", "b", "--set", "tls.minimum_version=1.3"][..],
        &["--unset", "tls.acme.on_demand", "--set", &bundle, "--set", "tls.client_authentication.mode=optional"],
    ]
    .concat();
    let request = fake.request_of("UpdateDomain", &args).await;
    assert_eq!(
        request["domain"],
        json!({"name": "domains/shop.example", "activeTag": "b", "tls": {
            "minimumVersion": "TLS_VERSION_V1_3",
            "clientAuthentication": {"caBundlePem": "the CAs", "mode": "CLIENT_CERTIFICATE_MODE_OPTIONAL"},
        }})
    );
    let paths = [
        "active_tag",
        "tls.minimum_version",
        "tls.client_authentication.ca_bundle_pem",
        "tls.client_authentication.mode",
        "tls.acme.on_demand",
    ];
    assert_eq!(request["updateMask"], mask(&paths));
}

#[tokio::test]
async fn what_is_created_needs_no_flag() {
    let fake = Fake::start().await;
    let args = ["domain", "create", "shop.example", "--set", "active_tag=a", "--set", "edge_selector=region=eu"];
    assert_eq!(
        fake.request_of("CreateDomain", &args).await,
        json!({"domain": {"name": "domains/shop.example", "activeTag": "a", "edgeSelector": {"region": "eu"}}})
    );
    let args =
        ["backend", "create", "shop-1", "--set", "address=10.0.0.5:3000", "--tag", "a", "--set", "state=draining"];
    assert_eq!(
        fake.request_of("CreateBackend", &args).await,
        json!({"backend": {
            "name": "backends/shop-1", "address": "10.0.0.5:3000", "tags": ["a"], "state": "BACKEND_STATE_DRAINING",
        }})
    );
    let args = ["service", "create", "shop", "--idle-timeout", "5m", "--set", "timeouts.connect=250ms"];
    assert_eq!(
        fake.request_of("CreateService", &args).await,
        json!({"service": {"name": "services/shop", "timeouts": {"idle": "300s", "connect": "0.250s"}}})
    );
}

#[tokio::test]
async fn a_secret_comes_from_the_standard_input() {
    let fake = Fake::start().await;
    let path = "tls.client_certificate.private_key_pem";
    let set = format!("{path}=@-");
    let mut child = command(&["service", "update", "shop", "--set", &set, "--control-plane", &fake.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"the key\n").await.unwrap();
    assert!(child.wait_with_output().await.unwrap().status.success());
    let request = fake.requests("UpdateService").pop().unwrap();
    assert_eq!(request["service"]["tls"], json!({"clientCertificate": {"privateKeyPem": "the key"}}));
    assert_eq!(request["updateMask"], mask(&[path]));
}

#[tokio::test]
async fn what_cannot_be_set_is_said_before_anything_is_asked() {
    let fake = Fake::start().await;
    let key = "tls.client_certificate.private_key_pem";
    let secret = format!("{key}=hunter2");
    let twice = format!("{key}=@-");
    for (args, code, said) in [
        (&["domain", "update", "x.example", "--unset", "acme.on_demand"][..], 2, "the nearest are tls.acme.on_demand"),
        (&["domain", "update", "x.example", "--set", "http_to_https"], 2, "is not PATH=VALUE"),
        (&["domain", "update", "x.example", "--set", "http_to_https=yes"], 2, "true or false is expected"),
        (&["domain", "update", "x.example", "--set", "tls.minimum_version=9"], 2, "one of 1.2, 1.3 is expected"),
        (&["domain", "update", "x.example", "--set", "edge_selector.region=eu"], 2, "leads into edge_selector"),
        (&["domain", "update", "x.example", "--set", "previous_tag=b"], 2, "is for output only"),
        (
            &["domain", "update", "x.example", "--tag", "a", "--set", "active_tag=b"],
            2,
            "is named by --set or --unset, and by --tag",
        ),
        (
            &["domain", "create", "x.example", "--tag", "a", "--set", "name=domains/y.example"],
            2,
            "says which resource it is",
        ),
        (&["backend", "update", "x", "--set", "tags.0=a"], 2, "leads into tags"),
        (&["service", "update", "x", "--set", &secret], 2, "is secret: name a file"),
        (&["service", "update", "x", "--set", &twice, "--set", "tls.server_name=@-"], 1, "can be read only once"),
        (
            &["service", "update", "x", "--set", "tls.ca_bundle_pem=@/nowhere/ca.pem"],
            1,
            "tls.ca_bundle_pem: read /nowhere/ca.pem: ",
        ),
    ] {
        let ended = fake.run(args).await;
        assert_eq!(ended.code, code, "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(said) && ended.stderr.lines().count() == 1, "{args:?}: {ended:?}");
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
    }
    for method in ["UpdateDomain", "CreateDomain", "UpdateBackend", "UpdateService"] {
        assert_eq!(fake.requests(method).len(), 0, "{method}");
    }
}

#[tokio::test]
async fn a_field_that_no_flag_knows_is_shown() {
    let fake = Fake::start().await;
    let certificate = BackendClientCertificate {
        chain_pem: "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n".to_owned(),
        fingerprint_sha256: "0a".to_owned(),
        ..BackendClientCertificate::default()
    };
    let tls = BackendTls { insecure_skip_verify: true, client_certificate: Some(certificate), ..BackendTls::default() };
    let service = Service { name: "services/shop".to_owned(), tls: Some(tls), ..Service::default() };
    fake.state.services.lock().unwrap().push(service);
    let shown = fake.run(&["service", "get", "shop"]).await.stdout;
    for row in [
        "tls.client_certificate.fingerprint_sha256:   0a\n",
        "tls.client_certificate.chain_pem:            1 certificate\n",
        "WARNING:                                     the backends' certificates are NOT VERIFIED: ",
    ] {
        assert!(shown.contains(row), "{shown}");
    }
}

#[tokio::test]
async fn a_default_of_tls_turns_tls_on() {
    let fake = Fake::start().await;
    let plain = Service { name: "services/plain".to_owned(), etag: "3".to_owned(), ..Service::default() };
    let tls = Some(BackendTls { server_name: "a.example".to_owned(), ..BackendTls::default() });
    let safe = Service { name: "services/safe".to_owned(), tls, ..Service::default() };
    *fake.state.services.lock().unwrap() = vec![plain, safe];
    let request = fake.request_of("UpdateService", &["service", "update", "plain", "--tls-system-ca"]).await;
    assert_eq!(request["service"], json!({"name": "services/plain", "tls": {}, "etag": "3"}));
    assert_eq!(request["updateMask"], mask(&["tls.ca_bundle_pem", "tls.insecure_skip_verify", "tls"]));
    let request = fake.request_of("UpdateService", &["service", "update", "safe", "--tls-system-ca"]).await;
    assert_eq!(request["service"], json!({"name": "services/safe", "tls": {}}));
    assert_eq!(request["updateMask"], mask(&["tls.ca_bundle_pem", "tls.insecure_skip_verify"]));
}

#[tokio::test]
async fn the_help_of_an_update_has_an_example() {
    for noun in ["domain", "service", "backend", "issuer", "dns-provider"] {
        let ended = crate::fake::run_alone(&[noun, "update", "--help"]).await;
        assert!(ended.code == 0 && ended.stdout.contains(&format!("switchyard {noun} update ")), "{ended:?}");
        assert!(ended.stdout.contains("--set <PATH=VALUE>") && ended.stdout.contains(" --set "), "{ended:?}");
    }
}
