//! What this edge holds, on its disk.
//!
//! What always holds: the file has the state after some whole batch. A file that cannot be trusted is set aside, and never
//! read again. When the disk refuses, batches are remembered and written with the next one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use switchyard_process::chain;
use switchyard_proto::vocab::{Digest, ResourceKey, Revision};
use tracing::warn;

use super::{
    batch::Received,
    resources::{Kept, KeptServed, Record, ServedRecord, WithheldRecord},
    seal::StoreKey,
};

/// The file's name in the state directory.
const FILE_NAME: &str = "edge.redb";
/// The version of what is in the file.
const FORMAT: u64 = 4;
/// Bytes of memory for pages of the file: it is read once, at the start.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Batches that are remembered while the disk refuses. After more, everything is asked for anew.
const BACKLOG_MAX: usize = 1_000;
/// Damaged files that are kept for somebody to look at.
const SET_ASIDE_MAX: u32 = 100;

/// What was received: kind and id (`domains/shop.example`), and the encoded envelope, sealed.
const RECEIVED: TableDefinition<&str, &[u8]> = TableDefinition::new("received");
/// What is served instead of what was received: an encoded envelope, sealed, or nothing at all.
const SERVED: TableDefinition<&str, &[u8]> = TableDefinition::new("served");
/// What is withheld: kind and id.
const WITHHELD: TableDefinition<&str, ()> = TableDefinition::new("withheld");
/// What was removed and is still served, with the revision of its removal.
const REMOVED: TableDefinition<&str, u64> = TableDefinition::new("removed");
/// The rest, by name.
const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");
const STATE_FORMAT: &str = "format";
const STATE_REVISION: &str = "revision";
const STATE_DIGEST: &str = "digest";

/// The file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    key: StoreKey,
    /// `None` after a write failed: it must be opened again.
    database: Option<Database>,
    backlog: Backlog,
}

#[derive(Debug)]
enum Backlog {
    /// These are not written yet.
    Records(Vec<Record>),
    /// There were too many: only a record of everything helps.
    Overflowed,
}

/// What was on the disk.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Of what was received.
    pub(super) revision: Revision,
    /// Everything that was received, or is served.
    pub(super) kept: Vec<Kept>,
    /// What is withheld.
    pub(super) withheld: BTreeSet<ResourceKey>,
    /// When what was removed and is still served was removed.
    pub(super) removed: BTreeMap<ResourceKey, Revision>,
}

/// Whether a batch is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It is.
    Persisted,
    /// The disk refused.
    NotPersisted,
    /// The disk refused for so long that everything must be received anew, and now it would take it.
    EverythingNeeded,
}

impl Store {
    /// Opens the file in a state directory, which is created if it is not there, and reads it. A file that cannot be
    /// trusted is set aside with a warning.
    ///
    /// # Errors
    ///
    /// The directory or the file cannot be used: another process has it, or the system refuses.
    pub(super) fn open(directory: &Path, key: StoreKey) -> Result<(Self, Loaded), StoreError> {
        let path = directory.join(FILE_NAME);
        let unusable = |error| StoreError::Unusable { path: path.clone(), error };
        let existed = path.try_exists().map_err(unusable)?;
        if existed {
            // The file is not this program's to trust: whatever reading it does, the edge must start.
            let read = catch_unwind(AssertUnwindSafe(|| open_and_load(&path, &key)));
            let damage = match read {
                Ok(Ok((database, loaded))) => return Ok((Self::new(path, key, database), loaded)),
                Ok(Err(OpenError::Locked)) => return Err(StoreError::Locked { path }),
                Ok(Err(OpenError::Unusable(error))) => return Err(unusable(error)),
                Ok(Err(OpenError::Damaged(damage))) => damage,
                Err(_) => "reading it ended in a panic".to_owned(),
            };
            let aside = set_aside(&path).map_err(unusable)?;
            warn!(
                store = %path.display(),
                set_aside = %aside.display(),
                damage,
                "what this edge had on disk cannot be trusted: it is set aside, and everything is received anew"
            );
        }
        match create(&path) {
            Ok(database) => Ok((Self::new(path, key, database), Loaded::default())),
            Err(OpenError::Locked) => Err(StoreError::Locked { path }),
            Err(OpenError::Unusable(error)) => Err(unusable(error)),
            Err(OpenError::Damaged(damage)) => Err(unusable(io::Error::other(damage))),
        }
    }

