//! Tokens of the API: who is let in, and to do what.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use switchyard_process::chain;
use switchyard_proto::vocab::{Revision, TokenId, limits::TOKENS_MAX};
use tracing::debug;

use super::{App, AppError, Mode, Page, PageRequest, check_etag, page};
use crate::{
    model::{Access, Actor, Secret, SecretHash, Stored, Timestamp, Token, rules},
    pki::IssueError,
    store::Store,
};

/// How exactly it is remembered when a token was used last.
const USE_RESOLUTION: Duration = Duration::from_secs(60);

/// The token that a secret belongs to, if it is one that lets in.
pub fn find(app: &App, secret: &str) -> Option<Arc<Stored<Token>>> {
    let token = app.feed.state().token_of(&SecretHash::of(secret)).cloned()?;
    let now = app.clock.now();
    if token.value.is_expired(now) {
        return None;
    }
    app.token_uses.note(&app.store, &token.value.id, now);
    Some(token)
}

/// One page of all tokens, by name, each with its last use.
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

/// When tokens were used last, as this process knows.
#[derive(Debug, Default)]
pub struct TokenUses(Mutex<HashMap<TokenId, Timestamp>>);

impl TokenUses {
    /// Begins with what was remembered.
    pub fn new(uses: Vec<(TokenId, Timestamp)>) -> Self {
        Self(Mutex::new(uses.into_iter().collect()))
    }

    /// When a token was used last, as far as is known here.
    pub fn last(&self, id: &TokenId) -> Option<Timestamp> {
        self.0.lock().expect("nobody panics with it").get(id).copied()
    }

    /// Notes that a token is used, and has that remembered: coarsely, and without anybody waiting for it.
    fn note(&self, store: &Arc<dyn Store>, id: &TokenId, now: Timestamp) {
        {
            let mut uses = self.0.lock().expect("nobody panics with it");
            if uses.get(id).is_some_and(|last| now < last.plus(USE_RESOLUTION)) {
                return;
            }
            uses.insert(id.clone(), now);
        }
        let (store, id) = (store.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.record_token_use(&id, now).await {
                debug!(token = %id, error = chain(&error), "its use is not remembered");
            }
        });
    }
}
