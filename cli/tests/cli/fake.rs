//! A control plane that holds a few resources, notes what it is asked, and answers as it is told.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{Arc, Mutex},
};

use serde::Serialize;
use serde_json::Value;
use switchyard_proto::v1::{
    Backend, Certificate, CertificateSource, CreateBackendRequest, CreateCertificateRequest, CreateDomainRequest,
    CreateInviteRequest, CreateInviteResponse, CreateServiceRequest, DeleteBackendRequest, DeleteBackendResponse,
    DeleteCertificateRequest, DeleteCertificateResponse, DeleteDomainRequest, DeleteDomainResponse, DeleteEdgeRequest,
    DeleteEdgeResponse, DeleteInviteRequest, DeleteInviteResponse, DeleteServiceRequest, DeleteServiceResponse,
    DeleteUnreadableRequest, DeleteUnreadableResponse, Domain, DrainBackendRequest, Edge, GetBackendRequest,
    GetCertificateRequest, GetDomainRequest, GetEdgeRequest, GetInternalCaRequest, GetIssuanceRequest,
    GetServiceRequest, GetUnreadableRequest, InternalCa, Invite, Issuance, ListBackendsRequest, ListBackendsResponse,
    ListCertificatesRequest, ListCertificatesResponse, ListDomainsRequest, ListDomainsResponse, ListEdgesRequest,
    ListEdgesResponse, ListInvitesRequest, ListInvitesResponse, ListIssuancesRequest, ListIssuancesResponse,
    ListServicesRequest, ListServicesResponse, ListUnreadableRequest, ListUnreadableResponse, RenewCertificateRequest,
    RevokeCertificateRequest, Service, SwitchDomainRequest, Unreadable, UpdateBackendRequest, UpdateCertificateRequest,
    UpdateDomainRequest, UpdateEdgeRequest, UpdateServiceRequest, WatchIssuanceRequest, WatchRevisionRequest,
    WatchRevisionResponse,
    backend_service_server::{BackendService, BackendServiceServer},
    certificate_service_server::{CertificateService, CertificateServiceServer},
    domain_service_server::{DomainService, DomainServiceServer},
    edge_service_server::{EdgeService, EdgeServiceServer},
    invite_service_server::{InviteService, InviteServiceServer},
    service_service_server::{ServiceService, ServiceServiceServer},
    unreadable_service_server::{UnreadableService, UnreadableServiceServer},
};
use tokio::{net::TcpListener, process::Command, task::JoinHandle};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, codegen::BoxStream, transport::Server};

/// The revision of every change that the fake answers with.
pub(crate) const REVISION: u64 = 7;
/// Elements of a page, whatever is asked for: so that lists have several.
const PAGE_SIZE: usize = 2;

/// The control plane. It ends when it is dropped.
pub(crate) struct Fake {
    pub(crate) address: String,
    pub(crate) state: Arc<State>,
    server: JoinHandle<()>,
}