    fn new(path: PathBuf, key: StoreKey, database: Database) -> Self {
        Self { path, key, database: Some(database), backlog: Backlog::Records(Vec::new()) }
    }

    /// Writes what a batch changed, and what could not be written before.
    pub(super) fn write(&mut self, record: Record) -> Persistence {
        let records = match &mut self.backlog {
            Backlog::Records(records) if !record.replaces_all => {
                records.push(record);
                records
            }
            backlog if record.replaces_all => {
                *backlog = Backlog::Records(vec![record]);
                let Backlog::Records(records) = backlog else { return Persistence::NotPersisted };
                records
            }
            _ => {
                return if self.is_writable() { Persistence::EverythingNeeded } else { Persistence::NotPersisted };
            }
        };
        // What happens to the file while it is open must not end the edge.
        let result = catch_unwind(AssertUnwindSafe(|| {
            database(&mut self.database, &self.path).and_then(|database| write_all(database, &self.key, records))
        }));
        let result =
            result.unwrap_or_else(|_| Err(redb::Error::Corrupted("writing to it ended in a panic".to_owned())));
        // What is missing on disk cannot be gone on from.
        let is_gone = self.database.is_none() && !self.path.exists();
        match result {
            Ok(()) => {
                records.clear();
                Persistence::Persisted
            }
            Err(error) => {
                warn!(
                    store = %self.path.display(),
                    error = chain(&error),
                    "the disk refuses what this edge received; it is served all the same"
                );
                // redb takes nothing more after an error.
                close(&mut self.database);
                if is_gone || records.len() > BACKLOG_MAX {
                    self.backlog = Backlog::Overflowed;
                }
                Persistence::NotPersisted
            }
        }
    }

    /// Whether the disk takes anything: what it has is too old to go on from, and is taken away.
    fn is_writable(&mut self) -> bool {
        close(&mut self.database);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return false,
            _ => {}
        }
        self.database = create(&self.path).ok();
        self.database.is_some()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        close(&mut self.database);
    }
}

/// Closes the file, if it is open. redb writes to it once more, and panics if that is not possible.
fn close(database: &mut Option<Database>) {
    let closed = catch_unwind(AssertUnwindSafe(|| drop(database.take())));
    if closed.is_err() {
        warn!("closing the store ended in a panic; the next start looks at what is in it");
    }
}

/// The open database; opened again after an error.
fn database<'a>(database: &'a mut Option<Database>, path: &Path) -> Result<&'a Database, redb::Error> {
    match database {
        Some(database) => Ok(database),
        closed => Ok(closed.insert(redb::Builder::new().set_cache_size(CACHE_BYTES).open(path)?)),
    }
}

fn write_all(database: &Database, key: &StoreKey, records: &[Record]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for record in records {
        write_one(&transaction, key, record)?;
    }
    transaction.commit()?;
    Ok(())
}

