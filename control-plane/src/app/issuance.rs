//! Issuances: how far domains are with the certificates that are ordered for them.
//!
//! What people do is in the first half. The second is for the reconciler that does the next step: each of its changes requires that
//! its lease is still held, and that nobody wrote meanwhile what it has read.

use std::{sync::Arc, time::Duration};

use switchyard_proto::vocab::{HostPattern, IssuerId, Revision, limits::NAMES_ON_DEMAND_MAX};

use super::{App, AppError, Change, Mode, Page, PageRequest, issuer, scope};
use crate::{
    model::{
        Account, Actor, Certificate, CertificateSource, Challenge, ChallengeKind, DnsProvider, Domain, Issuance,
        Issuer, Lease, Phase, Renewal, Stored, Timestamp, provider_of,
        rules::{self, BrokenRule},
    },
    store::{StoreError, Transaction},
};

/// How long the ordered certificate of a domain is kept that is gone, in case it comes back.
pub const RETIREMENT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Issuances that are read at a time for a page, once the first of them were out of scope.
const LIST_READ_SIZE: usize = 1_000;
/// How often the database is read for one page. One that is not full then is short.
const LIST_READS_MAX: usize = 16;

/// How far a domain is with its certificate, and the certificate that is served meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// How far it is.
    pub issuance: Issuance,
    /// What is served.
    pub certificate: Option<Arc<Stored<Certificate>>>,
}

/// How far a domain is.
///
/// # Errors
///
/// There is none of this name, no certificate is ordered for it, or the database does not answer.
pub async fn get(app: &App, actor: &Actor, host: &HostPattern) -> Result<Standing, AppError> {
    scope::check_domain(actor, host)?;
    let issuance = app.store.issuance(host).await?.filter(|issuance| issuance.phase != Phase::Retired);
    let issuance = issuance.ok_or_else(|| AppError::NotFound(format!("domains/{host}/issuance")))?;
    let certificate = app.feed.state().certificates().get(&Certificate::acme_id(host)).cloned();
    Ok(Standing { issuance, certificate })
}

/// Has the certificate of a domain ordered now, whatever it waits for.
///
/// # Errors
///
/// There is no domain of this name, or no certificate is ordered for it.
pub async fn renew(app: &App, actor: &Actor, host: &HostPattern) -> Result<Standing, AppError> {
    scope::check_domain(actor, host)?;
    request(app, host, None).await?;
    get(app, actor, host).await
}

/// Has the certificate of a domain replaced now, and declared void by its CA after that.
///
/// # Errors
///
/// There is no domain of this name, or no certificate was ordered for it.
pub async fn revoke(app: &App, actor: &Actor, host: &HostPattern) -> Result<Standing, AppError> {
    let certificate = get(app, actor, host).await?.certificate;
    let certificate = certificate.ok_or_else(|| AppError::NotFound(Certificate::acme_id(host).to_resource_name()))?;
    request(app, host, Some(&certificate.value.chain.certificates[0])).await?;
    get(app, actor, host).await
}

async fn request(app: &App, host: &HostPattern, revoke: Option<&[u8]>) -> Result<(), AppError> {
    if !app.store.request_issuance(host, revoke, app.clock.now()).await? {
        return Err(AppError::NotFound(format!("domains/{host}/issuance")));
    }
    app.due.notify_one();
    Ok(())
}

/// One page of all issuances in the actor's scope, by domain. It may have fewer than asked for, and not be the last.
///
/// # Errors
///
/// The database does not answer.
pub async fn list(app: &App, actor: &Actor, request: &PageRequest) -> Result<Page<Standing>, AppError> {
    let is_shown = |it: &Issuance| it.phase != Phase::Retired && actor.access.scope.has_domain(&it.host);
    let size = request.size();
    let mut after = request.after().unwrap_or_default().to_owned();
    let (mut shown, mut has_more) = (Vec::new(), true);
    for reads in 0..LIST_READS_MAX {
        // What is not shown does not make a page shorter, nor the reading of what few have much longer.
        let limit = if reads == 0 { size + 1 } else { LIST_READ_SIZE };
        let read = app.store.issuances(&after, limit).await?;
        has_more = read.len() >= limit;
        if let Some(last) = read.last() {
            after = last.host.to_string();
        }
        shown.extend(read.into_iter().filter(is_shown));
        if shown.len() > size || !has_more {
            break;
        }
    }
    let next = if shown.len() > size {
        shown.truncate(size);
        shown.last().map(|last| last.host.to_string())
    } else {
        has_more.then_some(after)
    };
    let state = app.feed.state();
    let standing = |issuance: Issuance| {
        let certificate = state.certificates().get(&Certificate::acme_id(&issuance.host)).cloned();
        Standing { issuance, certificate }
    };
    let items = shown.into_iter().map(standing).collect();
    Ok(Page::ending_at(items, next.as_deref(), request))
}

