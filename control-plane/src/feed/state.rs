use std::sync::Arc;

use imbl::{HashMap, OrdMap};
use switchyard_proto::vocab::{
    BackendId, CertificateId, EdgeId, HostPattern, InviteId, ResourceKey, ResourceKind, Revision, ServiceId, TokenId,
};

use super::{encode::encode, visible::VisibleSet};
use crate::{
    model::{
        Backend, Certificate, Domain, EdgeKey, Enrolment, Invite, Object, ObjectKey, ObjectKind, Resource, SecretHash,
        Service, Stored, Token,
    },
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
    edges: OrdMap<EdgeId, Arc<Stored<Enrolment>>>,
    invites: OrdMap<InviteId, Arc<Stored<Invite>>>,
    tokens: OrdMap<TokenId, Arc<Stored<Token>>>,
    tokens_by_hash: HashMap<SecretHash, Arc<Stored<Token>>>,
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
        for object in put {
            match object {
                Object::Served(resource) => self.put(resource),
                Object::Edge(edge) => drop(self.edges.insert(edge.value.id.clone(), edge)),
                Object::Invite(invite) => drop(self.invites.insert(invite.value.id.clone(), invite)),
                Object::Token(token) => self.put_token(token),
            }
        }
        for (ObjectKey { kind, id }, revision) in removed {
            match kind {
                ObjectKind::Served(kind) => self.remove(ResourceKey { kind, id }, revision),
                ObjectKind::Edge => drop(EdgeId::parse(&id).ok().and_then(|id| self.edges.remove(&id))),
                ObjectKind::Invite => drop(InviteId::parse(&id).ok().and_then(|id| self.invites.remove(&id))),
                ObjectKind::Token => self.remove_token(&id),
            }
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
