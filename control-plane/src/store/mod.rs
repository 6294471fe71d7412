//! The database: what is declared and derived, the history of every change, and what is remembered about edges.
//!
//! What always holds: every change of the configuration is one [`Transaction`], which takes its revision in its first
//! statement and writes what it changed with the old and the new value. So revisions have no gaps, commit order is
//! revision order, and what a transaction reads cannot change before it commits. Secrets are sealed before they are
//! written. Both databases run the statements of `sql/`, which is compiled once for each, and pass the same tests.
//!
//! It decides nothing: that is `app`'s.

#[cfg(test)]
mod conformance;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod history;
mod postgres;
mod rows;
mod sqlite;
mod wakeup;

use std::{fmt, fmt::Debug, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use switchyard_proto::vocab::{
    BackendId, CertificateId, DnsProviderId, EdgeId, HostPattern, InviteId, IssuerId, Labels, ResourceKey, Revision,
    ServiceId, TicketKeysId, TokenId,
};
use tokio::sync::watch;

pub use self::error::StoreError;
use crate::{
    model::{
        Actor, Backend, Certificate, Challenge, DnsProvider, Domain, EdgeRecord, Enrolment, Exhausted, HistoryEntry,
        HistoryFilter, Invite, Issuance, Issuer, IssuerUse, Lease, Limit, Object, ObjectKey, RateLimits, Service,
        Stored, TicketKeys, Timestamp, Token, Used,
    },
    seal::Sealer,
};

/// Tombstones that are kept. An edge that was away for more deletions than that is sent everything.
pub const TOMBSTONES_MAX: u32 = 100_000;

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A file, created if it is not there.
    Sqlite(PathBuf),
    /// A URL: `postgres://user:password@host:port/database`.
    Postgres(String),
}

impl fmt::Debug for Location {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "Sqlite({})", path.display()),
            Self::Postgres(_) => f.write_str("Postgres(redacted)"),
        }
    }
}

/// Opens a database and brings its tables up to date.
///
/// # Errors
///
/// It cannot be reached, holds tables of a newer version, or was sealed under another master key.
pub async fn open(location: &Location, sealer: Sealer) -> Result<Arc<dyn Store>, StoreError> {
    let sealer = Arc::new(sealer);
    Ok(match location {
        Location::Sqlite(path) => Arc::new(sqlite::open(path, sealer).await?),
        Location::Postgres(url) => Arc::new(postgres::open(url, sealer).await?),
    })
}

