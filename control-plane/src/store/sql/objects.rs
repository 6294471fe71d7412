//! The statements that read objects, whatever their kind is.

use bytes::Bytes;
use futures::TryStreamExt;
use switchyard_proto::vocab::{ResourceKind, Revision};

use super::Database;
use crate::{
    model::{Object, ObjectKey, ObjectKind, Timestamp},
    store::{
        Changes, RemainingDocument, Remains, StoreError, Unreadable, Withheld,
        document::Record,
        rows::{ChangeRow, KeyRow, ObjectRow},
        vault::{Sealed, Vault, envelope},
    },
};

pub(super) type Connection = <Database as sqlx::Database>::Connection;
type Query<'q> = sqlx::query::QueryAs<'q, Database, ObjectRow, <Database as sqlx::Database>::Arguments>;

/// Objects that are given to a follower at a time.
const PART: usize = 1_000;

/// Selects objects: a row for each secret that one has now, or one row. Rows of an object follow each other.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT o.id, o.document, o.revision, o.created_at, o.updated_at, s.ref, s.path, s.blob FROM object AS o \
             LEFT JOIN sealed AS s ON s.kind = o.kind AND s.id = o.id AND s.released_at IS NULL ",
            $rest
        )
    };
}

/// An object, unopened.
struct Closed {
    id: String,
    document: Bytes,
    sealed: Vec<Sealed>,
    revision: Revision,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Closed {
    fn of(mut row: ObjectRow) -> Self {
        let sealed = row.take_sealed().into_iter().collect();
        let ObjectRow { id, document, revision, created_at, updated_at, .. } = row;
        Self {
            id,
            document: document.into(),
            sealed,
            revision: Revision(u64::try_from(revision).unwrap_or(0)),
            created_at: Timestamp(created_at),
            updated_at: Timestamp(updated_at),
        }
    }

    fn open(self, kind: &str, vault: &Vault) -> Result<Record, Unreadable> {
        let Self { id, document, sealed, revision, created_at, updated_at } = self;
        let (message, secrets) = vault.open(kind, &id, document, &sealed)?;
        Ok(Record { id, message, secrets, revision, created_at, updated_at })
    }

    fn object(self, kind: &ObjectKind, vault: &Vault) -> Result<Object, Unreadable> {
        if let ObjectKind::Served(ResourceKind::Unknown(_)) = kind {
            return Err(Unreadable::UnknownKind);
        }
        self.open(kind.collection(), vault)?.object(kind)
    }
}

/// Gives each object of a query to `f`, as the rows come in: they are never all in memory.
async fn each(
    query: Query<'_>,
    connection: &mut Connection,
    mut f: impl FnMut(Closed) + Send,
) -> Result<(), StoreError> {
    let mut rows = query.fetch(connection);
    let mut last: Option<Closed> = None;
    while let Some(mut row) = rows.try_next().await? {
        match &mut last {
            Some(object) if object.id == row.id => object.sealed.extend(row.take_sealed()),
            _ => {
                if let Some(object) = last.replace(Closed::of(row)) {
                    f(object);
                }
            }
        }
    }
    if let Some(object) = last {
        f(object);
    }
    Ok(())
}

/// The record of an object.
pub(super) async fn read(
    connection: &mut Connection,
    vault: &Vault,
    key: &ObjectKey,
) -> Result<Option<Record>, StoreError> {
    let kind = key.kind.collection();
    let query = sqlx::query_as(select!("WHERE o.kind = $1 AND o.id = $2")).bind(kind).bind(&*key.id);
    let mut found = None;
    each(query, connection, |object| found = Some(object)).await?;
    found.map(|object| object.open(kind, vault).map_err(|reason| unreadable(key, reason))).transpose()
}

/// What is there under a key, if it cannot be read.
pub(super) async fn remains(
    connection: &mut Connection,
    vault: &Vault,
    key: &ObjectKey,
) -> Result<Option<Remains>, StoreError> {
    let kind = key.kind.collection();
    let query = sqlx::query_as(select!("WHERE o.kind = $1 AND o.id = $2")).bind(kind).bind(&*key.id);
    let mut found = None;
    each(query, connection, |object| found = Some(object)).await?;
    let Some(closed) = found else { return Ok(None) };
    let (document, revision) = (closed.document.clone(), closed.revision);
    let (created_at, updated_at) = (closed.created_at, closed.updated_at);
    let reason = match closed.object(&key.kind, vault) {
        Ok(_) => return Ok(None),
        Err(reason) => reason.to_string(),
    };
    let document = RemainingDocument::decode(kind, &document);
    Ok(Some(Remains { revision, created_at, updated_at, reason, document }))
}

/// The records of a kind, by id, those that can be opened.
pub(super) async fn read_all(
    connection: &mut Connection,
    vault: &Vault,
    kind: &ObjectKind,
    referring_to: Option<&ObjectKey>,
) -> Result<Vec<Record>, StoreError> {
    let kind = kind.collection();
    let query = match referring_to {
        None => sqlx::query_as(select!("WHERE o.kind = $1 ORDER BY o.id")).bind(kind),
        Some(key) => sqlx::query_as(select!(
            "WHERE o.kind = $1 AND o.id IN (SELECT from_id FROM reference \
             WHERE to_kind = $2 AND to_id = $3 AND from_kind = $1) ORDER BY o.id"
        ))
        .bind(kind)
        .bind(key.kind.collection())
        .bind(&*key.id),
    };
    let mut records = Vec::new();
    each(query, connection, |object| records.extend(object.open(kind, vault))).await?;
    Ok(records)
}

/// The record of an object as the history has it at a revision.
pub(super) async fn read_at(
    connection: &mut Connection,
    vault: &Vault,
    key: &ObjectKey,
    at: Revision,
) -> Result<Option<Record>, StoreError> {
    let kind = key.kind.collection();
    let change: Option<ChangeRow> = sqlx::query_as::<Database, _>(
        "SELECT document, revision, changed_at FROM change WHERE kind = $1 AND id = $2 AND revision <= $3 \
         ORDER BY revision DESC, seq DESC LIMIT 1",
    )
    .bind(kind)
    .bind(&*key.id)
    .bind(i64::try_from(at.0).unwrap_or(i64::MAX))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(ChangeRow { document, revision, changed_at }) = change else {
        return match history_floor(connection).await? {
            floor if at < floor => Err(StoreError::HistoryGone { name: key.to_string(), revision: at, floor }),
            _ => Ok(None),
        };
    };
    let Some(document) = document.map(Bytes::from) else { return Ok(None) };
    let refs = envelope(document.clone()).map_err(|reason| unreadable(key, reason))?.secrets;
    let mut sealed = Vec::new();
    for (path, reference) in refs {
        let blob: Option<Option<Vec<u8>>> = sqlx::query_scalar::<Database, _>("SELECT blob FROM sealed WHERE ref = $1")
            .bind(&reference)
            .fetch_optional(&mut *connection)
            .await?;
        sealed.extend(blob.map(|blob| Sealed { reference, path, blob }));
    }
    let closed = Closed {
        id: key.id.to_string(),
        document,
        sealed,
        revision: Revision(u64::try_from(revision).unwrap_or(0)),
        created_at: Timestamp(changed_at),
        updated_at: Timestamp(changed_at),
    };
    closed.open(kind, vault).map(Some).map_err(|reason| unreadable(key, reason))
}

/// Up to where the history has only the last entry of each object.
pub(super) async fn history_floor(connection: &mut Connection) -> Result<Revision, StoreError> {
    let floor: i64 = sqlx::query_scalar::<Database, _>("SELECT history_floor FROM revision WHERE id = 1")
        .fetch_one(connection)
        .await?;
    Ok(Revision(u64::try_from(floor).unwrap_or(0)))
}

/// How many objects of a kind there are.
pub(super) async fn count_all(
    connection: &mut Connection,
    kind: &ObjectKind,
    referring_to: Option<&ObjectKey>,
) -> Result<usize, StoreError> {
    let query = match referring_to {
        None => {
            sqlx::query_scalar::<Database, i64>("SELECT COUNT(*) FROM object WHERE kind = $1").bind(kind.collection())
        }
        Some(key) => sqlx::query_scalar::<Database, i64>(
            "SELECT COUNT(*) FROM reference WHERE from_kind = $1 AND to_kind = $2 AND to_id = $3",
        )
        .bind(kind.collection())
        .bind(key.kind.collection())
        .bind(&*key.id),
    };
    Ok(usize::try_from(query.fetch_one(connection).await?).unwrap_or(0))
}

/// One of the objects that refer to an object.
pub(super) async fn user(connection: &mut Connection, key: &ObjectKey) -> Result<Option<ObjectKey>, StoreError> {
    // Of the kinds that refer to others, domains are the last by name, and what people know best.
    let user: Option<(String, String)> = sqlx::query_as::<Database, _>(
        "SELECT from_kind, from_id FROM reference WHERE to_kind = $1 AND to_id = $2 AND from_kind = \
         (SELECT MAX(from_kind) FROM reference WHERE to_kind = $1 AND to_id = $2) ORDER BY from_id LIMIT 1",
    )
    .bind(key.kind.collection())
    .bind(&*key.id)
    .fetch_optional(connection)
    .await?;
    // Where a newer version has put something that refers to it, the reference itself refuses.
    Ok(user.and_then(|(kind, id)| ObjectKey::new(&kind, &id).ok()))
}

/// Reads everything that was put after a revision, those first that others refer to, and what of it cannot be read, into `changes`, which
/// is given to `take` whenever it has enough for a part.
pub(super) async fn read_put_after(
    connection: &mut Connection,
    vault: &Vault,
    after: i64,
    changes: &mut Changes,
    take: &mut (dyn FnMut(Changes) + Send),
) -> Result<(), StoreError> {
    let there = kinds(connection).await?;
    for kind in ObjectKind::ALL {
        if !there.iter().any(|it| it == kind.collection()) {
            continue;
        }
        each(put_after(kind.collection(), after), connection, |closed| {
            let (id, revision) = (closed.id.clone(), closed.revision);
            match closed.object(&kind, vault) {
                Ok(object) => changes.put.push(object),
                Err(reason) => changes.withheld.push(withheld(kind.collection(), id, revision, &reason)),
            }
            if changes.put.len() + changes.withheld.len() >= PART {
                let Changes { head, floor, whole, .. } = *changes;
                let next = Changes { head, floor, whole, continues: true, ..Changes::default() };
                take(Changes { continued: true, ..std::mem::replace(changes, next) });
            }
        })
        .await?;
    }
    for kind in there.iter().filter(|kind| ObjectKind::from_collection(kind).is_none()) {
        each(put_after(kind, after), connection, |Closed { id, revision, .. }| {
            changes.withheld.push(withheld(kind, id, revision, &Unreadable::UnknownKind));
        })
        .await?;
    }
    Ok(())
}

fn put_after(kind: &str, after: i64) -> Query<'_> {
    sqlx::query_as(select!("WHERE o.kind = $1 AND o.revision > $2 ORDER BY o.revision, o.id")).bind(kind).bind(after)
}

