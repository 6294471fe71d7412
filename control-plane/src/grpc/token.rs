use std::sync::Arc;

use switchyard_proto::{
    v1::{
        CreateTokenRequest, CreateTokenResponse, DeleteTokenRequest, DeleteTokenResponse, GetCurrentTokenRequest,
        ListTokensRequest, ListTokensResponse, Token, token_service_server::TokenService,
    },
    vocab::TokenId,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, token as convert_token},
    status::status,
};
use crate::{
    access::Authenticator,
    app::{App, PageRequest, token},
    model::{self, Stored},
};

/// Tokens.
pub(super) struct Tokens(pub(super) Arc<App>, pub(super) Arc<Authenticator>);

impl Tokens {
    fn message(&self, stored: &Stored<model::Token>) -> Token {
        convert_token::message(stored, self.1.uses().last(&stored.value.id))
    }
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        let ListTokensRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(&self.0.page_tokens, page_size, &page_token)
            .and_then(|page| token::list(&self.0, &page))
            .map_err(|error| status(error, None))?;
        let tokens = page.items.iter().map(|stored| self.message(stored)).collect();
        Ok(Response::new(ListTokensResponse { tokens, next_page_token: page.next_page_token }))
    }

    async fn get_current_token(&self, request: Request<GetCurrentTokenRequest>) -> Result<Response<Token>, Status> {
        let actor = caller(&request)?;
        let GetCurrentTokenRequest {} = request.into_inner();
        let stored = token::current(&self.0, &actor).map_err(|error| status(error, None))?;
        Ok(Response::new(self.message(&stored)))
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let actor = caller(&request)?;
        let CreateTokenRequest { token, validate_only } = request.into_inner();
        let created = async {
            let (id, access, expires_at) = convert_token::new(token)?;
            token::create(&self.0, &actor, id, access, expires_at, convert::mode(validate_only)).await
        };
        let (stored, secret) = created.await.map_err(|error| status(error, Some("token")))?;
        // Of one that was not made there is nothing to show.
        let secret = if validate_only { String::new() } else { secret.expose().to_owned() };
        Ok(Response::new(CreateTokenResponse { token: Some(self.message(&stored)), secret }))
    }

    async fn delete_token(
        &self,
        request: Request<DeleteTokenRequest>,
    ) -> Result<Response<DeleteTokenResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteTokenRequest { name, etag, validate_only } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, TokenId::parse_resource_name)?;
            token::delete(&self.0, &actor, &id, convert::parse_etag(&etag), convert::mode(validate_only)).await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteTokenResponse { revision: revision.0 }))
    }
}
