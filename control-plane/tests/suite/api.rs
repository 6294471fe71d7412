//! The API as a gRPC client sees it.

use std::num::NonZeroU32;

use pbjson_types::FieldMask;
use switchyard_control_plane::{config::Settings, server::Server};
use switchyard_proto::v1::{
    Backend, BackendState, BackendTls, Certificate, CertificateSource, CreateBackendRequest, CreateCertificateRequest,
    CreateDomainRequest, CreateServiceRequest, DeleteCertificateRequest, DeleteDomainRequest, DeleteServiceRequest,
    Domain, DomainTls, DrainBackendRequest, GetCertificateRequest, GetDomainRequest, GetInternalCaRequest,
    ListBackendsRequest, ListCertificatesRequest, ListDomainsRequest, ListServicesRequest, Service, ServiceTimeouts,
    SwitchDomainRequest, TlsVersion, UpdateBackendRequest, UpdateCertificateRequest, UpdateDomainRequest,
    UpdateServiceRequest, domain_service_client::DomainServiceClient,
};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::support::{ControlPlane, channel, domain, settings};

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

/// The fields that a google.rpc.BadRequest names.
fn wrong_fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().expect("a google.rpc.BadRequest");
    details.field_violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn a_domain_is_created_read_changed_switched_and_deleted() {
    let mut control_plane = ControlPlane::start().await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    control_plane.create_backend("shop-2", "b").await.unwrap();
    let created = control_plane.create_domain("Shop.Example", "a").await.unwrap();
    assert_eq!(created.name, "domains/shop.example");
    assert_eq!((created.service.as_str(), created.etag.clone()), ("services/default", created.revision.to_string()));
    assert_eq!(created.tls.as_ref().unwrap().certificate_source(), CertificateSource::Uploaded);

    let get = GetDomainRequest { name: created.name.clone() };
    let got = control_plane.domains.get_domain(get.clone()).await.unwrap().into_inner();
    assert_eq!(got, created, "one reads one's writes");

    let update = UpdateDomainRequest {
        domain: Some(Domain { http_to_https: true, active_tag: "ignored".into(), ..created.clone() }),
        update_mask: mask(&["http_to_https"]),
        validate_only: false,
    };
    let updated = control_plane.domains.update_domain(update.clone()).await.unwrap().into_inner();
    assert_eq!((updated.http_to_https, updated.active_tag.as_str()), (true, "a"));
    assert!(updated.revision > created.revision);

    // The etag of the creation is stale now.
    let stale = control_plane.domains.update_domain(update).await.unwrap_err();
    assert_eq!((stale.code(), wrong_fields(&stale)), (Code::Aborted, vec!["domain.etag".to_owned()]));
    assert_eq!(stale.get_details_error_info().unwrap().metadata["etag"], updated.etag);

    let switch = SwitchDomainRequest { name: created.name.clone(), tag: "b".into(), ..SwitchDomainRequest::default() };
    let switched = control_plane.domains.switch_domain(switch.clone()).await.unwrap().into_inner();
    assert_eq!((switched.active_tag.as_str(), switched.previous_tag.as_str()), ("b", "a"));
    let again = control_plane.domains.switch_domain(switch.clone()).await.unwrap().into_inner();
    assert_eq!(again, switched, "a retry changes nothing");

    let nowhere = SwitchDomainRequest { tag: "c".into(), ..switch };
    let refused = control_plane.domains.switch_domain(nowhere.clone()).await.unwrap_err();
    assert_eq!((refused.code(), wrong_fields(&refused)), (Code::FailedPrecondition, vec!["tag".to_owned()]));
    assert_eq!(refused.get_details_precondition_failure().unwrap().violations[0].r#type, "NO_BACKEND_FOR_TAG");
    let forced = SwitchDomainRequest { force: true, ..nowhere };
    assert_eq!(control_plane.domains.switch_domain(forced).await.unwrap().into_inner().active_tag, "c");

    let delete = DeleteDomainRequest { name: created.name, etag: String::new(), validate_only: false };
    let deleted = control_plane.domains.delete_domain(delete.clone()).await.unwrap().into_inner();
    assert!(deleted.revision > switched.revision);
    let missing = control_plane.domains.get_domain(get).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(missing.get_details_resource_info().unwrap().resource_name, "domains/shop.example");
    assert_eq!(control_plane.domains.delete_domain(delete).await.unwrap_err().code(), Code::NotFound);
    control_plane.server.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_by_field_and_nothing_is_changed() {
    let mut control_plane = ControlPlane::start().await;
    control_plane.create_domain("shop.example", "a").await.unwrap();
    let before = control_plane.domains.list_domains(ListDomainsRequest::default()).await.unwrap().into_inner();

    let twice = control_plane.create_domain("shop.example", "a").await.unwrap_err();
    assert_eq!((twice.code(), wrong_fields(&twice)), (Code::AlreadyExists, vec!["domain.name".to_owned()]));

    let bad = Domain { name: "domains/-".into(), service: "shop".into(), ..Domain::default() };
    let request = CreateDomainRequest { domain: Some(bad), validate_only: false };
    let bad = control_plane.domains.create_domain(request).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert_eq!(wrong_fields(&bad), ["domain.name", "domain.service", "domain.active_tag"]);

    let homeless = Domain { service: "services/nowhere".into(), ..domain("other.example", "a") };
    let request = CreateDomainRequest { domain: Some(homeless), validate_only: false };
    let homeless = control_plane.domains.create_domain(request).await.unwrap_err();
    assert_eq!(homeless.code(), Code::FailedPrecondition);
    assert_eq!(wrong_fields(&homeless), ["domain.service"]);

    let request = UpdateDomainRequest {
        domain: Some(domain("shop.example", "b")),
        update_mask: mask(&["active_tag", "actve_tag"]),
        validate_only: false,
    };
    let unknown = control_plane.domains.update_domain(request).await.unwrap_err();
    assert_eq!((unknown.code(), wrong_fields(&unknown)), (Code::InvalidArgument, vec!["update_mask".to_owned()]));
    assert!(unknown.message().contains("actve_tag"), "{unknown:?}");

    let nothing = CreateDomainRequest { domain: None, validate_only: false };
    assert_eq!(wrong_fields(&control_plane.domains.create_domain(nothing).await.unwrap_err()), ["domain"]);
    let foreign = ListDomainsRequest { page_size: 0, page_token: "%".into() };
    assert_eq!(wrong_fields(&control_plane.domains.list_domains(foreign).await.unwrap_err()), ["page_token"]);
    let negative = ListDomainsRequest { page_size: -1, page_token: String::new() };
    assert_eq!(wrong_fields(&control_plane.domains.list_domains(negative).await.unwrap_err()), ["page_size"]);

    let after = control_plane.domains.list_domains(ListDomainsRequest::default()).await.unwrap().into_inner();
    assert_eq!(after, before);
    control_plane.server.end().await;
}

#[tokio::test]
async fn validate_only_checks_everything_and_changes_nothing() {
    let mut control_plane = ControlPlane::start().await;
    let request = CreateDomainRequest { domain: Some(domain("shop.example", "a")), validate_only: true };
    let checked = control_plane.domains.create_domain(request.clone()).await.unwrap().into_inner();
    assert_eq!(checked.name, "domains/shop.example");
    let get = GetDomainRequest { name: checked.name };
    assert_eq!(control_plane.domains.get_domain(get).await.unwrap_err().code(), Code::NotFound);
    let created = control_plane.create_domain("shop.example", "a").await.unwrap();
    assert_eq!(created.revision, checked.revision, "the check took no revision");
    assert_eq!(control_plane.domains.create_domain(request).await.unwrap_err().code(), Code::AlreadyExists);
    control_plane.server.end().await;
}

#[tokio::test]
async fn lists_come_in_pages_in_order() {
    let mut control_plane = ControlPlane::start().await;
    for id in ["c", "a", "e", "b", "d"] {
        control_plane.create_backend(id, "t").await.unwrap();
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListBackendsRequest { page_size: 2, page_token };
        let page = control_plane.backends.list_backends(request).await.unwrap().into_inner();
        assert!(page.backends.len() <= 2);
        names.extend(page.backends.into_iter().map(|backend| backend.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"].map(|id| format!("backends/{id}")));
    control_plane.server.end().await;
}

#[tokio::test]
async fn services_and_backends_are_created_changed_and_guarded() {
    let mut control_plane = ControlPlane::start().await;
    let timeouts =
        ServiceTimeouts { connect: Some(pbjson_types::Duration { seconds: 1, nanos: 0 }), ..Default::default() };
    let shop = Service { name: "services/shop".into(), timeouts: Some(timeouts), ..Service::default() };
    let request = CreateServiceRequest { service: Some(shop.clone()), validate_only: false };
    let created = control_plane.services.create_service(request).await.unwrap().into_inner();
    let timeouts = created.timeouts.unwrap();
    assert_eq!((timeouts.connect.unwrap().seconds, timeouts.first_byte.unwrap().seconds), (1, 60));

    let update = UpdateServiceRequest {
        service: Some(Service { timeouts: None, ..created }),
        update_mask: mask(&["timeouts.connect"]),
        validate_only: false,
    };
    let updated = control_plane.services.update_service(update).await.unwrap().into_inner();
    assert_eq!(updated.timeouts.unwrap().connect.unwrap().seconds, 3, "named and not set: the default");

    let backend = Backend {
        name: "backends/shop-1".into(),
        service: "services/shop".into(),
        address: "shop.internal:3000".into(),
        tags: vec!["b".into(), "a".into(), "b".into()],
        ..Backend::default()
    };
    let request = CreateBackendRequest { backend: Some(backend.clone()), validate_only: false };
    let created = control_plane.backends.create_backend(request).await.unwrap().into_inner();
    assert_eq!((created.tags, created.state), (vec!["a".to_owned(), "b".to_owned()], BackendState::Active.into()));
    let drain = DrainBackendRequest { name: backend.name.clone(), ..DrainBackendRequest::default() };
    let drained = control_plane.backends.drain_backend(drain).await.unwrap().into_inner();
    assert_eq!(drained.state(), BackendState::Draining);
    let active = Backend { name: backend.name, state: BackendState::Active.into(), ..Backend::default() };
    let update = UpdateBackendRequest { backend: Some(active), ..UpdateBackendRequest::default() };
    let back = control_plane.backends.update_backend(update).await.unwrap().into_inner();
    assert_eq!((back.state(), back.address.as_str()), (BackendState::Active, "shop.internal:3000"));

    let delete = |name: &str| DeleteServiceRequest { name: name.to_owned(), ..DeleteServiceRequest::default() };
    let used = control_plane.services.delete_service(delete("services/shop")).await.unwrap_err();
    assert_eq!(used.code(), Code::FailedPrecondition);
    assert!(used.message().contains("backends/shop-1"), "{used:?}");
    let default = control_plane.services.delete_service(delete("services/default")).await.unwrap_err();
    assert_eq!(default.code(), Code::FailedPrecondition);
    control_plane.server.end().await;
}

#[tokio::test]
async fn certificates_are_uploaded_checked_and_never_give_their_key_back() {
    let mut control_plane = ControlPlane::start().await;
    let issued = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    let certificate =
        Certificate { name: "certificates/shop".into(), chain_pem: issued.cert.pem(), ..Default::default() };
    let request = CreateCertificateRequest {
        certificate: Some(certificate.clone()),
        private_key_pem: issued.signing_key.serialize_pem(),
        validate_only: false,
    };
    let mismatched = CreateCertificateRequest { private_key_pem: other.serialize_pem(), ..request.clone() };
    let mismatched = control_plane.certificates.create_certificate(mismatched).await.unwrap_err();
    assert_eq!(
        (mismatched.code(), wrong_fields(&mismatched)),
        (Code::InvalidArgument, vec!["private_key_pem".to_owned()])
    );
    let empty = Certificate { chain_pem: String::new(), ..certificate.clone() };
    let empty = CreateCertificateRequest { certificate: Some(empty), ..request.clone() };
    let empty = control_plane.certificates.create_certificate(empty).await.unwrap_err();
    assert_eq!(wrong_fields(&empty), ["certificate.chain_pem"]);

    let created = control_plane.certificates.create_certificate(request.clone()).await.unwrap().into_inner();
    assert_eq!(created.dns_names, ["shop.example"]);
    assert_eq!(created.chain_pem.replace('\r', ""), issued.cert.pem().replace('\r', ""));
    assert_eq!((created.source(), created.fingerprint_sha256.len()), (CertificateSource::Uploaded, 64));
    let update = UpdateCertificateRequest {
        certificate: Some(Certificate { etag: "1".into(), ..certificate }),
        private_key_pem: request.private_key_pem,
        ..UpdateCertificateRequest::default()
    };
    assert_eq!(control_plane.certificates.update_certificate(update).await.unwrap_err().code(), Code::Aborted);
    let delete = DeleteCertificateRequest { name: created.name, ..DeleteCertificateRequest::default() };
    control_plane.certificates.delete_certificate(delete).await.unwrap();
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_domain_that_does_not_say_where_its_certificate_comes_from_is_told() {
    let mut control_plane = ControlPlane::start().await;
    let issued = rcgen::generate_simple_self_signed(vec!["own.example".to_owned()]).unwrap();
    let own = Certificate { name: "certificates/own".into(), chain_pem: issued.cert.pem(), ..Default::default() };
    let upload = CreateCertificateRequest {
        certificate: Some(own),
        private_key_pem: issued.signing_key.serialize_pem(),
        validate_only: false,
    };
    control_plane.certificates.create_certificate(upload).await.unwrap();
    let version = Some(DomainTls { minimum_version: TlsVersion::V13.into(), ..DomainTls::default() });
    for (host, tls, expected) in [
        ("shop.example", None, CertificateSource::Acme),
        ("www.example", version.clone(), CertificateSource::Acme),
        ("shop.internal", None, CertificateSource::Internal),
        ("nas.lan", version, CertificateSource::Internal),
        ("own.example", None, CertificateSource::Uploaded),
    ] {
        let new = Domain { tls, ..domain(host, "a") };
        let create = CreateDomainRequest { domain: Some(new), validate_only: false };
        let created = control_plane.domains.create_domain(create).await.unwrap().into_inner();
        assert_eq!(created.tls.unwrap().certificate_source(), expected, "{host}");
        let get = GetDomainRequest { name: format!("domains/{host}") };
        let stored = control_plane.domains.get_domain(get).await.unwrap().into_inner();
        assert_eq!(stored.tls.unwrap().certificate_source(), expected, "{host}");
    }
    let wild = Domain { tls: None, ..domain("*.shop.example", "a") };
    let create = CreateDomainRequest { domain: Some(wild), validate_only: false };
    let refused = control_plane.domains.create_domain(create).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "nobody sets the record that it needs");
    assert!(refused.message().contains("--tls"), "{refused:?}");
    control_plane.server.end().await;
}

#[tokio::test]
async fn the_internal_ca_takes_care_of_a_domains_certificate() {
    let mut control_plane = ControlPlane::start().await;
    let tls = Some(DomainTls {
        certificate_source: CertificateSource::Internal.into(),
        client_authentication: None,
        minimum_version: 0,
        acme: None,
    });
    let request =
        CreateDomainRequest { domain: Some(Domain { tls, ..domain("*.shop.example", "a") }), validate_only: false };
    control_plane.domains.create_domain(request).await.unwrap();
    let name = "certificates/internal-*.shop.example".to_owned();
    let get = GetCertificateRequest { name: name.clone() };
    let issued = control_plane.certificates.get_certificate(get.clone()).await.unwrap().into_inner();
    assert_eq!((issued.source(), issued.dns_names), (CertificateSource::Internal, vec!["*.shop.example".to_owned()]));
    let ca = control_plane.certificates.get_internal_ca(GetInternalCaRequest {}).await.unwrap().into_inner();
    assert!(ca.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    let delete = DeleteCertificateRequest { name, ..DeleteCertificateRequest::default() };
    let refused = control_plane.certificates.delete_certificate(delete).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let delete = DeleteDomainRequest { name: "domains/*.shop.example".into(), ..DeleteDomainRequest::default() };
    control_plane.domains.delete_domain(delete).await.unwrap();
    assert_eq!(control_plane.certificates.get_certificate(get).await.unwrap_err().code(), Code::NotFound);

    let acme = Some(DomainTls { certificate_source: CertificateSource::Acme.into(), ..DomainTls::default() });
    let request =
        CreateDomainRequest { domain: Some(Domain { tls: acme, ..domain("b.local", "a") }), validate_only: false };
    let refused = control_plane.domains.create_domain(request).await.unwrap_err();
    assert_eq!((refused.code(), wrong_fields(&refused)), (Code::FailedPrecondition, vec!["domain.name".to_owned()]));
    assert!(refused.message().contains("no public CA signs b.local"), "{refused}");
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_page_of_certificates_fits_into_a_message() {
    const CERTIFICATES: usize = 130;
    let mut control_plane = ControlPlane::start().await;
    // About 24 KiB: all of them are more than a client takes by default.
    let [b, c, d] = ["b".repeat(60), "c".repeat(60), "d".repeat(50)];
    let names = (0..100).map(|number| format!("{number:03}{}.{b}.{c}.{d}.example", "a".repeat(57)));
    let issued = rcgen::generate_simple_self_signed(names.collect::<Vec<_>>()).unwrap();
    for number in 0..CERTIFICATES {
        let certificate =
            Certificate { name: format!("certificates/c{number}"), chain_pem: issued.cert.pem(), ..Default::default() };
        let private_key_pem = issued.signing_key.serialize_pem();
        let request =
            CreateCertificateRequest { certificate: Some(certificate), private_key_pem, validate_only: false };
        control_plane.certificates.create_certificate(request).await.unwrap();
    }
    let mut names = Vec::new();
    let mut request = ListCertificatesRequest { page_size: 1_000, page_token: String::new() };
    loop {
        let page = control_plane.certificates.list_certificates(request.clone()).await.unwrap().into_inner();
        assert!(page.certificates.len() < CERTIFICATES);
        names.extend(page.certificates.into_iter().map(|certificate| certificate.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), CERTIFICATES);
    assert!(names.is_sorted_by(|a, b| a < b));
    control_plane.server.end().await;
}

#[tokio::test]
async fn health_is_served_for_every_service() {
    let control_plane = ControlPlane::start().await;
    let mut health = HealthClient::new(control_plane.channel());
    for service in ["", "switchyard.v1.DomainService", "switchyard.v1.EdgeService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    control_plane.server.end().await;
}

#[tokio::test]
async fn reflection_tells_of_every_service_in_both_versions() {
    use tokio_stream::iter;
    use tonic_reflection::pb::{v1, v1alpha};

    let control_plane = ControlPlane::start().await;
    let channel = control_plane.channel();
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut answers = client.server_reflection_info(iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(services) = answer else {
        panic!("another answer: {answer:?}")
    };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    for expected in ["switchyard.v1.DomainService", "switchyard.v1.CertificateService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
    assert!(!names.iter().any(|name| name.starts_with("switchyard.fleet.")), "what is not served here: {names:?}");

    let symbol = "switchyard.v1.Domain".to_owned();
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol)),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(answer, v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)));
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_token_that_calls_too_often_is_told_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Settings { token_rate: NonZeroU32::MIN, ..settings(dir.path()) }).await.unwrap();
    let domains = DomainServiceClient::new(channel(server.admin, dir.path()));
    let calls = (0..20).map(|_| {
        let mut domains = domains.clone();
        async move { domains.list_domains(ListDomainsRequest::default()).await }
    });
    // Twenty in a second are too many; slower ones show nothing.
    let answers = futures::future::join_all(calls).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(answers.iter().any(Result::is_ok) && !refused.is_empty(), "{answers:?}");
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some(), "{status:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_page_of_long_services_fits_into_a_message() {
    let mut control_plane = ControlPlane::start().await;
    let issued = rcgen::generate_simple_self_signed(vec!["backends.example".to_owned()]).unwrap();
    let bundle = issued.cert.pem().repeat(45);
    for number in 0..200 {
        let tls = BackendTls { ca_bundle_pem: bundle.clone(), ..BackendTls::default() };
        let service = Service { name: format!("services/s{number:03}"), tls: Some(tls), ..Service::default() };
        let request = CreateServiceRequest { service: Some(service), validate_only: false };
        control_plane.services.create_service(request).await.unwrap();
    }
    let (mut names, mut pages, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let request = ListServicesRequest { page_size: 1_000, page_token };
        // Clients take 4 MiB unless they are told otherwise.
        let page = control_plane.services.list_services(request).await.unwrap().into_inner();
        names.extend(page.services.into_iter().map(|service| service.name));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(pages > 1, "they are longer than a message");
    assert!(names.is_sorted() && names.len() == 201, "{names:?}");
    control_plane.server.end().await;
}
