//! What people and programs call.

use std::{sync::Arc, time::Duration};

use axum::{response::IntoResponse, routing::get};
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use switchyard_proto::{
    DESCRIPTORS,
    v1::{
        audit_service_server::AuditServiceServer, backend_service_server::BackendServiceServer,
        certificate_service_server::CertificateServiceServer, dns_provider_service_server::DnsProviderServiceServer,
        domain_service_server::DomainServiceServer, edge_service_server::EdgeServiceServer,
        invite_service_server::InviteServiceServer, issuer_service_server::IssuerServiceServer,
        service_service_server::ServiceServiceServer, task_service_server::TaskServiceServer,
        token_service_server::TokenServiceServer, unreadable_service_server::UnreadableServiceServer,
    },
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    server::NamedService,
    service::Routes,
    transport::{Server, server::Router},
};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::layer::util::{Identity, Stack};

use super::{
    audit::Audit, authentication::Authentication, backend::Backends, certificate::Certificates,
    dns_provider::DnsProviders, domain::Domains, edge::EdgeCalls, health, invite::Invites, issuer::Issuers,
    service::Services, task::Tasks, token::Tokens, unknown_fields::RefuseUnknownFields, unreadable::UnreadableRows,
    warnings::Warnings,
};
use crate::{
    access::Authenticator, app::App, fleet::Tracker, health::Health, listen::Connection, metrics::Metrics,
    task_status::TaskStatuses,
};

/// Bytes of a request: a certificate chain, its key, and what surrounds them.
pub(super) const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the metadata of a call.
const METADATA_BYTES_MAX: u32 = 16 * 1024;
/// Calls at a time on one connection.
const CALLS_PER_CONNECTION_MAX: u32 = 256;
/// How often an idle connection is tried, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What the API is served of.
#[derive(Debug)]
pub struct Api {
    /// The use cases.
    pub app: Arc<App>,
    /// What decides on each call.
    pub authenticator: Arc<Authenticator>,
    /// How far edges are.
    pub tracker: Tracker,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether all of it works.
    pub health: watch::Receiver<Health>,
    /// What the background tasks do.
    pub task_statuses: TaskStatuses,
}

/// Serves the API until `ending` is cancelled and all calls have ended.
pub async fn serve(
    connections: mpsc::Receiver<Connection>,
    api: Api,
    ending: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let incoming = ReceiverStream::new(connections).map(Ok::<_, std::convert::Infallible>);
    let reporter = HealthReporter::new();
    let report = health::report(reporter.clone(), api.health.clone(), ending.clone());
    let router = router(api, reporter, ending.clone());
    let serve = router.serve_with_incoming_shutdown(incoming, ending.cancelled_owned());
    let ((), served) = tokio::join!(report, serve);
    served
}

/// The services of the API.
pub(super) const SERVICES: [&str; 12] = [
    DomainServiceServer::<Domains>::NAME,
    ServiceServiceServer::<Services>::NAME,
    BackendServiceServer::<Backends>::NAME,
    CertificateServiceServer::<Certificates>::NAME,
    EdgeServiceServer::<EdgeCalls>::NAME,
    AuditServiceServer::<Audit>::NAME,
    TokenServiceServer::<Tokens>::NAME,
    InviteServiceServer::<Invites>::NAME,
    IssuerServiceServer::<Issuers>::NAME,
    DnsProviderServiceServer::<DnsProviders>::NAME,
    UnreadableServiceServer::<UnreadableRows>::NAME,
    TaskServiceServer::<Tasks>::NAME,
];

fn metrics_answer(metrics: &Metrics, app: &App) -> impl IntoResponse + use<> {
    metrics.withheld(app.feed.state().withheld().map(|withheld| withheld.kind.as_str()));
    let headers = [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (headers, metrics.text())
}

fn router(
    api: Api,
    reporter: HealthReporter,
    ending: CancellationToken,
) -> Router<Stack<RefuseUnknownFields, Stack<Authentication, Identity>>> {
    let Api { app, authenticator, tracker, metrics, health, task_statuses } = api;
    let warnings = Warnings::new(app.clone(), tracker.view.clone());
    let domains =
        DomainServiceServer::new(Domains(app.clone(), warnings.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let services =
        ServiceServiceServer::new(Services(app.clone(), warnings.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let backends =
        BackendServiceServer::new(Backends(app.clone(), warnings)).max_decoding_message_size(REQUEST_BYTES_MAX);
    let audit = AuditServiceServer::new(Audit(app.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let tokens = TokenServiceServer::new(Tokens(app.clone(), authenticator.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let invites = InviteServiceServer::new(Invites(app.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let issuers = IssuerServiceServer::new(Issuers(app.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let dns_providers =
        DnsProviderServiceServer::new(DnsProviders(app.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let unreadable =
        UnreadableServiceServer::new(UnreadableRows(app.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let tasks = TaskServiceServer::new(Tasks(task_statuses)).max_decoding_message_size(REQUEST_BYTES_MAX);
    let authentication = Authentication::new(authenticator, ending);
    let certificates =
        CertificateServiceServer::new(Certificates::new(app.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let edges = EdgeCalls::new(app.clone(), tracker);
    let edges = EdgeServiceServer::new(edges).max_decoding_message_size(REQUEST_BYTES_MAX);

    let health_service = HealthServer::new(HealthService::from_health_reporter(reporter));
    let reflection = |own_name: &str| {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        // By name: the descriptors also hold what edges call, which is served elsewhere.
        SERVICES
            .into_iter()
            .chain([tonic_health::pb::health_server::SERVICE_NAME, own_name])
            .fold(builder, tonic_reflection::server::Builder::with_service_name)
    };
    let reflection_v1 = reflection("grpc.reflection.v1.ServerReflection").build_v1();
    let reflection_v1alpha = reflection("grpc.reflection.v1alpha.ServerReflection").build_v1alpha();
    let plain = axum::Router::new()
        .route("/metrics", get(async move || metrics_answer(&metrics, &app)))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || health::readiness(*health.borrow())));
    Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(METADATA_BYTES_MAX)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .layer(authentication)
        .layer(RefuseUnknownFields)
        .add_routes(Routes::from(plain))
        .add_service(domains)
        .add_service(services)
        .add_service(backends)
        .add_service(certificates)
        .add_service(edges)
        .add_service(audit)
        .add_service(tokens)
        .add_service(invites)
        .add_service(issuers)
        .add_service(dns_providers)
        .add_service(unreadable)
        .add_service(tasks)
        .add_service(health_service)
        .add_service(reflection_v1.expect("the descriptors were made by the build of this program"))
        .add_service(reflection_v1alpha.expect("the descriptors were made by the build of this program"))
}
