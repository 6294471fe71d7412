//! The resources that edges serve, and the references by which what a domain uses is found.

use std::{cmp::Ordering, sync::Arc};

use bytes::Bytes;
use imbl::{HashMap, OrdMap, OrdSet};
use switchyard_proto::vocab::{
    BackendId, CertificateId, HostPattern, ResourceKey, ResourceKind, Revision, ServiceId, TicketKeysId,
};

use super::entry::{ByKey, Content, Entry};
use crate::model::{Backend, Certificate, Challenge, Domain, Service, Stored, TicketKeys};

/// All resources that edges serve, as they are and as edges receive them. Clones share their structure.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    pub(super) domains: OrdMap<HostPattern, Arc<Stored<Domain>>>,
    /// The last readable versions of domains that are withheld: what these use stays in sight.
    retained: OrdMap<HostPattern, Arc<Stored<Domain>>>,
    /// What is there and cannot be read, and since when.
    withheld: OrdMap<ResourceKey, Revision>,
    pub(super) services: OrdMap<ServiceId, Arc<Stored<Service>>>,
    pub(super) backends: OrdMap<BackendId, Arc<Stored<Backend>>>,
    pub(super) certificates: OrdMap<CertificateId, Arc<Stored<Certificate>>>,
    pub(super) challenges: OrdMap<HostPattern, Arc<Stored<Challenge>>>,
    pub(super) ticket_keys: OrdMap<TicketKeysId, Arc<Stored<TicketKeys>>>,
    encoded: OrdSet<ByKey>,
    backends_of: HashMap<ServiceId, OrdSet<BackendId>>,
    /// By name; with no id, the place before those of the name.
    certificates_named: OrdSet<(HostPattern, Option<CertificateId>)>,
    certificate_names: Zones,
    domain_names: Zones,
}

