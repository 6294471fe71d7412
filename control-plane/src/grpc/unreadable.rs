use std::sync::Arc;

use switchyard_proto::v1::{
    DeleteUnreadableRequest, DeleteUnreadableResponse, GetUnreadableRequest, ListUnreadableRequest,
    ListUnreadableResponse, Unreadable, unreadable_service_server::UnreadableService,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, unreadable as convert_unreadable},
    status::status,
};
use crate::app::{App, PageRequest, unreadable};

/// What the database has and cannot be read.
pub(super) struct UnreadableRows(pub(super) Arc<App>);

#[tonic::async_trait]
impl UnreadableService for UnreadableRows {
    async fn list_unreadable(
        &self,
        request: Request<ListUnreadableRequest>,
    ) -> Result<Response<ListUnreadableResponse>, Status> {
        let ListUnreadableRequest { page_size, page_token } = request.into_inner();
        let page =
            PageRequest::parse(&self.0.page_tokens, page_size, &page_token).map_err(|error| status(error, None))?;
        let page = unreadable::list(&self.0, &page);
        let unreadable = page.items.into_iter().map(|(name, it)| convert_unreadable::listed(name, it)).collect();
        Ok(Response::new(ListUnreadableResponse { unreadable, next_page_token: page.next_page_token }))
    }

    async fn get_unreadable(&self, request: Request<GetUnreadableRequest>) -> Result<Response<Unreadable>, Status> {
        let GetUnreadableRequest { name } = request.into_inner();
        let found = async {
            let key = convert::name(&name, convert_unreadable::parse_name)?;
            Ok(convert_unreadable::message(key.to_string(), unreadable::get(&self.0, &key).await?))
        };
        found.await.map(Response::new).map_err(|error| status(error, None))
    }

    async fn delete_unreadable(
        &self,
        request: Request<DeleteUnreadableRequest>,
    ) -> Result<Response<DeleteUnreadableResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteUnreadableRequest { name, etag, validate_only } = request.into_inner();
        let deleted = async {
            let key = convert::name(&name, convert_unreadable::parse_name)?;
            let etag = convert::parse_etag(&etag);
            unreadable::delete(&self.0, &actor, &key, etag, convert::mode(validate_only)).await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteUnreadableResponse { revision: revision.0 }))
    }
}
