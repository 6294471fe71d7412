//! What would be left without something that it is served by: refused, unless that is forced.

use std::sync::Arc;

use switchyard_proto::vocab::{HostPattern, ResourceKey, Revision};

use super::{App, AppError, Change, READ_YOUR_WRITE_TIMEOUT};
use crate::{
    feed::State,
    model::{
        Actor, Backend, BackendState, Certificate, CertificateSource, Dependents, Domain, Issuer, Stored, Timestamp,
        rules::{self, BrokenRule},
    },
};

/// Whether a change is made that leaves domains without something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is refused.
    No,
    /// It is made.
    Yes,
}

/// No domain is left without an active backend by a change of `old` to `new`, or its deletion.
pub(super) async fn check_backend(
    app: &App,
    actor: &Actor,
    change: &mut Change,
    old: &Backend,
    new: Option<&Backend>,
) -> Result<(), AppError> {
    let mut lost = rules::lost_tags(old, new);
    if lost.is_empty() {
        return Ok(());
    }
    let others = change.transaction.backends_of(&old.service).await?;
    let others = others.iter().map(|stored| &stored.value);
    let others: Vec<_> = others.filter(|it| it.id != old.id && it.state == BackendState::Active).collect();
    lost.retain(|tag| !others.iter().any(|other| other.tags.contains(tag)));
    if lost.is_empty() {
        return Ok(());
    }
    let state = before(app, change.transaction.revision()).await?;
    for tag in lost {
        let uses = |domain: &Domain| domain.service == old.service && domain.active_tag == *tag;
        if let Some(dependents) = domains(actor, state.domains().values(), uses) {
            let (backend, service) = (old.id.clone(), old.service.clone());
            return Err(BrokenRule::LastBackend { backend, service, tag: tag.clone(), dependents }.into());
        }
    }
    Ok(())
}

/// No domain is left without a valid certificate by the loss of `old`, in whose place comes one for these names.
pub(super) async fn check_certificate(
    app: &App,
    actor: &Actor,
    change: &mut Change,
    old: &Certificate,
    new: &[HostPattern],
) -> Result<(), AppError> {
    let now = change.now;
    if !is_valid(old, now) {
        return Ok(());
    }
    let state = before(app, change.transaction.revision()).await?;
    let covers = |names: &[HostPattern], host: &HostPattern| names.iter().any(|name| name.covers(host));
    let uses = |Domain { host, .. }: &Domain| {
        covers(&old.chain.dns_names, host)
            && !covers(new, host)
            && !state.certificates_named(host).any(|stored| {
                let other = &stored.value;
                other.id != old.id && is_valid(other, now) && covers(&other.chain.dns_names, host)
            })
    };
    match domains(actor, state.domains_named(old), uses) {
        Some(dependents) => Err(BrokenRule::CertificateInUse { certificate: old.id.clone(), dependents }.into()),
        None => Ok(()),
    }
}

/// No domain is left without an issuer when `old` is not asked any more for domains that name none.
pub(super) async fn check_issuer(
    app: &App,
    actor: &Actor,
    change: &mut Change,
    old: &Issuer,
    new: Option<&Issuer>,
) -> Result<(), AppError> {
    if old.rank().is_none() || new.is_some_and(|new| new.rank().is_some()) {
        return Ok(());
    }
    let others = change.transaction.list::<Issuer>().await?;
    if others.iter().any(|other| other.value.id != old.id && other.value.rank().is_some()) {
        return Ok(());
    }
    let uses =
        |domain: &Domain| domain.certificate_source == CertificateSource::Acme && domain.acme.issuers().is_empty();
    match domains(actor, before(app, change.transaction.revision()).await?.domains().values(), uses) {
        Some(dependents) => Err(BrokenRule::LastIssuer { issuer: old.id.clone(), dependents }.into()),
        None => Ok(()),
    }
}

/// The domains and backends that refer to what `uses` says; if they are not known here, `user`.
pub(super) async fn referring(
    app: &App,
    actor: &Actor,
    change: &mut Change,
    user: ResourceKey,
    uses_domain: impl Fn(&Domain) -> bool,
    uses_backend: impl Fn(&Backend) -> bool,
) -> Result<Dependents, AppError> {
    let state = before(app, change.transaction.revision()).await?;
    let scope = &actor.access.scope;
    let domains = state.domains().values().filter(|it| uses_domain(&it.value));
    let domains = domains.map(|it| (ResourceKey::domain(&it.value.host), scope.has_domain(&it.value.host)));
    let backends = state.backends().values().filter(|it| uses_backend(&it.value));
    let backends = backends.map(|it| (ResourceKey::backend(&it.value.id), scope.has_service(&it.value.service)));
    let known = Dependents::of(domains.chain(backends));
    // What cannot be read belongs to nobody's scope but that of everything.
    let is_named = scope.is_everything();
    Ok(known.or_else(|| Dependents::of([(user, is_named)].into_iter())).unwrap_or_default())
}

/// The resources as the change of a revision found them: it holds the revision, so there is none in between.
pub(super) async fn before(app: &App, Revision(revision): Revision) -> Result<Arc<State>, AppError> {
    Ok(app.feed.reached(Revision(revision.saturating_sub(1)), READ_YOUR_WRITE_TIMEOUT).await?)
}

fn domains<'a>(
    actor: &Actor,
    all: impl Iterator<Item = &'a Arc<Stored<Domain>>>,
    uses: impl Fn(&Domain) -> bool,
) -> Option<Dependents> {
    let using = all.map(|stored| &stored.value).filter(|domain| uses(domain));
    Dependents::of(using.map(|it| (ResourceKey::domain(&it.host), actor.access.scope.has_domain(&it.host))))
}

fn is_valid(certificate: &Certificate, now: Timestamp) -> bool {
    certificate.chain.not_after > now
}
