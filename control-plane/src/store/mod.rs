//! The database: what is declared and derived, the history of every change, and what is remembered about edges.
//!
//! What always holds: every change of the configuration is one [`Transaction`], which takes its revision in its first
//! statement and writes the whole new document of what it changed. So revisions have no gaps, commit order is
//! revision order, and what a transaction reads cannot change before it commits. Every kind is kept in the same tables, as a
//! [`Document`]; nothing refers to what is not there. Secrets are sealed before they are written. A document that cannot be read
//! is [`Withheld`]: it stops nobody from reading the others, and is never written over. Both databases run the statements of
//! `sql/`, which is compiled once for each, and pass the same tests.
//!
//! It decides nothing: that is `app`'s.

#[cfg(test)]
mod conformance;
mod document;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod history;
mod postgres;
mod remains;
mod rows;
mod sqlite;
mod transaction;
mod vault;
mod wakeup;

use std::{fmt, fmt::Debug, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use switchyard_proto::vocab::{HostPattern, IssuerId, Revision, TokenId};
use tokio::sync::watch;

pub use self::{
    document::{Document, Unreadable},
    error::StoreError,
    remains::{RemainingDocument, Remains},
    transaction::{Objects, Transaction},
};
use crate::{
    model::{
        Actor, EdgeRecord, Exhausted, HistoryEntry, HistoryFilter, Issuance, IssuerUse, Lease, Limit, Object,
        ObjectKey, RateLimits, Timestamp, Used,
    },
    seal::Sealer,
};

/// Tombstones that are kept. An edge that was away for more deletions than that is sent everything.
pub const TOMBSTONES_MAX: u32 = 100_000;

/// Changes that the history has, beside the last entry before them of each object.
pub const HISTORY_MAX: u32 = 100_000;

/// Keys of removed edges that are remembered.
pub const REMOVED_KEYS_MAX: u32 = 100_000;

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

/// Says that this process is the control plane of a database, for as long as the claim is there.
#[derive(Debug)]
pub struct Claim {
    _sqlite: Option<sqlite::Claim>,
}

/// Claims a database that can have one control plane. Several may run on one Postgres.
///
/// # Errors
///
/// Another process has claimed the file, or it cannot be claimed.
pub fn claim(location: &Location) -> Result<Claim, StoreError> {
    let sqlite = match location {
        Location::Sqlite(path) => Some(sqlite::claim(path)?),
        Location::Postgres(_) => None,
    };
    Ok(Claim { _sqlite: sqlite })
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

    /// Gives everything that was changed after a revision, as it is now, read at one moment, to `take`: in parts, so that not all of it
    /// is in memory twice.
    async fn read_changes(&self, after: Revision, take: &mut (dyn FnMut(Changes) + Send)) -> Result<(), StoreError>;

    /// The same at once.
    async fn changes_after(&self, after: Revision) -> Result<Changes, StoreError> {
        let mut all = Changes::default();
        let mut take = |part: Changes| {
            let Changes { head, floor, whole, continues: _, continued: _, put, withheld, removed } = part;
            (all.head, all.floor, all.whole) = (head, floor, whole);
            all.put.extend(put);
            all.withheld.extend(withheld);
            all.removed.extend(removed);
        };
        self.read_changes(after, &mut take).await?;
        Ok(all)
    }

    /// What is there under a key, if it cannot be read.
    async fn remains(&self, key: &ObjectKey) -> Result<Option<Remains>, StoreError>;

    /// What the change of this number put and deleted.
    async fn changed_at(&self, revision: Revision) -> Result<Vec<ObjectKey>, StoreError>;

    /// What the history has, the newest first: at most `limit` entries. It ends after [`HISTORY_MAX`] changes.
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

    /// Writes to the database, and changes nothing: whether a change could be made now.
    async fn check_write(&self) -> Result<(), StoreError>;

    /// Seals every secret under the master key that was sealed under one before; how many those were. Others may write meanwhile.
    ///
    /// # Errors
    ///
    /// Some do not open; all others are sealed anew.
    async fn reseal(&self) -> Result<usize, StoreError>;

    /// Ends all connections. SQLite then has everything in its one file, for whoever copies it.
    async fn close(&self);
}

/// What was changed after some revision, or a part of that.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The newest revision: everything up to it is contained.
    pub head: Revision,
    /// Deletions up to and including this revision are no longer known one by one.
    pub floor: Revision,
    /// Everything is contained, also what is older: what is not in it is gone.
    pub whole: bool,
    /// A part came before this one, which has what is referred to.
    pub continues: bool,
    /// Another part follows.
    pub continued: bool,
    /// What was put and is there, those first that others refer to.
    pub put: Vec<Object>,
    /// What was put and is there, and cannot be read.
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
