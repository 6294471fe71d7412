use std::{collections::HashSet, sync::Arc};

use imbl::{HashMap, OrdMap};
use switchyard_proto::vocab::{
    BackendId, CertificateId, DnsProviderId, EdgeId, HostPattern, InviteId, IssuerId, Labels, ResourceKey,
    ResourceKind, Revision, ServiceId, TicketKeysId, TokenId,
};

use super::{
    encode::{encode, over},
    resources::Resources,
    scope::Classes,
    visible::VisibleSet,
};
use crate::{
    model::{
        Backend, Certificate, Challenge, DnsProvider, Domain, EdgeKey, Enrolment, Invite, Issuer, Object, ObjectKey,
        ObjectKind, Resource, SecretHash, Service, Stored, TicketKeys, Token,
    },
    store::{Changes, Withheld},
};

/// All resources at one revision. Clones share their structure.
#[derive(Clone, Debug, Default)]
pub struct State {
    revision: Revision,
    /// The revision at which everything was read: who saw what was removed before is not known.
    whole_at: Revision,
    resources: Resources,
    classes: Classes,
    edges: OrdMap<EdgeId, Arc<Stored<Enrolment>>>,
    invites: OrdMap<InviteId, Arc<Stored<Invite>>>,
    tokens: OrdMap<TokenId, Arc<Stored<Token>>>,
    issuers: OrdMap<IssuerId, Arc<Stored<Issuer>>>,
    dns_providers: OrdMap<DnsProviderId, Arc<Stored<DnsProvider>>>,
    tokens_by_hash: HashMap<SecretHash, Arc<Stored<Token>>>,
    /// What is there and cannot be read, by kind and id.
    withheld: OrdMap<(Arc<str>, Arc<str>), Arc<Withheld>>,
}

impl State {
    /// The revision; 0 before the database was read.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The domains by name.
    pub fn domains(&self) -> &OrdMap<HostPattern, Arc<Stored<Domain>>> {
        &self.resources.domains
    }

    /// The services by id.
    pub fn services(&self) -> &OrdMap<ServiceId, Arc<Stored<Service>>> {
        &self.resources.services
    }

    /// The backends by id.
    pub fn backends(&self) -> &OrdMap<BackendId, Arc<Stored<Backend>>> {
        &self.resources.backends
    }

    /// The certificates by id.
    pub fn certificates(&self) -> &OrdMap<CertificateId, Arc<Stored<Certificate>>> {
        &self.resources.certificates
    }

    /// What edges answer a CA that asks for a domain.
    pub fn challenge(&self, host: &HostPattern) -> Option<&Arc<Stored<Challenge>>> {
        self.resources.challenges.get(host)
    }

    /// What edges with the same labels issue session tickets with.
    pub fn ticket_keys(&self) -> &OrdMap<TicketKeysId, Arc<Stored<TicketKeys>>> {
        &self.resources.ticket_keys
    }

    /// The label sets that edges have, each once.
    pub fn classes(&self) -> impl Iterator<Item = &Labels> {
        self.classes.labels()
    }

    /// The backends of a service.
    pub fn backends_of(&self, service: &ServiceId) -> impl Iterator<Item = &Arc<Stored<Backend>>> {
        self.resources.backends_of(service).filter_map(|id| self.resources.backends.get(id))
    }

    /// The domains that have a name in common with a certificate.
    pub fn domains_named(&self, certificate: &Certificate) -> impl Iterator<Item = &Arc<Stored<Domain>>> {
        self.resources.domains_of(certificate).into_iter().filter_map(|host| self.resources.domains.get(&host))
    }

    /// The certificates that have a name in common with a domain.
    pub fn certificates_named(&self, host: &HostPattern) -> impl Iterator<Item = &Arc<Stored<Certificate>>> {
        self.resources.certificates_of(host).into_iter().filter_map(|id| self.resources.certificates.get(&id))
    }

    /// The issuers by id.
    pub fn issuers(&self) -> &OrdMap<IssuerId, Arc<Stored<Issuer>>> {
        &self.issuers
    }

    /// The DNS providers by id.
    pub fn dns_providers(&self) -> &OrdMap<DnsProviderId, Arc<Stored<DnsProvider>>> {
        &self.dns_providers
    }

    /// The edges that belong to the fleet, by id.
    pub fn edges(&self) -> &OrdMap<EdgeId, Arc<Stored<Enrolment>>> {
        &self.edges
    }

    /// Whether an edge with this key belongs to the fleet.
    pub fn has_edge(&self, id: &EdgeId, key: EdgeKey) -> bool {
        self.edges.get(id).is_some_and(|stored| stored.value.key == key)
    }

    /// The invitations by id.
    pub fn invites(&self) -> &OrdMap<InviteId, Arc<Stored<Invite>>> {
        &self.invites
    }

