//! Domains.

use std::sync::Arc;

use switchyard_proto::{
    resource::Patch,
    vocab::{HostPattern, Revision, ServiceId, Tag, limits::DOMAINS_MAX},
};

use super::{
    App, AppError, Change, Force, Mode, Page, PageRequest, certificate, check_etag, dependents, issuance, page, scope,
};
use crate::{
    model::{
        Actor, Certificate, CertificateSource, Domain, Service, Stored,
        rules::{self, BrokenRule},
    },
    store::Transaction,
};

/// One page of all domains, by name.
///
/// # Errors
///
/// The page token is not one of this list.
pub fn list(app: &App, actor: &Actor, request: &PageRequest) -> Result<Page<Arc<Stored<Domain>>>, AppError> {
    page::of_map(
        app.feed.state().domains(),
        request,
        |id| HostPattern::parse(id).ok(),
        |domain| domain.host.as_str(),
        |domain| actor.access.scope.has_domain(&domain.host),
    )
}

/// One domain.
///
/// # Errors
///
/// There is none of this name.
pub fn get(app: &App, actor: &Actor, host: &HostPattern) -> Result<Arc<Stored<Domain>>, AppError> {
    scope::check_domain(actor, host)?;
    app.feed.state().domains().get(host).cloned().ok_or_else(|| not_found(host))
}

/// Who says where the certificate of a new domain comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The domain does.
    Given,
    /// Nobody: it is chosen by the name.
    ByName,
}

