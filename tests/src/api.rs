//! The gRPC API, as a program uses it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use switchyard_proto::{
    Bearer,
    v1::{
        AcmeSettings, Backend, BackendState, Certificate, CertificateSource, CreateBackendRequest,
        CreateCertificateRequest, CreateDomainRequest, CreateInviteRequest, CreateIssuerRequest, CreateServiceRequest,
        DeleteBackendRequest, DeleteDomainRequest, DeleteEdgeRequest, DeleteServiceRequest, Domain, DomainTls, Edge,
        EdgeProgress, GetDomainRequest, GetInternalCaRequest, GetIssuanceRequest, Invite, Issuance, IssuanceState,
        Issuer, ListEdgesRequest, ListEdgesResponse, Service, SwitchDomainRequest, UpdateBackendRequest,
        UpdateDomainRequest, WatchRevisionRequest, audit_service_client::AuditServiceClient,
        backend_service_client::BackendServiceClient, certificate_service_client::CertificateServiceClient,
        dns_provider_service_client::DnsProviderServiceClient, domain_service_client::DomainServiceClient,
        edge_service_client::EdgeServiceClient, invite_service_client::InviteServiceClient,
        issuer_service_client::IssuerServiceClient, service_service_client::ServiceServiceClient,
        token_service_client::TokenServiceClient, unreadable_service_client::UnreadableServiceClient,
    },
};
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use crate::eventually::{DEADLINE, eventually, within};

/// A channel that shows a token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Clients of one control plane; the short calls that most tests need are methods.
#[derive(Clone)]
pub struct Api {
    /// Domains.
    pub domains: DomainServiceClient<Authorized>,
    /// Services.
    pub services: ServiceServiceClient<Authorized>,
    /// Backends.
    pub backends: BackendServiceClient<Authorized>,
    /// Certificates.
    pub certificates: CertificateServiceClient<Authorized>,
    /// Edges.
    pub edges: EdgeServiceClient<Authorized>,
    /// The history.
    pub audit: AuditServiceClient<Authorized>,
    /// Invitations.
    pub invites: InviteServiceClient<Authorized>,
    /// DNS providers.
    pub dns_providers: DnsProviderServiceClient<Authorized>,
    /// Issuers.
    pub issuers: IssuerServiceClient<Authorized>,
    /// Tokens.
    pub tokens: TokenServiceClient<Authorized>,
    /// What the control plane cannot read.
    pub unreadable: UnreadableServiceClient<Authorized>,
}

impl Api {
    /// Connects when it is first used, and again whenever it must; shows a token with every call.
    pub fn new(admin: SocketAddr, token: &str) -> Result<Self> {
        Self::with(admin, Bearer::new(token)?)
    }

