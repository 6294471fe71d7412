//! What results look like.

use std::process::Stdio;

use pbjson_types::Timestamp;
use serde_json::{Value, json};
use switchyard_proto::v1::{
    Backend, BackendState, Certificate, CertificateSource, Domain, DomainTls, Edge, EdgeState, Issuance, IssuanceState,
    ListDomainsResponse, Rejection, Service, Unreadable,
};

use crate::fake::{Fake, command};

fn domain(host: &str) -> Domain {
    Domain {
        name: format!("domains/{host}"),
        service: "services/shop".to_owned(),
        active_tag: "a".to_owned(),
        tls: Some(DomainTls {
            certificate_source: CertificateSource::Internal.into(),
            client_authentication: None,
            minimum_version: 0,
            acme: None,
        }),
        http_to_https: true,
        revision: 12,
        etag: "12".to_owned(),
        update_time: Some(Timestamp { seconds: 1_000_000, nanos: 0 }),
        ..Domain::default()
    }
}

fn rejecting_edge() -> Edge {
    Edge {
        name: "edges/edge-1".to_owned(),
        version: "0.1.0".to_owned(),
        state: EdgeState::Connected.into(),
        acknowledged_revision: 12,
        rejections: vec![Rejection {
            resource: "backends/shop-2".to_owned(),
            revision: 11,
            reason: "address: \x1b[2Jbad".to_owned(),
        }],
        rejections_total: 120,
        ..Edge::default()
    }
}

#[tokio::test]
async fn a_list_holds_all_pages_in_every_format() {
    let fake = Fake::start().await;
    *fake.state.domains.lock().unwrap() = (0..5).map(|n| domain(&format!("d{n}.example"))).collect();

    let table = fake.run(&["domain", "list"]).await;
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", table.stdout);
    assert!(lines[0].starts_with("DOMAIN      SERVICE  TAG  PREVIOUS  TLS"), "{}", table.stdout);
    assert!(lines[5].starts_with("d4.example  shop     a    -         internal  yes"), "{}", table.stdout);
    assert!(lines[5].ends_with("d ago"), "{}", table.stdout);

    let json = fake.run(&["domain", "list", "--output", "json"]).await.stdout;
    let response: ListDomainsResponse = serde_json::from_str(&json).unwrap();
    assert_eq!(response.domains, *fake.state.domains.lock().unwrap());

    let yaml = fake.run(&["domain", "list", "-o", "yaml"]).await.stdout;
    assert!(yaml.starts_with("domains:\n") && yaml.contains("name: domains/d4.example"), "{yaml}");
    let from_yaml: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(from_yaml, serde_json::from_str::<Value>(&json).unwrap());
    assert_eq!(from_yaml["domains"][0]["revision"], json!("12"), "64-bit numbers are strings");
}

#[tokio::test]
async fn an_empty_list_says_so() {
    let fake = Fake::start().await;
    for noun in ["domain", "service", "backend", "certificate", "edge"] {
        let ended = fake.run(&[noun, "list"]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "none\n"), "{noun}");
        let json = fake.run(&[noun, "list", "--output", "json"]).await.stdout;
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), json!({ format!("{noun}s"): [] }));
    }
}

#[tokio::test]
async fn one_resource_is_shown_whole() {
    let fake = Fake::start().await;
    fake.state.domains.lock().unwrap().push(domain("shop.example"));
    let shown = fake.run(&["domain", "get", "shop.example"]).await.stdout;
    assert!(shown.contains("active_tag:                  a\n"), "{shown}");
    assert!(shown.contains("tls.certificate_source:      internal\n"), "{shown}");
    assert!(shown.contains("tls.client_authentication:   -\n"), "{shown}");
    assert!(shown.contains("update_time:                 1970-01-12T13:46:40Z ("), "{shown}");
    let json = fake.run(&["domain", "get", "shop.example", "-o", "json"]).await.stdout;
    assert_eq!(serde_json::from_str::<Domain>(&json).unwrap(), domain("shop.example"));
}

