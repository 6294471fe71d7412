use std::sync::Arc;

use switchyard_proto::{
    v1::{
        CreateInviteRequest, CreateInviteResponse, DeleteInviteRequest, DeleteInviteResponse, ListInvitesRequest,
        ListInvitesResponse, invite_service_server::InviteService,
    },
    vocab::InviteId,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, invite as convert_invite},
    status::status,
};
use crate::app::{App, PageRequest, invite};

/// Invitations.
pub(super) struct Invites(pub(super) Arc<App>);

#[tonic::async_trait]
impl InviteService for Invites {
    async fn list_invites(
        &self,
        request: Request<ListInvitesRequest>,
    ) -> Result<Response<ListInvitesResponse>, Status> {
        let ListInvitesRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(&self.0.page_tokens, page_size, &page_token)
            .and_then(|page| invite::list(&self.0, &page))
            .map_err(|error| status(error, None))?;
        let invites = page.items.iter().map(|stored| convert_invite::message(stored)).collect();
        Ok(Response::new(ListInvitesResponse { invites, next_page_token: page.next_page_token }))
    }

    async fn create_invite(
        &self,
        request: Request<CreateInviteRequest>,
    ) -> Result<Response<CreateInviteResponse>, Status> {
        let actor = caller(&request)?;
        let CreateInviteRequest { invite, validate_only } = request.into_inner();
        let created = async {
            let new = convert_invite::new(invite)?;
            invite::create(&self.0, &actor, new, convert::mode(validate_only)).await
        };
        let (stored, token) = created.await.map_err(|error| status(error, Some("invite")))?;
        // Of one that was not made there is nothing to show.
        let token = if validate_only { String::new() } else { token };
        let invite = Some(convert_invite::message(&stored));
        Ok(Response::new(CreateInviteResponse { invite, token, fleet_port: self.0.fleet_port.into() }))
    }

    async fn delete_invite(
        &self,
        request: Request<DeleteInviteRequest>,
    ) -> Result<Response<DeleteInviteResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteInviteRequest { name, validate_only } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, InviteId::parse_resource_name)?;
            invite::delete(&self.0, &actor, &id, convert::mode(validate_only)).await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteInviteResponse { revision: revision.0 }))
    }
}