    /// The tokens by id.
    pub fn tokens(&self) -> &OrdMap<TokenId, Arc<Stored<Token>>> {
        &self.tokens
    }

    /// The token that a secret of this hash belongs to.
    pub fn token_of(&self, hash: &SecretHash) -> Option<&Arc<Stored<Token>>> {
        self.tokens_by_hash.get(hash)
    }

    /// What is there and cannot be read: it is neither sent nor used.
    pub fn withheld(&self) -> impl Iterator<Item = &Withheld> {
        self.withheld.values().map(|withheld| &**withheld)
    }

    /// What is there of this kind, as a collection, and id, if it cannot be read.
    pub fn withheld_of(&self, kind: &str, id: &str) -> Option<&Withheld> {
        self.withheld.get(&(kind.into(), id.into())).map(|withheld| &**withheld)
    }

    /// Whether a resource is there and cannot be read.
    pub fn is_withheld(&self, key: &ResourceKey) -> bool {
        self.withheld_of(key.kind.collection(), &key.id).is_some()
    }

    /// What edges with these labels may see.
    pub fn visible(&self, labels: &Labels) -> VisibleSet {
        self.classes.visible(labels, &self.resources)
    }

    /// Whether a revision that changed these resources changed what edges with these labels see. Who saw what was removed before this
    /// process began is not known: then it may have.
    pub fn concerns(&self, labels: &Labels, changed: &HashSet<ResourceKey>, revision: Revision) -> bool {
        let visible = self.visible(labels);
        let is_unknown = |key: &ResourceKey| revision <= self.whole_at && !self.has(key);
        changed.iter().any(|key| visible.changed_since(key, revision) || is_unknown(key))
    }

    /// Whether a resource that edges can serve is there, readable or not.
    pub fn has(&self, key: &ResourceKey) -> bool {
        self.resources.encoded(key).is_some() || self.is_withheld(key)
    }

    /// The labels of an edge; none if it does not belong to the fleet.
    pub fn labels(&self, id: &EdgeId) -> Option<&Labels> {
        self.edges.get(id).map(|stored| &stored.value.labels)
    }

    /// The certificates whose keys the edges with these labels have.
    pub fn certificates_of(&self, labels: &Labels) -> Vec<CertificateId> {
        self.classes.certificates(labels)
    }

    /// Applies what was read from the database, or a part of that; whether that was anything new. It has the revision with the last part.
    pub(super) fn apply(&mut self, changes: Changes) -> bool {
        let Changes { head, floor, whole, continues, continued, put, withheld, removed } = changes;
        if head == self.revision {
            return false;
        }
        if whole && !continues {
            *self = Self::default();
        }
        // What edges with labels that are new saw before is known as far as everything is.
        let known_from = if whole { floor } else { head };
        for object in put {
            if !self.withheld.is_empty() {
                let at = if let Object::Served(resource) = &object { resource.revision() } else { head };
                self.end_withheld(&object.key(), at);
            }
            match object {
                Object::Served(resource) => self.put(resource),
                Object::Edge(edge) => self.put_edge(edge, known_from),
                Object::Invite(invite) => drop(self.invites.insert(invite.value.id.clone(), invite)),
                Object::Token(token) => self.put_token(token),
                Object::Issuer(issuer) => drop(self.issuers.insert(issuer.value.id.clone(), issuer)),
                Object::DnsProvider(it) => drop(self.dns_providers.insert(it.value.id.clone(), it)),
            }
        }
        for withheld in withheld {
            self.withhold(withheld);
        }
        for (key, revision) in removed {
            self.end_withheld(&key, revision);
            match key {
                ObjectKey { kind: ObjectKind::Served(kind), id } if whole => {
                    self.classes.removed_before(ResourceKey { kind, id }, revision);
                }
                ObjectKey { kind: ObjectKind::Served(kind), id } => self.remove(&kind, &id, revision),
                key => self.remove_object(&key),
            }
        }
        if continued {
            return true;
        }
        self.classes.raise_floor(floor);
        self.revision = head;
        if whole {
            self.whole_at = head;
        }
        true
    }

    /// Withholds what cannot be read. What edges do not serve is as good as gone: nobody gets in by it.
    fn withhold(&mut self, withheld: Withheld) {
        let Withheld { kind, id, revision, .. } = &withheld;
        if let Ok(key) = ObjectKey::new(kind, id) {
            match &key.kind {
                ObjectKind::Served(kind) => {
                    let key = ResourceKey { kind: kind.clone(), id: key.id };
                    self.classes.withhold(&mut self.resources, &key, *revision);
                }
                ObjectKind::Edge
                | ObjectKind::Invite
                | ObjectKind::Token
                | ObjectKind::Issuer
                | ObjectKind::DnsProvider => self.remove_object(&key),
            }
        }
        self.withheld.insert((kind.as_str().into(), id.as_str().into()), Arc::new(withheld));
    }