#[tokio::test]
async fn edges_are_listed_with_what_they_reject_and_why() {
    let fake = Fake::start().await;
    fake.state.edges.lock().unwrap().push(rejecting_edge());
    let shown = fake.run(&["edge", "get", "edge-1"]).await.stdout;
    assert!(shown.contains("rejections[0].reason:     address: \\u{1b}[2Jbad\n"), "{shown}");
    assert!(shown.contains("rejections_total:         120\n"), "{shown}");
    let shown = fake.run(&["edge", "list"]).await.stdout;
    let reason = "edge-1 rejects backends/shop-2 (revision 11): address: \\u{1b}[2Jbad\nedge-1 rejects 119 more\n";
    assert!(shown.contains(reason), "{shown}");
    let shown = fake.run(&["status"]).await.stdout;
    assert!(
        shown.contains("\nedges/edge-1  rejects backends/shop-2 (revision 11): address: \\u{1b}[2Jbad\n"),
        "{shown}"
    );
    assert!(shown.contains("\nedges/edge-1  rejects 119 more\n"), "{shown}");
    let json: Value = serde_json::from_str(&fake.run(&["status", "-o", "json"]).await.stdout).unwrap();
    assert_eq!(json["revision"], json!("7"));
    assert_eq!(json["edges"][0]["acknowledgedRevision"], json!("12"));
}

#[tokio::test]
async fn certificates_are_listed_with_their_names_and_expiry() {
    let fake = Fake::start().await;
    fake.state.certificates.lock().unwrap().push(Certificate {
        name: "certificates/shop".to_owned(),
        source: CertificateSource::Uploaded.into(),
        dns_names: (0..5).map(|n| format!("{n}.example")).collect(),
        not_after_time: Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }),
        ..Certificate::default()
    });
    let shown = fake.run(&["certificate", "list"]).await.stdout;
    assert!(shown.contains("0.example,1.exampl…  in "), "{shown}");
}

#[tokio::test]
async fn the_internal_ca_is_printed_as_it_is() {
    let fake = Fake::start().await;
    assert_eq!(fake.run(&["certificate", "ca"]).await.stdout, "-----BEGIN CERTIFICATE-----\n");
    let json: Value = serde_json::from_str(&fake.run(&["certificate", "ca", "-o", "json"]).await.stdout).unwrap();
    assert_eq!(json, json!({"certificatePem": "-----BEGIN CERTIFICATE-----\n"}));
}