/// Creates a domain, and its certificate if the internal CA is to take care of that.
///
/// # Errors
///
/// It exists, or its service does not.
pub async fn create(
    app: &App,
    actor: &Actor,
    domain: Domain,
    source: Source,
    mode: Mode,
) -> Result<Stored<Domain>, AppError> {
    scope::check_domain(actor, &domain.host)?;
    scope::check_service(actor, &domain.service)?;
    let mut change = app.begin(actor, mode).await?;
    let certificate_source = match source {
        Source::Given => domain.certificate_source,
        Source::ByName => source_of(app, &mut change, &domain).await?,
    };
    let domain = Domain { certificate_source, ..domain };
    let stored = create_in(app, &mut change, domain).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// Where the certificate of a domain comes from that does not say it: HTTPS should work by itself.
async fn source_of(app: &App, change: &mut Change, domain: &Domain) -> Result<CertificateSource, AppError> {
    let now = change.now;
    let state = dependents::before(app, change.transaction.revision()).await?;
    let is_uploaded = |stored: &Arc<Stored<Certificate>>| {
        let Certificate { source, chain, .. } = &stored.value;
        let is_for_it = chain.dns_names.iter().any(|name| name.covers(&domain.host));
        *source == CertificateSource::Uploaded && is_for_it && chain.not_after > now
    };
    let is_uploaded = state.certificates_named(&domain.host).any(is_uploaded);
    Ok(rules::default_source(domain, is_uploaded))
}

pub(super) async fn create_in(app: &App, change: &mut Change, domain: Domain) -> Result<Stored<Domain>, AppError> {
    if change.transaction.get::<Domain>(&domain.host).await?.is_some() {
        return Err(AppError::AlreadyExists(domain.host.to_resource_name()));
    }
    rules::can_add("domains", app.feed.state().domains().len(), DOMAINS_MAX)?;
    check_service(&mut *change.transaction, &domain.service).await?;
    rules::can_be_on_demand(&domain)?;
    begin_certificate(app, change, &domain).await?;
    Ok(change.transaction.put(None, domain).await?)
}

/// Changes a domain. An update that changes nothing writes nothing.
///
/// # Errors
///
/// There is none of this name, the etag is stale, the change is wrong, or the new service does not exist.
pub async fn update(
    app: &App,
    actor: &Actor,
    host: &HostPattern,
    patch: &Patch<Domain>,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Stored<Domain>, AppError> {
    scope::check_domain(actor, host)?;
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut *change.transaction, host, etag).await?;
    let new = patch.apply(&old.value).map_err(|error| AppError::invalid_change("domain", &error))?;
    if new.service != old.value.service {
        scope::check_service(actor, &new.service)?;
    }
    if new == old.value {
        return Ok(old);
    }
    check_service(&mut *change.transaction, &new.service).await?;
    rules::can_be_on_demand(&new)?;
    let is_other_source = old.value.certificate_source != new.certificate_source;
    if is_other_source || old.value.on_demand().is_some() != new.on_demand().is_some() {
        end_certificate(&mut change, &old.value).await?;
        begin_certificate(app, &mut change, &new).await?;
    } else if new.certificate_source == CertificateSource::Acme {
        issuance::check(&mut change, &new).await?;
    }
    let stored = change.transaction.put(Some(&old), new).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// What whoever wrote a domain should know: that no active backend of its service carries its tag.
pub fn warning(app: &App, domain: &Domain) -> Option<String> {
    let state = app.feed.state();
    let of_service = state.backends_of(&domain.service).map(|stored| &stored.value);
    let broken = rules::can_switch_to(&domain.service, &domain.active_tag, of_service).err()?;
    let BrokenRule::NoBackendForTag { service, tag } = broken else { return None };
    Some(format!("no active backend of services/{service} carries the tag {tag}: {} is answered with 503", domain.host))
}

/// Deletes a domain, and its certificate if that is the internal CA's.
///
/// # Errors
///
/// There is none of this name, or the etag is stale.
pub async fn delete(
    app: &App,
    actor: &Actor,
    host: &HostPattern,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Revision, AppError> {
    scope::check_domain(actor, host)?;
    let mut change = app.begin(actor, mode).await?;
    let old = existing(&mut *change.transaction, host, etag).await?;
    end_certificate(&mut change, &old.value).await?;
    change.transaction.delete(&old).await?;
    app.finish(change).await
}

async fn begin_certificate(app: &App, change: &mut Change, domain: &Domain) -> Result<(), AppError> {
    if domain.certificate_source != CertificateSource::Acme {
        issuance::end_on_demand_in(change, &domain.host).await?;
    }
    match domain.certificate_source {
        CertificateSource::Uploaded => Ok(()),
        CertificateSource::Internal => certificate::issue_internal(app, change, &domain.host).await,
        CertificateSource::Acme => issuance::begin_in(change, domain).await,
    }
}

async fn end_certificate(change: &mut Change, domain: &Domain) -> Result<(), AppError> {
    match domain.certificate_source {
        CertificateSource::Uploaded => Ok(()),
        CertificateSource::Internal => certificate::delete_internal(change, &domain.host).await,
        CertificateSource::Acme => issuance::end_in(change, &domain.host).await,
    }
}

/// Moves a domain to another tag and remembers the one before. On the tag that is active it changes nothing, so that a
/// retry is safe.
///
/// # Errors
///
/// There is none of this name, the etag is stale, or no active backend carries the tag and the switch is not forced.
pub async fn switch(
    app: &App,
    actor: &Actor,
    host: &HostPattern,
    tag: Tag,
    force: Force,
    etag: Option<Revision>,
    mode: Mode,
) -> Result<Stored<Domain>, AppError> {
    scope::check_domain(actor, host)?;
    let mut change = app.begin(actor, mode).await?;
    let old = change.transaction.get::<Domain>(host).await?.ok_or_else(|| not_found(host))?;
    let new = old.value.switched_to(tag);
    if new == old.value {
        // Also with an etag from before: the change that made it stale may have been this one.
        return Ok(old);
    }
    check_etag(etag, &old)?;
    if force == Force::No {
        let backends = change.transaction.backends_of(&new.service).await?;
        rules::can_switch_to(&new.service, &new.active_tag, backends.iter().map(|stored| &stored.value))?;
    }
    let stored = change.transaction.put(Some(&old), new).await?;
    app.finish(change).await?;
    Ok(stored)
}

async fn existing(
    transaction: &mut dyn Transaction,
    host: &HostPattern,
    etag: Option<Revision>,
) -> Result<Stored<Domain>, AppError> {
    let old = transaction.get::<Domain>(host).await?.ok_or_else(|| not_found(host))?;
    check_etag(etag, &old)?;
    Ok(old)
}

pub(super) async fn check_service(transaction: &mut dyn Transaction, service: &ServiceId) -> Result<(), AppError> {
    match transaction.get::<Service>(service).await? {
        Some(_) => Ok(()),
        None => Err(BrokenRule::NoSuchService { service: service.clone() }.into()),
    }
}

fn not_found(host: &HostPattern) -> AppError {
    AppError::NotFound(host.to_resource_name())
}