    /// What was put or removed at a revision is withheld no more, if it was.
    fn end_withheld(&mut self, key: &ObjectKey, at: Revision) {
        let removed = self.withheld.remove(&(key.kind.collection().into(), key.id.clone()));
        if removed.is_some()
            && let Some(key) = key.clone().served()
        {
            self.classes.end_withheld(&mut self.resources, &key, at);
        }
    }

    /// Removes what edges do not serve.
    fn remove_object(&mut self, ObjectKey { kind, id }: &ObjectKey) {
        match kind {
            ObjectKind::Served(_) => {}
            ObjectKind::Edge => self.remove_edge(id),
            ObjectKind::Invite => drop(InviteId::parse(id).ok().and_then(|id| self.invites.remove(&id))),
            ObjectKind::Token => self.remove_token(id),
            ObjectKind::DnsProvider => {
                drop(DnsProviderId::parse(id).ok().and_then(|id| self.dns_providers.remove(&id)));
            }
            ObjectKind::Issuer => drop(IssuerId::parse(id).ok().and_then(|id| self.issuers.remove(&id))),
        }
    }

    /// Puts a resource, or a new version of it.
    fn put(&mut self, resource: Resource) {
        let encoded = encode(&resource);
        let Self { resources, classes, .. } = self;
        match resource {
            Resource::Service(stored) => classes.put_service(resources, stored, encoded),
            Resource::Backend(stored) => classes.put_backend(resources, stored, encoded),
            Resource::Certificate(stored) => classes.put_certificate(resources, over(&encoded, stored), encoded),
            Resource::Domain(stored) => classes.put_domain(resources, stored, encoded),
            Resource::Challenge(stored) => classes.put_challenge(resources, stored, encoded),
            Resource::TicketKeys(stored) => classes.put_ticket_keys(resources, stored, encoded),
        }
    }

    /// Removes a resource.
    fn remove(&mut self, kind: &ResourceKind, id: &str, at: Revision) {
        let Self { resources, classes, .. } = self;
        // An id that does not parse was never put.
        match kind {
            ResourceKind::Service => {
                let _ = ServiceId::parse(id).map(|id| classes.remove_service(resources, &id, at));
            }
            ResourceKind::Backend => {
                let _ = BackendId::parse(id).map(|id| classes.remove_backend(resources, &id, at));
            }
            ResourceKind::Certificate => {
                let _ = CertificateId::parse(id).map(|id| classes.remove_certificate(resources, &id, at));
            }
            ResourceKind::Domain => {
                let _ = HostPattern::parse(id).map(|host| classes.remove_domain(resources, &host, at));
            }
            ResourceKind::Challenge => {
                let _ = HostPattern::parse(id).map(|host| classes.remove_challenge(resources, &host, at));
            }
            ResourceKind::TicketKeys => {
                let _ = TicketKeysId::parse(id).map(|id| classes.remove_ticket_keys(resources, &id, at));
            }
            ResourceKind::Unknown(_) => {}
        }
    }

    fn put_edge(&mut self, edge: Arc<Stored<Enrolment>>, known_from: Revision) {
        let labels = edge.value.labels.clone();
        let old = self.edges.insert(edge.value.id.clone(), edge);
        // It joins before it leaves: a class that it comes back to is not made anew.
        self.classes.join(&labels, &self.resources, known_from);
        if let Some(old) = old {
            self.classes.leave(&old.value.labels);
        }
    }

    fn remove_edge(&mut self, id: &str) {
        let removed = EdgeId::parse(id).ok().and_then(|id| self.edges.remove(&id));
        if let Some(edge) = removed {
            self.classes.leave(&edge.value.labels);
        }
    }

    fn put_token(&mut self, token: Arc<Stored<Token>>) {
        self.remove_token(token.value.id.as_str());
        self.tokens_by_hash.insert(token.value.hash, token.clone());
        self.tokens.insert(token.value.id.clone(), token);
    }

    fn remove_token(&mut self, id: &str) {
        let removed = TokenId::parse(id).ok().and_then(|id| self.tokens.remove(&id));
        if let Some(token) = removed {
            self.tokens_by_hash.remove(&token.value.hash);
        }
    }

    /// The resources that edges serve.
    #[cfg(test)]
    pub(super) fn resources(&self) -> &Resources {
        &self.resources
    }

    /// A state that has these edges, and nothing else.
    #[cfg(test)]
    pub(super) fn holding(edges: Vec<Enrolment>) -> Self {
        let stored = |value| {
            let at = crate::model::Timestamp(1);
            Arc::new(Stored { value, revision: Revision(1), created_at: at, updated_at: at })
        };
        let edges = edges.into_iter().map(|edge| (edge.id.clone(), stored(edge))).collect();
        Self { edges, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
