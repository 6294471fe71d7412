use std::sync::Arc;

use switchyard_proto::{
    v1::{
        CreateServiceRequest, DeleteServiceRequest, DeleteServiceResponse, GetServiceRequest, ListServicesRequest,
        ListServicesResponse, Service, UpdateServiceRequest, service_service_server::ServiceService,
    },
    vocab::{Labels, ServiceId},
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, resource, service as convert_service},
    pages,
    status::status,
    warnings::Warnings,
};
use crate::app::{App, PageRequest, service};

/// Services.
pub(super) struct Services(pub(super) Arc<App>, pub(super) Warnings);

#[tonic::async_trait]
impl ServiceService for Services {
    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        let actor = caller(&request)?;
        let ListServicesRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(&self.0.page_tokens, page_size, &page_token)
            .and_then(|page| service::list(&self.0, &actor, &page))
            .map_err(|error| status(error, None))?;
        let (services, next_page_token) = pages::fitting(page, convert_service::message, |service| service.id.as_str());
        Ok(Response::new(ListServicesResponse { services, next_page_token }))
    }

    async fn get_service(&self, request: Request<GetServiceRequest>) -> Result<Response<Service>, Status> {
        let actor = caller(&request)?;
        let GetServiceRequest { name } = request.into_inner();
        let stored = convert::name(&name, ServiceId::parse_resource_name)
            .and_then(|id| service::get(&self.0, &actor, &id))
            .map_err(|error| status(error, None))?;
        Ok(Response::new(convert_service::message(&stored)))
    }

    async fn create_service(&self, request: Request<CreateServiceRequest>) -> Result<Response<Service>, Status> {
        let actor = caller(&request)?;
        let CreateServiceRequest { service, validate_only } = request.into_inner();
        let created = async {
            let new = resource::new(service)?;
            service::create(&self.0, &actor, new, convert::mode(validate_only)).await
        };
        let stored = created.await.map_err(|error| status(error, Some("service")))?;
        Ok(self.1.add(&stored, &Labels::default(), Response::new(convert_service::message(&stored))))
    }

    async fn update_service(&self, request: Request<UpdateServiceRequest>) -> Result<Response<Service>, Status> {
        let actor = caller(&request)?;
        let UpdateServiceRequest { service, update_mask, validate_only } = request.into_inner();
        let updated = async {
            let (id, patch, etag) = resource::update(service, update_mask, ServiceId::parse_resource_name)?;
            service::update(&self.0, &actor, &id, &patch, etag, convert::mode(validate_only)).await
        };
        let stored = updated.await.map_err(|error| status(error, Some("service")))?;
        Ok(self.1.add(&stored, &Labels::default(), Response::new(convert_service::message(&stored))))
    }

    async fn delete_service(
        &self,
        request: Request<DeleteServiceRequest>,
    ) -> Result<Response<DeleteServiceResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteServiceRequest { name, etag, validate_only } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, ServiceId::parse_resource_name)?;
            service::delete(&self.0, &actor, &id, convert::parse_etag(&etag), convert::mode(validate_only)).await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteServiceResponse { revision: revision.0 }))
    }
}