/// What it holds, what it was asked, and what it is to answer.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) domains: Mutex<Vec<Domain>>,
    pub(crate) services: Mutex<Vec<Service>>,
    pub(crate) backends: Mutex<Vec<Backend>>,
    pub(crate) certificates: Mutex<Vec<Certificate>>,
    pub(crate) edges: Mutex<Vec<Edge>>,
    pub(crate) issuances: Mutex<Vec<Issuance>>,
    pub(crate) unreadable: Mutex<Vec<Unreadable>>,
    /// Every change that is not forced is answered with this.
    pub(crate) refusal: Mutex<Option<Status>>,
    /// How many certificates an edge that is removed had.
    pub(crate) edge_certificates: Mutex<usize>,
    /// The source that new domains are given.
    source: Mutex<Option<CertificateSource>>,
    /// What each stream of a followed revision says. The last one never ends.
    pub(crate) streams: Mutex<VecDeque<Vec<Result<WatchRevisionResponse, Status>>>>,
    requests: Mutex<Vec<(&'static str, Value)>>,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program on its own.
pub(crate) async fn run_alone(args: &[&str]) -> Ended {
    let output = command(args).output().await.unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The program, not yet run.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.args(args).stdin(Stdio::null()).env_remove("SWITCHYARD_CONTROL_PLANE").kill_on_drop(true);
    command
}

impl Fake {
    /// Starts to serve on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let server = Server::builder()
            .add_service(DomainServiceServer::from_arc(state.clone()))
            .add_service(ServiceServiceServer::from_arc(state.clone()))
            .add_service(BackendServiceServer::from_arc(state.clone()))
            .add_service(CertificateServiceServer::from_arc(state.clone()))
            .add_service(EdgeServiceServer::from_arc(state.clone()))
            .add_service(InviteServiceServer::from_arc(state.clone()))
            .add_service(UnreadableServiceServer::from_arc(state.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async { server.await.unwrap() });
        Self { address, state, server }
    }

    /// Runs the program against this control plane.
    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        run_alone(&[&["--control-plane", &self.address], args].concat()).await
    }

    /// Runs the program, which must succeed, and returns the request of the method `method` that it made.
    pub(crate) async fn request_of(&self, method: &str, args: &[&str]) -> Value {
        let ended = self.run(args).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        self.requests(method).pop().unwrap_or_else(|| panic!("{method} was not called"))
    }

    /// The requests of the method `method` so far, as JSON.
    pub(crate) fn requests(&self, method: &str) -> Vec<Value> {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|(name, _)| *name == method).map(|(_, request)| request.clone()).collect()
    }

    /// Answers every change that is not forced with this from now on.
    pub(crate) fn refuse(&self, status: Status) {
        *self.state.refusal.lock().unwrap() = Some(status);
    }

    /// Gives new domains this source of their certificates from now on.
    pub(crate) fn choose(&self, source: CertificateSource) {
        *self.state.source.lock().unwrap() = Some(source);
    }

    /// Says this, and nothing more, on the next stream of a followed revision.
    pub(crate) fn say(&self, messages: Vec<Result<WatchRevisionResponse, Status>>) {
        self.state.streams.lock().unwrap().push_back(messages);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    fn note<T: Serialize>(&self, method: &'static str, request: Request<T>) -> T {
        let request = request.into_inner();
        self.requests.lock().unwrap().push((method, serde_json::to_value(&request).unwrap()));
        request
    }

    fn change<T: Serialize>(&self, method: &'static str, request: Request<T>) -> Result<T, Status> {
        let request = self.note(method, request);
        let is_forced = serde_json::to_value(&request).unwrap()["force"] == true;
        match &*self.refusal.lock().unwrap() {
            Some(status) if !is_forced => Err(status.clone()),
            Some(_) | None => Ok(request),
        }
    }
}

/// One page of `all`, and the token of the next one.
fn page<T: Clone>(all: &Mutex<Vec<T>>, token: &str) -> (Vec<T>, String) {
    let all = all.lock().unwrap();
    let begin: usize = if token.is_empty() { 0 } else { token.parse().unwrap() };
    let end = all.len().min(begin + PAGE_SIZE);
    let next = if end < all.len() { end.to_string() } else { String::new() };
    (all[begin..end].to_vec(), next)
}