    /// Connects as [`Api::new`] does; shows what `bearer` has.
    pub fn with(admin: SocketAddr, bearer: Bearer) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{admin}"))?.timeout(DEADLINE).connect_lazy();
        let channel = InterceptedService::new(channel, bearer);
        Ok(Self {
            domains: DomainServiceClient::new(channel.clone()),
            services: ServiceServiceClient::new(channel.clone()),
            backends: BackendServiceClient::new(channel.clone()),
            certificates: CertificateServiceClient::new(channel.clone()),
            edges: EdgeServiceClient::new(channel.clone()),
            audit: AuditServiceClient::new(channel.clone()),
            invites: InviteServiceClient::new(channel.clone()),
            dns_providers: DnsProviderServiceClient::new(channel.clone()),
            issuers: IssuerServiceClient::new(channel.clone()),
            tokens: TokenServiceClient::new(channel.clone()),
            unreadable: UnreadableServiceClient::new(channel),
        })
    }

    /// Invites so many edges; what they join with.
    pub async fn invite(&self, uses: u32, labels: &[(&str, &str)]) -> Result<String, Status> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let invite = Invite { uses, labels, ..Invite::default() };
        let request = CreateInviteRequest { invite: Some(invite), validate_only: false };
        Ok(self.invites.clone().create_invite(request).await?.into_inner().token)
    }

    /// Removes an edge from the fleet; the revision of that.
    pub async fn delete_edge(&self, id: &str) -> Result<u64, Status> {
        let request = DeleteEdgeRequest { name: format!("edges/{id}"), validate_only: false };
        Ok(self.edges.clone().delete_edge(request).await?.into_inner().revision)
    }

    /// Creates a service with every policy at its default.
    pub async fn create_service(&self, id: &str) -> Result<Service, Status> {
        let service = Service { name: format!("services/{id}"), ..Service::default() };
        let request = CreateServiceRequest { service: Some(service), validate_only: false };
        Ok(self.services.clone().create_service(request).await?.into_inner())
    }

    /// Creates an active backend.
    pub async fn create_backend(
        &self,
        id: &str,
        service: &str,
        address: &str,
        tags: &[&str],
    ) -> Result<Backend, Status> {
        let backend = Backend {
            name: format!("backends/{id}"),
            service: format!("services/{service}"),
            address: address.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..Backend::default()
        };
        let request = CreateBackendRequest { backend: Some(backend), validate_only: false };
        Ok(self.backends.clone().create_backend(request).await?.into_inner())
    }

    /// Gives a backend another address.
    pub async fn move_backend(&self, id: &str, address: &str) -> Result<Backend, Status> {
        let backend = Backend { name: format!("backends/{id}"), address: address.to_owned(), ..Backend::default() };
        self.update_backend(backend, "address").await
    }

    /// Gives a backend another state.
    pub async fn set_backend_state(&self, id: &str, state: BackendState) -> Result<Backend, Status> {
        let backend = Backend { name: format!("backends/{id}"), state: state.into(), ..Backend::default() };
        self.update_backend(backend, "state").await
    }

    /// Changes the fields of a backend that `paths` names, whatever depends on it.
    pub async fn update_backend(&self, backend: Backend, paths: &str) -> Result<Backend, Status> {
        let request = UpdateBackendRequest {
            backend: Some(backend),
            update_mask: Some(mask(paths)),
            force: true,
            ..UpdateBackendRequest::default()
        };
        Ok(self.backends.clone().update_backend(request).await?.into_inner())
    }

    /// Deletes a backend, whatever depends on it; the revision of that.
    pub async fn delete_backend(&self, id: &str) -> Result<u64, Status> {
        let name = format!("backends/{id}");
        let request = DeleteBackendRequest { name, force: true, ..DeleteBackendRequest::default() };
        Ok(self.backends.clone().delete_backend(request).await?.into_inner().revision)
    }

    /// Deletes a service; the revision of that.
    pub async fn delete_service(&self, id: &str) -> Result<u64, Status> {
        let request = DeleteServiceRequest { name: format!("services/{id}"), ..DeleteServiceRequest::default() };
        Ok(self.services.clone().delete_service(request).await?.into_inner().revision)
    }

    /// Creates a domain whose certificate, if it has one, is uploaded.
    pub async fn create_domain(&self, host: &str, service: &str, tag: &str) -> Result<Domain, Status> {
        let tls = DomainTls { certificate_source: CertificateSource::Uploaded.into(), ..DomainTls::default() };
        self.create(Domain { tls: Some(tls), ..domain(host, service, tag) }).await
    }

    /// Creates a domain whose certificate the internal CA issues.
    pub async fn create_internal_domain(&self, host: &str, service: &str, tag: &str) -> Result<Domain, Status> {
        let tls = DomainTls {
            certificate_source: CertificateSource::Internal.into(),
            client_authentication: None,
            minimum_version: 0,
            acme: None,
        };
        self.create(Domain { tls: Some(tls), ..domain(host, service, tag) }).await
    }

    /// Creates a domain whose certificate is ordered.
    pub async fn create_acme_domain(&self, host: &str, acme: AcmeSettings) -> Result<Domain, Status> {
        let tls =
            DomainTls { certificate_source: CertificateSource::Acme.into(), acme: Some(acme), ..DomainTls::default() };
        self.create(Domain { tls: Some(tls), ..domain(host, "default", "a") }).await
    }

    /// Makes an issuer of the CA whose directory is at this URL, and is trusted by this root.
    pub async fn create_issuer(&self, id: &str, directory: &str, root_pem: &str) -> Result<Issuer, Status> {
        let issuer = Issuer {
            name: format!("issuers/{id}"),
            directory: directory.to_owned(),
            root_ca_pem: root_pem.to_owned(),
            ..Issuer::default()
        };
        let request = CreateIssuerRequest { issuer: Some(issuer), validate_only: false };
        Ok(self.issuers.clone().create_issuer(request).await?.into_inner())
    }

    /// How far a domain is with its certificate.
    pub async fn issuance(&self, host: &str) -> Result<Issuance, Status> {
        let request = GetIssuanceRequest { domain: format!("domains/{host}") };
        Ok(self.certificates.clone().get_issuance(request).await?.into_inner())
    }

    /// Awaits that the certificate of a domain is there, and is served by every edge.
    pub async fn issued(&self, host: &str) -> Result<Issuance> {
        let issuance = eventually(&format!("{host} has its certificate"), async || {
            let issuance = self.issuance(host).await?;
            ensure!(issuance.state() == IssuanceState::Issued, "it is not issued: {issuance:?}");
            Ok(issuance)
        })
        .await?;
        self.progress(issuance.certificate_revision).await?;
        Ok(issuance)
    }

    /// Creates a domain.
    pub async fn create(&self, domain: Domain) -> Result<Domain, Status> {
        let request = CreateDomainRequest { domain: Some(domain), validate_only: false };
        Ok(self.domains.clone().create_domain(request).await?.into_inner())
    }

    /// Changes the fields of a domain that `paths` names, or all that are set.
    pub async fn update_domain(&self, domain: Domain, paths: &str) -> Result<Domain, Status> {
        let request =
            UpdateDomainRequest { domain: Some(domain), update_mask: Some(mask(paths)), validate_only: false };
        Ok(self.domains.clone().update_domain(request).await?.into_inner())
    }

    /// Returns a domain.
    pub async fn get_domain(&self, host: &str) -> Result<Domain, Status> {
        let request = GetDomainRequest { name: format!("domains/{host}") };
        Ok(self.domains.clone().get_domain(request).await?.into_inner())
    }

    /// Deletes a domain; the revision of that.
    pub async fn delete_domain(&self, host: &str) -> Result<u64, Status> {
        let request = DeleteDomainRequest { name: format!("domains/{host}"), ..DeleteDomainRequest::default() };
        Ok(self.domains.clone().delete_domain(request).await?.into_inner().revision)
    }

    /// Moves a domain to another tag.
    pub async fn switch_domain(&self, host: &str, tag: &str) -> Result<Domain, Status> {
        let request = SwitchDomainRequest {
            name: format!("domains/{host}"),
            tag: tag.to_owned(),
            ..SwitchDomainRequest::default()
        };
        Ok(self.domains.clone().switch_domain(request).await?.into_inner())
    }

    /// Uploads a certificate.
    pub async fn create_certificate(&self, id: &str, chain_pem: &str, key_pem: &str) -> Result<Certificate, Status> {
        let certificate = Certificate {
            name: format!("certificates/{id}"),
            chain_pem: chain_pem.to_owned(),
            ..Certificate::default()
        };
        let request = CreateCertificateRequest {
            certificate: Some(certificate),
            private_key_pem: key_pem.to_owned(),
            validate_only: false,
        };
        Ok(self.certificates.clone().create_certificate(request).await?.into_inner())
    }

    /// The root of the internal CA, as PEM.
    pub async fn internal_ca(&self) -> Result<String, Status> {
        let response = self.certificates.clone().get_internal_ca(GetInternalCaRequest {}).await?;
        Ok(response.into_inner().certificate_pem)
    }

    /// All edges (up to 1,000), and the newest revision.
    pub async fn list_edges(&self) -> Result<ListEdgesResponse, Status> {
        let request = ListEdgesRequest { page_size: 1_000, page_token: String::new() };
        Ok(self.edges.clone().list_edges(request).await?.into_inner())
    }

    /// One edge.
    pub async fn edge(&self, id: &str) -> Result<Edge> {
        let edges = self.list_edges().await?.edges;
        edges.into_iter().find(|edge| edge.name == format!("edges/{id}")).with_context(|| format!("no edge {id}"))
    }

    /// Follows a revision until every connected edge has acknowledged it; how far each edge is then.
    pub async fn progress(&self, revision: u64) -> Result<Vec<EdgeProgress>> {
        let request = WatchRevisionRequest { revision, require_all: false };
        let mut updates = self.edges.clone().watch_revision(request).await?.into_inner();
        within(&format!("every edge acknowledges revision {revision}"), async {
            while let Some(update) = updates.message().await? {
                if update.complete {
                    return Ok(update.edges);
                }
            }
            bail!("the progress of revision {revision} ended before it was complete")
        })
        .await?
    }
}

/// A domain with everything that is not given at its default.
pub fn domain(host: &str, service: &str, tag: &str) -> Domain {
    Domain {
        name: format!("domains/{host}"),
        service: format!("services/{service}"),
        active_tag: tag.to_owned(),
        ..Domain::default()
    }
}

/// An update mask: paths, separated by commas.
pub fn mask(paths: &str) -> pbjson_types::FieldMask {
    pbjson_types::FieldMask { paths: paths.split(',').filter(|path| !path.is_empty()).map(str::to_owned).collect() }
}
