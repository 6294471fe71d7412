use std::collections::{BTreeMap, BTreeSet, HashMap};

use switchyard_proto::vocab::{HostPattern, ResourceKey, ResourceKind, Revision, ServiceId, Tag};

use super::{
    Pending, PendingChange,
    served::{PoolKey, Served, backend_id, certificate_id, host, service_id},
};
use crate::{
    snapshot::Domain,
    sync::convert::{Claim, Valid},
};

type PendingMap = BTreeMap<ResourceKey, Pending>;

/// What has to wait, and for what: found by looking at what is pending alone.
pub(super) struct Dependencies(BTreeMap<ResourceKey, String>);

/// What is the matter with what is withheld.
const WITHHELD: &str = "it is withheld: the control plane cannot read it";

/// A domain that is served and withheld: it cannot leave what it uses.
struct WithheldDomain<'a> {
    key: &'a ResourceKey,
    host: HostPattern,
    pool: &'a PoolKey,
}

impl<'a> WithheldDomain<'a> {
    fn all(withheld: &'a BTreeSet<ResourceKey>, served: &'a Served) -> Vec<Self> {
        let domains = withheld.iter().filter(|key| key.kind == ResourceKind::Domain);
        let domain = |key| {
            let host = host(key)?;
            let pool = served.domains.get(&host)?;
            Some(Self { key, host, pool })
        };
        domains.filter_map(domain).collect()
    }

    /// What a certificate of this name is there for, if it is there for this domain: the domain, or a name below it.
    fn needs<'n>(&'n self, name: &'n HostPattern) -> Option<&'n HostPattern> {
        if name.covers(&self.host) { Some(&self.host) } else { self.host.covers(name).then_some(name) }
    }
}

/// What will not be served now, by kind: what others may have to wait for. Small, as a rule.
struct Stuck<'a> {
    backends: Vec<(&'a ResourceKey, &'a Pending)>,
    certificates: Vec<(&'a ResourceKey, &'a Pending)>,
    domains: Vec<(&'a ResourceKey, &'a Pending)>,
    withheld: &'a [WithheldDomain<'a>],
}

impl Dependencies {
    /// Begins with what waits for what can never be served, and goes on with what waits for that, until nothing is added.
    /// Each round adds at least one, so it ends.
    pub(super) fn find(pending: &PendingMap, withheld: &BTreeSet<ResourceKey>, served: &Served) -> Self {
        let mut dependencies = Self(BTreeMap::new());
        let withheld_domains = if pending.is_empty() { Vec::new() } else { WithheldDomain::all(withheld, served) };
        loop {
            let stuck = dependencies.stuck(pending, &withheld_domains);
            let departures = dependencies.departures(pending, served);
            let found: Vec<_> = pending
                .iter()
                .filter(|(key, _)| !dependencies.0.contains_key(key))
                .filter_map(|(key, this)| {
                    let reason = match &this.change {
                        PendingChange::Unservable(_) => None,
                        PendingChange::Put(Valid::Service(_) | Valid::Challenge(_) | Valid::TicketKeys(_)) => None,
                        PendingChange::Put(Valid::Certificate(certificate)) => {
                            dependencies.for_withheld_domain(key, certificate.names(), &stuck, pending, served)
                        }
                        PendingChange::Put(Valid::Backend(backend)) => {
                            dependencies.for_service(&backend.service, pending, withheld, served).or_else(|| {
                                let after = Some((&backend.service, backend.tags.as_slice()));
                                dependencies.for_users_of_pools(key, after, &stuck, served)
                            })
                        }
                        PendingChange::Put(Valid::Domain(domain)) => dependencies
                            .for_service(&domain.settings.service, pending, withheld, served)
                            .or_else(|| dependencies.for_newest_service(&domain.settings.service, pending))
                            .or_else(|| dependencies.for_backends(domain, this.revision, &stuck))
                            .or_else(|| dependencies.for_certificate(&domain.settings.host, &stuck, pending, served)),
                        PendingChange::Remove => match key.kind {
                            ResourceKind::Domain
                            | ResourceKind::Challenge
                            | ResourceKind::TicketKeys
                            | ResourceKind::Unknown(_) => None,
                            ResourceKind::Certificate => {
                                dependencies.for_withheld_domain(key, &[], &stuck, pending, served)
                            }
                            ResourceKind::Backend => dependencies.for_users_of_pools(key, None, &stuck, served),
                            ResourceKind::Service => for_users_of_service(key, &departures, served),
                        },
                    };
                    Some((key.clone(), reason?))
                })
                .collect();
            if found.is_empty() {
                return dependencies;
            }
            dependencies.0.extend(found);
        }
    }

