//! Questions of edges, as they are answered with a real hook.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::RawQuery, http::StatusCode, routing::get};
use switchyard_proto::{
    fleet::v1::Verdict,
    v1::{AcmeSettings, CertificateSource, CreateDomainRequest, Domain, DomainTls, GetIssuanceRequest, OnDemand},
};
use tokio::net::TcpListener;
use tonic::Status;

use crate::{
    edge::{FakeEdge, Stream},
    support::{ControlPlane, domain},
};

/// A hook that approves of names that begin with `good`, has nothing to say of those with `broken`, and counts its calls.
async fn hook() -> (SocketAddr, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counted = calls.clone();
    let answer = async move |RawQuery(query): RawQuery| {
        counted.fetch_add(1, Ordering::Relaxed);
        match query.as_deref().and_then(|query| query.strip_prefix("domain=")) {
            Some(name) if name.starts_with("good") => StatusCode::OK,
            Some(name) if name.starts_with("moved") => StatusCode::FOUND,
            Some(name) if name.starts_with("broken") => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::NO_CONTENT,
        }
    };
    let router = Router::new().route("/ask", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, calls)
}

async fn create(control_plane: &mut ControlPlane, domain: Domain) -> Result<Domain, Status> {
    let request = CreateDomainRequest { domain: Some(domain), validate_only: false };
    Ok(control_plane.domains.create_domain(request).await?.into_inner())
}

fn on_demand(host: &str, hook: SocketAddr) -> Domain {
    let on_demand = OnDemand { hook_url: format!("http://{hook}/ask") };
    let acme = AcmeSettings { on_demand: Some(on_demand), ..AcmeSettings::default() };
    let certificate_source = CertificateSource::Acme.into();
    Domain {
        tls: Some(DomainTls { certificate_source, acme: Some(acme), ..DomainTls::default() }),
        ..domain(host, "a")
    }
}

/// A stream of an edge that has everything there is.
async fn stream(control_plane: &ControlPlane) -> Stream {
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    stream
}

#[tokio::test]
async fn a_hook_decides_and_its_answers_are_remembered() {
    let mut control_plane = ControlPlane::start().await;
    let (address, calls) = hook().await;
    create(&mut control_plane, on_demand("*.sites.example", address)).await.unwrap();
    let mut stream = stream(&control_plane).await;
    for (id, (name, verdict, calls_then)) in [
        ("bad.sites.example", Verdict::Refused, 1),
        ("bad.sites.example", Verdict::Refused, 1),
        ("moved.sites.example", Verdict::Refused, 2),
        ("broken.sites.example", Verdict::NotNow, 3),
        ("broken.sites.example", Verdict::NotNow, 3),
        ("good.deeper.sites.example", Verdict::Refused, 3),
        ("sites.example", Verdict::Refused, 3),
        ("*.sites.example", Verdict::Refused, 3),
        ("no name", Verdict::Refused, 3),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(stream.ask(id as u64, name).await, verdict, "{name}");
        assert_eq!(calls.load(Ordering::Relaxed), calls_then, "{name}");
    }
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_approved_name_is_ordered_and_no_domains_own_name_is_asked_for() {
    let mut control_plane = ControlPlane::start().await;
    let (address, calls) = hook().await;
    create(&mut control_plane, on_demand("*.sites.example", address)).await.unwrap();
    control_plane.create_domain("good-own.sites.example", "a").await.unwrap();
    let mut stream = stream(&control_plane).await;
    assert_eq!(stream.ask(1, "good-own.sites.example").await, Verdict::Refused);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let request = || GetIssuanceRequest { domain: "domains/good.sites.example".to_owned() };
    assert!(control_plane.certificates.get_issuance(request()).await.is_err());
    assert_eq!(stream.ask(2, "good.sites.example").await, Verdict::Coming);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    control_plane.certificates.get_issuance(request()).await.unwrap();
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_name_of_a_domain_that_an_edge_does_not_serve_is_not_asked_for() {
    let mut control_plane = ControlPlane::start().await;
    let (address, calls) = hook().await;
    let elsewhere = [("region".to_owned(), "eu".to_owned())].into();
    let sites = Domain { edge_selector: elsewhere, ..on_demand("*.sites.example", address) };
    create(&mut control_plane, sites).await.unwrap();
    let mut stream = stream(&control_plane).await;
    assert_eq!(stream.ask(1, "good.sites.example").await, Verdict::Refused);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    control_plane.server.end().await;
}

#[tokio::test]
async fn what_cannot_be_on_demand_is_refused_by_its_field() {
    let mut control_plane = ControlPlane::start().await;
    let (address, _) = hook().await;
    let refused = create(&mut control_plane, on_demand("shop.example", address)).await.unwrap_err();
    assert!(refused.message().contains("only a wildcard has certificates on demand"), "{refused:?}");
    let mut bad = on_demand("*.sites.example", address);
    let acme = bad.tls.as_mut().unwrap().acme.as_mut().unwrap();
    acme.on_demand = Some(OnDemand { hook_url: "ftp://hook.example/".to_owned() });
    let refused = create(&mut control_plane, bad).await.unwrap_err();
    assert!(refused.message().contains("domain.tls.acme.on_demand.hook_url"), "{refused:?}");
    control_plane.server.end().await;
}
