use std::sync::Arc;

use switchyard_proto::{
    v1::{
        CreateIssuerRequest, DeleteIssuerRequest, DeleteIssuerResponse, GetBudgetRequest, GetBudgetResponse,
        GetIssuerRequest, Issuer, ListIssuersRequest, ListIssuersResponse, RotateAccountRequest, UpdateIssuerRequest,
        issuer_service_server::IssuerService,
    },
    vocab::IssuerId,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, issuer::budget, resource},
    pages,
    status::status,
};
use crate::app::{App, PageRequest, issuer};

/// Issuers.
pub(super) struct Issuers(pub(super) Arc<App>);

#[tonic::async_trait]
impl IssuerService for Issuers {
    async fn list_issuers(
        &self,
        request: Request<ListIssuersRequest>,
    ) -> Result<Response<ListIssuersResponse>, Status> {
        let ListIssuersRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(&self.0.page_tokens, page_size, &page_token)
            .and_then(|page| issuer::list(&self.0, &page))
            .map_err(|error| status(error, None))?;
        let (issuers, next_page_token) = pages::fitting(page, resource::message, |issuer| issuer.id.as_str());
        Ok(Response::new(ListIssuersResponse { issuers, next_page_token }))
    }

    async fn get_issuer(&self, request: Request<GetIssuerRequest>) -> Result<Response<Issuer>, Status> {
        let GetIssuerRequest { name } = request.into_inner();
        let stored = convert::name(&name, IssuerId::parse_resource_name)
            .and_then(|id| issuer::get(&self.0, &id))
            .map_err(|error| status(error, None))?;
        Ok(Response::new(resource::message(&stored)))
    }

    async fn create_issuer(&self, request: Request<CreateIssuerRequest>) -> Result<Response<Issuer>, Status> {
        let actor = caller(&request)?;
        let CreateIssuerRequest { issuer, validate_only } = request.into_inner();
        let created =
            async { issuer::create(&self.0, &actor, resource::new(issuer)?, convert::mode(validate_only)).await };
        let stored = created.await.map_err(|error| status(error, Some("issuer")))?;
        Ok(Response::new(resource::message(&stored)))
    }

    async fn update_issuer(&self, request: Request<UpdateIssuerRequest>) -> Result<Response<Issuer>, Status> {
        let actor = caller(&request)?;
        let UpdateIssuerRequest { issuer, update_mask, validate_only, force } = request.into_inner();
        let updated = async {
            let (id, patch, etag) = resource::update(issuer, update_mask, IssuerId::parse_resource_name)?;
            issuer::update(&self.0, &actor, &id, &patch, etag, convert::force(force), convert::mode(validate_only))
                .await
        };
        let stored = updated.await.map_err(|error| status(error, Some("issuer")))?;
        Ok(Response::new(resource::message(&stored)))
    }

    async fn delete_issuer(
        &self,
        request: Request<DeleteIssuerRequest>,
    ) -> Result<Response<DeleteIssuerResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteIssuerRequest { name, etag, validate_only, force } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, IssuerId::parse_resource_name)?;
            issuer::delete(
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
        Ok(Response::new(DeleteIssuerResponse { revision: revision.0 }))
    }

    async fn get_budget(&self, request: Request<GetBudgetRequest>) -> Result<Response<GetBudgetResponse>, Status> {
        let actor = caller(&request)?;
        let GetBudgetRequest { name } = request.into_inner();
        let found = async {
            let only = match name.as_str() {
                "" => None,
                name => Some(convert::name(name, IssuerId::parse_resource_name)?),
            };
            issuer::budget(&self.0, &actor, only.as_ref()).await
        };
        let budgets = found.await.map_err(|error| status(error, None))?;
        let budgets = budgets.iter().map(budget).collect();
        Ok(Response::new(GetBudgetResponse { budgets }))
    }

    async fn rotate_account(&self, request: Request<RotateAccountRequest>) -> Result<Response<Issuer>, Status> {
        let actor = caller(&request)?;
        let RotateAccountRequest { name, etag, validate_only } = request.into_inner();
        let rotated = async {
            let id = convert::name(&name, IssuerId::parse_resource_name)?;
            issuer::rotate_account(&self.0, &actor, &id, convert::parse_etag(&etag), convert::mode(validate_only)).await
        };
        let stored = rotated.await.map_err(|error| status(error, None))?;
        Ok(Response::new(resource::message(&stored)))
    }
}
