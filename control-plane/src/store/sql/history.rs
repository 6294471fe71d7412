//! The statements about the history, and those that bound it.

use super::{Database, objects::Connection};
use crate::{
    model::{HistoryEntry, HistoryFilter},
    store::{
        HISTORY_MAX, StoreError, TOMBSTONES_MAX,
        rows::{HistoryRow, revision_column},
    },
};

/// What the history has, the newest first.
pub(super) async fn history(
    pool: &sqlx::Pool<Database>,
    filter: &HistoryFilter,
    limit: usize,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let HistoryFilter { before, resource, actor, since, until } = filter;
    let (revision, position) =
        before.map_or((i64::MAX, 0), |place| (revision_column(place.revision), i64::from(place.position)));
    let (kind, id) = resource.as_ref().map_or(("", ""), |key| (key.kind.collection(), &key.id));
    sqlx::query_as::<Database, HistoryRow>(
        "SELECT revision, seq, kind, id, document, purged, actor, origin, address, method, changed_at, \
         (SELECT earlier.document FROM change AS earlier WHERE earlier.kind = change.kind AND earlier.id = change.id \
         AND (earlier.revision < change.revision OR (earlier.revision = change.revision AND earlier.seq < change.seq)) \
         ORDER BY earlier.revision DESC, earlier.seq DESC LIMIT 1) AS old_document FROM change \
         WHERE (revision < $1 OR (revision = $1 AND seq < $2)) \
         AND revision > (SELECT history_floor FROM revision WHERE id = 1) \
         AND ($3 = '' OR (kind = $3 AND id = $4)) AND ($5 = '' OR actor = $5) \
         AND changed_at >= $6 AND changed_at < $7 ORDER BY revision DESC, seq DESC LIMIT $8",
    )
    .bind(revision)
    .bind(position)
    .bind(kind)
    .bind(id)
    .bind(actor.as_deref().unwrap_or_default())
    .bind(since.map_or(i64::MIN, |at| at.0))
    .bind(until.map_or(i64::MAX, |at| at.0))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?
    .into_iter()
    .map(HistoryRow::entry)
    .collect()
}

/// Drops the oldest tombstones beyond [`TOMBSTONES_MAX`].
pub(super) async fn prune_tombstones(connection: &mut Connection) -> Result<(), StoreError> {
    let oldest: Option<i64> =
        sqlx::query_scalar::<Database, _>("SELECT revision FROM tombstone ORDER BY revision DESC LIMIT 1 OFFSET $1")
            .bind(i64::from(TOMBSTONES_MAX))
            .fetch_optional(&mut *connection)
            .await?;
    let Some(oldest) = oldest else { return Ok(()) };
    for statement in
        ["DELETE FROM tombstone WHERE revision <= $1", "UPDATE revision SET tombstone_floor = $1 WHERE id = 1"]
    {
        sqlx::query::<Database>(statement).bind(oldest).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Drops the oldest changes beyond [`HISTORY_MAX`] but for the last of each object that is there, and the secrets that nothing names any
/// more.
pub(super) async fn prune_changes(connection: &mut Connection) -> Result<(), StoreError> {
    let horizon: Option<i64> = sqlx::query_scalar::<Database, _>(
        "SELECT revision FROM change WHERE revision > (SELECT history_floor FROM revision WHERE id = 1) \
         ORDER BY revision DESC, seq DESC LIMIT 1 OFFSET $1",
    )
    .bind(i64::from(HISTORY_MAX))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(horizon) = horizon else { return Ok(()) };
    // Objects that were not changed since the horizon before have had no other entry since then.
    sqlx::query::<Database>(
        "DELETE FROM change WHERE revision <= $1 AND (kind, id) IN (SELECT passed.kind, passed.id FROM change AS passed \
         WHERE passed.revision > (SELECT history_floor FROM revision WHERE id = 1) AND passed.revision <= $1) \
         AND (document IS NULL OR EXISTS (SELECT 1 FROM change AS later WHERE later.kind = change.kind \
         AND later.id = change.id AND later.revision <= $1 AND (later.revision > change.revision \
         OR (later.revision = change.revision AND later.seq > change.seq))))",
    )
    .bind(horizon)
    .execute(&mut *connection)
    .await?;
    // What a document ceased to name up to the horizon, only documents before that one name.
    for statement in
        ["DELETE FROM sealed WHERE released_at <= $1", "UPDATE revision SET history_floor = $1 WHERE id = 1"]
    {
        sqlx::query::<Database>(statement).bind(horizon).execute(&mut *connection).await?;
    }
    Ok(())
}
