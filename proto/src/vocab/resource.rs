use std::{fmt, sync::Arc};

use super::{
    host::{HostPattern, InvalidHostPattern},
    id::{
        BackendId, CertificateId, DnsProviderId, EdgeId, InvalidId, InviteId, IssuerId, ServiceId, TicketKeysId,
        TokenId,
    },
};
use crate::fleet::v1 as wire;

/// The kinds of resources that travel on the change feed, each before those that may refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A service.
    Service,
    /// A backend; refers to a service.
    Backend,
    /// A certificate.
    Certificate,
    /// A domain; refers to a service and, by its names, to certificates.
    Domain,
    /// What a CA is answered that asks for a domain.
    Challenge,
    /// What edges with the same labels issue session tickets with.
    TicketKeys,
}

impl ResourceKind {
    /// The collection part of the resource name: `domains`.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Backend => "backends",
            Self::Certificate => "certificates",
            Self::Domain => "domains",
            Self::Challenge => "challenges",
            Self::TicketKeys => "ticketKeys",
        }
    }

    /// The one word for it, in the database and in messages: `domain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Backend => "backend",
            Self::Certificate => "certificate",
            Self::Domain => "domain",
            Self::Challenge => "challenge",
            Self::TicketKeys => "ticket_keys",
        }
    }

    /// The kind that a word stands for; see [`ResourceKind::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Service, Self::Backend, Self::Certificate, Self::Domain, Self::Challenge, Self::TicketKeys]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// Which resource: its kind and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its id, valid for the kind.
    pub id: Arc<str>,
}

impl ResourceKey {
    /// The key of a service.
    pub fn service(id: &ServiceId) -> Self {
        Self { kind: ResourceKind::Service, id: id.shared() }
    }

    /// The key of a backend.
    pub fn backend(id: &BackendId) -> Self {
        Self { kind: ResourceKind::Backend, id: id.shared() }
    }

    /// The key of a certificate.
    pub fn certificate(id: &CertificateId) -> Self {
        Self { kind: ResourceKind::Certificate, id: id.shared() }
    }

    /// The key of a domain.
    pub fn domain(host: &HostPattern) -> Self {
        Self { kind: ResourceKind::Domain, id: host.shared() }
    }

    /// The key of what a CA is answered that asks for a domain.
    pub fn challenge(host: &HostPattern) -> Self {
        Self { kind: ResourceKind::Challenge, id: host.shared() }
    }

    /// The key of what edges with the same labels issue session tickets with.
    pub fn ticket_keys(id: &TicketKeysId) -> Self {
        Self { kind: ResourceKind::TicketKeys, id: id.shared() }
    }

    /// The key in a message of the change feed.
    pub fn from_wire(key: &wire::ResourceKey) -> Result<Self, InvalidResourceName> {
        let wire::ResourceKey { kind: _, id } = key;
        Ok(match key.kind() {
            wire::ResourceKind::Unspecified => return Err(InvalidResourceName::Kind),
            wire::ResourceKind::Service => Self::service(&ServiceId::parse(id)?),
            wire::ResourceKind::Backend => Self::backend(&BackendId::parse(id)?),
            wire::ResourceKind::Certificate => Self::certificate(&CertificateId::parse(id)?),
            wire::ResourceKind::Domain => Self::domain(&parse_stored_host(id)?),
            wire::ResourceKind::Challenge => Self::challenge(&parse_stored_host(id)?),
            wire::ResourceKind::TicketKeys => Self::ticket_keys(&TicketKeysId::parse(id)?),
        })
    }

    /// The key as a message of the change feed.
    pub fn to_wire(&self) -> wire::ResourceKey {
        let kind = match self.kind {
            ResourceKind::Service => wire::ResourceKind::Service,
            ResourceKind::Backend => wire::ResourceKind::Backend,
            ResourceKind::Certificate => wire::ResourceKind::Certificate,
            ResourceKind::Domain => wire::ResourceKind::Domain,
            ResourceKind::Challenge => wire::ResourceKind::Challenge,
            ResourceKind::TicketKeys => wire::ResourceKind::TicketKeys,
        };
        wire::ResourceKey { kind: kind.into(), id: self.id.to_string() }
    }
}

