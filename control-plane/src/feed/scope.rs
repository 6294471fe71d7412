//! What edges see: a visible set for each class of labels.
//!
//! A class sees the domains whose selector its labels fulfil, what a CA is answered that asks for these, the services that they refer
//! to with their backends, the certificates that have a name in common with them, and its own ticket keys; nothing else. What comes into
//! sight is new there, however old it is.
//!
//! What is withheld is named to every class: whether it was in sight there is not always known, and whoever has nothing of it ignores it.

use std::sync::Arc;

use bytes::Bytes;
use imbl::{HashMap, OrdMap};
use switchyard_proto::vocab::{
    BackendId, CertificateId, HostPattern, Labels, ResourceKey, ResourceKind, Revision, ServiceId, TicketKeysId,
};

use super::{resources::Resources, visible::VisibleSet};
use crate::model::{Backend, Certificate, Challenge, Domain, Service, Stored, TicketKeys};

/// The classes of labels that there are, and what each one sees. Clones share their structure.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes(HashMap<Labels, Class>);

#[derive(Clone, Debug, Default)]
struct Class {
    /// How many edges have these labels.
    edges: usize,
    visible: VisibleSet,
    /// How many visible domains refer to each visible service.
    services: OrdMap<ServiceId, usize>,
    /// How many visible domains have a name in common with each visible certificate.
    certificates: OrdMap<CertificateId, usize>,
}

impl Classes {
    /// What edges with these labels may see. Of labels that no edge has, it is found out anew.
    pub(super) fn visible(&self, labels: &Labels, resources: &Resources) -> VisibleSet {
        match self.0.get(labels) {
            Some(class) => class.visible.clone(),
            None => Class::of(labels, resources).visible,
        }
    }

    /// The labels that edges have.
    pub(super) fn labels(&self) -> impl Iterator<Item = &Labels> {
        self.0.keys()
    }

    /// The certificates whose keys edges with these labels have.
    pub(super) fn certificates(&self, labels: &Labels) -> Vec<CertificateId> {
        let mut ids: Vec<_> =
            self.0.get(labels).into_iter().flat_map(|class| class.certificates.keys()).cloned().collect();
        ids.sort();
        ids
    }

    /// An edge has these labels from now on.
    pub(super) fn join(&mut self, labels: &Labels, resources: &Resources, at: Revision) {
        let class = self.0.entry(labels.clone()).or_insert_with(|| {
            let mut class = Class::of(labels, resources);
            // What such edges saw before is not known.
            class.visible.raise_floor(at);
            class
        });
        class.edges += 1;
    }

    /// An edge has these labels no more.
    pub(super) fn leave(&mut self, labels: &Labels) {
        if let Some(class) = self.0.get_mut(labels) {
            class.edges -= 1;
            if class.edges == 0 {
                self.0.remove(labels);
            }
        }
    }

    /// Says that removals up to and including `floor` may be unknown.
    pub(super) fn raise_floor(&mut self, floor: Revision) {
        for (_, class) in self.0.iter_mut() {
            class.visible.raise_floor(floor);
        }
    }

    /// Remembers a removal of before anything was known here. Who saw it then is not known: with a single class it was that one;
    /// with several none is told, and whoever still has it is sent everything, as the digest shows.
    pub(super) fn removed_before(&mut self, key: ResourceKey, revision: Revision) {
        if self.0.len() == 1 {
            for (_, class) in self.0.iter_mut() {
                class.visible.remove(key.clone(), revision);
            }
        }
    }

    pub(super) fn put_service(&mut self, resources: &mut Resources, stored: Arc<Stored<Service>>, bytes: Bytes) {
        let (id, at) = (stored.value.id.clone(), stored.revision);
        let key = ResourceKey::service(&id);
        resources.put_service(stored, bytes);
        for (_, class) in self.0.iter_mut() {
            if class.services.contains_key(&id) {
                class.show(resources, &key, at);
            }
        }
    }

    pub(super) fn put_backend(&mut self, resources: &mut Resources, stored: Arc<Stored<Backend>>, bytes: Bytes) {
        let Backend { id, service, .. } = stored.value.clone();
        let at = stored.revision;
        let key = ResourceKey::backend(&id);
        resources.put_backend(stored, bytes);
        for (_, class) in self.0.iter_mut() {
            if class.services.contains_key(&service) {
                class.show(resources, &key, at);
            } else {
                class.hide(&key, at);
            }
        }
    }