/// A database.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Begins a change of the configuration, which takes the next revision. It waits for the change before it to end.
    async fn begin(&self, actor: &Actor, now: Timestamp) -> Result<Box<dyn Transaction>, StoreError>;

    /// Everything that was changed after a revision, as it is now, read at one moment.
    async fn changes_after(&self, after: Revision) -> Result<Changes, StoreError>;

    /// What the change of this number put and deleted.
    async fn changed_at(&self, revision: Revision) -> Result<Vec<ObjectKey>, StoreError>;

    /// What the history has, the newest first: at most `limit` entries.
    async fn history(&self, filter: &HistoryFilter, limit: usize) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Marked as changed whenever there may be something new: after a commit of this process, and after one of another
    /// that the database told of. It may be late, or lost: whoever must know asks the database.
    fn wakeups(&self) -> watch::Receiver<()>;

    /// Remembers an edge, if it belongs to the fleet.
    async fn record_edge(&self, edge: &EdgeRecord) -> Result<(), StoreError>;

    /// All edges that are remembered, by id.
    async fn edges(&self) -> Result<Vec<EdgeRecord>, StoreError>;

    /// Remembers when a token was used.
    async fn record_token_use(&self, id: &TokenId, at: Timestamp) -> Result<(), StoreError>;

    /// When tokens were used last, as far as that was remembered.
    async fn token_uses(&self) -> Result<Vec<(TokenId, Timestamp)>, StoreError>;

    /// Takes a lease for so long, or for so long again if it is the holder's already; `None` while somebody else has it. The
    /// database's clock decides. Whoever takes it counts from before he asked.
    async fn take_lease(
        &self,
        name: &'static str,
        holder: &str,
        lifetime: Duration,
    ) -> Result<Option<Lease>, StoreError>;

    /// Gives a lease back before its end.
    async fn give_lease_back(&self, lease: &Lease) -> Result<(), StoreError>;

    /// How far a domain is with its certificate, if a CA takes care of that.
    async fn issuance(&self, host: &HostPattern) -> Result<Option<Issuance>, StoreError>;

    /// The issuances for which something is to be done at `now`, those first that wait longest; at most `limit`.
    async fn due_issuances(&self, now: Timestamp, limit: usize) -> Result<Vec<Issuance>, StoreError>;

    /// When something is to be done next for an issuance, after `now`.
    async fn next_issuance_at(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Issuances by domain, those after `after`; at most `limit`.
    async fn issuances(&self, after: &str, limit: usize) -> Result<Vec<Issuance>, StoreError>;

    /// Has a certificate ordered now, whatever its issuance waits for, and `revoke` declared void after that; whether there is one for
    /// the domain.
    async fn request_issuance(
        &self,
        host: &HostPattern,
        revoke: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Asks the limits of an issuer whether there is room for a use, and if there is, notes it. Whoever else asks meanwhile waits.
    async fn spend(&self, lease: &Lease, it: &IssuerUse, limits: &RateLimits) -> Result<Option<Exhausted>, StoreError>;

    /// Notes a use that has been.
    async fn note_use(&self, lease: &Lease, it: &IssuerUse) -> Result<(), StoreError>;

    /// How much of a limit of an issuer is used, that of which most is used first; at most `max` subjects.
    async fn used(&self, issuer: &IssuerId, limit: &Limit, now: Timestamp, max: usize)
    -> Result<Vec<Used>, StoreError>;

    /// Writes a step of an issuance, if the lease is still held and nobody wrote another since it was read; what was written. `None`:
    /// somebody did.
    async fn record_issuance(&self, lease: &Lease, issuance: &Issuance) -> Result<Option<Issuance>, StoreError>;

    /// Seals every secret under the master key that was sealed under one before; how many those were. Others may write meanwhile.
    async fn reseal(&self) -> Result<usize, StoreError>;

    /// Ends all connections. SQLite then has everything in its one file, for whoever copies it.
    async fn close(&self);
}

/// What was changed after some revision.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The newest revision: everything up to it is contained.
    pub head: Revision,
    /// Deletions up to and including this revision are no longer known one by one.
    pub floor: Revision,
    /// Everything is contained, also what is older: what is not in it is gone.
    pub whole: bool,
    /// What was put and is there, those first that others refer to.
    pub put: Vec<Object>,
    /// What is there and cannot be read.
    pub withheld: Vec<Withheld>,
    /// What was deleted, and when. If `whole`, every deletion that is known one by one: edges may still have to be told.
    pub removed: Vec<(ObjectKey, Revision)>,
}

/// What the database has and cannot be read: it does not parse, does not unseal, or is of a newer version. Nobody is sent it, and it is
/// never rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Its kind, as a collection; perhaps one that this version does not know.
    pub kind: String,
    /// Its id, as far as that can be read.
    pub id: String,
    /// The revision that changed it last, as far as that can be read; otherwise 0.
    pub revision: Revision,
    /// Why it cannot be read.
    pub reason: String,
}

/// One change of the configuration. Nothing of it is there before [`Transaction::commit`]; dropped, it never was.
#[async_trait]
pub trait Transaction: Send {
    /// The revision it makes.
    fn revision(&self) -> Revision;

    /// Makes it durable, and wakes the followers. When this fails with [`StoreError::Unavailable`], it is not known
    /// whether it was made.
    async fn commit(self: Box<Self>) -> Result<Revision, StoreError>;

    /// Whether nothing was ever declared but the default service.
    async fn is_pristine(&mut self) -> Result<bool, StoreError>;