/// As a resource name: `domains/shop.example`.
impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.collection(), self.id)
    }
}

/// A pattern that must already be in its stored form.
fn parse_stored_host(text: &str) -> Result<HostPattern, InvalidResourceName> {
    let host = HostPattern::parse(text)?;
    if host.as_str() == text { Ok(host) } else { Err(InvalidResourceName::NotNormalized) }
}

fn id_of<'a>(name: &'a str, collection: &'static str) -> Result<&'a str, InvalidResourceName> {
    name.strip_prefix(collection)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or(InvalidResourceName::Collection(collection))
}

macro_rules! resource_name {
    ($type:ident, $collection:literal) => {
        impl $type {
            /// Parses the name of a resource of this kind, as in the API.
            pub fn parse_resource_name(name: &str) -> Result<Self, InvalidResourceName> {
                Ok(Self::parse(id_of(name, $collection)?)?)
            }

            /// The name of the resource in the API.
            pub fn to_resource_name(&self) -> String {
                format!(concat!($collection, "/{}"), self)
            }
        }
    };
}

resource_name!(HostPattern, "domains");
resource_name!(ServiceId, "services");
resource_name!(BackendId, "backends");
resource_name!(CertificateId, "certificates");
resource_name!(EdgeId, "edges");
resource_name!(InviteId, "invites");
resource_name!(IssuerId, "issuers");
resource_name!(DnsProviderId, "dnsProviders");
resource_name!(TokenId, "tokens");

/// Why a text or message does not name a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResourceName {
    /// It does not begin with the collection.
    #[error("a name of the form {0}/ID is required")]
    Collection(&'static str),
    /// The kind is not set, or unknown to this version.
    #[error("a resource kind that this version does not know")]
    Kind,
    /// A host pattern that is not in its stored form.
    #[error("the host name is not in lower case A-label form")]
    NotNormalized,
    /// What follows is not a host pattern.
    #[error(transparent)]
    Host(#[from] InvalidHostPattern),
    /// What follows is not an id.
    #[error(transparent)]
    Id(#[from] InvalidId),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Labels;

    #[test]
    fn resource_names_have_a_collection_and_an_id() {
        let host = HostPattern::parse_resource_name("domains/Shop.Example").unwrap();
        assert_eq!(host.to_resource_name(), "domains/shop.example");
        assert_eq!(ServiceId::parse_resource_name("shop"), Err(InvalidResourceName::Collection("services")));
        assert_eq!(ServiceId::parse_resource_name("services/"), Err(InvalidResourceName::Id(InvalidId::Empty)));
    }

    #[test]
    fn keys_survive_the_wire() {
        let key = ResourceKey::domain(&HostPattern::parse("*.shop.example").unwrap());
        assert_eq!(ResourceKey::from_wire(&key.to_wire()), Ok(key.clone()));
        assert_eq!(key.to_string(), "domains/*.shop.example");
        let upper = wire::ResourceKey { kind: wire::ResourceKind::Domain.into(), id: "A.example".into() };
        assert_eq!(ResourceKey::from_wire(&upper), Err(InvalidResourceName::NotNormalized));
        let tickets = ResourceKey::ticket_keys(&TicketKeysId::of(&Labels::default()));
        assert_eq!(ResourceKey::from_wire(&tickets.to_wire()), Ok(tickets));
        let other = wire::ResourceKey { kind: wire::ResourceKind::TicketKeys.into(), id: "default".into() };
        assert_eq!(ResourceKey::from_wire(&other), Err(InvalidResourceName::Id(InvalidId::Digits)));
        let unknown = wire::ResourceKey { kind: 99, id: "a".into() };
        assert_eq!(ResourceKey::from_wire(&unknown), Err(InvalidResourceName::Kind));
    }
}
