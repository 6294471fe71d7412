//! Tokens of the API.

use std::sync::Arc;

use switchyard_proto::vocab::{Revision, TokenId, limits::TOKENS_MAX};

use super::{App, AppError, Mode, Page, PageRequest, check_etag, page};
use crate::{
    model::{Access, Actor, Secret, Stored, Timestamp, Token, rules},
    pki::IssueError,
};

/// One page of all tokens, by name.
///
/// # Errors
///
/// The page token is not one of this list.
pub fn list(app: &App, request: &PageRequest) -> Result<Page<Arc<Stored<Token>>>, AppError> {
    page::of_map(app.feed.state().tokens(), request, |id| TokenId::parse(id).ok(), |token| token.id.as_str(), |_| true)
}

/// The token of whoever acts.
///
/// # Errors
///
/// It was revoked meanwhile.
pub fn current(app: &App, actor: &Actor) -> Result<Arc<Stored<Token>>, AppError> {
    let id = TokenId::parse(&actor.name).ok();
    let token = id.and_then(|id| app.feed.state().tokens().get(&id).cloned());
    token.ok_or_else(|| AppError::NotFound(format!("tokens/{}", actor.name)))
}

/// Makes a token.
///
/// # Errors
///
/// There is one of this name, its end is past, or there are too many.
pub async fn create(
    app: &App,
    actor: &Actor,
    id: TokenId,
    access: Access,
    expires_at: Option<Timestamp>,
    mode: Mode,
) -> Result<(Stored<Token>, Secret), AppError> {
    let mut change = app.begin(actor, mode).await?;
    if expires_at.is_some_and(|end| end <= change.now) {
        return Err(AppError::invalid("token.expire_time", "it is past already"));
    }
    if change.transaction.get::<Token>(&id).await?.is_some() {
        return Err(AppError::AlreadyExists(id.to_resource_name()));
    }
    rules::can_add("tokens", app.feed.state().tokens().len(), TOKENS_MAX)?;
    let secret = Secret::generate().ok_or(IssueError::NoRandomness)?;
    let token = Token { id, hash: secret.hash(), access, expires_at };
    let stored = change.transaction.put(None, token).await?;
    app.finish(change).await?;
    Ok((stored, secret))
}

/// Revokes a token.
///
/// # Errors
///
/// There is none of this name, the etag is stale, or it is the last that can do everything.
pub async fn delete(
    app: &App,
    actor: &Actor,
    id: &TokenId,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Revision, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = change.transaction.get::<Token>(id).await?.ok_or_else(|| AppError::NotFound(id.to_resource_name()))?;
    check_etag(etag, &old)?;
    let all = change.transaction.list::<Token>().await?;
    rules::can_delete_token(&old.value, all.iter().map(|stored| &stored.value))?;
    change.transaction.delete(&old).await?;
    app.finish(change).await
}
