use std::sync::Arc;

use switchyard_proto::{
    v1::{
        Backend, CreateBackendRequest, DeleteBackendRequest, DeleteBackendResponse, DrainBackendRequest,
        GetBackendRequest, ListBackendsRequest, ListBackendsResponse, UpdateBackendRequest,
        backend_service_server::BackendService,
    },
    vocab::{BackendId, Labels},
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, resource},
    status::status,
    warnings::Warnings,
};
use crate::app::{App, PageRequest, backend};

/// Backends.
pub(super) struct Backends(pub(super) Arc<App>, pub(super) Warnings);

#[tonic::async_trait]
impl BackendService for Backends {
    async fn list_backends(
        &self,
        request: Request<ListBackendsRequest>,
    ) -> Result<Response<ListBackendsResponse>, Status> {
        let actor = caller(&request)?;
        let ListBackendsRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(&self.0.page_tokens, page_size, &page_token)
            .and_then(|page| backend::list(&self.0, &actor, &page))
            .map_err(|error| status(error, None))?;
        let backends = page.items.iter().map(|stored| resource::message(stored)).collect();
        Ok(Response::new(ListBackendsResponse { backends, next_page_token: page.next_page_token }))
    }

    async fn get_backend(&self, request: Request<GetBackendRequest>) -> Result<Response<Backend>, Status> {
        let actor = caller(&request)?;
        let GetBackendRequest { name } = request.into_inner();
        let stored = convert::name(&name, BackendId::parse_resource_name)
            .and_then(|id| backend::get(&self.0, &actor, &id))
            .map_err(|error| status(error, None))?;
        Ok(Response::new(resource::message(&stored)))
    }

    async fn create_backend(&self, request: Request<CreateBackendRequest>) -> Result<Response<Backend>, Status> {
        let actor = caller(&request)?;
        let CreateBackendRequest { backend, validate_only } = request.into_inner();
        let created = async {
            let new = resource::new(backend)?;
            backend::create(&self.0, &actor, new, convert::mode(validate_only)).await
        };
        let stored = created.await.map_err(|error| status(error, Some("backend")))?;
        Ok(self.1.add(&stored, &Labels::default(), Response::new(resource::message(&stored))))
    }

    async fn update_backend(&self, request: Request<UpdateBackendRequest>) -> Result<Response<Backend>, Status> {
        let actor = caller(&request)?;
        let UpdateBackendRequest { backend, update_mask, validate_only, force } = request.into_inner();
        let updated = async {
            let (id, patch, etag) = resource::update(backend, update_mask, BackendId::parse_resource_name)?;
            backend::update(&self.0, &actor, &id, &patch, etag, convert::force(force), convert::mode(validate_only))
                .await
        };
        let stored = updated.await.map_err(|error| status(error, Some("backend")))?;
        Ok(self.1.add(&stored, &Labels::default(), Response::new(resource::message(&stored))))
    }

    async fn delete_backend(
        &self,
        request: Request<DeleteBackendRequest>,
    ) -> Result<Response<DeleteBackendResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteBackendRequest { name, etag, validate_only, force } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, BackendId::parse_resource_name)?;
            backend::delete(
                &self.0,
                &actor,
                &id,
                convert::parse_etag(&etag),
                convert::force(force),
                convert::mode(validate_only),
            )
            .await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteBackendResponse { revision: revision.0 }))
    }

    async fn drain_backend(&self, request: Request<DrainBackendRequest>) -> Result<Response<Backend>, Status> {
        let actor = caller(&request)?;
        let DrainBackendRequest { name, etag, validate_only, force } = request.into_inner();
        let drained = async {
            let id = convert::name(&name, BackendId::parse_resource_name)?;
            backend::drain(
                &self.0,
                &actor,
                &id,
                convert::parse_etag(&etag),
                convert::force(force),
                convert::mode(validate_only),
            )
            .await
        };
        let stored = drained.await.map_err(|error| status(error, None))?;
        Ok(self.1.add(&stored, &Labels::default(), Response::new(resource::message(&stored))))
    }
}