    pub(super) fn put_certificate(
        &mut self,
        resources: &mut Resources,
        stored: Arc<Stored<Certificate>>,
        bytes: Bytes,
    ) {
        let (id, at) = (stored.value.id.clone(), stored.revision);
        let key = ResourceKey::certificate(&id);
        resources.put_certificate(stored.clone(), bytes);
        let domains = resources.domains_of(&stored.value);
        for (labels, class) in self.0.iter_mut() {
            let sees = |host: &&HostPattern| resources.domain(host).is_some_and(|it| sees(labels, &it.value));
            match domains.iter().filter(sees).count() {
                0 => {
                    class.certificates.remove(&id);
                    class.hide(&key, at);
                }
                count => {
                    class.certificates.insert(id.clone(), count);
                    class.show(resources, &key, at);
                }
            }
        }
    }

    pub(super) fn put_domain(&mut self, resources: &mut Resources, stored: Arc<Stored<Domain>>, bytes: Bytes) {
        let (host, at) = (stored.value.host.clone(), stored.revision);
        let key = ResourceKey::domain(&host);
        let old = resources.put_domain(stored.clone(), bytes);
        for (labels, class) in self.0.iter_mut() {
            let seen = old.as_ref().filter(|old| sees(labels, &old.value));
            let is_seen = sees(labels, &stored.value);
            // What both refer to is taken up before it is let go: it stays in sight.
            if is_seen {
                class.show(resources, &key, at);
                class.acquire_service(resources, &stored.value.service, at);
            }
            if let Some(old) = seen {
                class.release_service(resources, &old.value.service, at);
            }
            match (seen.is_some(), is_seen) {
                (false, true) => {
                    class.show(resources, &ResourceKey::challenge(&host), at);
                    class.acquire_certificates(resources, &host, at);
                }
                (true, false) => {
                    class.hide(&key, at);
                    class.hide(&ResourceKey::challenge(&host), at);
                    class.release_certificates(resources, &host, at);
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    pub(super) fn put_challenge(&mut self, resources: &mut Resources, stored: Arc<Stored<Challenge>>, bytes: Bytes) {
        let (host, at) = (stored.value.host.clone(), stored.revision);
        resources.put_challenge(stored, bytes);
        let Some(domain) = resources.domain(&host).cloned() else { return };
        for (labels, class) in self.0.iter_mut() {
            if sees(labels, &domain.value) {
                class.show(resources, &ResourceKey::challenge(&host), at);
            }
        }
    }

    pub(super) fn remove_challenge(&mut self, resources: &mut Resources, host: &HostPattern, at: Revision) {
        resources.remove_challenge(host);
        self.hide(&ResourceKey::challenge(host), at);
    }

    pub(super) fn put_ticket_keys(&mut self, resources: &mut Resources, stored: Arc<Stored<TicketKeys>>, bytes: Bytes) {
        let (key, at) = (ResourceKey::ticket_keys(stored.value.id()), stored.revision);
        let labels = stored.value.labels().clone();
        resources.put_ticket_keys(stored, bytes);
        if let Some(class) = self.0.get_mut(&labels) {
            class.show(resources, &key, at);
        }
    }

    pub(super) fn remove_ticket_keys(&mut self, resources: &mut Resources, id: &TicketKeysId, at: Revision) {
        resources.remove_ticket_keys(id);
        self.hide(&ResourceKey::ticket_keys(id), at);
    }

    pub(super) fn remove_service(&mut self, resources: &mut Resources, id: &ServiceId, at: Revision) {
        resources.remove_service(id);
        self.hide(&ResourceKey::service(id), at);
    }

    pub(super) fn remove_backend(&mut self, resources: &mut Resources, id: &BackendId, at: Revision) {
        resources.remove_backend(id);
        self.hide(&ResourceKey::backend(id), at);
    }

    pub(super) fn remove_certificate(&mut self, resources: &mut Resources, id: &CertificateId, at: Revision) {
        resources.remove_certificate(id);
        for (_, class) in self.0.iter_mut() {
            class.certificates.remove(id);
        }
        self.hide(&ResourceKey::certificate(id), at);
    }

    pub(super) fn remove_domain(&mut self, resources: &mut Resources, host: &HostPattern, at: Revision) {
        if let Some(old) = resources.remove_domain(host) {
            for (labels, class) in self.0.iter_mut() {
                if sees(labels, &old.value) {
                    class.release_service(resources, &old.value.service, at);
                    class.release_certificates(resources, host, at);
                }
            }
        }
        self.hide(&ResourceKey::domain(host), at);
        self.hide(&ResourceKey::challenge(host), at);
    }

    /// Withholds a resource of whatever kind. What a domain refers to stays in sight.
    pub(super) fn withhold(&mut self, resources: &mut Resources, key: &ResourceKey, at: Revision) {
        resources.withhold(key, at);
        for (_, class) in self.0.iter_mut() {
            class.withhold(key.clone(), at);
        }
    }

    /// A resource was put or removed at a revision, and is withheld no more, if it was. Whoever may have something of it is told so.
    pub(super) fn end_withheld(&mut self, resources: &mut Resources, key: &ResourceKey, at: Revision) {
        if resources.end_withheld(key) {
            for (_, class) in self.0.iter_mut() {
                class.visible.remove(key.clone(), at);
            }
        }
    }

    fn hide(&mut self, key: &ResourceKey, at: Revision) {
        for (_, class) in self.0.iter_mut() {
            class.hide(key, at);
        }
    }
}

fn sees(labels: &Labels, domain: &Domain) -> bool {
    labels.contain(&domain.edge_selector)
}

impl Class {
    /// What edges with these labels see of what there is, each resource since it was changed last.
    fn of(labels: &Labels, resources: &Resources) -> Self {
        let mut class = Self::default();
        class.show(resources, &ResourceKey::ticket_keys(&TicketKeysId::of(labels)), Revision::ZERO);
        for (host, stored) in resources.domains.iter().chain(resources.retained()) {
            if sees(labels, &stored.value) {
                class.show(resources, &ResourceKey::domain(host), Revision::ZERO);
                class.show(resources, &ResourceKey::challenge(host), Revision::ZERO);
                class.acquire_service(resources, &stored.value.service, Revision::ZERO);
                class.acquire_certificates(resources, host, Revision::ZERO);
            }
        }
        for (key, at) in resources.withheld() {
            class.withhold(key.clone(), at);
        }
        class
    }

    fn withhold(&mut self, key: ResourceKey, at: Revision) {
        if key.kind == ResourceKind::Certificate {
            let _ = CertificateId::parse(&key.id).map(|id| self.certificates.remove(&id));
        }
        self.visible.withhold(key, at);
    }

    /// Shows a resource that changed or came into sight at a revision.
    fn show(&mut self, resources: &Resources, key: &ResourceKey, at: Revision) {
        if let Some(entry) = resources.encoded(key) {
            self.visible.put(entry.seen_since(at));
        }
    }

    /// Hides a resource, if it was in sight. Whoever never saw it hears nothing of it.
    fn hide(&mut self, key: &ResourceKey, at: Revision) {
        if self.visible.has(key) {
            self.visible.remove(key.clone(), at);
        }
    }

    fn acquire_service(&mut self, resources: &Resources, service: &ServiceId, at: Revision) {
        let users = self.services.entry(service.clone()).or_default();
        *users += 1;
        if *users == 1 {
            self.show(resources, &ResourceKey::service(service), at);
            for backend in resources.backends_of(service) {
                self.show(resources, &ResourceKey::backend(backend), at);
            }
        }
    }

    fn release_service(&mut self, resources: &Resources, service: &ServiceId, at: Revision) {
        if release(&mut self.services, service) {
            self.hide(&ResourceKey::service(service), at);
            for backend in resources.backends_of(service) {
                self.hide(&ResourceKey::backend(backend), at);
            }
        }
    }

    fn acquire_certificates(&mut self, resources: &Resources, host: &HostPattern, at: Revision) {
        for id in resources.certificates_of(host) {
            let users = self.certificates.entry(id.clone()).or_default();
            *users += 1;
            if *users == 1 {
                self.show(resources, &ResourceKey::certificate(&id), at);
            }
        }
    }

    fn release_certificates(&mut self, resources: &Resources, host: &HostPattern, at: Revision) {
        for id in resources.certificates_of(host) {
            if release(&mut self.certificates, &id) {
                self.hide(&ResourceKey::certificate(&id), at);
            }
        }
    }
}

/// Counts one user less; whether it was the last.
fn release<K: Ord + Clone>(users: &mut OrdMap<K, usize>, key: &K) -> bool {
    let Some(count) = users.get_mut(key) else { return false };
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        users.remove(key);
    }
    is_last
}

#[cfg(test)]
mod tests;
