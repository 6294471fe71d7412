//! DNS providers: who sets the records by which names prove themselves.

use std::sync::Arc;

use switchyard_proto::{
    resource::Patch,
    vocab::{DnsProviderId, HostPattern, Revision, limits::DNS_PROVIDERS_MAX},
};

use super::{App, AppError, Change, Mode, Page, PageRequest, check_etag, page};
use crate::model::{Actor, DnsProvider, Scope, Stored, rules};

/// One page of the DNS providers that have a zone of the actor's, by name.
///
/// # Errors
///
/// The page token is not one of this list.
pub fn list(app: &App, actor: &Actor, request: &PageRequest) -> Result<Page<Arc<Stored<DnsProvider>>>, AppError> {
    let state = app.feed.state();
    let parse = |id: &str| DnsProviderId::parse(id).ok();
    page::of_map(state.dns_providers(), request, parse, |it| it.id.as_str(), |it| is_visible(actor, it))
}

/// One DNS provider.
///
/// # Errors
///
/// There is none of this name, or none that has a zone of the actor's.
pub fn get(app: &App, actor: &Actor, id: &DnsProviderId) -> Result<Arc<Stored<DnsProvider>>, AppError> {
    let stored = app.feed.state().dns_providers().get(id).cloned();
    stored.filter(|stored| is_visible(actor, &stored.value)).ok_or_else(|| not_found(id))
}

/// The zones of a DNS provider that are all that the actor may know of it; `None`: they may know everything.
pub fn visible_zones(actor: &Actor, provider: &DnsProvider) -> Option<Vec<String>> {
    let scope = &actor.access.scope;
    let zones = || provider.zones.iter().map(HostPattern::as_str).filter(|zone| scope.has_zone(zone));
    (*scope != Scope::Everything).then(|| zones().map(str::to_owned).collect())
}

fn is_visible(actor: &Actor, provider: &DnsProvider) -> bool {
    visible_zones(actor, provider).is_none_or(|zones| !zones.is_empty())
}

/// Makes a DNS provider.
///
/// # Errors
///
/// It exists, or there are too many.
pub async fn create(app: &App, actor: &Actor, new: DnsProvider, mode: Mode) -> Result<Stored<DnsProvider>, AppError> {
    let mut change = app.begin(actor, mode).await?;
    if change.transaction.get::<DnsProvider>(&new.id).await?.is_some() {
        return Err(AppError::AlreadyExists(new.id.to_resource_name()));
    }
    rules::can_add("DNS providers", app.feed.state().dns_providers().len(), DNS_PROVIDERS_MAX)?;
    let stored = change.transaction.put(None, new).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// Changes a DNS provider. An update that changes nothing writes nothing.
///
/// # Errors
///
/// There is none of this name, or the etag is stale.
pub async fn update(
    app: &App,
    actor: &Actor,
    id: &DnsProviderId,
    patch: &Patch<DnsProvider>,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Stored<DnsProvider>, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut change, id, etag).await?;
    let new = patch.apply(&old.value).map_err(|error| AppError::invalid_change("dns_provider", &error))?;
    if new == old.value {
        return Ok(old);
    }
    let stored = change.transaction.put(Some(&old), new).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// Deletes a DNS provider. Names in its zones that need it go on with the certificates they have, and say why there is no other.
///
/// # Errors
///
/// There is none of this name, or the etag is stale.
pub async fn delete(
    app: &App,
    actor: &Actor,
    id: &DnsProviderId,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Revision, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut change, id, etag).await?;
    change.transaction.delete(&old).await?;
    app.finish(change).await
}

async fn existing(
    change: &mut Change,
    id: &DnsProviderId,
    etag: Option<Revision>,
) -> Result<Stored<DnsProvider>, AppError> {
    let old = change.transaction.get::<DnsProvider>(id).await?.ok_or_else(|| not_found(id))?;
    check_etag(etag, &old)?;
    Ok(old)
}

fn not_found(id: &DnsProviderId) -> AppError {
    AppError::NotFound(id.to_resource_name())
}