    /// Why a pending version has to wait, if it has.
    pub(super) fn reason(&self, key: &ResourceKey) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn is_stuck(&self, key: &ResourceKey, pending: &Pending) -> bool {
        matches!(pending.change, PendingChange::Unservable(_)) || self.0.contains_key(key)
    }

    fn stuck<'a>(&self, pending: &'a PendingMap, withheld: &'a [WithheldDomain<'a>]) -> Stuck<'a> {
        let mut stuck = Stuck { backends: vec![], certificates: vec![], domains: vec![], withheld };
        for (key, this) in pending.iter().filter(|(key, this)| self.is_stuck(key, this)) {
            match key.kind {
                ResourceKind::Service
                | ResourceKind::Challenge
                | ResourceKind::TicketKeys
                | ResourceKind::Unknown(_) => {}
                ResourceKind::Backend => stuck.backends.push((key, this)),
                ResourceKind::Certificate => stuck.certificates.push((key, this)),
                ResourceKind::Domain => stuck.domains.push((key, this)),
            }
        }
        stuck
    }

    /// For each service that is to be removed, how many users come to it less those who leave it.
    fn departures(&self, pending: &PendingMap, served: &Served) -> HashMap<ServiceId, i64> {
        let mut departures: HashMap<ServiceId, i64> = pending
            .iter()
            .filter(|(key, this)| key.kind == ResourceKind::Service && matches!(this.change, PendingChange::Remove))
            .filter_map(|(key, _)| Some((service_id(key)?, 0)))
            .collect();
        if departures.is_empty() {
            return departures;
        }
        for (key, this) in pending.iter().filter(|(key, this)| !self.is_stuck(key, this)) {
            let before = match key.kind {
                ResourceKind::Domain => {
                    host(key).and_then(|host| served.domains.get(&host)).map(|(service, _)| service)
                }
                ResourceKind::Backend => {
                    backend_id(key).and_then(|id| served.backends.get(&id)).map(|(service, _)| service)
                }
                ResourceKind::Service
                | ResourceKind::Certificate
                | ResourceKind::Challenge
                | ResourceKind::TicketKeys
                | ResourceKind::Unknown(_) => None,
            };
            let after = match &this.change {
                PendingChange::Put(Valid::Domain(domain)) => Some(&domain.settings.service),
                PendingChange::Put(Valid::Backend(backend)) => Some(&backend.service),
                _ => None,
            };
            if let Some(count) = before.and_then(|service| departures.get_mut(service)) {
                *count -= 1;
            }
            if let Some(count) = after.and_then(|service| departures.get_mut(service)) {
                *count += 1;
            }
        }
        departures
    }

    /// What refers to a service needs some version of it.
    fn for_service(
        &self,
        service: &ServiceId,
        pending: &PendingMap,
        withheld: &BTreeSet<ResourceKey>,
        served: &Served,
    ) -> Option<String> {
        let key = ResourceKey::service(service);
        match pending.get(&key) {
            Some(Pending { change: PendingChange::Put(_), .. }) => None,
            _ if served.has_service(service) => None,
            Some(missing) => Some(waits_for(&key, &missing.reason)),
            None if withheld.contains(&key) => Some(waits_for(&key, WITHHELD)),
            None => Some(format!("there is no {key}")),
        }
    }

    /// A domain changes only together with its service.
    fn for_newest_service(&self, service: &ServiceId, pending: &PendingMap) -> Option<String> {
        let key = ResourceKey::service(service);
        let stuck = pending.get(&key).filter(|service| self.is_stuck(&key, service))?;
        Some(waits_for(&key, self.reason_of(&key, stuck)))
    }

    /// A domain changes only together with the backends that it sends requests to.
    fn for_backends(&self, domain: &Domain, revision: Revision, stuck: &Stuck<'_>) -> Option<String> {
        let (key, backend) = stuck.backends.iter().find(|(_, backend)| match &backend.change {
            PendingChange::Put(Valid::Backend(backend)) => {
                backend.service == domain.settings.service && backend.tags.contains(&domain.settings.active_tag)
            }
            PendingChange::Unservable(Claim::Pools { service, tags }) => {
                *service == domain.settings.service && tags.contains(&domain.settings.active_tag)
            }
            // Nobody can say whose it is: it may be of every domain that was changed together with it.
            PendingChange::Unservable(_) => backend.revision == revision,
            PendingChange::Put(_) | PendingChange::Remove => false,
        })?;
        Some(waits_for(key, self.reason_of(key, backend)))
    }

    /// A domain whose only certificate cannot be served does not change.
    fn for_certificate(
        &self,
        host: &HostPattern,
        stuck: &Stuck<'_>,
        pending: &PendingMap,
        served: &Served,
    ) -> Option<String> {
        let (key, certificate) = stuck.certificates.iter().find(|(_, certificate)| match &certificate.change {
            PendingChange::Unservable(Claim::Names(names)) => covers(names, host),
            _ => false,
        })?;
        let is_coming = |this: &Pending| match &this.change {
            PendingChange::Put(Valid::Certificate(certificate)) => covers(certificate.names(), host),
            _ => false,
        };
        if served.has_certificate_for(host) || pending.values().any(is_coming) {
            return None;
        }
        Some(waits_for(key, self.reason_of(key, certificate)))
    }

    /// A backend stays in the pools of the domains that cannot leave them. `after` is where it will be.
    fn for_users_of_pools(
        &self,
        key: &ResourceKey,
        after: Option<(&ServiceId, &[Tag])>,
        stuck: &Stuck<'_>,
        served: &Served,
    ) -> Option<String> {
        let (service, tags) = served.backends.get(&backend_id(key)?)?;
        let leaves = |tag: &Tag| !after.is_some_and(|(of, tags)| of == service && tags.contains(tag));
        let uses = |(of, tag): &PoolKey| of == service && tags.contains(tag) && leaves(tag);
        if let Some(domain) = stuck.withheld.iter().find(|domain| uses(domain.pool)) {
            return Some(waits_for(domain.key, WITHHELD));
        }
        let (domain, held_back) = stuck
            .domains
            .iter()
            .find(|(key, _)| host(key).and_then(|host| served.domains.get(&host)).is_some_and(uses))?;
        Some(waits_for(domain, self.reason_of(domain, held_back)))
    }

    /// A certificate stays as long as a withheld domain has no other. `after` are the names that it will be for.
    fn for_withheld_domain(
        &self,
        key: &ResourceKey,
        after: &[HostPattern],
        stuck: &Stuck<'_>,
        pending: &PendingMap,
        served: &Served,
    ) -> Option<String> {
        if stuck.withheld.is_empty() {
            return None;
        }
        let names = served.names_of(&certificate_id(key)?);
        let is_last = |host: &HostPattern| !covers(after, host) && !self.has_other(host, pending, served);
        let needs = |domain: &&WithheldDomain<'_>| names.iter().filter_map(|name| domain.needs(name)).any(is_last);
        stuck.withheld.iter().find(needs).map(|domain| waits_for(domain.key, WITHHELD))
    }

    /// Whether there is a certificate for a host once everything pending is served that does not wait.
    fn has_other(&self, host: &HostPattern, pending: &PendingMap, served: &Served) -> bool {
        let count = |names: &[HostPattern]| names.iter().filter(|name| name.covers(host)).count();
        let (mut arriving, mut leaving) = (0, 0);
        for (key, this) in pending.iter().filter(|(key, this)| !self.is_stuck(key, this)) {
            let before = || certificate_id(key).map_or(0, |id| count(served.names_of(&id)));
            match &this.change {
                PendingChange::Put(Valid::Certificate(certificate)) => {
                    arriving += count(certificate.names());
                    leaving += before();
                }
                PendingChange::Remove if key.kind == ResourceKind::Certificate => leaving += before(),
                PendingChange::Put(_) | PendingChange::Remove | PendingChange::Unservable(_) => {}
            }
        }
        served.certificates_for(host) + arriving > leaving
    }

    fn reason_of<'a>(&'a self, key: &ResourceKey, pending: &'a Pending) -> &'a str {
        self.0.get(key).unwrap_or(&pending.reason)
    }
}

/// A service stays as long as something that is served refers to it.
fn for_users_of_service(key: &ResourceKey, departures: &HashMap<ServiceId, i64>, served: &Served) -> Option<String> {
    let id = service_id(key)?;
    let users = served.services.get(&id)?;
    let now = i64::try_from(users.domains + users.backends).unwrap_or(i64::MAX);
    let remaining = now + departures.get(&id).copied().unwrap_or(0);
    (remaining > 0).then(|| format!("still in use by {remaining} domains and backends that are served"))
}

fn waits_for(key: &ResourceKey, reason: &str) -> String {
    if reason.is_empty() { format!("waits for {key}") } else { format!("waits for {key}: {reason}") }
}

fn covers(names: &[HostPattern], host: &HostPattern) -> bool {
    names.iter().any(|name| name.covers(host))
}