fn find<T: Clone>(all: &Mutex<Vec<T>>, matches: impl Fn(&T) -> bool) -> Result<Response<T>, Status> {
    let found = all.lock().unwrap().iter().find(|it| matches(it)).cloned();
    found.map(Response::new).ok_or_else(|| Status::not_found("there is no such resource"))
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DomainService for State {
    async fn list_domains(&self, request: Request<ListDomainsRequest>) -> Answer<ListDomainsResponse> {
        let (domains, next_page_token) = page(&self.domains, &self.note("ListDomains", request).page_token);
        Ok(Response::new(ListDomainsResponse { domains, next_page_token }))
    }

    async fn get_domain(&self, request: Request<GetDomainRequest>) -> Answer<Domain> {
        let name = self.note("GetDomain", request).name;
        find(&self.domains, |domain| domain.name == name)
    }

    async fn create_domain(&self, request: Request<CreateDomainRequest>) -> Answer<Domain> {
        let mut domain = self.change("CreateDomain", request)?.domain.unwrap();
        if let Some(source) = *self.source.lock().unwrap() {
            domain.tls.get_or_insert_default().set_certificate_source(source);
        }
        Ok(Response::new(Domain { revision: REVISION, ..domain }))
    }

    async fn update_domain(&self, request: Request<UpdateDomainRequest>) -> Answer<Domain> {
        let domain = self.change("UpdateDomain", request)?.domain.unwrap();
        Ok(Response::new(Domain { revision: REVISION, ..domain }))
    }

    async fn delete_domain(&self, request: Request<DeleteDomainRequest>) -> Answer<DeleteDomainResponse> {
        self.change("DeleteDomain", request)?;
        Ok(Response::new(DeleteDomainResponse { revision: REVISION }))
    }

    async fn switch_domain(&self, request: Request<SwitchDomainRequest>) -> Answer<Domain> {
        let SwitchDomainRequest { name, tag, .. } = self.change("SwitchDomain", request)?;
        Ok(Response::new(Domain { name, active_tag: tag, revision: REVISION, ..Domain::default() }))
    }
}

#[tonic::async_trait]
impl ServiceService for State {
    async fn list_services(&self, request: Request<ListServicesRequest>) -> Answer<ListServicesResponse> {
        let (services, next_page_token) = page(&self.services, &self.note("ListServices", request).page_token);
        Ok(Response::new(ListServicesResponse { services, next_page_token }))
    }

    async fn get_service(&self, request: Request<GetServiceRequest>) -> Answer<Service> {
        let name = self.note("GetService", request).name;
        find(&self.services, |service| service.name == name)
    }

    async fn create_service(&self, request: Request<CreateServiceRequest>) -> Answer<Service> {
        let service = self.change("CreateService", request)?.service.unwrap();
        Ok(Response::new(Service { revision: REVISION, ..service }))
    }

    async fn update_service(&self, request: Request<UpdateServiceRequest>) -> Answer<Service> {
        let service = self.change("UpdateService", request)?.service.unwrap();
        Ok(Response::new(Service { revision: REVISION, ..service }))
    }

    async fn delete_service(&self, request: Request<DeleteServiceRequest>) -> Answer<DeleteServiceResponse> {
        self.change("DeleteService", request)?;
        Ok(Response::new(DeleteServiceResponse { revision: REVISION }))
    }
}

#[tonic::async_trait]
impl BackendService for State {
    async fn list_backends(&self, request: Request<ListBackendsRequest>) -> Answer<ListBackendsResponse> {
        let (backends, next_page_token) = page(&self.backends, &self.note("ListBackends", request).page_token);
        Ok(Response::new(ListBackendsResponse { backends, next_page_token }))
    }

    async fn get_backend(&self, request: Request<GetBackendRequest>) -> Answer<Backend> {
        let name = self.note("GetBackend", request).name;
        find(&self.backends, |backend| backend.name == name)
    }

    async fn create_backend(&self, request: Request<CreateBackendRequest>) -> Answer<Backend> {
        let backend = self.change("CreateBackend", request)?.backend.unwrap();
        Ok(Response::new(Backend { revision: REVISION, ..backend }))
    }

    async fn update_backend(&self, request: Request<UpdateBackendRequest>) -> Answer<Backend> {
        let backend = self.change("UpdateBackend", request)?.backend.unwrap();
        Ok(Response::new(Backend { revision: REVISION, ..backend }))
    }

    async fn delete_backend(&self, request: Request<DeleteBackendRequest>) -> Answer<DeleteBackendResponse> {
        self.change("DeleteBackend", request)?;
        Ok(Response::new(DeleteBackendResponse { revision: REVISION }))
    }

    async fn drain_backend(&self, request: Request<DrainBackendRequest>) -> Answer<Backend> {
        let name = self.change("DrainBackend", request)?.name;
        Ok(Response::new(Backend { name, revision: REVISION, ..Backend::default() }))
    }
}

#[tonic::async_trait]
impl CertificateService for State {
    async fn list_certificates(&self, request: Request<ListCertificatesRequest>) -> Answer<ListCertificatesResponse> {
        let token = self.note("ListCertificates", request).page_token;
        let (certificates, next_page_token) = page(&self.certificates, &token);
        Ok(Response::new(ListCertificatesResponse { certificates, next_page_token }))
    }

    async fn get_certificate(&self, request: Request<GetCertificateRequest>) -> Answer<Certificate> {
        let name = self.note("GetCertificate", request).name;
        find(&self.certificates, |certificate| certificate.name == name)
    }

    async fn create_certificate(&self, request: Request<CreateCertificateRequest>) -> Answer<Certificate> {
        let certificate = self.change("CreateCertificate", request)?.certificate.unwrap();
        Ok(Response::new(Certificate { revision: REVISION, ..certificate }))
    }

    async fn update_certificate(&self, request: Request<UpdateCertificateRequest>) -> Answer<Certificate> {
        let certificate = self.change("UpdateCertificate", request)?.certificate.unwrap();
        Ok(Response::new(Certificate { revision: REVISION, ..certificate }))
    }

    async fn delete_certificate(
        &self,
        request: Request<DeleteCertificateRequest>,
    ) -> Answer<DeleteCertificateResponse> {
        self.change("DeleteCertificate", request)?;
        Ok(Response::new(DeleteCertificateResponse { revision: REVISION }))
    }

    type WatchIssuanceStream = BoxStream<Issuance>;

    async fn get_issuance(&self, request: Request<GetIssuanceRequest>) -> Answer<Issuance> {
        let domain = self.note("GetIssuance", request).domain;
        Err(Status::not_found(format!("there is no {domain}/issuance")))
    }

    async fn watch_issuance(&self, request: Request<WatchIssuanceRequest>) -> Answer<Self::WatchIssuanceStream> {
        let domain = self.note("WatchIssuance", request).domain;
        Err(Status::not_found(format!("there is no {domain}/issuance")))
    }

    async fn list_issuances(&self, request: Request<ListIssuancesRequest>) -> Answer<ListIssuancesResponse> {
        let (issuances, next_page_token) = page(&self.issuances, &self.note("ListIssuances", request).page_token);
        Ok(Response::new(ListIssuancesResponse { issuances, next_page_token }))
    }

    async fn revoke_certificate(&self, request: Request<RevokeCertificateRequest>) -> Answer<Issuance> {
        let domain = self.change("RevokeCertificate", request)?.domain;
        Err(Status::not_found(format!("there is no {domain}/issuance")))
    }

    async fn renew_certificate(&self, request: Request<RenewCertificateRequest>) -> Answer<Issuance> {
        let domain = self.change("RenewCertificate", request)?.domain;
        Err(Status::not_found(format!("there is no {domain}/issuance")))
    }

    async fn get_internal_ca(&self, request: Request<GetInternalCaRequest>) -> Answer<InternalCa> {
        self.note("GetInternalCa", request);
        Ok(Response::new(InternalCa { certificate_pem: "-----BEGIN CERTIFICATE-----\n".to_owned() }))
    }
}

#[tonic::async_trait]
impl EdgeService for State {
    async fn list_edges(&self, request: Request<ListEdgesRequest>) -> Answer<ListEdgesResponse> {
        let (edges, next_page_token) = page(&self.edges, &self.note("ListEdges", request).page_token);
        Ok(Response::new(ListEdgesResponse { edges, next_page_token, revision: REVISION }))
    }

    async fn get_edge(&self, request: Request<GetEdgeRequest>) -> Answer<Edge> {
        let name = self.note("GetEdge", request).name;
        find(&self.edges, |edge| edge.name == name)
    }

    async fn update_edge(&self, request: Request<UpdateEdgeRequest>) -> Answer<Edge> {
        let edge = self.change("UpdateEdge", request)?.edge.unwrap();
        Ok(Response::new(Edge { revision: REVISION, ..edge }))
    }

    async fn delete_edge(&self, request: Request<DeleteEdgeRequest>) -> Answer<DeleteEdgeResponse> {
        self.change("DeleteEdge", request)?;
        let certificates = (0..*self.edge_certificates.lock().unwrap()).map(|n| format!("certificates/c{n}")).collect();
        Ok(Response::new(DeleteEdgeResponse { revision: REVISION, certificates }))
    }

    type WatchRevisionStream = BoxStream<WatchRevisionResponse>;

    async fn watch_revision(&self, request: Request<WatchRevisionRequest>) -> Answer<Self::WatchRevisionStream> {
        self.note("WatchRevision", request);
        let mut streams = self.streams.lock().unwrap();
        let messages = streams.pop_front().expect("a test says what each stream says");
        let said = tokio_stream::iter(messages);
        if streams.is_empty() {
            Ok(Response::new(Box::pin(said.chain(tokio_stream::pending()))))
        } else {
            Ok(Response::new(Box::pin(said)))
        }
    }
}

#[tonic::async_trait]
impl InviteService for State {
    async fn list_invites(&self, request: Request<ListInvitesRequest>) -> Answer<ListInvitesResponse> {
        self.note("ListInvites", request);
        let invite = Invite { name: "invites/k7".to_owned(), uses: 1, ..Invite::default() };
        Ok(Response::new(ListInvitesResponse { invites: vec![invite], next_page_token: String::new() }))
    }

    async fn create_invite(&self, request: Request<CreateInviteRequest>) -> Answer<CreateInviteResponse> {
        let invite = self.change("CreateInvite", request)?.invite;
        Ok(Response::new(CreateInviteResponse {
            invite,
            token: format!("k7.secret.{}", "0".repeat(64)),
            fleet_port: 7443,
        }))
    }

    async fn delete_invite(&self, request: Request<DeleteInviteRequest>) -> Answer<DeleteInviteResponse> {
        self.change("DeleteInvite", request)?;
        Ok(Response::new(DeleteInviteResponse { revision: REVISION }))
    }
}

#[tonic::async_trait]
impl UnreadableService for State {
    async fn list_unreadable(&self, request: Request<ListUnreadableRequest>) -> Answer<ListUnreadableResponse> {
        let (unreadable, next_page_token) = page(&self.unreadable, &self.note("ListUnreadable", request).page_token);
        Ok(Response::new(ListUnreadableResponse { unreadable, next_page_token }))
    }

    async fn get_unreadable(&self, request: Request<GetUnreadableRequest>) -> Answer<Unreadable> {
        let name = self.note("GetUnreadable", request).name;
        find(&self.unreadable, |unreadable| unreadable.resource == name)
    }

    async fn delete_unreadable(&self, request: Request<DeleteUnreadableRequest>) -> Answer<DeleteUnreadableResponse> {
        self.change("DeleteUnreadable", request)?;
        Ok(Response::new(DeleteUnreadableResponse { revision: REVISION }))
    }
}
