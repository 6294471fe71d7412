use std::{fmt, sync::Arc};

use switchyard_proto::vocab::{
    BackendId, CertificateId, DnsProviderId, EdgeId, HostPattern, InvalidResourceKey, InvalidResourceName, InviteId,
    IssuerId, ResourceKey, ResourceKind, ServiceId, TicketKeysId, TokenId,
};

/// The kinds of what the database keeps under a revision, and tells the history of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A resource that edges serve, or of a kind that this version does not know.
    Served(ResourceKind),
    /// An edge that belongs to the fleet. Edges never hear of this, nor of the following.
    Edge,
    /// What lets edges join.
    Invite,
    /// A token of the API.
    Token,
    /// A CA that certificates are ordered from.
    Issuer,
    /// Who sets records in some zones.
    DnsProvider,
}

impl ObjectKind {
    /// All kinds, each before those that may refer to it.
    pub const ALL: [Self; 11] = [
        Self::Issuer,
        Self::DnsProvider,
        Self::Served(ResourceKind::Service),
        Self::Served(ResourceKind::Backend),
        Self::Served(ResourceKind::Certificate),
        Self::Served(ResourceKind::Domain),
        Self::Served(ResourceKind::Challenge),
        Self::Served(ResourceKind::TicketKeys),
        Self::Edge,
        Self::Invite,
        Self::Token,
    ];

    /// The one word for it everywhere, which is the collection part of the resource name: `domains`.
    pub fn collection(&self) -> &str {
        match self {
            Self::Served(kind) => kind.collection(),
            Self::Edge => "edges",
            Self::Invite => "invites",
            Self::Token => "tokens",
            Self::Issuer => "issuers",
            Self::DnsProvider => "dnsProviders",
        }
    }

    /// The kind of a collection, if this version knows it.
    pub fn from_collection(collection: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.collection() == collection)
    }

    /// The kind of a collection; it need not be known to this version.
    ///
    /// # Errors
    ///
    /// It is missing or out of bounds.
    pub fn parse(collection: &str) -> Result<Self, InvalidResourceKey> {
        match Self::from_collection(collection) {
            Some(known) => Ok(known),
            None => Ok(Self::Served(ResourceKind::parse(collection)?)),
        }
    }
}

/// What the database keeps under a revision: its kind and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its id: opaque, bounded text. It need not be valid for the kind: a newer version may have made it.
    pub id: Arc<str>,
}

impl ObjectKey {
    /// The key of what the database has under a kind and an id; neither need be known to this version.
    ///
    /// # Errors
    ///
    /// One of them is missing or out of bounds.
    pub fn new(collection: &str, id: &str) -> Result<Self, InvalidResourceKey> {
        let kind = ObjectKind::parse(collection)?;
        Ok(Self { kind, id: ResourceKey::new(collection, id)?.id })
    }

    /// The key of an edge.
    pub fn edge(id: &EdgeId) -> Self {
        Self { kind: ObjectKind::Edge, id: id.shared() }
    }

    /// The key of an invitation.
    pub fn invite(id: &InviteId) -> Self {
        Self { kind: ObjectKind::Invite, id: id.shared() }
    }

    /// The key of a token.
    pub fn token(id: &TokenId) -> Self {
        Self { kind: ObjectKind::Token, id: id.shared() }
    }

    /// The key of an issuer.
    pub fn issuer(id: &IssuerId) -> Self {
        Self { kind: ObjectKind::Issuer, id: id.shared() }
    }

    /// The key of a DNS provider.
    pub fn dns_provider(id: &DnsProviderId) -> Self {
        Self { kind: ObjectKind::DnsProvider, id: id.shared() }
    }

    /// The key of a resource that edges serve, if it is one.
    pub fn served(self) -> Option<ResourceKey> {
        match self.kind {
            ObjectKind::Served(kind) => Some(ResourceKey { kind, id: self.id }),
            ObjectKind::Edge
            | ObjectKind::Invite
            | ObjectKind::Token
            | ObjectKind::Issuer
            | ObjectKind::DnsProvider => None,
        }
    }

    /// Parses a name as in the API: `domains/shop.example`.
    pub fn parse_name(name: &str) -> Result<Self, InvalidResourceName> {
        let (collection, id) = name.split_once('/').unwrap_or((name, ""));
        let kind = ObjectKind::from_collection(collection);
        Ok(match kind.ok_or(InvalidResourceName::Collection("domains"))? {
            ObjectKind::Served(ResourceKind::Service) => ResourceKey::service(&ServiceId::parse(id)?).into(),
            ObjectKind::Served(ResourceKind::Backend) => ResourceKey::backend(&BackendId::parse(id)?).into(),
            ObjectKind::Served(ResourceKind::Certificate) => {
                ResourceKey::certificate(&CertificateId::parse(id)?).into()
            }
            ObjectKind::Served(ResourceKind::Domain) => ResourceKey::domain(&HostPattern::parse(id)?).into(),
            ObjectKind::Served(ResourceKind::Challenge) => ResourceKey::challenge(&HostPattern::parse(id)?).into(),
            ObjectKind::Served(ResourceKind::TicketKeys) => ResourceKey::ticket_keys(&TicketKeysId::parse(id)?).into(),
            ObjectKind::Served(ResourceKind::Unknown(_)) => return Err(InvalidResourceName::Collection("domains")),
            ObjectKind::Edge => Self::edge(&EdgeId::parse(id)?),
            ObjectKind::Invite => Self::invite(&InviteId::parse(id)?),
            ObjectKind::Token => Self::token(&TokenId::parse(id)?),
            ObjectKind::Issuer => Self::issuer(&IssuerId::parse(id)?),
            ObjectKind::DnsProvider => Self::dns_provider(&DnsProviderId::parse(id)?),
        })
    }
}

impl From<ResourceKey> for ObjectKey {
    fn from(key: ResourceKey) -> Self {
        let ResourceKey { kind, id } = key;
        Self { kind: ObjectKind::Served(kind), id }
    }
}

/// As a resource name: `domains/shop.example`.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.collection(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_kinds_are_parsed() {
        for name in [
            "domains/*.shop.example",
            "services/shop",
            "backends/shop-1",
            "certificates/internal-shop.example",
            "edges/edge-1",
            "invites/k7",
            "tokens/ci",
            "issuers/letsencrypt",
            "dnsProviders/home",
            "challenges/shop.example",
            "ticketKeys/e3b0c44298fc1c149afbf4c8996fb924",
        ] {
            let key = ObjectKey::parse_name(name).unwrap();
            assert_eq!(key.to_string(), name);
            assert_eq!(ObjectKey::new(key.kind.collection(), &key.id), Ok(key));
        }
        assert_eq!(ObjectKey::parse_name("shop"), Err(InvalidResourceName::Collection("domains")));
        assert!(ObjectKey::parse_name("services/").is_err());
    }

    #[test]
    fn a_key_of_the_database_need_not_be_known() {
        let key = ObjectKey::new("gadgets", "Any Thing").unwrap();
        assert_eq!(key.to_string(), "gadgets/Any Thing");
        assert!(ObjectKey::parse_name("gadgets/Any Thing").is_err(), "nobody asks for it");
        assert_eq!(ObjectKey::new("edges", "Not An Id").unwrap().kind, ObjectKind::Edge);
        assert_eq!(ObjectKey::new("a b", "c"), Err(InvalidResourceKey::Kind));
        assert_eq!(ObjectKey::new("edges", ""), Err(InvalidResourceKey::Id));
    }
}
