//! Issuers: the CAs that certificates are ordered from.

use std::sync::Arc;

use switchyard_proto::{
    resource::Patch,
    vocab::{HostPattern, IssuerId, Revision, limits::ISSUERS_MAX},
};

use super::{App, AppError, Change, Force, Mode, Page, PageRequest, check_etag, dependents, page};
use crate::model::{
    Actor, Domain, Email, Issuer, Limit, ObjectKey, Per, Place, Scope, Stored, Used,
    rules::{self, BrokenRule},
};

/// The issuer that is made when a certificate is to be ordered and there is none.
const DEFAULT: &str = "letsencrypt";

/// One page of all issuers, by name.
///
/// # Errors
///
/// The page token is not one of this list.
pub fn list(app: &App, request: &PageRequest) -> Result<Page<Arc<Stored<Issuer>>>, AppError> {
    page::of_map(
        app.feed.state().issuers(),
        request,
        |id| IssuerId::parse(id).ok(),
        |issuer| issuer.id.as_str(),
        |_| true,
    )
}

/// One issuer.
///
/// # Errors
///
/// There is none of this name.
pub fn get(app: &App, id: &IssuerId) -> Result<Arc<Stored<Issuer>>, AppError> {
    app.feed.state().issuers().get(id).cloned().ok_or_else(|| not_found(id))
}

/// How much of one limit of an issuer is used.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Whose limit.
    pub issuer: IssuerId,
    /// Which.
    pub limit: Limit,
    /// How much is used.
    pub used: Used,
}

/// Subjects of one limit that are told of: those for which most is used.
const BUDGET_SUBJECTS_MAX: usize = 20;

/// Subjects of one limit that are read for a scope: its own may be far from the first.
const BUDGET_SUBJECTS_READ_MAX: usize = 10_000;

/// How much of their limits is used, of one issuer or of all: as a whole, and for the names in the actor's scope.
///
/// # Errors
///
/// There is none of this name, or the database does not answer.
pub async fn budget(app: &App, actor: &Actor, only: Option<&IssuerId>) -> Result<Vec<Budget>, AppError> {
    let scope = &actor.access.scope;
    let read_max = if *scope == Scope::Everything { BUDGET_SUBJECTS_MAX } else { BUDGET_SUBJECTS_READ_MAX };
    let is_visible = |limit: &Limit, used: &Used| match limit.per {
        Per::Account => true,
        Per::RegisteredDomain => scope.has_zone(&used.subject),
        Per::Name => HostPattern::parse(&used.subject).is_ok_and(|host| scope.has_domain(&host)),
    };
    let state = app.feed.state();
    let issuers: Vec<Arc<Stored<Issuer>>> = match only {
        Some(id) => vec![get(app, id)?],
        None => state.issuers().values().cloned().collect(),
    };
    let now = app.clock.now();
    let mut budgets = Vec::new();
    for stored in issuers {
        let Issuer { id, limits, .. } = &stored.value;
        for limit in Limit::all(limits) {
            let mut all = app.store.used(id, &limit, now, read_max).await?;
            all.retain(|used| is_visible(&limit, used));
            all.truncate(BUDGET_SUBJECTS_MAX);
            if all.is_empty() {
                all.push(Used { subject: String::new(), count: 0, first_at: now });
            }
            budgets.extend(all.into_iter().map(|used| Budget { issuer: id.clone(), limit, used }));
        }
    }
    Ok(budgets)
}

/// Makes an issuer. The account there is made with the first order.
///
/// # Errors
///
/// It exists, there are too many, or no directory is known for its name.
pub async fn create(app: &App, actor: &Actor, new: Issuer, mode: Mode) -> Result<Stored<Issuer>, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let stored = create_in(&mut change, new).await?;
    app.finish(change).await?;
    Ok(stored)
}

async fn create_in(change: &mut Change, new: Issuer) -> Result<Stored<Issuer>, AppError> {
    let all = change.transaction.list::<Issuer>().await?;
    if change.transaction.get::<Issuer>(&new.id).await?.is_some() {
        return Err(AppError::AlreadyExists(new.id.to_resource_name()));
    }
    rules::can_add("issuers", all.len(), ISSUERS_MAX)?;
    let place = ranked(new.place, all.iter().map(|stored| &stored.value));
    Ok(change.transaction.put(None, Issuer { place, ..new }).await?)
}