fn write_one(transaction: &redb::WriteTransaction, sealing: &StoreKey, record: &Record) -> Result<(), redb::Error> {
    let Record { replaces_all, received, served, withheld, revision, digest } = record;
    let mut received_table = transaction.open_table(RECEIVED)?;
    let mut served_table = transaction.open_table(SERVED)?;
    let mut removed_table = transaction.open_table(REMOVED)?;
    // First, since what is served as before may be what was received before.
    for (key, served) in served {
        let name = key.to_string();
        match served {
            ServedRecord::AsReceived => {
                served_table.remove(name.as_str())?;
                removed_table.remove(name.as_str())?;
            }
            ServedRecord::Nothing => {
                served_table.insert(name.as_str(), &[][..])?;
            }
            ServedRecord::AsBefore => {
                let is_there = served_table.get(name.as_str())?.is_some_and(|encoded| !encoded.value().is_empty());
                if let Some(before) = received_table.get(name.as_str())?.filter(|_| !is_there) {
                    served_table.insert(name.as_str(), before.value())?;
                }
            }
        }
    }
    if *replaces_all {
        let names: BTreeMap<String, bool> =
            received.iter().map(|(key, encoded)| (key.to_string(), encoded.is_some())).collect();
        received_table.retain(|name, _| names.get(name).copied().unwrap_or(false))?;
        let served: BTreeMap<String, ServedRecord> =
            served.iter().map(|(key, served)| (key.to_string(), *served)).collect();
        let is_served = |name: &str| served.get(name).is_some_and(|served| *served != ServedRecord::AsReceived);
        served_table.retain(|name, _| is_served(name))?;
        removed_table.retain(|name, _| is_served(name))?;
    }
    for (key, encoded) in received {
        let name = key.to_string();
        match encoded {
            Some(encoded) => {
                let sealed = sealing.seal(&name, encoded).map_err(redb::Error::Io)?;
                received_table.insert(name.as_str(), &sealed[..])?;
                removed_table.remove(name.as_str())?;
            }
            None => {
                received_table.remove(name.as_str())?;
                if served.get(key) == Some(&ServedRecord::AsBefore) {
                    removed_table.insert(name.as_str(), revision.0)?;
                }
            }
        }
    }
    let mut withheld_table = transaction.open_table(WITHHELD)?;
    if *replaces_all {
        withheld_table.retain(|_, ()| false)?;
    }
    for (key, withheld) in withheld {
        match withheld {
            WithheldRecord::Begun => withheld_table.insert(key.to_string().as_str(), ())?,
            WithheldRecord::Ended => withheld_table.remove(key.to_string().as_str())?,
        };
    }
    let mut state = transaction.open_table(STATE)?;
    state.insert(STATE_REVISION, &revision.0.to_le_bytes()[..])?;
    state.insert(STATE_DIGEST, &digest.to_bytes()[..])?;
    Ok(())
}

fn create(path: &Path) -> Result<Database, OpenError> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(OpenError::Unusable)?;
    let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create_file(file)?;
    let transaction = database.begin_write().map_err(redb::Error::from)?;
    initialize(&transaction)?;
    transaction.commit().map_err(redb::Error::from)?;
    Ok(database)
}

fn initialize(transaction: &redb::WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(RECEIVED)?;
    transaction.open_table(SERVED)?;
    transaction.open_table(WITHHELD)?;
    transaction.open_table(REMOVED)?;
    let mut state = transaction.open_table(STATE)?;
    state.insert(STATE_FORMAT, &FORMAT.to_le_bytes()[..])?;
    state.insert(STATE_REVISION, &0_u64.to_le_bytes()[..])?;
    state.insert(STATE_DIGEST, &Digest::default().to_bytes()[..])?;
    Ok(())
}

fn open_and_load(path: &Path, key: &StoreKey) -> Result<(Database, Loaded), OpenError> {
    let mut database = redb::Builder::new().set_cache_size(CACHE_BYTES).open(path)?;
    // Also of what is not read now: redb panics on it when it writes, or closes the file.
    let whole = database.check_integrity()?;
    let loaded = load(&database, key)?;
    if !whole {
        warn!(store = %path.display(), "the file was damaged, and is back at its last whole transaction");
    }
    Ok((database, loaded))
}