/// Names in the order of the zones right above them: those that a wildcard of a zone covers follow that wildcard.
#[derive(Clone, Debug, Default)]
struct Zones(OrdSet<InZone>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct InZone(HostPattern);

impl Ord for InZone {
    fn cmp(&self, other: &Self) -> Ordering {
        zone(&self.0).cmp(zone(&other.0)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for InZone {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Zones {
    fn insert(&mut self, name: &HostPattern) {
        self.0.insert(InZone(name.clone()));
    }

    fn remove(&mut self, name: &HostPattern) {
        self.0.remove(&InZone(name.clone()));
    }

    /// The names that have a host in common with this one.
    fn related<'a>(&'a self, name: &'a HostPattern) -> Box<dyn Iterator<Item = &'a HostPattern> + 'a> {
        if name.wildcard_suffix().is_some() {
            let names = self.0.range(InZone(name.clone())..).map(|InZone(name)| name);
            return Box::new(names.take_while(move |it| zone(it) == zone(name)));
        }
        let wildcard = name.wildcard().and_then(|wildcard| self.0.get(&InZone(wildcard)));
        Box::new(self.0.get(&InZone(name.clone())).into_iter().chain(wildcard).map(|InZone(name)| name))
    }
}

/// What follows the first label: of `a.shop.example` and of `*.shop.example`, `shop.example`.
fn zone(name: &HostPattern) -> &str {
    let name = name.as_str();
    // Labels are short: this is compared often, and a search for a character costs more than it.
    name.bytes().position(|byte| byte == b'.').map_or("", |dot| &name[dot + 1..])
}

impl Resources {
    /// Puts a service, or a new version of it.
    pub(super) fn put_service(&mut self, stored: Arc<Stored<Service>>, encoded: Bytes) {
        let id = stored.value.id.clone();
        self.encode(ResourceKey::service(&id), stored.revision, encoded);
        self.services.insert(id, stored);
    }

    /// Puts a backend, or a new version of it.
    pub(super) fn put_backend(&mut self, stored: Arc<Stored<Backend>>, encoded: Bytes) {
        let Backend { id, service, .. } = stored.value.clone();
        self.encode(ResourceKey::backend(&id), stored.revision, encoded);
        if let Some(old) = self.backends.insert(id.clone(), stored) {
            self.forget_backend(&old.value);
        }
        self.backends_of.entry(service).or_default().insert(id);
    }

    /// Puts a certificate, or a new version of it.
    pub(super) fn put_certificate(&mut self, stored: Arc<Stored<Certificate>>, encoded: Bytes) {
        let id = stored.value.id.clone();
        self.encode(ResourceKey::certificate(&id), stored.revision, encoded);
        if let Some(old) = self.certificates.insert(id.clone(), stored.clone()) {
            self.forget_certificate(&old.value);
        }
        for name in &stored.value.chain.dns_names {
            self.certificates_named.insert((name.clone(), Some(id.clone())));
            self.certificate_names.insert(name);
        }
    }

    /// Puts a domain, or a new version of it; the one before.
    pub(super) fn put_domain(&mut self, stored: Arc<Stored<Domain>>, encoded: Bytes) -> Option<Arc<Stored<Domain>>> {
        let host = stored.value.host.clone();
        self.encode(ResourceKey::domain(&host), stored.revision, encoded);
        self.domain_names.insert(&host);
        let retained = self.retained.remove(&host);
        self.domains.insert(host, stored).or(retained)
    }

    /// Puts what a CA is answered, or a new version of it.
    pub(super) fn put_challenge(&mut self, stored: Arc<Stored<Challenge>>, encoded: Bytes) {
        let host = stored.value.host.clone();
        self.encode(ResourceKey::challenge(&host), stored.revision, encoded);
        self.challenges.insert(host, stored);
    }

    /// Removes what a CA is answered.
    pub(super) fn remove_challenge(&mut self, host: &HostPattern) {
        self.encoded.remove(&ResourceKey::challenge(host));
        self.challenges.remove(host);
    }

    /// Puts the ticket keys of a class, or a new version of them.
    pub(super) fn put_ticket_keys(&mut self, stored: Arc<Stored<TicketKeys>>, encoded: Bytes) {
        let id = stored.value.id().clone();
        self.encode(ResourceKey::ticket_keys(&id), stored.revision, encoded);
        self.ticket_keys.insert(id, stored);
    }

    /// Removes the ticket keys of a class.
    pub(super) fn remove_ticket_keys(&mut self, id: &TicketKeysId) {
        self.encoded.remove(&ResourceKey::ticket_keys(id));
        self.ticket_keys.remove(id);
    }

    /// Removes a service.
    pub(super) fn remove_service(&mut self, id: &ServiceId) {
        self.encoded.remove(&ResourceKey::service(id));
        self.services.remove(id);
    }

    /// Removes a backend.
    pub(super) fn remove_backend(&mut self, id: &BackendId) {
        self.encoded.remove(&ResourceKey::backend(id));
        if let Some(old) = self.backends.remove(id) {
            self.forget_backend(&old.value);
        }
    }

    /// Removes a certificate.
    pub(super) fn remove_certificate(&mut self, id: &CertificateId) {
        self.encoded.remove(&ResourceKey::certificate(id));
        if let Some(old) = self.certificates.remove(id) {
            self.forget_certificate(&old.value);
        }
    }

    /// Removes a domain, and returns it.
    pub(super) fn remove_domain(&mut self, host: &HostPattern) -> Option<Arc<Stored<Domain>>> {
        self.encoded.remove(&ResourceKey::domain(host));
        self.domain_names.remove(host);
        let retained = self.retained.remove(host);
        self.domains.remove(host).or(retained)
    }

    /// A domain as far as it refers to others: as it is, or as it was before it was withheld.
    pub(super) fn domain(&self, host: &HostPattern) -> Option<&Arc<Stored<Domain>>> {
        self.domains.get(host).or_else(|| self.retained.get(host))
    }

    /// The domains that are withheld, as they were before.
    pub(super) fn retained(&self) -> impl Iterator<Item = (&HostPattern, &Arc<Stored<Domain>>)> {
        self.retained.iter()
    }

    /// What is withheld, and since when.
    pub(super) fn withheld(&self) -> impl Iterator<Item = (&ResourceKey, Revision)> {
        self.withheld.iter().map(|(key, revision)| (key, *revision))
    }

    /// Withholds a resource: it is not there any more, but what a domain refers to is.
    pub(super) fn withhold(&mut self, key: &ResourceKey, revision: Revision) {
        self.withheld.insert(key.clone(), revision);
        match key.kind {
            ResourceKind::Domain => {
                self.encoded.remove(key);
                if let Some(stored) = key.host().ok().and_then(|host| self.domains.remove(&host)) {
                    self.retained.insert(stored.value.host.clone(), stored);
                }
            }
            ResourceKind::Service => drop(ServiceId::parse(&key.id).map(|id| self.remove_service(&id))),
            ResourceKind::Backend => drop(BackendId::parse(&key.id).map(|id| self.remove_backend(&id))),
            ResourceKind::Certificate => drop(CertificateId::parse(&key.id).map(|id| self.remove_certificate(&id))),
            ResourceKind::Challenge => drop(key.host().map(|host| self.remove_challenge(&host))),
            ResourceKind::TicketKeys => drop(TicketKeysId::parse(&key.id).map(|id| self.remove_ticket_keys(&id))),
            ResourceKind::Unknown(_) => {}
        }
    }

    /// A resource is withheld no more; whether it was.
    pub(super) fn end_withheld(&mut self, key: &ResourceKey) -> bool {
        self.withheld.remove(key).is_some()
    }

    /// A resource as edges receive it, with the revision that changed it last.
    pub(super) fn encoded(&self, key: &ResourceKey) -> Option<&Arc<Entry>> {
        self.encoded.get(key).map(|ByKey(entry)| entry)
    }

    fn encode(&mut self, key: ResourceKey, revision: Revision, encoded: Bytes) {
        self.encoded.insert(ByKey(Entry::new(key, revision, Content::Present { encoded })));
    }

    /// The certificates that have a name in common with a domain.
    pub(super) fn certificates_of(&self, host: &HostPattern) -> OrdSet<CertificateId> {
        let named = |name| self.certificates_named(name);
        self.certificate_names.related(host).flat_map(named).cloned().collect()
    }

    /// The domains that have a name in common with a certificate.
    pub(super) fn domains_of(&self, certificate: &Certificate) -> OrdSet<HostPattern> {
        certificate.chain.dns_names.iter().flat_map(|name| self.domain_names.related(name)).cloned().collect()
    }

    /// The backends of a service.
    pub(super) fn backends_of(&self, service: &ServiceId) -> impl Iterator<Item = &BackendId> {
        self.backends_of.get(service).into_iter().flatten()
    }

    fn forget_backend(&mut self, backend: &Backend) {
        if let Some(backends) = self.backends_of.get_mut(&backend.service) {
            backends.remove(&backend.id);
            if backends.is_empty() {
                self.backends_of.remove(&backend.service);
            }
        }
    }

    fn forget_certificate(&mut self, certificate: &Certificate) {
        for name in &certificate.chain.dns_names {
            self.certificates_named.remove(&(name.clone(), Some(certificate.id.clone())));
            if self.certificates_named(name).next().is_none() {
                self.certificate_names.remove(name);
            }
        }
    }

    /// The certificates that are for exactly this name.
    fn certificates_named<'a>(&'a self, name: &'a HostPattern) -> impl Iterator<Item = &'a CertificateId> {
        let named = self.certificates_named.range((name.clone(), None)..);
        named.take_while(move |(it, _)| it == name).filter_map(|(_, id)| id.as_ref())
    }
}