/// The kinds that there are objects of. Each is found by one look into the index.
async fn kinds(connection: &mut Connection) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar::<Database, _>(
        "WITH RECURSIVE kinds (kind) AS (SELECT MIN(kind) FROM object UNION ALL \
         SELECT (SELECT MIN(object.kind) FROM object WHERE object.kind > kinds.kind) FROM kinds \
         WHERE kinds.kind IS NOT NULL) SELECT kind FROM kinds WHERE kind IS NOT NULL",
    )
    .fetch_all(connection)
    .await?)
}

/// What was deleted after a revision.
pub(super) async fn removed_after(
    connection: &mut Connection,
    after: i64,
) -> Result<Vec<(ObjectKey, Revision)>, StoreError> {
    let rows: Vec<KeyRow> =
        sqlx::query_as::<Database, _>("SELECT kind, id, revision FROM tombstone WHERE revision > $1")
            .bind(after)
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().filter_map(KeyRow::key).collect())
}

fn withheld(kind: &str, id: String, revision: Revision, reason: &Unreadable) -> Withheld {
    Withheld { kind: kind.to_owned(), id, revision, reason: reason.to_string() }
}

fn unreadable(key: &ObjectKey, reason: Unreadable) -> StoreError {
    StoreError::Unreadable { name: key.to_string(), reason }
}
