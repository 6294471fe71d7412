use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use switchyard_proto::vocab::{ResourceKey, Revision};

use super::{
    Backend, Certificate, Challenge, DnsProvider, Domain, Enrolment, Invite, Issuer, ObjectKey, Service, TicketKeys,
    Token,
};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `time`; moments before 1970 become 1970.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// The moment `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A resource as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// The resource.
    pub value: T,
    /// The revision that changed it last; also its etag.
    pub revision: Revision,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A resource of any kind that travels on the change feed.
#[derive(Clone, Debug)]
pub enum Resource {
    /// A service.
    Service(Arc<Stored<Service>>),
    /// A backend.
    Backend(Arc<Stored<Backend>>),
    /// A certificate.
    Certificate(Arc<Stored<Certificate>>),
    /// A domain.
    Domain(Arc<Stored<Domain>>),
    /// What a CA is answered.
    Challenge(Arc<Stored<Challenge>>),
    /// What edges with the same labels issue session tickets with.
    TicketKeys(Arc<Stored<TicketKeys>>),
}

impl Resource {
    /// Its kind and id.
    pub fn key(&self) -> ResourceKey {
        match self {
            Self::Service(stored) => ResourceKey::service(&stored.value.id),
            Self::Backend(stored) => ResourceKey::backend(&stored.value.id),
            Self::Certificate(stored) => ResourceKey::certificate(&stored.value.id),
            Self::Domain(stored) => ResourceKey::domain(&stored.value.host),
            Self::Challenge(stored) => ResourceKey::challenge(&stored.value.host),
            Self::TicketKeys(stored) => ResourceKey::ticket_keys(stored.value.id()),
        }
    }

    /// The revision that changed it last.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Service(stored) => stored.revision,
            Self::Backend(stored) => stored.revision,
            Self::Certificate(stored) => stored.revision,
            Self::Domain(stored) => stored.revision,
            Self::Challenge(stored) => stored.revision,
            Self::TicketKeys(stored) => stored.revision,
        }
    }
}

/// What the database keeps under a revision, of any kind.
#[derive(Clone, Debug)]
pub enum Object {
    /// A resource that edges serve.
    Served(Resource),
    /// An edge that belongs to the fleet.
    Edge(Arc<Stored<Enrolment>>),
    /// What lets edges join.
    Invite(Arc<Stored<Invite>>),
    /// A token of the API.
    Token(Arc<Stored<Token>>),
    /// A CA that certificates are ordered from.
    Issuer(Arc<Stored<Issuer>>),
    /// Who sets records in some zones.
    DnsProvider(Arc<Stored<DnsProvider>>),
}

impl Object {
    /// Its kind and id.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Served(resource) => resource.key().into(),
            Self::Edge(stored) => ObjectKey::edge(&stored.value.id),
            Self::Invite(stored) => ObjectKey::invite(&stored.value.id),
            Self::Token(stored) => ObjectKey::token(&stored.value.id),
            Self::Issuer(stored) => ObjectKey::issuer(&stored.value.id),
            Self::DnsProvider(stored) => ObjectKey::dns_provider(&stored.value.id),
        }
    }
}
