use std::sync::Arc;

use switchyard_proto::{
    v1::{
        CertificateSource, CreateDomainRequest, DeleteDomainRequest, DeleteDomainResponse, Domain, DomainTls,
        GetDomainRequest, ListDomainsRequest, ListDomainsResponse, SwitchDomainRequest, UpdateDomainRequest,
        domain_service_server::DomainService,
    },
    vocab::{HostPattern, Tag},
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, resource},
    pages,
    status::status,
    warnings::{self, Warnings},
};
use crate::{
    app::{
        App, AppError, PageRequest,
        domain::{self, Source},
    },
    model::{self, Stored},
};

/// Domains.
pub(super) struct Domains(pub(super) Arc<App>, pub(super) Warnings);

impl Domains {
    /// The answer to a change of a domain.
    fn written(&self, stored: &Stored<model::Domain>) -> Response<Domain> {
        let Self(app, warnings) = self;
        let answer = warnings.add(stored, &stored.value.edge_selector, Response::new(resource::message(stored)));
        warnings::with(answer, domain::warning(app, &stored.value))
    }
}

#[tonic::async_trait]
impl DomainService for Domains {
    async fn list_domains(
        &self,
        request: Request<ListDomainsRequest>,
    ) -> Result<Response<ListDomainsResponse>, Status> {
        let actor = caller(&request)?;
        let ListDomainsRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(&self.0.page_tokens, page_size, &page_token)
            .and_then(|page| domain::list(&self.0, &actor, &page))
            .map_err(|error| status(error, None))?;
        let (domains, next_page_token) = pages::fitting(page, resource::message, |domain| domain.host.as_str());
        Ok(Response::new(ListDomainsResponse { domains, next_page_token }))
    }

    async fn get_domain(&self, request: Request<GetDomainRequest>) -> Result<Response<Domain>, Status> {
        let actor = caller(&request)?;
        let GetDomainRequest { name } = request.into_inner();
        let stored = convert::name(&name, HostPattern::parse_resource_name)
            .and_then(|host| domain::get(&self.0, &actor, &host))
            .map_err(|error| status(error, None))?;
        Ok(Response::new(resource::message(&stored)))
    }

    async fn create_domain(&self, request: Request<CreateDomainRequest>) -> Result<Response<Domain>, Status> {
        let actor = caller(&request)?;
        let CreateDomainRequest { domain, validate_only } = request.into_inner();
        let created = async {
            let source = source(domain.as_ref());
            domain::create(&self.0, &actor, resource::new(domain)?, source, convert::mode(validate_only)).await
        };
        let stored = created.await.map_err(|error| status(error, Some("domain")))?;
        Ok(self.written(&stored))
    }

    async fn update_domain(&self, request: Request<UpdateDomainRequest>) -> Result<Response<Domain>, Status> {
        let actor = caller(&request)?;
        let UpdateDomainRequest { domain, update_mask, validate_only } = request.into_inner();
        let updated = async {
            let (host, patch, etag) = resource::update(domain, update_mask, HostPattern::parse_resource_name)?;
            domain::update(&self.0, &actor, &host, &patch, etag, convert::mode(validate_only)).await
        };
        let stored = updated.await.map_err(|error| status(error, Some("domain")))?;
        Ok(self.written(&stored))
    }

    async fn delete_domain(
        &self,
        request: Request<DeleteDomainRequest>,
    ) -> Result<Response<DeleteDomainResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteDomainRequest { name, etag, validate_only } = request.into_inner();
        let deleted = async {
            let host = convert::name(&name, HostPattern::parse_resource_name)?;
            domain::delete(&self.0, &actor, &host, convert::parse_etag(&etag), convert::mode(validate_only)).await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteDomainResponse { revision: revision.0 }))
    }

    async fn switch_domain(&self, request: Request<SwitchDomainRequest>) -> Result<Response<Domain>, Status> {
        let actor = caller(&request)?;
        let SwitchDomainRequest { name, tag, etag, force, validate_only } = request.into_inner();
        let switched = async {
            let host = convert::name(&name, HostPattern::parse_resource_name)?;
            let tag = Tag::parse(&tag).map_err(|error| AppError::invalid("tag", error))?;
            let (etag, mode) = (convert::parse_etag(&etag), convert::mode(validate_only));
            domain::switch(&self.0, &actor, &host, tag, convert::force(force), etag, mode).await
        };
        let stored = switched.await.map_err(|error| status(error, None))?;
        Ok(self.written(&stored))
    }
}

/// Whether a domain says where its certificate comes from.
fn source(domain: Option<&Domain>) -> Source {
    let tls = domain.and_then(|domain| domain.tls.as_ref());
    match tls.map_or(CertificateSource::Unspecified, DomainTls::certificate_source) {
        CertificateSource::Unspecified => Source::ByName,
        CertificateSource::Acme | CertificateSource::Internal | CertificateSource::Uploaded => Source::Given,
    }
}