/// Begins to order the certificate of a domain, as part of a change.
pub(super) async fn begin_in(change: &mut Change, domain: &Domain) -> Result<(), AppError> {
    let host = &domain.host;
    let is_on_demand = domain.on_demand().is_some();
    check(change, domain).await?;
    let issuers = change.transaction.list::<Issuer>().await?;
    let issuers: Vec<&Issuer> = issuers.iter().map(|stored| &stored.value).collect();
    if in_order(&issuers, domain).is_empty() {
        issuer::create_default_in(change).await?;
    }
    let http_01 = in_order(&issuers, domain)
        .first()
        .and_then(|issuer| Some(issuer.account.as_ref()?.thumbprint.clone()))
        .filter(|_| host.wildcard_suffix().is_none() || is_on_demand);
    if http_01.is_some() {
        let old = change.transaction.get::<Challenge>(host).await?;
        let challenge = Challenge { host: host.clone(), http_01, tls_alpn_01: None };
        change.transaction.put(old.as_ref(), challenge).await?;
    }
    if is_on_demand {
        return Ok(change.transaction.revive_on_demand(host, change.now).await?);
    }
    let issuance = match change.transaction.issuance(host).await? {
        // It comes back in time to go on with the certificate it had.
        Some(old) => Issuance {
            on_demand: None,
            phase: Phase::Waiting,
            order: None,
            next_at: change.now,
            updated_at: change.now,
            ..old
        },
        None => Issuance::new(host.clone(), change.now),
    };
    Ok(change.transaction.put_issuance(&issuance).await?)
}

/// Checks that the certificate of a domain can be ordered as it says.
pub(super) async fn check(change: &mut Change, domain: &Domain) -> Result<(), AppError> {
    let issuers = change.transaction.list::<Issuer>().await?;
    let issuers: Vec<&Issuer> = issuers.iter().map(|stored| &stored.value).collect();
    rules::can_order(&domain.host, &domain.acme, &in_order(&issuers, domain))?;
    if needs_dns(domain) {
        let providers = change.transaction.list::<DnsProvider>().await?;
        if provider_of(&domain.host, providers.iter().map(|stored| &stored.value)).is_none() {
            return Err(BrokenRule::NoDnsProvider { host: domain.host.clone() }.into());
        }
    }
    for id in domain.acme.issuers() {
        if change.transaction.get::<Issuer>(id).await?.is_none() {
            return Err(BrokenRule::NoSuchIssuer { issuer: id.clone() }.into());
        }
    }
    Ok(())
}

/// Whether only a record of its zone proves a domain.
fn needs_dns(domain: &Domain) -> bool {
    if domain.acme.on_demand.is_some() {
        return false;
    }
    let is_wildcard = domain.host.wildcard_suffix().is_some();
    domain.acme.challenge == Some(ChallengeKind::Dns01) || (domain.acme.challenge.is_none() && is_wildcard)
}

/// Begins to order a certificate on demand for a name below a domain, unless that was done before.
///
/// # Errors
///
/// The domain does not have certificates on demand any more, the name is a domain's own, there are too many, or the database does not
/// answer.
pub async fn begin_on_demand(app: &App, domain: &HostPattern, name: &HostPattern) -> Result<(), AppError> {
    let mut change = app.begin(&Actor::system(), Mode::Commit).await?;
    let covering = change.transaction.get::<Domain>(domain).await?.filter(|it| it.value.on_demand().is_some());
    if covering.is_none() || change.transaction.get::<Domain>(name).await?.is_some() {
        return Err(AppError::NotFound(domain.to_resource_name()));
    }
    let new = Issuance { on_demand: Some(domain.clone()), ..Issuance::new(name.clone(), change.now) };
    let issuance = match change.transaction.issuance(name).await? {
        Some(old) if old.phase != Phase::Retired => return Ok(()),
        Some(old) => Issuance { issuer: old.issuer, renewal: old.renewal, ..new },
        None => new,
    };
    let names = change.transaction.count_on_demand(domain).await?;
    rules::can_add("names on demand of one domain", names, NAMES_ON_DEMAND_MAX)?;
    change.transaction.put_issuance(&issuance).await?;
    app.finish(change).await?;
    app.due.notify_one();
    Ok(())
}

