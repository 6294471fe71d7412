use std::{fmt, sync::Arc};

use super::{
    host::{HostPattern, InvalidHostPattern},
    id::{
        BackendId, CertificateId, DnsProviderId, EdgeId, InvalidId, InviteId, IssuerId, ServiceId, TicketKeysId,
        TokenId,
    },
    limits::{CERTIFICATE_ID_BYTES_MAX, HOST_BYTES_MAX, RESOURCE_ID_BYTES_MAX, RESOURCE_KIND_BYTES_MAX},
};
use crate::fleet::v1 as wire;

// Every id of a known kind fits.
const _: () = assert!(CERTIFICATE_ID_BYTES_MAX <= RESOURCE_ID_BYTES_MAX && HOST_BYTES_MAX + 2 <= RESOURCE_ID_BYTES_MAX);

/// The kinds of resources that travel on the change feed, each before those that may refer to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// A kind that this version does not know.
    Unknown(UnknownKind),
}

/// The collection of a kind that this version does not know.
///
/// A thin pointer: keys are kept by the hundred thousand, and unknown kinds are rare.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownKind(Arc<Box<str>>);

impl ResourceKind {
    /// The kinds that this version knows.
    pub const KNOWN: [Self; 6] =
        [Self::Service, Self::Backend, Self::Certificate, Self::Domain, Self::Challenge, Self::TicketKeys];

    /// The one word for it everywhere, which is the collection part of the resource name: `domains`.
    pub fn collection(&self) -> &str {
        match self {
            Self::Service => "services",
            Self::Backend => "backends",
            Self::Certificate => "certificates",
            Self::Domain => "domains",
            Self::Challenge => "challenges",
            Self::TicketKeys => "ticketKeys",
            Self::Unknown(UnknownKind(collection)) => collection,
        }
    }

    /// Parses a collection: 1 to [`RESOURCE_KIND_BYTES_MAX`] ASCII letters and digits.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn parse(collection: &str) -> Result<Self, InvalidResourceKey> {
        if let Some(known) = Self::KNOWN.into_iter().find(|kind| kind.collection() == collection) {
            return Ok(known);
        }
        let is_bounded = (1..=RESOURCE_KIND_BYTES_MAX).contains(&collection.len());
        if is_bounded && collection.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self::Unknown(UnknownKind(Arc::new(collection.into()))))
        } else {
            Err(InvalidResourceKey::Kind)
        }
    }
}

/// Which resource: its kind and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its id: opaque, bounded text. It need not be valid for the kind: a newer version may have made it.
    pub id: Arc<str>,
}

impl ResourceKey {
    /// The key of a resource of a kind, as a collection, and an id; neither need be known to this version.
    ///
    /// # Errors
    ///
    /// One of them is missing or out of bounds.
    pub fn new(collection: &str, id: &str) -> Result<Self, InvalidResourceKey> {
        let kind = ResourceKind::parse(collection)?;
        if !(1..=RESOURCE_ID_BYTES_MAX).contains(&id.len()) || id.chars().any(char::is_control) {
            return Err(InvalidResourceKey::Id);
        }
        Ok(Self { kind, id: id.into() })
    }

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
    ///
    /// # Errors
    ///
    /// Kind or id are missing or out of bounds.
    pub fn from_wire(key: &wire::ResourceKey) -> Result<Self, InvalidResourceKey> {
        let wire::ResourceKey { kind, id } = key;
        Self::new(kind, id)
    }

    /// The key as a message of the change feed.
    pub fn to_wire(&self) -> wire::ResourceKey {
        wire::ResourceKey { kind: self.kind.collection().to_owned(), id: self.id.to_string() }
    }

    /// The id as a host pattern, if it is one in its stored form: two ids never stand for the same host.
    pub fn host(&self) -> Result<HostPattern, InvalidResourceName> {
        let host = HostPattern::parse(&self.id)?;
        if host.as_str() == &*self.id { Ok(host) } else { Err(InvalidResourceName::NotNormalized) }
    }
}

/// As a resource name: `domains/shop.example`.
impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.collection(), self.id)
    }
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

/// Why what stands for a resource does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResourceKey {
    /// The kind is missing, too long, or holds what no collection does.
    #[error("a kind of 1 to {RESOURCE_KIND_BYTES_MAX} letters and digits is required")]
    Kind,
    /// The id is missing, too long, or holds a control character.
    #[error("an id of 1 to {RESOURCE_ID_BYTES_MAX} bytes without control characters is required")]
    Id,
}

/// Why a text does not name a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResourceName {
    /// It does not begin with the collection.
    #[error("a name of the form {0}/ID is required")]
    Collection(&'static str),
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
        let tickets = ResourceKey::ticket_keys(&TicketKeysId::of(&Labels::default()));
        assert_eq!(ResourceKey::from_wire(&tickets.to_wire()), Ok(tickets));
    }

    #[test]
    fn a_key_that_this_version_does_not_know_is_opaque_and_bounded() {
        let unknown = ResourceKey::new("gadgets", "Any Thing/é").unwrap();
        assert_eq!(unknown.to_string(), "gadgets/Any Thing/é");
        assert_eq!(ResourceKey::from_wire(&unknown.to_wire()), Ok(unknown.clone()));
        assert!(unknown.kind > ResourceKind::TicketKeys, "it comes after those that are known");
        // An id that is none of its kind is as good as any.
        let upper = ResourceKey::new("domains", "A.example").unwrap();
        assert_eq!((&upper.kind, upper.host()), (&ResourceKind::Domain, Err(InvalidResourceName::NotNormalized)));
        for kind in ["", "a/b", "a b", "ä", &"k".repeat(RESOURCE_KIND_BYTES_MAX + 1)] {
            assert_eq!(ResourceKey::new(kind, "a"), Err(InvalidResourceKey::Kind), "{kind:?}");
        }
        for id in ["", "a\nb", "a\u{85}", &"i".repeat(RESOURCE_ID_BYTES_MAX + 1)] {
            assert_eq!(ResourceKey::new("domains", id), Err(InvalidResourceKey::Id), "{id:?}");
        }
        ResourceKey::new(&"k".repeat(RESOURCE_KIND_BYTES_MAX), &"i".repeat(RESOURCE_ID_BYTES_MAX)).unwrap();
    }

    #[test]
    fn the_known_kinds_are_told_by_their_collections() {
        for kind in ResourceKind::KNOWN {
            assert_eq!(ResourceKind::parse(kind.collection()), Ok(kind));
        }
    }
}