/// Makes Let's Encrypt the issuer, as part of a change that needs one.
pub(super) async fn create_default_in(change: &mut Change) -> Result<(), AppError> {
    create_known_in(change, IssuerId::parse(DEFAULT).expect("it is an id"), None).await
}

/// Makes an issuer of a CA that is known by its id, as part of a change, if it is not there.
pub(super) async fn create_known_in(change: &mut Change, id: IssuerId, email: Option<Email>) -> Result<(), AppError> {
    let known = Issuer::well_known(id).expect("only issuers that are known by their ids are made so");
    let new = Issuer { email, ..known };
    if change.transaction.get::<Issuer>(&new.id).await?.is_none() {
        create_in(change, new).await?;
    }
    Ok(())
}

/// Changes an issuer. An update that changes nothing writes nothing.
///
/// # Errors
///
/// There is none of this name, the etag is stale, the change is wrong, or domains would be left without an issuer and that is not forced.
pub async fn update(
    app: &App,
    actor: &Actor,
    id: &IssuerId,
    patch: &Patch<Issuer>,
    etag: Option<Revision>,
    force: Force,
    mode: Mode,
) -> Result<Stored<Issuer>, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut change, id, etag).await?;
    let new = patch.apply(&old.value).map_err(|error| AppError::invalid_change("issuer", &error))?;
    let others = change.transaction.list::<Issuer>().await?;
    let others = others.iter().map(|stored| &stored.value).filter(|other| other.id != *id);
    let new = Issuer { place: ranked(new.place, others), ..new };
    if new == old.value {
        return Ok(old);
    }
    if force == Force::No {
        dependents::check_issuer(app, actor, &mut change, &old.value, Some(&new)).await?;
    }
    let stored = change.transaction.put(Some(&old), new).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// Has another account made at an issuer, with another key, at the next order. The one before is used no more.
///
/// # Errors
///
/// There is none of this name, or the etag is stale.
pub async fn rotate_account(
    app: &App,
    actor: &Actor,
    id: &IssuerId,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Stored<Issuer>, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut change, id, etag).await?;
    if old.value.account.is_none() {
        return Ok(old);
    }
    let new = Issuer { account: None, ..old.value.clone() };
    let stored = change.transaction.put(Some(&old), new).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// Deletes an issuer. Its certificates stay until they are renewed by another.
///
/// # Errors
///
/// There is none of this name, the etag is stale, a domain names it, or domains would be left without an issuer and that is not forced.
pub async fn delete(
    app: &App,
    actor: &Actor,
    id: &IssuerId,
    etag: Option<Revision>,
    force: Force,
    mode: Mode,
) -> Result<Revision, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut change, id, etag).await?;
    if let Some(user) = change.transaction.user_of::<Issuer>(id).await?.and_then(ObjectKey::served) {
        let names = |domain: &Domain| domain.acme.issuers().contains(id);
        let dependents = dependents::referring(app, actor, &mut change, user, names, |_| false).await?;
        return Err(BrokenRule::IssuerInUse { issuer: id.clone(), dependents }.into());
    }
    if force == Force::No {
        dependents::check_issuer(app, actor, &mut change, &old.value, None).await?;
    }
    change.transaction.delete(&old).await?;
    app.finish(change).await
}

async fn existing(change: &mut Change, id: &IssuerId, etag: Option<Revision>) -> Result<Stored<Issuer>, AppError> {
    let old = change.transaction.get::<Issuer>(id).await?.ok_or_else(|| not_found(id))?;
    check_etag(etag, &old)?;
    Ok(old)
}

/// The place with its rank, if it is to have one.
fn ranked<'a>(place: Place, others: impl Iterator<Item = &'a Issuer>) -> Place {
    match place {
        Place::Last => Place::Rank(others.filter_map(Issuer::rank).max().map_or(0, |last| last.saturating_add(1))),
        Place::Rank(_) | Place::OnlyWhereNamed => place,
    }
}

fn not_found(id: &IssuerId) -> AppError {
    AppError::NotFound(id.to_resource_name())
}
