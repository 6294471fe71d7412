//! Backends.

use std::sync::Arc;

use switchyard_proto::{
    resource::Patch,
    vocab::{BackendId, Revision, ServiceId, limits::SERVICE_BACKENDS_MAX},
};

use super::{App, AppError, Change, Force, Mode, Page, PageRequest, check_etag, dependents, domain, page, scope};
use crate::{
    model::{Actor, Backend, BackendState, Stored, rules},
    store::Transaction,
};

/// One page of all backends, by name.
///
/// # Errors
///
/// The page token is not one of this list.
pub fn list(app: &App, actor: &Actor, request: &PageRequest) -> Result<Page<Arc<Stored<Backend>>>, AppError> {
    page::of_map(
        app.feed.state().backends(),
        request,
        |id| BackendId::parse(id).ok(),
        |backend| backend.id.as_str(),
        |backend| actor.access.scope.has_service(&backend.service),
    )
}

/// One backend.
///
/// # Errors
///
/// There is none of this name.
pub fn get(app: &App, actor: &Actor, id: &BackendId) -> Result<Arc<Stored<Backend>>, AppError> {
    let stored = app.feed.state().backends().get(id).cloned().ok_or_else(|| not_found(id))?;
    scope::check_backend(actor, &stored.value)?;
    Ok(stored)
}

/// Creates a backend.
///
/// # Errors
///
/// It exists, its service does not, or has too many backends.
pub async fn create(app: &App, actor: &Actor, backend: Backend, mode: Mode) -> Result<Stored<Backend>, AppError> {
    scope::check_service(actor, &backend.service)?;
    let mut change = app.begin(actor, mode).await?;
    let stored = create_in(&mut change, backend).await?;
    app.finish(change).await?;
    Ok(stored)
}

pub(super) async fn create_in(change: &mut Change, backend: Backend) -> Result<Stored<Backend>, AppError> {
    if change.transaction.get::<Backend>(&backend.id).await?.is_some() {
        return Err(AppError::AlreadyExists(backend.id.to_resource_name()));
    }
    domain::check_service(&mut *change.transaction, &backend.service).await?;
    check_room(change, &backend.service).await?;
    Ok(change.transaction.put(None, backend).await?)
}

/// Changes a backend. An update that changes nothing writes nothing.
///
/// # Errors
///
/// There is none of this name, the etag is stale, the change is wrong, the new service does not exist or has too many backends, or domains
/// would be left without an active backend and that is not forced.
pub async fn update(
    app: &App,
    actor: &Actor,
    id: &BackendId,
    patch: &Patch<Backend>,
    etag: Option<Revision>,
    force: Force,
    mode: Mode,
) -> Result<Stored<Backend>, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing(actor, &mut *change.transaction, id, etag).await?;
    let new = patch.apply(&old.value).map_err(|error| AppError::invalid_change("backend", &error))?;
    if new.service != old.value.service {
        scope::check_service(actor, &new.service)?;
    }
    if new == old.value {
        return Ok(old);
    }
    domain::check_service(&mut *change.transaction, &new.service).await?;
    if new.service != old.value.service {
        check_room(&mut change, &new.service).await?;
    }
    if force == Force::No {
        dependents::check_backend(app, actor, &mut change, &old.value, Some(&new)).await?;
    }
    replace(app, change, &old, new).await
}

/// Takes a backend out gently. One that is draining already stays so.
///
/// # Errors
///
/// There is none of this name, the etag is stale, it is disabled, or domains would be left without an active backend and that is not forced.
pub async fn drain(
    app: &App,
    actor: &Actor,
    id: &BackendId,
    etag: Option<Revision>,
    force: Force,
    mode: Mode,
) -> Result<Stored<Backend>, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing(actor, &mut *change.transaction, id, etag).await?;
    rules::can_drain(&old.value)?;
    let new = Backend { state: BackendState::Draining, ..old.value.clone() };
    if new == old.value {
        return Ok(old);
    }
    if force == Force::No {
        dependents::check_backend(app, actor, &mut change, &old.value, Some(&new)).await?;
    }
    replace(app, change, &old, new).await
}

/// Deletes a backend.
///
/// # Errors
///
/// There is none of this name, the etag is stale, or domains would be left without an active backend and that is not forced.
pub async fn delete(
    app: &App,
    actor: &Actor,
    id: &BackendId,
    etag: Option<Revision>,
    force: Force,
    mode: Mode,
) -> Result<Revision, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing(actor, &mut *change.transaction, id, etag).await?;
    if force == Force::No {
        dependents::check_backend(app, actor, &mut change, &old.value, None).await?;
    }
    change.transaction.delete(&old).await?;
    app.finish(change).await
}

async fn replace(
    app: &App,
    mut change: Change,
    old: &Stored<Backend>,
    new: Backend,
) -> Result<Stored<Backend>, AppError> {
    let stored = change.transaction.put(Some(old), new).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// A service has room for another backend.
async fn check_room(change: &mut Change, service: &ServiceId) -> Result<(), AppError> {
    let count = change.transaction.count_backends_of(service).await?;
    Ok(rules::can_add("backends of one service", count, SERVICE_BACKENDS_MAX)?)
}

async fn existing(
    actor: &Actor,
    transaction: &mut dyn Transaction,
    id: &BackendId,
    etag: Option<Revision>,
) -> Result<Stored<Backend>, AppError> {
    let old = transaction.get::<Backend>(id).await?.ok_or_else(|| not_found(id))?;
    scope::check_backend(actor, &old.value)?;
    check_etag(etag, &old)?;
    Ok(old)
}

fn not_found(id: &BackendId) -> AppError {
    AppError::NotFound(id.to_resource_name())
}