/// Lets a certificate on demand run out; a name that has none is forgotten.
///
/// # Errors
///
/// The lease is gone, or the database does not answer.
pub async fn expire(app: &App, lease: &Lease, issuance: &Issuance) -> Result<(), AppError> {
    let mut change = begin(app, lease).await?;
    if !is_as_read(&mut *change.transaction, issuance).await? {
        return Ok(());
    }
    match change.transaction.get::<Certificate>(&Certificate::acme_id(&issuance.host)).await? {
        Some(certificate) => {
            let until = certificate.value.chain.not_after;
            let retired = retired(issuance.clone(), until, change.now);
            change.transaction.put_issuance(&retired).await?;
        }
        None => change.transaction.delete_issuance(&issuance.host).await?,
    }
    app.finish(change).await?;
    Ok(())
}

/// Ends to have a certificate on demand for a name that becomes a domain with another one, as part of a change.
pub(super) async fn end_on_demand_in(change: &mut Change, host: &HostPattern) -> Result<(), AppError> {
    match change.transaction.issuance(host).await? {
        Some(issuance) if issuance.on_demand.is_some() => end_in(change, host).await,
        _ => Ok(()),
    }
}

/// Ends to order the certificate of a domain, or those of the names below it, as part of a change. What there is of them is kept for
/// a while.
pub(super) async fn end_in(change: &mut Change, host: &HostPattern) -> Result<(), AppError> {
    let until = change.now.plus(RETIREMENT);
    if host.wildcard_suffix().is_some() {
        change.transaction.retire_on_demand(host, until, change.now).await?;
    }
    if let Some(challenge) = change.transaction.get::<Challenge>(host).await? {
        change.transaction.delete(&challenge).await?;
    }
    let Some(issuance) = change.transaction.issuance(host).await? else { return Ok(()) };
    if change.transaction.get::<Certificate>(&Certificate::acme_id(host)).await?.is_none() {
        return Ok(change.transaction.delete_issuance(host).await?);
    }
    let retired = retired(Issuance { on_demand: None, ..issuance }, until, change.now);
    Ok(change.transaction.put_issuance(&retired).await?)
}

/// Has the certificate of a name ordered anew, as part of a change by which it is gone.
pub(super) async fn replace_in(change: &mut Change, host: &HostPattern) -> Result<(), AppError> {
    match change.transaction.issuance(host).await? {
        Some(it) if it.phase != Phase::Retired => {
            let due = Issuance { next_at: change.now, renewal: None, updated_at: change.now, ..it };
            Ok(change.transaction.put_issuance(&due).await?)
        }
        _ => Ok(()),
    }
}

fn retired(issuance: Issuance, until: Timestamp, now: Timestamp) -> Issuance {
    Issuance {
        phase: Phase::Retired,
        order: None,
        next_at: until,
        failures: 0,
        failure: None,
        updated_at: now,
        ..issuance
    }
}

/// The issuers that a domain uses, in order: those it names, or else all that have a rank; of a private name those that may sign it.
pub fn in_order<'a>(all: &[&'a Issuer], domain: &Domain) -> Vec<&'a Issuer> {
    let may_sign = all.iter().copied().filter(|issuer| rules::may_sign(issuer, &domain.host));
    let named = domain.acme.issuers();
    if !named.is_empty() {
        let may_sign: Vec<&Issuer> = may_sign.collect();
        return named.iter().filter_map(|id| may_sign.iter().copied().find(|issuer| issuer.id == *id)).collect();
    }
    let mut ranked: Vec<&Issuer> = may_sign.filter(|issuer| issuer.rank().is_some()).collect();
    ranked.sort_by_key(|issuer| (issuer.rank(), &issuer.id));
    ranked
}

/// Has edges answer this to a CA; the revision since which they are told so.
///
/// # Errors
///
/// The lease is gone, or the database does not answer.
pub async fn answer(app: &App, lease: &Lease, challenge: Challenge) -> Result<Revision, AppError> {
    if let Some(known) = app.feed.state().challenge(&challenge.host)
        && known.value == challenge
    {
        return Ok(known.revision);
    }
    let mut change = begin(app, lease).await?;
    let host = &challenge.host;
    let domain = change.transaction.get::<Domain>(host).await?;
    if domain.is_none_or(|domain| domain.value.certificate_source != CertificateSource::Acme) {
        return Err(AppError::NotFound(host.to_resource_name()));
    }
    let old = change.transaction.get::<Challenge>(host).await?;
    if let Some(old) = old.as_ref().filter(|old| old.value == challenge) {
        return Ok(old.revision);
    }
    change.transaction.put(old.as_ref(), challenge).await?;
    app.finish(change).await
}

