//! What the database has and this version cannot read: what is known of it, and its deletion.

use switchyard_proto::vocab::{HostPattern, ResourceKind, Revision, ServiceId};
use tracing::info;

use super::{App, AppError, Change, Mode, Page, PageRequest, certificate, issuance, tickets};
use crate::{
    model::{
        Actor, Certificate, CertificateSource, Domain, ObjectKey, ObjectKind, Service, TicketKeys, rules::BrokenRule,
    },
    store::{Remains, StoreError, Withheld},
};

/// One page of what cannot be read, by name.
pub fn list(app: &App, request: &PageRequest) -> Page<(String, Withheld)> {
    let state = app.feed.state();
    let mut all: Vec<_> = state.withheld().map(|it| (format!("{}/{}", it.kind, it.id), it)).collect();
    all.sort_unstable_by(|(name, _), (other, _)| name.cmp(other));
    let all = all.into_iter().map(|(name, it)| (name, it.clone()));
    Page::cut(all, request, |(name, _)| name)
}

/// What can be said of one object that cannot be read.
///
/// # Errors
///
/// There is none of this name that cannot be read, or the database does not answer.
pub async fn get(app: &App, key: &ObjectKey) -> Result<Remains, AppError> {
    app.store.remains(key).await?.ok_or_else(|| not_found(key))
}

/// Deletes an object that cannot be read, and what the system made for it. What the system has to have is made anew.
///
/// # Errors
///
/// There is none of this name that cannot be read, the etag is stale, or something refers to it.
pub async fn delete(
    app: &App,
    actor: &Actor,
    key: &ObjectKey,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Revision, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let Remains { revision: current, reason, .. } =
        change.transaction.remains(key).await?.ok_or_else(|| not_found(key))?;
    if etag.is_some_and(|etag| etag != current) {
        return Err(AppError::StaleEtag { current });
    }
    if let Some(user) = change.transaction.user(key).await? {
        return Err(BrokenRule::UnreadableInUse { object: key.clone(), user }.into());
    }
    change.transaction.remove(key, is_derived(key)).await?;
    follow(app, &mut change, key).await?;
    let revision = app.finish(change).await?;
    if mode == Mode::Commit {
        info!(resource = %key, revision = revision.0, reason, "what cannot be read was deleted");
    }
    Ok(revision)
}

/// Whether the system made what has this key, as far as the key says.
fn is_derived(key: &ObjectKey) -> bool {
    let ObjectKind::Served(kind) = &key.kind else { return false };
    match kind {
        ResourceKind::Challenge | ResourceKind::TicketKeys => true,
        ResourceKind::Certificate => {
            [Certificate::INTERNAL_PREFIX, Certificate::ACME_PREFIX].iter().any(|prefix| key.id.starts_with(prefix))
        }
        ResourceKind::Service | ResourceKind::Backend | ResourceKind::Domain | ResourceKind::Unknown(_) => false,
    }
}

/// Does what follows from a deletion, as far as the key says what that is.
async fn follow(app: &App, change: &mut Change, key: &ObjectKey) -> Result<(), AppError> {
    match &key.kind {
        ObjectKind::Served(ResourceKind::Domain) => {
            let Ok(host) = HostPattern::parse(&key.id) else { return Ok(()) };
            certificate::delete_internal(change, &host).await?;
            issuance::end_in(change, &host).await
        }
        ObjectKind::Served(ResourceKind::Certificate) => replace_certificate(app, change, &key.id).await,
        ObjectKind::Served(ResourceKind::Service) if *key.id == *ServiceId::DEFAULT => {
            change.transaction.put(None, Service::new(ServiceId::default_service())).await?;
            Ok(())
        }
        // Its labels are not known, and so neither are the keys that it had.
        ObjectKind::Edge => {
            for keys in change.transaction.list::<TicketKeys>().await? {
                tickets::condemn_in(change, keys.value.labels()).await?;
            }
            Ok(())
        }
        ObjectKind::Served(_)
        | ObjectKind::Invite
        | ObjectKind::Token
        | ObjectKind::Issuer
        | ObjectKind::DnsProvider => Ok(()),
    }
}

/// Has another certificate made for the name that one of this id was made for.
async fn replace_certificate(app: &App, change: &mut Change, id: &str) -> Result<(), AppError> {
    let host_of = |prefix: &str| id.strip_prefix(prefix).and_then(|host| HostPattern::parse(host).ok());
    if let Some(host) = host_of(Certificate::ACME_PREFIX) {
        return issuance::replace_in(change, &host).await;
    }
    let Some(host) = host_of(Certificate::INTERNAL_PREFIX) else { return Ok(()) };
    match change.transaction.get::<Domain>(&host).await {
        Ok(Some(domain)) if domain.value.certificate_source == CertificateSource::Internal => {
            certificate::issue_internal(app, change, &host).await
        }
        Ok(_) | Err(StoreError::Unreadable { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn not_found(key: &ObjectKey) -> AppError {
    AppError::NotFound(format!("unreadable {key}"))
}
