use std::sync::Arc;

use imbl::OrdMap;
use switchyard_proto::vocab::{BackendId, CertificateId, HostPattern, ResourceKey, ResourceKind, Revision, ServiceId};

use super::{encode::encode, visible::VisibleSet};
use crate::{
    model::{Backend, Certificate, Domain, Resource, Service, Stored},
    store::Changes,
};

/// All resources at one revision. Clones share their structure.
#[derive(Clone, Debug, Default)]
pub struct State {
    revision: Revision,
    domains: OrdMap<HostPattern, Arc<Stored<Domain>>>,
    services: OrdMap<ServiceId, Arc<Stored<Service>>>,
    backends: OrdMap<BackendId, Arc<Stored<Backend>>>,
    certificates: OrdMap<CertificateId, Arc<Stored<Certificate>>>,
    visible: VisibleSet,
}

/// Which edges see the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeClass {
    /// Every edge: nothing is limited to some of them yet.
    All,
}

impl State {
    /// The revision; 0 before the database was read.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The domains by name.
    pub fn domains(&self) -> &OrdMap<HostPattern, Arc<Stored<Domain>>> {
        &self.domains
    }

    /// The services by id.
    pub fn services(&self) -> &OrdMap<ServiceId, Arc<Stored<Service>>> {
        &self.services
    }

    /// The backends by id.
    pub fn backends(&self) -> &OrdMap<BackendId, Arc<Stored<Backend>>> {
        &self.backends
    }

    /// The certificates by id.
    pub fn certificates(&self) -> &OrdMap<CertificateId, Arc<Stored<Certificate>>> {
        &self.certificates
    }

    /// What the edges of a scope class may see.
    pub fn visible(&self, class: ScopeClass) -> &VisibleSet {
        match class {
            ScopeClass::All => &self.visible,
        }
    }

    /// Applies what was read from the database; whether that was anything new.
    pub(super) fn apply(&mut self, changes: Changes) -> bool {
        let Changes { head, floor, whole, put, removed } = changes;
        if head == self.revision {
            return false;
        }
        if whole {
            *self = Self::default();
        }
        self.visible.raise_floor(floor);
        for resource in put {
            self.put(resource);
        }
        for (key, revision) in removed {
            self.remove(key, revision);
        }
        self.revision = head;
        true
    }

    /// Puts a resource, or a new version of it.
    fn put(&mut self, resource: Resource) {
        self.visible.put(resource.key(), resource.revision(), encode(&resource));
        match resource {
            Resource::Service(stored) => drop(self.services.insert(stored.value.id.clone(), stored)),
            Resource::Backend(stored) => drop(self.backends.insert(stored.value.id.clone(), stored)),
            Resource::Certificate(stored) => drop(self.certificates.insert(stored.value.id.clone(), stored)),
            Resource::Domain(stored) => drop(self.domains.insert(stored.value.host.clone(), stored)),
        }
    }

    /// Removes a resource.
    fn remove(&mut self, key: ResourceKey, revision: Revision) {
        // An id that does not parse was never put.
        match key.kind {
            ResourceKind::Service => {
                ServiceId::parse(&key.id).ok().and_then(|id| self.services.remove(&id));
            }
            ResourceKind::Backend => {
                BackendId::parse(&key.id).ok().and_then(|id| self.backends.remove(&id));
            }
            ResourceKind::Certificate => {
                CertificateId::parse(&key.id).ok().and_then(|id| self.certificates.remove(&id));
            }
            ResourceKind::Domain => {
                HostPattern::parse(&key.id).ok().and_then(|host| self.domains.remove(&host));
            }
        }
        self.visible.remove(key, revision);
    }
}
