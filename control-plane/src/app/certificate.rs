//! Certificates: uploaded ones, and those of the internal CA.

use std::{sync::Arc, time::Duration};

use switchyard_process::chain;
use switchyard_proto::vocab::{CertificateId, HostPattern, Revision, limits::CERTIFICATES_MAX};
use tracing::error;
use zeroize::Zeroizing;

use super::{
    App, AppError, Change, FieldViolation, Force, Mode, Page, PageRequest, check_etag, dependents, page, scope,
};
use crate::{
    model::{
        Actor, Certificate, CertificateChain, CertificateSource, PrivateKey, Stored, Timestamp,
        rules::{self, BrokenRule},
    },
    pki::{self, UploadField},
    store::Transaction,
};

/// How long the internal CA's certificates live.
pub const INTERNAL_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A chain and its key as people upload them: PEM.
#[derive(Clone)]
pub struct Upload {
    /// The certificate, then the intermediates in order.
    pub chain_pem: String,
    /// The private key.
    pub private_key_pem: Zeroizing<String>,
}

/// One page of all certificates, by name.
///
/// # Errors
///
/// The page token is not one of this list.
pub fn list(app: &App, actor: &Actor, request: &PageRequest) -> Result<Page<Arc<Stored<Certificate>>>, AppError> {
    let state = app.feed.state();
    page::of_map(
        state.certificates(),
        request,
        |id| CertificateId::parse(id).ok(),
        |certificate| certificate.id.as_str(),
        |certificate| actor.access.scope.has_certificate(&certificate.chain.dns_names),
    )
}

/// One certificate.
///
/// # Errors
///
/// There is none of this name.
pub fn get(app: &App, actor: &Actor, id: &CertificateId) -> Result<Arc<Stored<Certificate>>, AppError> {
    let stored = app.feed.state().certificates().get(id).cloned().ok_or_else(|| not_found(id))?;
    scope::check_certificate(actor, id, &stored.value.chain.dns_names)?;
    Ok(stored)
}

/// The internal CA's own certificate, DER.
pub fn internal_ca(app: &App) -> &[u8] {
    app.internal_ca.certificate()
}

/// Takes a certificate of people's own.
///
/// # Errors
///
/// It exists, its name belongs to the internal CA, or edges could not serve it.
pub async fn create(
    app: &App,
    actor: &Actor,
    id: CertificateId,
    upload: &Upload,
    mode: Mode,
) -> Result<Stored<Certificate>, AppError> {
    rules::can_upload_as(&id).map_err(|error| AppError::invalid("certificate.name", error))?;
    let (chain, private_key) = check(upload, app.clock.now())?;
    scope::check_certificate(actor, &id, &chain.dns_names)?;
    let mut change = app.begin(actor, mode).await?;
    if change.transaction.get::<Certificate>(&id).await?.is_some() {
        return Err(AppError::AlreadyExists(id.to_resource_name()));
    }
    rules::can_add("certificates", app.feed.state().certificates().len(), CERTIFICATES_MAX)?;
    let certificate = Certificate { id, source: CertificateSource::Uploaded, chain, private_key };
    let stored = change.transaction.put(None, certificate).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// Replaces the chain and the key of an uploaded certificate. The same ones change nothing.
///
/// # Errors
///
/// There is none of this name, the etag is stale, it is the internal CA's, edges could not serve it, or domains would be left without a
/// certificate and that is not forced.
pub async fn update(
    app: &App,
    actor: &Actor,
    id: &CertificateId,
    upload: &Upload,
    etag: Option<Revision>,
    force: Force,
    mode: Mode,
) -> Result<Stored<Certificate>, AppError> {
    let (chain, private_key) = check(upload, app.clock.now())?;
    scope::check_certificate(actor, id, &chain.dns_names)?;
    let mut change = app.begin(actor, mode).await?;
    let old = existing_upload(actor, &mut *change.transaction, id, etag).await?;
    let new = Certificate { id: id.clone(), source: CertificateSource::Uploaded, chain, private_key };
    if new == old.value {
        return Ok(old);
    }
    if force == Force::No {
        dependents::check_certificate(app, actor, &mut change, &old.value, &new.chain.dns_names).await?;
    }
    let stored = change.transaction.put(Some(&old), new).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// Deletes an uploaded certificate.
///
/// # Errors
///
/// There is none of this name, the etag is stale, it is the internal CA's, or domains would be left without a certificate and that is not
/// forced.
pub async fn delete(
    app: &App,
    actor: &Actor,
    id: &CertificateId,
    etag: Option<Revision>,
    force: Force,
    mode: Mode,
) -> Result<Revision, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = existing_upload(actor, &mut *change.transaction, id, etag).await?;
    if force == Force::No {
        dependents::check_certificate(app, actor, &mut change, &old.value, &[]).await?;
    }
    change.transaction.delete(&old).await?;
    app.finish(change).await
}

/// What became of the internal CA's certificates that were due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewals {
    /// So many were replaced.
    pub renewed: usize,
    /// So many could not be, and were logged; the old ones keep serving.
    pub failed: usize,
}