    /// A domain.
    async fn domain(&mut self, host: &HostPattern) -> Result<Option<Stored<Domain>>, StoreError>;
    /// Creates a domain (`old` is `None`), or replaces the one that was read.
    async fn put_domain(&mut self, old: Option<&Stored<Domain>>, new: Domain) -> Result<Stored<Domain>, StoreError>;
    /// Deletes the domain that was read.
    async fn delete_domain(&mut self, old: &Stored<Domain>) -> Result<(), StoreError>;

    /// A service.
    async fn service(&mut self, id: &ServiceId) -> Result<Option<Stored<Service>>, StoreError>;
    /// One of the domains and backends that refer to a service.
    async fn user_of_service(&mut self, id: &ServiceId) -> Result<Option<ResourceKey>, StoreError>;
    /// Creates a service (`old` is `None`), or replaces the one that was read.
    async fn put_service(&mut self, old: Option<&Stored<Service>>, new: Service)
    -> Result<Stored<Service>, StoreError>;
    /// Deletes the service that was read.
    async fn delete_service(&mut self, old: &Stored<Service>) -> Result<(), StoreError>;

    /// A backend.
    async fn backend(&mut self, id: &BackendId) -> Result<Option<Stored<Backend>>, StoreError>;
    /// The backends of a service.
    async fn backends_of_service(&mut self, id: &ServiceId) -> Result<Vec<Stored<Backend>>, StoreError>;
    /// How many backends a service has.
    async fn count_backends(&mut self, id: &ServiceId) -> Result<usize, StoreError>;
    /// Creates a backend (`old` is `None`), or replaces the one that was read.
    async fn put_backend(&mut self, old: Option<&Stored<Backend>>, new: Backend)
    -> Result<Stored<Backend>, StoreError>;
    /// Deletes the backend that was read.
    async fn delete_backend(&mut self, old: &Stored<Backend>) -> Result<(), StoreError>;

    /// A certificate.
    async fn certificate(&mut self, id: &CertificateId) -> Result<Option<Stored<Certificate>>, StoreError>;
    /// Creates a certificate (`old` is `None`), or replaces the one that was read.
    async fn put_certificate(
        &mut self,
        old: Option<&Stored<Certificate>>,
        new: Certificate,
    ) -> Result<Stored<Certificate>, StoreError>;
    /// Deletes the certificate that was read.
    async fn delete_certificate(&mut self, old: &Stored<Certificate>) -> Result<(), StoreError>;

    /// What edges answer a CA that asks for a domain.
    async fn challenge(&mut self, host: &HostPattern) -> Result<Option<Stored<Challenge>>, StoreError>;
    /// Creates an answer (`old` is `None`), or replaces the one that was read.
    async fn put_challenge(
        &mut self,
        old: Option<&Stored<Challenge>>,
        new: Challenge,
    ) -> Result<Stored<Challenge>, StoreError>;
    /// Deletes the answer that was read.
    async fn delete_challenge(&mut self, old: &Stored<Challenge>) -> Result<(), StoreError>;

    /// What edges with the same labels issue session tickets with.
    async fn ticket_keys(&mut self, id: &TicketKeysId) -> Result<Option<Stored<TicketKeys>>, StoreError>;
    /// Creates ticket keys (`old` is `None`), or replaces those that were read.
    async fn put_ticket_keys(
        &mut self,
        old: Option<&Stored<TicketKeys>>,
        new: TicketKeys,
    ) -> Result<Stored<TicketKeys>, StoreError>;
    /// Deletes the ticket keys that were read.
    async fn delete_ticket_keys(&mut self, old: &Stored<TicketKeys>) -> Result<(), StoreError>;

    /// An issuer.
    async fn issuer(&mut self, id: &IssuerId) -> Result<Option<Stored<Issuer>>, StoreError>;
    /// All issuers, by id.
    async fn issuers(&mut self) -> Result<Vec<Stored<Issuer>>, StoreError>;
    /// One of the domains that name an issuer.
    async fn user_of_issuer(&mut self, id: &IssuerId) -> Result<Option<ResourceKey>, StoreError>;
    /// Creates an issuer (`old` is `None`), or replaces the one that was read.
    async fn put_issuer(&mut self, old: Option<&Stored<Issuer>>, new: Issuer) -> Result<Stored<Issuer>, StoreError>;
    /// Deletes the issuer that was read.
    async fn delete_issuer(&mut self, old: &Stored<Issuer>) -> Result<(), StoreError>;

