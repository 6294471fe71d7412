//! Services.

use std::sync::Arc;

use switchyard_proto::{
    resource::Patch,
    vocab::{Revision, ServiceId, limits::SERVICES_MAX},
};
use tracing::warn;

use super::{App, AppError, Mode, Page, PageRequest, check_etag, dependents, page, scope};
use crate::{
    model::{
        Actor, Backend, BackendTrust, Domain, ObjectKey, Service, Stored, Timestamp,
        rules::{self, BrokenRule},
    },
    pki,
    store::Transaction,
};

/// One page of all services, by name.
///
/// # Errors
///
/// The page token is not one of this list.
pub fn list(app: &App, actor: &Actor, request: &PageRequest) -> Result<Page<Arc<Stored<Service>>>, AppError> {
    page::of_map(
        app.feed.state().services(),
        request,
        |id| ServiceId::parse(id).ok(),
        |service| service.id.as_str(),
        |service| actor.access.scope.has_service(&service.id),
    )
}

/// One service.
///
/// # Errors
///
/// There is none of this name.
pub fn get(app: &App, actor: &Actor, id: &ServiceId) -> Result<Arc<Stored<Service>>, AppError> {
    scope::check_service(actor, id)?;
    app.feed.state().services().get(id).cloned().ok_or_else(|| not_found(id))
}

/// Creates a service.
///
/// # Errors
///
/// It exists, or its client certificate could not be used.
pub async fn create(app: &App, actor: &Actor, service: Service, mode: Mode) -> Result<Stored<Service>, AppError> {
    scope::check_service(actor, &service.id)?;
    let mut change = app.begin(actor, mode).await?;
    if change.transaction.get::<Service>(&service.id).await?.is_some() {
        return Err(AppError::AlreadyExists(service.id.to_resource_name()));
    }
    rules::can_add("services", app.feed.state().services().len(), SERVICES_MAX)?;
    check_client_certificate(&service, None, change.now)?;
    let stored = change.transaction.put(None, service).await?;
    app.finish(change).await?;
    warn_of_insecurity(&stored, mode);
    Ok(stored)
}

/// Changes a service. An update that changes nothing writes nothing.
///
/// # Errors
///
/// There is none of this name, the etag is stale, the change is wrong, or its client certificate could not be used.
pub async fn update(
    app: &App,
    actor: &Actor,
    id: &ServiceId,
    patch: &Patch<Service>,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Stored<Service>, AppError> {
    scope::check_service(actor, id)?;
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut *change.transaction, id, etag).await?;
    let new = patch.apply(&old.value).map_err(|error| AppError::invalid_change("service", &error))?;
    if new == old.value {
        return Ok(old);
    }
    check_client_certificate(&new, Some(&old.value), change.now)?;
    let stored = change.transaction.put(Some(&old), new).await?;
    app.finish(change).await?;
    warn_of_insecurity(&stored, mode);
    Ok(stored)
}

/// Deletes a service that nothing refers to.
///
/// # Errors
///
/// There is none of this name, the etag is stale, a domain or backend refers to it, or it is the default one.
pub async fn delete(
    app: &App,
    actor: &Actor,
    id: &ServiceId,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Revision, AppError> {
    scope::check_service(actor, id)?;
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut *change.transaction, id, etag).await?;
    rules::can_delete_service(id)?;
    if let Some(user) = change.transaction.user_of::<Service>(id).await?.and_then(ObjectKey::served) {
        let (domain, backend) = (|it: &Domain| it.service == *id, |it: &Backend| it.service == *id);
        let dependents = dependents::referring(app, actor, &mut change, user, domain, backend).await?;
        return Err(BrokenRule::ServiceInUse { service: id.clone(), dependents }.into());
    }
    change.transaction.delete(&old).await?;
    app.finish(change).await
}

/// A client certificate that is new must be usable now: complete, in order, and valid.
fn check_client_certificate(new: &Service, old: Option<&Service>, now: Timestamp) -> Result<(), AppError> {
    fn chain(service: &Service) -> Option<&[Vec<u8>]> {
        service.tls.as_ref()?.client_certificate.as_ref().map(|it| it.chain.as_slice())
    }
    match chain(new) {
        Some(new) if old.and_then(chain) != Some(new) => pki::check_order(new, now)
            .map_err(|error| AppError::invalid("service.tls.client_certificate.chain_pem", error)),
        _ => Ok(()),
    }
}

/// Whoever reads the log is to know as well.
fn warn_of_insecurity(stored: &Stored<Service>, mode: Mode) {
    let is_insecure = stored.value.tls.as_ref().is_some_and(|tls| tls.trust == BackendTrust::Anybody);
    if is_insecure && mode == Mode::Commit {
        warn!(service = %stored.value.id, "the certificates of its backends are not verified: insecure_skip_verify is set");
    }
}

async fn existing(
    transaction: &mut dyn Transaction,
    id: &ServiceId,
    etag: Option<Revision>,
) -> Result<Stored<Service>, AppError> {
    let old = transaction.get::<Service>(id).await?.ok_or_else(|| not_found(id))?;
    check_etag(etag, &old)?;
    Ok(old)
}

fn not_found(id: &ServiceId) -> AppError {
    AppError::NotFound(id.to_resource_name())
}
