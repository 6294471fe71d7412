use std::sync::Arc;

use switchyard_proto::{
    resource::{self, Backend, BackendState},
    vocab::{BackendId, CertificateId, HostPattern, ServiceId, TicketKeysId},
};

use super::{Certificate, Challenge, Domain, DomainEntry, Service, Snapshot, TicketKeys};
use crate::balance::PooledBackend;

/// The making of a snapshot's successor. Changes may come in any order.
#[derive(Debug)]
pub struct Edit {
    next: Snapshot,
}

impl Edit {
    pub(super) fn new(next: Snapshot) -> Self {
        Self { next }
    }

    /// The successor.
    pub fn finish(self) -> Snapshot {
        self.next
    }

    /// Adds a domain, or replaces the one with the same host pattern.
    pub fn put_domain(&mut self, domain: Domain) {
        let resource::Domain { host, service, active_tag, .. } = &domain.settings;
        let (host, pool) = (host.clone(), (service.clone(), active_tag.clone()));
        let service = self.next.services.acquire(service);
        let pool = self.next.pools.acquire(&pool);
        let replaced = self.next.domains.insert(&host, Arc::new(DomainEntry { domain, service, pool }));
        self.release_domain(replaced);
    }

    /// Removes a domain, if it is there.
    pub fn remove_domain(&mut self, host: &HostPattern) {
        let removed = self.next.domains.remove(host);
        self.release_domain(removed);
    }

    fn release_domain(&mut self, entry: Option<Arc<DomainEntry>>) {
        if let Some(entry) = entry {
            self.next.services.release(entry.service);
            self.next.pools.release(entry.pool);
        }
    }

    /// Adds a service, or replaces the one with the same id.
    pub fn put_service(&mut self, service: Service) {
        let slot = self.next.services.acquire(&service.settings.id);
        let replaced = self.next.services.at_mut(slot).replace(Arc::new(service));
        if replaced.is_some() {
            self.next.services.release(slot);
        }
    }

    /// Removes a service, if it is there.
    pub fn remove_service(&mut self, id: &ServiceId) {
        let Some(slot) = self.next.services.find(id) else { return };
        if self.next.services.at_mut(slot).take().is_some() {
            self.next.services.release(slot);
        }
    }

    /// Adds a backend, or replaces the one with the same id.
    pub fn put_backend(&mut self, backend: Backend) {
        let handle = self.next.known_backends.handle(&backend.address);
        let host = backend.address.host().to_string();
        let backend = Arc::new(PooledBackend::new(backend, host, handle));
        let Backend { id, service, address: _, tags, state } = &backend.backend;
        // Before the old one is let go: a pool that both are in keeps its place.
        let slots: Vec<_> = tags.iter().map(|tag| self.next.pools.acquire(&(service.clone(), tag.clone()))).collect();
        self.remove_backend(id);
        if *state == BackendState::Active {
            for slot in slots {
                Arc::make_mut(self.next.pools.at_mut(slot)).insert(backend.clone());
            }
        }
        self.next.backends.insert(id.clone(), backend.clone());
    }

    /// Removes a backend, if it is there.
    pub fn remove_backend(&mut self, id: &BackendId) {
        let Some(removed) = self.next.backends.remove(id) else { return };
        let Backend { id, service, address: _, tags, state } = &removed.backend;
        for tag in tags.iter() {
            let Some(slot) = self.next.pools.find(&(service.clone(), tag.clone())) else { continue };
            if *state == BackendState::Active {
                Arc::make_mut(self.next.pools.at_mut(slot)).remove(id);
            }
            self.next.pools.release(slot);
        }
    }

    /// Adds a certificate, or replaces the one with the same id.
    pub fn put_certificate(&mut self, certificate: Certificate) {
        let certificate = Arc::new(certificate);
        self.remove_certificate(certificate.id());
        for name in certificate.names() {
            let mut candidates = self.candidates(name);
            if candidates.iter().any(|candidate| candidate.id() == certificate.id()) {
                continue;
            }
            candidates.push(certificate.clone());
            if candidates.len() > 1 {
                // Only then, since it parses. Equal ends are told apart by id, so that every edge chooses the same.
                candidates.sort_by_cached_key(|candidate| {
                    let end = candidate.validity().map_or(i64::MIN, |validity| validity.not_after);
                    (std::cmp::Reverse(end), candidate.id().clone())
                });
            }
            self.next.certificates_by_name.insert(name, candidates.into());
        }
        self.next.certificates.insert(certificate.id().clone(), certificate);
    }

    /// Removes a certificate, if it is there.
    pub fn remove_certificate(&mut self, id: &CertificateId) {
        let Some(removed) = self.next.certificates.remove(id) else { return };
        for name in removed.names() {
            let mut candidates = self.candidates(name);
            candidates.retain(|candidate| candidate.id() != id);
            if candidates.is_empty() {
                self.next.certificates_by_name.remove(name);
            } else {
                self.next.certificates_by_name.insert(name, candidates.into());
            }
        }
    }

    /// Adds what a CA is answered, or replaces what is for the same host pattern.
    pub fn put_challenge(&mut self, challenge: Challenge) {
        let host = challenge.host.clone();
        self.next.challenges.insert(&host, Arc::new(challenge));
    }

    /// Removes what a CA is answered, if it is there.
    pub fn remove_challenge(&mut self, host: &HostPattern) {
        self.next.challenges.remove(host);
    }

    /// Has session tickets issued with these keys from now on, and with no others.
    pub fn put_ticket_keys(&mut self, keys: TicketKeys) {
        self.next.ticket_keys = Some(Arc::new(keys));
    }

    /// Has session tickets issued with these keys no more. Those that have taken their place, since the edge has other labels, stay.
    pub fn remove_ticket_keys(&mut self, id: &TicketKeysId) {
        self.next.ticket_keys.take_if(|keys| keys.id() == id);
    }

    fn candidates(&self, name: &HostPattern) -> Vec<Arc<Certificate>> {
        self.next.certificates_by_name.pattern(name).map_or_else(Vec::new, |candidates| candidates.to_vec())
    }
}