#[tokio::test]
async fn changes_are_told_in_a_line_and_dry_runs_as_what_they_are() {
    let fake = Fake::start().await;
    let create = ["domain", "create", "shop.example", "--tag", "a"];
    assert_eq!(fake.run(&create).await.stdout, "domain shop.example created (revision 7)\n");
    assert_eq!(
        fake.run(&[&create[..], &["--dry-run"]].concat()).await.stdout,
        "domain shop.example would be created (dry run: nothing was changed)\n"
    );
    let deleted = fake.run(&["backend", "delete", "shop-1", "-o", "json"]).await.stdout;
    assert_eq!(serde_json::from_str::<Value>(&deleted).unwrap(), json!({"revision": "7"}));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let fake = Fake::start().await;
    *fake.state.domains.lock().unwrap() = (0..2_000).map(|n| domain(&format!("d{n}.example"))).collect();
    let mut child = command(&["domain", "list", "--control-plane", &fake.address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output =
        command(&["completions", "bash"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().await;
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the standard output cannot be written"), "{output:?}");
}

#[tokio::test]
async fn lists_are_filtered_sorted_limited_and_fit_the_screen() {
    let fake = Fake::start().await;
    let long = "l".repeat(60);
    *fake.state.backends.lock().unwrap() = ["shop-1", "shop-2", "shop-3", "blog-1"]
        .iter()
        .zip(1_u64..)
        .map(|(id, revision)| Backend {
            name: format!("backends/{id}"),
            service: format!("services/{}", &id[..4]),
            tags: vec![long.clone()],
            revision,
            ..Backend::default()
        })
        .collect();
    let names = async |args: &[&str]| {
        let json = fake.run(&[&["backend", "list", "-o", "json"], args].concat()).await;
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        let names = json["backends"].as_array().unwrap().iter();
        names.map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let found = names(&["--filter", "service=shop", "--sort", "-revision", "--limit", "2"]).await;
    assert_eq!(found, ["backends/shop-3", "backends/shop-2"]);
    assert_eq!(names(&["--filter", "service!=shop"]).await, ["backends/blog-1"]);

    let ended = fake.run(&["backend", "list", "--limit", "2"]).await;
    assert_eq!(ended.stderr, "2 of 4 are listed (--limit)\n");
    assert_eq!(ended.stdout.lines().count(), 3, "{ended:?}");
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80), "{ended:?}");
    assert!(ended.stdout.contains("lll…") && !ended.stdout.contains(&long), "{ended:?}");
    assert!(fake.run(&["backend", "list", "-o", "json"]).await.stdout.contains(&long));

    let ended = fake.run(&["backend", "list", "--filter", "tag=a"]).await;
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("\"tag\" is no field; the fields there are name, service, address, tags"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn status_begins_with_the_problems_and_does_not_list_what_is_well() {
    let fake = Fake::start().await;
    *fake.state.domains.lock().unwrap() = (0..1_000).map(|n| domain(&format!("d{n}.example"))).collect();
    fake.state.services.lock().unwrap().push(Service { name: "services/shop".to_owned(), ..Service::default() });
    let backend = Backend {
        service: "services/shop".to_owned(),
        tags: vec!["a".to_owned()],
        state: BackendState::Active.into(),
        ..Backend::default()
    };
    fake.state.backends.lock().unwrap().push(backend);
    let connected = EdgeState::Connected.into();
    let edge = Edge { name: "edges/edge-0".to_owned(), state: connected, ..Edge::default() };
    fake.state.edges.lock().unwrap().push(edge);
    let well = fake.run(&["status"]).await;
    assert_eq!(well.code, 0, "{well:?}");
    assert!(well.stdout.starts_with("revision 7, no problems\n"), "{well:?}");
    assert!(well.stdout.contains("\n1000 domains, 0 with problems; those that changed last\n"), "{well:?}");
    assert!(well.stdout.ends_with("and 990 more: switchyard domain list\n"), "{well:?}");
    assert!(well.stdout.lines().count() < 30, "{well:?}");

    fake.state.edges.lock().unwrap().push(Edge { name: "edges/edge-1".to_owned(), ..Edge::default() });
    fake.state.domains.lock().unwrap()[500].active_tag = "nowhere".to_owned();
    fake.state.unreadable.lock().unwrap().push(Unreadable {
        resource: "services/old".to_owned(),
        reason: "of a newer format".to_owned(),
        ..Unreadable::default()
    });
    fake.state.issuances.lock().unwrap().push(Issuance {
        domain: "domains/d3.example".to_owned(),
        state: IssuanceState::Failing.into(),
        failure: "the CA refused".to_owned(),
        ..Issuance::default()
    });
    let ended = fake.run(&["status"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected = "revision 7, 4 problems\n\n\
        RESOURCE              PROBLEM\n\
        domains/d3.example    no certificate: the CA refused\n\
        edges/edge-1          not connected, last contact -\n\
        domains/d500.example  no active backend of service shop carries the tag nowhere\n\
        services/old          cannot be read: of a newer format\n";
    assert!(ended.stdout.starts_with(expected), "{ended:?}");
    let json: Value = serde_json::from_str(&fake.run(&["status", "-o", "json"]).await.stdout).unwrap();
    assert_eq!(json["domains"], json!({"total": 1000, "withProblems": 2}));
    assert_eq!(json["problems"][1]["resource"], json!("edges/edge-1"));
}

#[tokio::test]
async fn an_edge_that_is_removed_does_not_fill_the_screen() {
    let fake = Fake::start().await;
    *fake.state.edge_certificates.lock().unwrap() = 1_000;
    let ended = fake.run(&["edge", "remove", "edge-1"]).await;
    assert_eq!((ended.code, ended.stdout.lines().count()), (0, 21), "{ended:?}");
    assert!(
        ended.stderr.ends_with("and 980 more: `switchyard certificate list` has those of all edges\n"),
        "{ended:?}"
    );
    let json: Value = serde_json::from_str(&fake.run(&["edge", "remove", "x", "-o", "json"]).await.stdout).unwrap();
    assert_eq!(json["certificates"].as_array().unwrap().len(), 1_000);
}
