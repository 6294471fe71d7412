//! What is served, compiled for requests.
//!
//! A [`Snapshot`] is immutable. The next one is made by an [`Edit`] and shares everything that did not change, so that
//! the cost follows the change: a change of a domain touches no other domain, a change of a backend touches the pools
//! it is in and no domain. [`LiveSnapshot`] swaps the one that is served without blocking a request.
//!
//! What refers to something that is not there (a domain to a service, a service without backends) is no error here:
//! such a domain has no target. Deciding which resources may be served together is left to `sync`.

mod certificate;
mod challenge;
mod edit;
mod hosts;
mod live;
mod resource;
mod slots;
mod tickets;

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use switchyard_proto::{
    resource::Backend,
    vocab::{BackendId, CertificateId, ServiceId, Tag},
};

use crate::balance::{Backends, Pool, PooledBackend};
use hosts::HostTable;
use slots::Slots;

pub use certificate::{Certificate, InvalidCertificate, Validity};
pub use challenge::{Challenge, Token};
pub use edit::Edit;
pub use live::LiveSnapshot;
pub use resource::{Domain, Service};
pub use tickets::{ISSUING_AGE_MAX, InvalidTicketKeys, TicketKey, TicketKeyRole, TicketKeys};

/// Everything that is served at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    domains: HostTable<Arc<DomainEntry>>,
    services: Slots<ServiceId, Option<Arc<Service>>>,
    pools: Slots<(ServiceId, Tag), Arc<Pool>>,
    backends: imbl::HashMap<BackendId, Arc<PooledBackend>>,
    certificates: imbl::HashMap<CertificateId, Arc<Certificate>>,
    /// For each name those that are for it, the one that is valid longest first.
    certificates_by_name: HostTable<Arc<[Arc<Certificate>]>>,
    challenges: HostTable<Arc<Challenge>>,
    /// Those that go with this edge's labels.
    ticket_keys: Option<Arc<TicketKeys>>,
    known_backends: Arc<Backends>,
}

/// A domain and where in this snapshot and its successors its service and its pool are.
#[derive(Debug)]
struct DomainEntry {
    domain: Domain,
    service: u32,
    pool: u32,
}

/// Where the requests for one host go. It holds nothing of the snapshot but what the request needs.
#[derive(Clone, Debug)]
pub struct Route {
    entry: Arc<DomainEntry>,
    target: Option<Target>,
}

/// The backends that may answer. There is at least one.
#[derive(Clone, Debug)]
pub struct Target {
    /// How to reach them.
    pub service: Arc<Service>,
    /// Which they are.
    pub pool: Arc<Pool>,
    /// A small number that stands for the pool for as long as it exists.
    pub pool_index: u32,
}

impl Snapshot {
    /// One that serves nothing. It and all its successors look backends up in `known_backends`.
    pub fn new(known_backends: Arc<Backends>) -> Self {
        Self {
            domains: HostTable::default(),
            services: Slots::default(),
            pools: Slots::default(),
            backends: imbl::HashMap::default(),
            certificates: imbl::HashMap::default(),
            certificates_by_name: HostTable::default(),
            challenges: HostTable::default(),
            ticket_keys: None,
            known_backends,
        }
    }

    /// Begins its successor.
    pub fn edit(&self) -> Edit {
        Edit::new(self.clone())
    }

    /// Where requests for `host` go; see [`switchyard_proto::vocab::normalize_host`]. An exact name comes before a
    /// wildcard.
    pub fn route(&self, host: &str) -> Option<Route> {
        let entry = self.entry(host)?.clone();
        let target = self.target(&entry);
        Some(Route { entry, target })
    }

    fn target(&self, entry: &DomainEntry) -> Option<Target> {
        let pool = self.pools.at(entry.pool);
        if pool.backends().is_empty() {
            return None;
        }
        let service = self.services.at(entry.service).as_ref()?;
        Some(Target { service: service.clone(), pool: pool.clone(), pool_index: entry.pool })
    }

    /// The certificate for a handshake that asks for `server_name`, in lower case: the one for exactly this name
    /// before a wildcard, and of several the one that is valid longest.
    pub fn certificate(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        let usable = |candidates: &Arc<[Arc<Certificate>]>| candidates.iter().find_map(|c| c.key().ok()).cloned();
        self.certificates_by_name
            .exact(server_name)
            .and_then(usable)
            .or_else(|| self.certificates_by_name.wildcard(server_name).and_then(usable))
    }

    /// The domain that `server_name`, in lower case, belongs to.
    pub fn domain(&self, server_name: &str) -> Option<&Domain> {
        Some(&self.entry(server_name)?.domain)
    }

    /// What a CA is answered that asks for `host`, in lower case.
    pub fn challenge(&self, host: &str) -> Option<&Arc<Challenge>> {
        self.challenges.exact(host).or_else(|| self.challenges.wildcard(host))
    }

    /// What session tickets are issued with, if this edge has something in common with others.
    pub fn ticket_keys(&self) -> Option<&TicketKeys> {
        self.ticket_keys.as_deref()
    }

    fn entry(&self, host: &str) -> Option<&Arc<DomainEntry>> {
        self.domains.exact(host).or_else(|| self.domains.wildcard(host))
    }

    /// All domains, in no order.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.values().map(|entry| &entry.domain)
    }

    /// All services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values().flatten()
    }

    /// All backends, in no order.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.backends.values().map(|pooled| &pooled.backend)
    }

    /// All certificates, in no order.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.certificates.values()
    }
}

/// One that serves nothing, with a process-wide state of its own: for tests.
impl Default for Snapshot {
    fn default() -> Self {
        Self::new(Backends::new())
    }
}

impl Route {
    /// The domain as it was when the request began.
    pub fn domain(&self) -> &Domain {
        &self.entry.domain
    }

    /// Where to go; `None` if no backend can answer.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// Lets go of the backends, once nothing more will be tried.
    pub fn release_target(&mut self) {
        self.target = None;
    }
}

#[cfg(test)]
mod tests;
