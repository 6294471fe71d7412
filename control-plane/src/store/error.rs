use switchyard_proto::vocab::Revision;

use super::Unreadable;
use crate::seal::{OpenError, ResealError, SealError};

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or not in time. Of a commit it is then not known whether it was made.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// There is no room for what is to be written.
    #[error("the database cannot be written: no space left on device")]
    NoSpace(#[source] sqlx::Error),
    /// Another control plane runs on the file.
    #[error("another control plane runs on {place}")]
    InUse {
        /// The file.
        place: String,
    },
    /// It cannot be opened.
    #[error("open the database at {place}")]
    Open {
        /// A file, or host and port; never a password.
        place: String,
        /// Why.
        #[source]
        error: sqlx::Error,
    },
    /// Its tables cannot be brought up to date.
    #[error("migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// It refused a statement: a defect of this program.
    #[error("the database refuses a statement")]
    Statement(#[source] sqlx::Error),
    /// It holds something that this program never wrote.
    #[error("{table} {id:?} in the database makes no sense: {reason}")]
    Inconsistent {
        /// In which table.
        table: &'static str,
        /// In which row.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// An object in it cannot be read by this version. It is left as it is.
    #[error("{name} cannot be read from the database: {reason}")]
    Unreadable {
        /// Which object: `domains/shop.example`.
        name: String,
        /// Why.
        reason: Unreadable,
    },
    /// Something would refer to what is not there: a defect of this program.
    #[error("a change was not made: it would leave a reference to something that is not there")]
    DanglingReference(#[source] sqlx::Error),
    /// The history does not reach back so far.
    #[error("the history of {name} at revision {revision} is gone: it begins after revision {floor}")]
    HistoryGone {
        /// Of which object.
        name: String,
        /// What was asked for.
        revision: Revision,
        /// Up to where the history is gone.
        floor: Revision,
    },
    /// Some secrets do not open, and so were not sealed anew.
    #[error("{count} secrets do not open and were not sealed under the master key, {subject} among them")]
    NotResealed {
        /// How many.
        count: usize,
        /// One of them.
        subject: String,
    },
    /// A lease is not held any more.
    #[error("another control plane has taken over")]
    LeaseLost,
    /// The secrets in it were sealed under another master key.
    #[error("the secrets in the database were sealed under another master key than the one given")]
    WrongMasterKey,
    /// A secret does not open.
    #[error(transparent)]
    Unseal(#[from] OpenError),
    /// A secret cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl StoreError {
    /// Whether trying again later may help.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NoSpace(_) | Self::Open { .. })
    }

    /// Whether a row is there and cannot be read: it makes no sense, does not open, or is of a newer version. No other row is worse for it.
    pub fn is_unreadable(&self) -> bool {
        match self {
            Self::Inconsistent { .. } | Self::Unreadable { .. } | Self::Unseal(_) => true,
            Self::Statement(error) => matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)),
            Self::Unavailable(_)
            | Self::NoSpace(_)
            | Self::InUse { .. }
            | Self::Open { .. }
            | Self::Migrate(_)
            | Self::DanglingReference(_)
            | Self::HistoryGone { .. }
            | Self::NotResealed { .. }
            | Self::LeaseLost
            | Self::WrongMasterKey
            | Self::Seal(_) => false,
        }
    }
}

impl From<ResealError> for StoreError {
    fn from(error: ResealError) -> Self {
        match error {
            ResealError::Open(error) => error.into(),
            ResealError::Seal(error) => error.into(),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            sqlx::Error::Database(database) if database.is_foreign_key_violation() => Self::DanglingReference(error),
            sqlx::Error::Database(database) if is_no_space(database.code().as_deref()) => Self::NoSpace(error),
            sqlx::Error::Database(database) if is_transient(database.code().as_deref()) => Self::Unavailable(error),
            _ => Self::Statement(error),
        }
    }
}

/// Whether a database's error code says that the disk is full: SQLite's FULL, and SQLSTATE 53100.
fn is_no_space(code: Option<&str>) -> bool {
    matches!(code, Some("13" | "53100"))
}

/// Whether a database's error code says that it cannot serve now.
fn is_transient(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    // SQLSTATE classes: connection exception, no such database, no such user, insufficient resources, operator
    // intervention, system error, and transaction rollback; and two codes: a server that only reads (as during a
    // failover), and a lock that is not to be had. SQLite's primary codes (the low byte): BUSY, LOCKED, IOERR, CANTOPEN.
    let sqlstate = code.len() == 5
        && (["08", "3D", "28", "53", "57", "58", "40"].iter().any(|class| code.starts_with(class))
            || ["25006", "55P03"].contains(&code));
    let sqlite = code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 14));
    sqlstate || sqlite
}
