use std::sync::Arc;

use switchyard_proto::v1::{
    ListChangesRequest, ListChangesResponse, PurgeSecretRequest, PurgeSecretResponse,
    audit_service_server::AuditService,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, audit as convert_audit},
    status::status,
};
use crate::app::{App, PageRequest, audit};

/// The history.
pub(super) struct Audit(pub(super) Arc<App>);

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        let ListChangesRequest { page_size, page_token, resource, actor, since, until } = request.into_inner();
        let listed = async {
            let page = PageRequest::parse(&self.0.page_tokens, page_size, &page_token)?;
            let filter = convert_audit::filter(&resource, &actor, since, until)?;
            audit::list(&self.0, &page, filter).await
        };
        let page = listed.await.map_err(|error| status(error, None))?;
        let changes = page.items.into_iter().map(convert_audit::message).collect();
        Ok(Response::new(ListChangesResponse { changes, next_page_token: page.next_page_token }))
    }

    async fn purge_secret(
        &self,
        request: Request<PurgeSecretRequest>,
    ) -> Result<Response<PurgeSecretResponse>, Status> {
        let actor = caller(&request)?;
        let PurgeSecretRequest { resource, path, validate_only } = request.into_inner();
        let purged = async {
            let resource = convert_audit::resource(&resource)?;
            let path = convert_audit::path(&path)?;
            audit::purge_secret(&self.0, &actor, &resource, path, convert::mode(validate_only)).await
        };
        let (purged, revision) = purged.await.map_err(|error| status(error, None))?;
        Ok(Response::new(PurgeSecretResponse { purged, revision: revision.0 }))
    }
}
