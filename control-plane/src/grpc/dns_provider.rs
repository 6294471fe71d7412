use std::sync::Arc;

use switchyard_proto::{
    v1::{
        CreateDnsProviderRequest, DeleteDnsProviderRequest, DeleteDnsProviderResponse, DnsProvider,
        GetDnsProviderRequest, ListDnsProvidersRequest, ListDnsProvidersResponse, UpdateDnsProviderRequest,
        dns_provider_service_server::DnsProviderService,
    },
    vocab::DnsProviderId,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, resource},
    pages,
    status::status,
};
use crate::{
    app::{App, PageRequest, dns_provider},
    model::{self, Actor, Stored},
};

/// DNS providers.
pub(super) struct DnsProviders(pub(super) Arc<App>);

/// A DNS provider as a message: of one with zones out of scope, only its name and the others.
fn message(actor: &Actor, stored: &Stored<model::DnsProvider>) -> DnsProvider {
    let whole = resource::message(stored);
    match dns_provider::visible_zones(actor, &stored.value) {
        None => whole,
        Some(zones) => {
            let DnsProvider { name, etag, revision, .. } = whole;
            DnsProvider { name, zones, etag, revision, ..DnsProvider::default() }
        }
    }
}

#[tonic::async_trait]
impl DnsProviderService for DnsProviders {
    async fn list_dns_providers(
        &self,
        request: Request<ListDnsProvidersRequest>,
    ) -> Result<Response<ListDnsProvidersResponse>, Status> {
        let actor = caller(&request)?;
        let ListDnsProvidersRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(&self.0.page_tokens, page_size, &page_token)
            .and_then(|page| dns_provider::list(&self.0, &actor, &page))
            .map_err(|error| status(error, None))?;
        let (dns_providers, next_page_token) =
            pages::fitting(page, |stored| message(&actor, stored), |it| it.id.as_str());
        Ok(Response::new(ListDnsProvidersResponse { dns_providers, next_page_token }))
    }

    async fn get_dns_provider(&self, request: Request<GetDnsProviderRequest>) -> Result<Response<DnsProvider>, Status> {
        let actor = caller(&request)?;
        let GetDnsProviderRequest { name } = request.into_inner();
        let stored = convert::name(&name, DnsProviderId::parse_resource_name)
            .and_then(|id| dns_provider::get(&self.0, &actor, &id))
            .map_err(|error| status(error, None))?;
        Ok(Response::new(message(&actor, &stored)))
    }

    async fn create_dns_provider(
        &self,
        request: Request<CreateDnsProviderRequest>,
    ) -> Result<Response<DnsProvider>, Status> {
        let actor = caller(&request)?;
        let CreateDnsProviderRequest { dns_provider, validate_only } = request.into_inner();
        let created = async {
            let new = resource::new(dns_provider)?;
            dns_provider::create(&self.0, &actor, new, convert::mode(validate_only)).await
        };
        let stored = created.await.map_err(|error| status(error, Some("dns_provider")))?;
        Ok(Response::new(resource::message(&stored)))
    }

    async fn update_dns_provider(
        &self,
        request: Request<UpdateDnsProviderRequest>,
    ) -> Result<Response<DnsProvider>, Status> {
        let actor = caller(&request)?;
        let UpdateDnsProviderRequest { dns_provider, update_mask, validate_only } = request.into_inner();
        let updated = async {
            let (id, patch, etag) = resource::update(dns_provider, update_mask, DnsProviderId::parse_resource_name)?;
            dns_provider::update(&self.0, &actor, &id, &patch, etag, convert::mode(validate_only)).await
        };
        let stored = updated.await.map_err(|error| status(error, Some("dns_provider")))?;
        Ok(Response::new(resource::message(&stored)))
    }

    async fn delete_dns_provider(
        &self,
        request: Request<DeleteDnsProviderRequest>,
    ) -> Result<Response<DeleteDnsProviderResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteDnsProviderRequest { name, etag, validate_only } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, DnsProviderId::parse_resource_name)?;
            dns_provider::delete(&self.0, &actor, &id, convert::parse_etag(&etag), convert::mode(validate_only)).await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteDnsProviderResponse { revision: revision.0 }))
    }
}