/// Issues the internal CA's certificates anew that have lived two thirds of their time. One that fails holds up no other.
///
/// # Errors
///
/// The database does not answer; what is left is tried again the next time.
pub async fn renew_internal(app: &App) -> Result<Renewals, AppError> {
    let now = app.clock.now();
    let state = app.feed.state();
    let due = state.certificates().values().filter(|stored| is_due(&stored.value, now));
    let mut renewals = Renewals::default();
    for Stored { value: Certificate { id, .. }, .. } in due.map(|stored| &**stored) {
        match renew(app, id, now).await {
            Ok(Some(_)) => renewals.renewed += 1,
            Ok(None) => {}
            Err(AppError::Store(error)) if error.is_unavailable() => return Err(error.into()),
            Err(error) => {
                error!(certificate = %id, error = chain(&error), "an internal certificate was not replaced");
                renewals.failed += 1;
            }
        }
    }
    Ok(renewals)
}

/// `None`: another control plane was faster, or its domain is gone.
async fn renew(app: &App, id: &CertificateId, now: Timestamp) -> Result<Option<Revision>, AppError> {
    let mut change = app.begin(&Actor::system(), Mode::Commit).await?;
    let Some(old) = change.transaction.get::<Certificate>(id).await?.filter(|old| is_due(&old.value, now)) else {
        return Ok(None);
    };
    let new = issue(app, id.clone(), &old.value.chain.dns_names, now)?;
    change.transaction.put(Some(&old), new).await?;
    app.finish(change).await.map(Some)
}

/// Whether an internal certificate has lived two thirds of its time.
fn is_due(certificate: &Certificate, now: Timestamp) -> bool {
    let CertificateChain { not_before, not_after, .. } = &certificate.chain;
    let renew_at = not_before.0 + (not_after.0 - not_before.0) / 3 * 2;
    certificate.source == CertificateSource::Internal && now.0 >= renew_at
}

/// Issues the certificate of a domain, as part of a change.
pub(super) async fn issue_internal(app: &App, change: &mut Change, host: &HostPattern) -> Result<(), AppError> {
    let id = Certificate::internal_id(host);
    let old = change.transaction.get::<Certificate>(&id).await?;
    let certificate = issue(app, id, std::slice::from_ref(host), change.now)?;
    change.transaction.put(old.as_ref(), certificate).await?;
    Ok(())
}

/// Deletes the certificate of a domain, as part of a change.
pub(super) async fn delete_internal(change: &mut Change, host: &HostPattern) -> Result<(), AppError> {
    if let Some(old) = change.transaction.get::<Certificate>(&Certificate::internal_id(host)).await? {
        change.transaction.delete(&old).await?;
    }
    Ok(())
}

fn issue(app: &App, id: CertificateId, names: &[HostPattern], now: Timestamp) -> Result<Certificate, AppError> {
    let names: Vec<&str> = names.iter().map(HostPattern::as_str).collect();
    let issued = app.internal_ca.issue_server(&names, now, INTERNAL_LIFETIME)?;
    let chain = pki::inspect(vec![issued.certificate])
        .map_err(|error| AppError::invalid("domain.name", format_args!("the internal CA cannot name it: {error}")))?;
    Ok(Certificate { id, source: CertificateSource::Internal, chain, private_key: issued.private_key })
}

fn check(upload: &Upload, now: Timestamp) -> Result<(CertificateChain, PrivateKey), AppError> {
    pki::upload(&upload.chain_pem, &upload.private_key_pem, now).map_err(|error| {
        let field = match error.field() {
            UploadField::Chain => "certificate.chain_pem",
            UploadField::PrivateKey => "private_key_pem",
        };
        AppError::Invalid(vec![FieldViolation::new(field, error)])
    })
}

async fn existing_upload(
    actor: &Actor,
    transaction: &mut dyn Transaction,
    id: &CertificateId,
    etag: Option<Revision>,
) -> Result<Stored<Certificate>, AppError> {
    let old = transaction.get::<Certificate>(id).await?.ok_or_else(|| not_found(id))?;
    scope::check_certificate(actor, id, &old.value.chain.dns_names)?;
    if old.value.source != CertificateSource::Uploaded {
        return Err(BrokenRule::ManagedCertificate { certificate: id.clone() }.into());
    }
    check_etag(etag, &old)?;
    Ok(old)
}

fn not_found(id: &CertificateId) -> AppError {
    AppError::NotFound(id.to_resource_name())
}
