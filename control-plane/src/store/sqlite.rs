//! SQLite: one file, one writer at a time, readers beside it (write-ahead log).

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tracing::info;

use super::{StoreError, wakeup::Wakeup};
use crate::seal::Sealer;

#[path = "sql/mod.rs"]
mod sql;

/// What `sql/` is compiled for.
type Database = sqlx::Sqlite;
/// Waits for the writer before it, so that nothing that is read can change.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
/// Its first statement fixes what is seen.
const BEGIN_READ: &str = "BEGIN DEFERRED";
/// There is no other process to tell.
const NOTIFY: Option<&str> = None;

/// Takes a lease, or renews it. A file has one control plane: whoever held it before is dead.
const TAKE_LEASE: &str = "INSERT INTO lease (name, holder, epoch, expires_at) \
    VALUES ($1, $2, 1, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3) \
    ON CONFLICT (name) DO UPDATE SET \
    epoch = CASE WHEN lease.holder = excluded.holder THEN lease.epoch ELSE lease.epoch + 1 END, \
    holder = excluded.holder, expires_at = excluded.expires_at RETURNING epoch";
/// Locks a lease until the transaction ends.
const REQUIRE_LEASE: &str = "UPDATE lease SET epoch = epoch WHERE name = $1 AND holder = $2 AND epoch = $3 \
    AND expires_at > CAST(unixepoch('subsec') * 1000 AS INTEGER)";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// What of a file's mode concerns others than its owner.
const OTHERS: u32 = 0o077;
/// One writer, and readers that do not wait for it.
const CONNECTIONS_MAX: u32 = 8;
/// How long a writer waits for the one before it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// What must be free on its disk: a few changes.
const ROOM_BYTES_MIN: u64 = 1024 * 1024;
/// How long to wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// Rows that a query may be ahead of who reads them. With few, both threads are woken for every few rows of a start.
const ROWS_AHEAD: usize = 512;

pub(super) async fn open(path: &Path, sealer: Arc<Sealer>) -> Result<sql::SqlStore, StoreError> {
    let failed = |error| StoreError::Open { place: path.display().to_string(), error };
    make_private(path).map_err(|error| failed(sqlx::Error::Io(error)))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        // What was purged is overwritten, where that costs no other access to the disk.
        .pragma("secure_delete", "fast")
        .journal_mode(SqliteJournalMode::Wal)
        // Without it the last commits can be lost with the power, though they were acknowledged.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROWS_AHEAD);
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_release(|connection, _| Box::pin(has_no_transaction(connection)))
        .connect_with(options)
        .await
        .map_err(failed)?;
    MIGRATIONS.run(&pool).await.map_err(StoreError::Migrate)?;
    sql::SqlStore::new(pool, sealer, Wakeup::local()).await
}

/// Sees to it that only its owner may use the file, wherever it is: that it is created so, and that it is so from now on. What SQLite
/// makes beside it has the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created.map(drop),
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let mode = match fs::metadata(&name) {
            Ok(metadata) if metadata.is_file() => metadata.permissions().mode(),
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if mode & OTHERS != 0 {
            fs::set_permissions(&name, Permissions::from_mode(mode & !OTHERS))?;
            info!(file = %Path::new(&name).display(), "only its owner may read the database from now on");
        }
    }
    Ok(())
}

/// Checks that there is room for changes. The log that was written before is written over, so that a small change may succeed on a disk
/// that is full, and the next one not.
fn check_room(pool: &SqlitePool) -> Result<(), StoreError> {
    let options = pool.connect_options();
    let unknown = |error| StoreError::Unavailable(sqlx::Error::Io(io::Error::from(error)));
    let room = nix::sys::statvfs::statvfs(options.get_filename()).map_err(unknown)?;
    let available = room.blocks_available() * room.fragment_size();
    if available < ROOM_BYTES_MIN {
        return Err(StoreError::NoSpace(sqlx::Error::Io(io::ErrorKind::StorageFull.into())));
    }
    Ok(())
}

/// Whether a connection can be used again. SQLite rolls a transaction back by itself when the disk is full; rolling it back again then
/// fails, and a connection that believes to be in a transaction would refuse to begin another for ever.
async fn has_no_transaction(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // A rollback that was begun by dropping a transaction is done before the answer.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// What keeps other control planes away from a file: they would not learn of each other's changes.
#[derive(Debug)]
pub(super) struct Claim {
    /// Locked for as long as it is open, and so no longer than the process lives.
    _file: File,
}

/// Claims a database for this process.
pub(super) fn claim(database: &Path) -> Result<Claim, StoreError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let unusable =
        |error| StoreError::Open { place: Path::new(&path).display().to_string(), error: sqlx::Error::Io(error) };
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Claim { _file: file }),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { place: database.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::MasterKey;

    #[tokio::test]
    async fn a_database_is_for_its_owner_alone_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("elsewhere.db");
        let sealer = Arc::new(Sealer::new(&MasterKey::generate().unwrap()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let store = open(&path, sealer.clone()).await.unwrap();
        let wal = directory.path().join("elsewhere.db-wal");
        assert_eq!((mode(&path), mode(&wal)), (0o600, 0o600));
        crate::store::Store::close(&store).await;
        // One that another program has made, or an older version.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _store = open(&path, sealer).await.unwrap();
        assert_eq!((mode(&path), mode(&wal)), (0o600, 0o600));
    }
}