    /// A DNS provider.
    async fn dns_provider(&mut self, id: &DnsProviderId) -> Result<Option<Stored<DnsProvider>>, StoreError>;
    /// All DNS providers, by id.
    async fn dns_providers(&mut self) -> Result<Vec<Stored<DnsProvider>>, StoreError>;
    /// Creates a DNS provider (`old` is `None`), or replaces the one that was read.
    async fn put_dns_provider(
        &mut self,
        old: Option<&Stored<DnsProvider>>,
        new: DnsProvider,
    ) -> Result<Stored<DnsProvider>, StoreError>;
    /// Deletes the DNS provider that was read.
    async fn delete_dns_provider(&mut self, old: &Stored<DnsProvider>) -> Result<(), StoreError>;

    /// How far a domain is with its certificate.
    async fn issuance(&mut self, host: &HostPattern) -> Result<Option<Issuance>, StoreError>;
    /// Writes that, whatever was there.
    async fn put_issuance(&mut self, issuance: &Issuance) -> Result<(), StoreError>;
    /// Forgets that.
    async fn delete_issuance(&mut self, host: &HostPattern) -> Result<(), StoreError>;
    /// How many names have their certificates from a domain on demand.
    async fn count_on_demand(&mut self, domain: &HostPattern) -> Result<usize, StoreError>;
    /// Retires the names that have their certificates from a domain on demand, and forgets those that have none yet.
    async fn retire_on_demand(
        &mut self,
        domain: &HostPattern,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Goes on with the names that were retired with a domain.
    async fn revive_on_demand(&mut self, domain: &HostPattern, now: Timestamp) -> Result<(), StoreError>;
    /// Makes sure that nobody else has the lease before this has ended.
    async fn require(&mut self, lease: &Lease) -> Result<(), StoreError>;

    /// An edge that belongs to the fleet.
    async fn enrolment(&mut self, id: &EdgeId) -> Result<Option<Stored<Enrolment>>, StoreError>;
    /// How many edges have exactly these labels.
    async fn count_edges(&mut self, labels: &Labels) -> Result<usize, StoreError>;
    /// Lets an edge belong to the fleet (`old` is `None`), or replaces what was read of it.
    async fn put_enrolment(
        &mut self,
        old: Option<&Stored<Enrolment>>,
        new: Enrolment,
    ) -> Result<Stored<Enrolment>, StoreError>;
    /// Removes the edge that was read, and what is remembered about it.
    async fn delete_enrolment(&mut self, old: &Stored<Enrolment>) -> Result<(), StoreError>;

    /// An invitation.
    async fn invite(&mut self, id: &InviteId) -> Result<Option<Stored<Invite>>, StoreError>;
    /// Creates an invitation (`old` is `None`), or replaces the one that was read.
    async fn put_invite(&mut self, old: Option<&Stored<Invite>>, new: Invite) -> Result<Stored<Invite>, StoreError>;
    /// Deletes the invitation that was read.
    async fn delete_invite(&mut self, old: &Stored<Invite>) -> Result<(), StoreError>;

    /// A token of the API.
    async fn token(&mut self, id: &TokenId) -> Result<Option<Stored<Token>>, StoreError>;
    /// All tokens of the API.
    async fn tokens(&mut self) -> Result<Vec<Stored<Token>>, StoreError>;
    /// Creates a token.
    async fn create_token(&mut self, new: Token) -> Result<Stored<Token>, StoreError>;
    /// Deletes the token that was read.
    async fn delete_token(&mut self, old: &Stored<Token>) -> Result<(), StoreError>;

    /// A secret of the system, by name.
    async fn secret(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Creates or replaces a secret of the system.
    async fn put_secret(&mut self, name: &str, secret: &[u8]) -> Result<(), StoreError>;
}
