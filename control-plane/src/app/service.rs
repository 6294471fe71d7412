//! Services.

use std::{sync::Arc, time::Duration};

use switchyard_proto::vocab::{Revision, ServiceId, limits::SERVICES_MAX};
use tracing::warn;

use super::{
    App, AppError, Mode, Page, PageRequest,
    backend_tls::{TlsFields, TlsUpdate},
    check_etag, page, scope,
};
use crate::{
    model::{Actor, BackendProtocol, BackendTrust, Balancing, ObjectKey, Service, Stored, Timeouts, rules},
    store::Transaction,
};

/// The fields of a service to be changed.
#[derive(Clone, Default)]
pub struct ServiceUpdate {
    /// Another way to choose a backend.
    pub balancing: Option<Balancing>,
    /// Another protocol.
    pub protocol: Option<BackendProtocol>,
    /// Another time to connect.
    pub connect_timeout: Option<Duration>,
    /// Another time to the first byte.
    pub first_byte_timeout: Option<Duration>,
    /// Another time between two pieces of a body.
    pub idle_timeout: Option<Duration>,
    /// Another way to speak TLS to the backends, or none.
    pub tls: Option<TlsUpdate>,
}

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

/// Creates a service, with TLS toward its backends if `tls` is given.
///
/// # Errors
///
/// It exists, or its client certificate could not be used.
pub async fn create(
    app: &App,
    actor: &Actor,
    service: Service,
    tls: Option<TlsFields>,
    mode: Mode,
) -> Result<Stored<Service>, AppError> {
    scope::check_service(actor, &service.id)?;
    let mut change = app.begin(actor, mode).await?;
    if change.transaction.get::<Service>(&service.id).await?.is_some() {
        return Err(AppError::AlreadyExists(service.id.to_resource_name()));
    }
    rules::can_add("services", app.feed.state().services().len(), SERVICES_MAX)?;
    let tls = tls.map_or(Ok(None), |fields| TlsUpdate::On(fields).apply(None, change.now))?;
    let stored = change.transaction.put(None, Service { tls, ..service }).await?;
    app.finish(change).await?;
    warn_of_insecurity(&stored, mode);
    Ok(stored)
}

/// Changes the given fields of a service. An update that changes nothing writes nothing.
///
/// # Errors
///
/// There is none of this name, the etag is stale, a timeout is out of bounds, or its client certificate could not be used.
pub async fn update(
    app: &App,
    actor: &Actor,
    id: &ServiceId,
    update: ServiceUpdate,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Stored<Service>, AppError> {
    scope::check_service(actor, id)?;
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut *change.transaction, id, etag).await?;
    let ServiceUpdate { balancing, protocol, connect_timeout, first_byte_timeout, idle_timeout, tls } = update;
    let timeouts = Timeouts::new(
        connect_timeout.unwrap_or(old.value.timeouts.connect()),
        first_byte_timeout.unwrap_or(old.value.timeouts.first_byte()),
        idle_timeout.unwrap_or(old.value.timeouts.idle()),
    )
    .map_err(|error| AppError::invalid(format!("service.timeouts.{}", error.field), error))?;
    let new = Service {
        id: id.clone(),
        balancing: balancing.unwrap_or(old.value.balancing),
        protocol: protocol.unwrap_or(old.value.protocol),
        timeouts,
        tls: match tls {
            Some(update) => update.apply(old.value.tls.as_ref(), change.now)?,
            None => old.value.tls.clone(),
        },
    };
    if new == old.value {
        return Ok(old);
    }
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
    let user = change.transaction.user_of::<Service>(id).await?;
    rules::can_delete_service(id, user.and_then(ObjectKey::served))?;
    change.transaction.delete(&old).await?;
    app.finish(change).await
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
