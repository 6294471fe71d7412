//! A control plane in this process, and its clients.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::Duration,
};

use switchyard_control_plane::{
    config::{Admin, MasterKeySource, Orders, Settings},
    server::Server,
    store::Location,
};
use switchyard_process::Origins;
use switchyard_proto::{
    Bearer,
    v1::{
        Backend, CertificateSource, CreateBackendRequest, CreateDomainRequest, CreateInviteRequest, Domain, DomainTls,
        backend_service_client::BackendServiceClient, certificate_service_client::CertificateServiceClient,
        domain_service_client::DomainServiceClient, edge_service_client::EdgeServiceClient,
        invite_service_client::InviteServiceClient, service_service_client::ServiceServiceClient,
    },
};
use switchyard_tests::fleet_client::Member;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

/// Longer than anything takes that does not hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A control plane with a database of its own, and clients of its API.
pub(crate) struct ControlPlane {
    pub(crate) server: Server,
    pub(crate) domains: DomainServiceClient<Authorized>,
    pub(crate) services: ServiceServiceClient<Authorized>,
    pub(crate) backends: BackendServiceClient<Authorized>,
    pub(crate) certificates: CertificateServiceClient<Authorized>,
    pub(crate) edges: EdgeServiceClient<Authorized>,
    pub(crate) invites: InviteServiceClient<Authorized>,
    members: Arc<Mutex<HashMap<String, Arc<Member>>>>,
    dir: Arc<TempDir>,
}

impl ControlPlane {
    pub(crate) async fn start() -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), Arc::default()).await
    }

    async fn start_in(dir: Arc<TempDir>, members: Arc<Mutex<HashMap<String, Arc<Member>>>>) -> Self {
        let server = Server::start(settings(dir.path())).await.unwrap();
        let channel = channel(server.admin, dir.path());
        Self {
            server,
            domains: DomainServiceClient::new(channel.clone()),
            services: ServiceServiceClient::new(channel.clone()),
            backends: BackendServiceClient::new(channel.clone()),
            certificates: CertificateServiceClient::new(channel.clone()),
            edges: EdgeServiceClient::new(channel.clone()),
            invites: InviteServiceClient::new(channel),
            members,
            dir,
        }
    }

    /// A channel to its API that shows the first token.
    pub(crate) fn channel(&self) -> Authorized {
        channel(self.server.admin, self.dir.path())
    }

    /// Starts another one on the same data.
    pub(crate) async fn start_another(&self) -> Self {
        Self::start_in(self.dir.clone(), self.members.clone()).await
    }

    /// Ends it and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        let Self { server, dir, members, .. } = self;
        server.end().await;
        Self::start_in(dir, members).await
    }

    /// The edge of this name, which joins the first time.
    pub(crate) async fn member(&self, id: &str) -> Arc<Member> {
        let mut members = self.members.lock().await;
        if let Some(member) = members.get(id) {
            return member.clone();
        }
        let request = CreateInviteRequest { invite: None, validate_only: false };
        let token = self.invites.clone().create_invite(request).await.unwrap().into_inner().token;
        let member = Arc::new(Member::join(self.server.fleet, &token, id).await.unwrap());
        members.insert(id.to_owned(), member.clone());
        member
    }

    /// Creates a backend of the default service; the revision of that.
    pub(crate) async fn create_backend(&mut self, id: &str, tag: &str) -> Result<u64, Status> {
        let backend = Backend {
            name: format!("backends/{id}"),
            address: "127.0.0.1:1".to_owned(),
            tags: vec![tag.to_owned()],
            ..Backend::default()
        };
        let request = CreateBackendRequest { backend: Some(backend), validate_only: false };
        Ok(self.backends.create_backend(request).await?.into_inner().revision)
    }

    /// Creates a domain of the default service.
    pub(crate) async fn create_domain(&mut self, host: &str, tag: &str) -> Result<Domain, Status> {
        let request = CreateDomainRequest { domain: Some(domain(host, tag)), validate_only: false };
        Ok(self.domains.create_domain(request).await?.into_inner())
    }
}

/// A domain of the default service, whose certificate, if it has one, is uploaded.
pub(crate) fn domain(host: &str, tag: &str) -> Domain {
    let tls = DomainTls { certificate_source: CertificateSource::Uploaded.into(), ..DomainTls::default() };
    Domain { name: format!("domains/{host}"), active_tag: tag.to_owned(), tls: Some(tls), ..Domain::default() }
}

/// A channel that shows the first token.
pub(crate) type Authorized = InterceptedService<Channel, Bearer>;

pub(crate) fn channel(admin: SocketAddr, data_dir: &Path) -> Authorized {
    let channel = Endpoint::from_shared(format!("http://{admin}")).unwrap().timeout(DEADLINE).connect_lazy();
    let token = fs::read_to_string(data_dir.join("admin-token")).unwrap();
    InterceptedService::new(channel, Bearer::new(token.trim()).unwrap())
}

pub(crate) fn settings(dir: &Path) -> Settings {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Settings {
        data_dir: dir.to_owned(),
        database: Location::Sqlite(dir.join("switchyard.db")),
        admin: Admin { address: anywhere, tls: None },
        fleet: anywhere,
        edge_certificate_lifetime: Duration::from_secs(60 * 60),
        token_rate: NonZeroU32::MAX,
        orders: Orders::Off,
        master_key: MasterKeySource::FileOrNew(dir.join("master-key")),
        previous_master_keys: Vec::new(),
        command: None,
        seed: None,
        origins: Origins::default(),
    }
}

/// Awaits, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}