/// Takes note of the account that was made at an issuer. Another one that was noted meanwhile stays.
///
/// # Errors
///
/// The lease is gone, the issuer is, or the database does not answer.
pub async fn register(app: &App, lease: &Lease, issuer: &IssuerId, account: Account) -> Result<(), AppError> {
    let mut change = begin(app, lease).await?;
    let old = change.transaction.get::<Issuer>(issuer).await?;
    let old = old.ok_or_else(|| AppError::NotFound(issuer.to_resource_name()))?;
    if old.value.account.is_none() {
        let new = Issuer { account: Some(account), ..old.value.clone() };
        change.transaction.put(Some(&old), new).await?;
        app.finish(change).await?;
    }
    Ok(())
}

/// Forgets an account that its CA does not know any more, so that another is made.
///
/// # Errors
///
/// The lease is gone, or the database does not answer.
pub async fn unregister(app: &App, lease: &Lease, issuer: &IssuerId, account_url: &str) -> Result<(), AppError> {
    let mut change = begin(app, lease).await?;
    let Some(old) = change.transaction.get::<Issuer>(issuer).await? else { return Ok(()) };
    if old.value.account.as_ref().is_some_and(|account| account.url == account_url) {
        let new = Issuer { account: None, ..old.value.clone() };
        change.transaction.put(Some(&old), new).await?;
        app.finish(change).await?;
    }
    Ok(())
}

/// Has a certificate served that was issued, and ends its order. The one before is replaced only by one that is newer.
///
/// `None`: somebody wrote the issuance meanwhile, or its domain is gone.
///
/// # Errors
///
/// The lease is gone, or the database does not answer.
pub async fn complete(
    app: &App,
    lease: &Lease,
    issuance: &Issuance,
    certificate: Certificate,
    renewal: Renewal,
) -> Result<Option<Revision>, AppError> {
    let mut change = begin(app, lease).await?;
    let host = &issuance.host;
    if !is_as_read(&mut *change.transaction, issuance).await? {
        return Ok(None);
    }
    if let Some(old) = change.transaction.get::<Challenge>(host).await?.filter(|old| old.value.tls_alpn_01.is_some()) {
        let answered = Challenge { tls_alpn_01: None, ..old.value.clone() };
        change.transaction.put(Some(&old), answered).await?;
    }
    let old = change.transaction.get::<Certificate>(&certificate.id).await?;
    if old.as_ref().is_none_or(|old| old.value.chain.not_before <= certificate.chain.not_before) {
        change.transaction.put(old.as_ref(), certificate).await?;
    }
    let done = Issuance {
        phase: Phase::Waiting,
        issuer: issuance.order.as_ref().map(|order| order.issuer.clone()),
        order: None,
        next_at: renewal.next_at(),
        failures: 0,
        failure: None,
        renewal: Some(renewal),
        updated_at: change.now,
        ..issuance.clone()
    };
    change.transaction.put_issuance(&done).await?;
    app.finish(change).await.map(Some)
}

/// Forgets a certificate whose domain has been gone for long enough.
///
/// # Errors
///
/// The lease is gone, or the database does not answer.
pub async fn forget(app: &App, lease: &Lease, issuance: &Issuance) -> Result<(), AppError> {
    let mut change = begin(app, lease).await?;
    if !is_as_read(&mut *change.transaction, issuance).await? {
        return Ok(());
    }
    if let Some(certificate) = change.transaction.get::<Certificate>(&Certificate::acme_id(&issuance.host)).await? {
        change.transaction.delete(&certificate).await?;
    }
    change.transaction.delete_issuance(&issuance.host).await?;
    app.finish(change).await?;
    Ok(())
}

async fn begin(app: &App, lease: &Lease) -> Result<Change, AppError> {
    let mut change = app.begin(&Actor::system(), Mode::Commit).await?;
    change.transaction.require(lease).await?;
    Ok(change)
}

async fn is_as_read(transaction: &mut dyn Transaction, issuance: &Issuance) -> Result<bool, StoreError> {
    Ok(transaction.issuance(&issuance.host).await?.is_some_and(|now| now.version == issuance.version))
}

/// When a certificate of this validity is to be replaced, if its CA says nothing: at two thirds of its lifetime, or up to a twentieth of
/// it before, as `jitter` (from 0 to 1) says, so that those of one hour are spread and none has to be warned about.
pub fn renewal(not_before: Timestamp, not_after: Timestamp, jitter: f64) -> Renewal {
    let lifetime = (not_after.0 - not_before.0).max(0);
    #[expect(clippy::cast_possible_truncation, reason = "a twentieth of a lifetime is a small number")]
    let earlier = (lifetime as f64 / 20.0 * jitter.clamp(0.0, 1.0)) as i64;
    Renewal { at: Timestamp(not_before.0 + lifetime / 3 * 2 - earlier), window: None, ask_at: None }
}
