use std::collections::{BTreeSet, HashMap, HashSet};

use switchyard_proto::vocab::{
    BackendId, CertificateId, HostPattern, ResourceKey, ResourceKind, ServiceId, Tag, TicketKeysId,
};

use crate::sync::convert::Valid;

/// A pool: a service and a tag.
pub(super) type PoolKey = (ServiceId, Tag);

/// What is served, as far as others may refer to it.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) services: HashMap<ServiceId, ServiceUsers>,
    /// The services whose backends are not verified.
    unverified: BTreeSet<ServiceId>,
    pub(super) backends: HashMap<BackendId, (ServiceId, Vec<Tag>)>,
    pub(super) domains: HashMap<HostPattern, PoolKey>,
    certificates: HashMap<CertificateId, Vec<HostPattern>>,
    challenges: HashSet<HostPattern>,
    ticket_keys: HashSet<TicketKeysId>,
    /// How many certificates are for each name.
    names: HashMap<HostPattern, usize>,
}

/// Who refers to a service. One that is not served may have users whose turn comes in the same edit.
#[derive(Debug, Default)]
pub(super) struct ServiceUsers {
    is_served: bool,
    pub(super) domains: usize,
    pub(super) backends: usize,
}

impl Served {
    pub(super) fn contains(&self, key: &ResourceKey) -> bool {
        match key.kind {
            ResourceKind::Service => service_id(key).is_some_and(|id| self.has_service(&id)),
            ResourceKind::Backend => backend_id(key).is_some_and(|id| self.backends.contains_key(&id)),
            ResourceKind::Certificate => certificate_id(key).is_some_and(|id| self.certificates.contains_key(&id)),
            ResourceKind::Domain => host(key).is_some_and(|host| self.domains.contains_key(&host)),
            ResourceKind::Challenge => host(key).is_some_and(|host| self.challenges.contains(&host)),
            ResourceKind::TicketKeys => ticket_keys_id(key).is_some_and(|id| self.ticket_keys.contains(&id)),
            ResourceKind::Unknown(_) => false,
        }
    }

    pub(super) fn has_service(&self, id: &ServiceId) -> bool {
        self.services.get(id).is_some_and(|users| users.is_served)
    }

    /// The services whose backends are not verified.
    pub(super) fn unverified(&self) -> &BTreeSet<ServiceId> {
        &self.unverified
    }

    /// Whether a certificate for this host, or for all it stands for, is served.
    pub(super) fn has_certificate_for(&self, host: &HostPattern) -> bool {
        names_for(host).any(|name| self.names.contains_key(&name))
    }

    /// How many certificates for this host, or for all it stands for, are served; one of two such names counts twice.
    pub(super) fn certificates_for(&self, host: &HostPattern) -> usize {
        names_for(host).filter_map(|name| self.names.get(&name)).sum()
    }

    /// The names of a certificate that is served.
    pub(super) fn names_of(&self, id: &CertificateId) -> &[HostPattern] {
        self.certificates.get(id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn put(&mut self, key: &ResourceKey, valid: &Valid) {
        self.remove(key);
        match valid {
            Valid::Service(service) => {
                self.services.entry(service.settings.id.clone()).or_default().is_served = true;
                if service.tls.as_ref().is_some_and(|tls| !tls.is_verified()) {
                    self.unverified.insert(service.settings.id.clone());
                }
            }
            Valid::Backend(backend) => {
                self.services.entry(backend.service.clone()).or_default().backends += 1;
                self.backends.insert(backend.id.clone(), (backend.service.clone(), backend.tags.as_slice().to_vec()));
            }
            Valid::Domain(domain) => {
                self.services.entry(domain.settings.service.clone()).or_default().domains += 1;
                let settings = &domain.settings;
                let pool = (settings.service.clone(), settings.active_tag.clone());
                self.domains.insert(settings.host.clone(), pool);
            }
            Valid::Certificate(certificate) => {
                for name in certificate.names() {
                    *self.names.entry(name.clone()).or_default() += 1;
                }
                self.certificates.insert(certificate.id().clone(), certificate.names().to_vec());
            }
            Valid::Challenge(challenge) => {
                self.challenges.insert(challenge.host.clone());
            }
            Valid::TicketKeys(keys) => {
                self.ticket_keys.insert(keys.id().clone());
            }
        }
    }

    pub(super) fn remove(&mut self, key: &ResourceKey) {
        match key.kind {
            ResourceKind::Service => {
                if let Some(id) = service_id(key) {
                    self.change_users(&id, |users| users.is_served = false);
                    self.unverified.remove(&id);
                }
            }
            ResourceKind::Backend => {
                if let Some((service, _)) = backend_id(key).and_then(|id| self.backends.remove(&id)) {
                    self.change_users(&service, |users| users.backends -= 1);
                }
            }
            ResourceKind::Domain => {
                if let Some((service, _)) = host(key).and_then(|host| self.domains.remove(&host)) {
                    self.change_users(&service, |users| users.domains -= 1);
                }
            }
            ResourceKind::Challenge => {
                if let Some(host) = host(key) {
                    self.challenges.remove(&host);
                }
            }
            ResourceKind::TicketKeys => {
                if let Some(id) = ticket_keys_id(key) {
                    self.ticket_keys.remove(&id);
                }
            }
            ResourceKind::Unknown(_) => {}
            ResourceKind::Certificate => {
                for name in certificate_id(key).and_then(|id| self.certificates.remove(&id)).into_iter().flatten() {
                    if let Some(count) = self.names.get_mut(&name) {
                        *count -= 1;
                        if *count == 0 {
                            self.names.remove(&name);
                        }
                    }
                }
            }
        }
    }

    fn change_users(&mut self, id: &ServiceId, change: impl FnOnce(&mut ServiceUsers)) {
        if let Some(users) = self.services.get_mut(id) {
            change(users);
            if !users.is_served && users.domains == 0 && users.backends == 0 {
                self.services.remove(id);
            }
        }
    }
}

/// The names of certificates that are good for a host: itself, and the wildcard above it.
fn names_for(host: &HostPattern) -> impl Iterator<Item = HostPattern> {
    let parent = || HostPattern::parse(&format!("*.{}", host.as_str().split_once('.')?.1)).ok();
    let parent = if host.wildcard_suffix().is_none() { parent() } else { None };
    [Some(host.clone()), parent].into_iter().flatten()
}

// A key's id may be none of its kind: then nothing is served under it.

pub(super) fn service_id(key: &ResourceKey) -> Option<ServiceId> {
    ServiceId::parse(&key.id).ok()
}

pub(super) fn backend_id(key: &ResourceKey) -> Option<BackendId> {
    BackendId::parse(&key.id).ok()
}

pub(super) fn certificate_id(key: &ResourceKey) -> Option<CertificateId> {
    CertificateId::parse(&key.id).ok()
}

pub(super) fn ticket_keys_id(key: &ResourceKey) -> Option<TicketKeysId> {
    TicketKeysId::parse(&key.id).ok()
}

pub(super) fn host(key: &ResourceKey) -> Option<HostPattern> {
    key.host().ok()
}