fn load(database: &Database, key: &StoreKey) -> Result<Loaded, OpenError> {
    let damaged = |what: &str| OpenError::Damaged(what.to_owned());
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let state = transaction.open_table(STATE).map_err(redb::Error::from)?;
    let number = |name| -> Result<u64, OpenError> {
        let value = state.get(name).map_err(redb::Error::from)?.ok_or_else(|| damaged("a number is missing"))?;
        Ok(u64::from_le_bytes(value.value().try_into().map_err(|_| damaged("a number is damaged"))?))
    };
    if number(STATE_FORMAT)? != FORMAT {
        return Err(damaged("it is of a format that this version does not know"));
    }
    let revision = Revision(number(STATE_REVISION)?);
    let digest =
        state.get(STATE_DIGEST).map_err(redb::Error::from)?.and_then(|value| Digest::from_bytes(value.value()));

    let mut served = BTreeMap::new();
    let served_table = transaction.open_table(SERVED).map_err(redb::Error::from)?;
    for row in served_table.iter().map_err(redb::Error::from)? {
        let (name, encoded) = row.map_err(redb::Error::from)?;
        let kept = match encoded.value() {
            [] => KeptServed::Nothing,
            encoded => KeptServed::Other(Box::new(read(key, name.value(), encoded)?)),
        };
        served.insert(name.value().to_owned(), kept);
    }
    let mut kept = Vec::new();
    let mut computed = Digest::default();
    let received_table = transaction.open_table(RECEIVED).map_err(redb::Error::from)?;
    for row in received_table.iter().map_err(redb::Error::from)? {
        let (name, encoded) = row.map_err(redb::Error::from)?;
        let received = read(key, name.value(), encoded.value())?;
        let digest = Digest::of(&received.encoded);
        computed = computed.plus(digest);
        let served = served.remove(name.value()).unwrap_or(KeptServed::AsReceived);
        kept.push(Kept { received: Some(received), digest, served });
    }
    if digest != Some(computed) {
        return Err(damaged("its digest does not fit what is in it"));
    }
    // What was removed or is withheld, and is still served.
    kept.extend(served.into_values().map(|served| Kept { received: None, digest: Digest::default(), served }));
    let key_of = |name: &str| {
        let key = name.split_once('/').and_then(|(kind, id)| ResourceKey::new(kind, id).ok());
        key.ok_or_else(|| damaged("the name of a resource is damaged"))
    };
    let mut withheld = BTreeSet::new();
    let withheld_table = transaction.open_table(WITHHELD).map_err(redb::Error::from)?;
    for row in withheld_table.iter().map_err(redb::Error::from)? {
        let (name, _) = row.map_err(redb::Error::from)?;
        withheld.insert(key_of(name.value())?);
    }
    let mut removed = BTreeMap::new();
    let removed_table = transaction.open_table(REMOVED).map_err(redb::Error::from)?;
    for row in removed_table.iter().map_err(redb::Error::from)? {
        let (name, revision) = row.map_err(redb::Error::from)?;
        removed.insert(key_of(name.value())?, Revision(revision.value()));
    }
    Ok(Loaded { revision, kept, withheld, removed })
}

fn read(key: &StoreKey, name: &str, sealed: &[u8]) -> Result<Received, OpenError> {
    let encoded = key.open(name, sealed);
    let encoded = encoded.ok_or_else(|| OpenError::Damaged(format!("{name} does not open under the store's key")))?;
    let received = Received::read(encoded.into()).map_err(|error| OpenError::Damaged(format!("{name}: {error}")))?;
    if received.key.to_string() != name {
        return Err(OpenError::Damaged(format!("{name} holds {}", received.key)));
    }
    Ok(received)
}

/// Renames a file that is not trusted, to a name that nothing has.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=SET_ASIDE_MAX {
        let aside = path.with_file_name(format!("{FILE_NAME}.damaged-{number}"));
        if !aside.try_exists()? {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other(format!("{SET_ASIDE_MAX} damaged files are set aside already: look at them and delete them")))
}

/// Why a file was not opened.
#[derive(Debug)]
enum OpenError {
    Locked,
    Unusable(io::Error),
    Damaged(String),
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked,
            error => redb::Error::from(error).into(),
        }
    }
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            // A file that ends too early, or whose content is impossible, is damage; a disk that refuses is not.
            redb::Error::Io(error)
                if !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                Self::Unusable(error)
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

/// Why the store cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{} is in use by another process: give each edge a state directory of its own", path.display())]
    Locked {
        /// Which file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

#[cfg(test)]
mod tests;
