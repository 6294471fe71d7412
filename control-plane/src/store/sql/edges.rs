//! The statements about edges that were removed.

use sqlx::Transaction;
use switchyard_proto::vocab::EdgeId;

use super::Database;
use crate::{
    model::{EdgeKey, Timestamp},
    store::{REMOVED_KEYS_MAX, StoreError},
};

/// Remembers the key of an edge, and forgets the oldest if there are too many.
pub(super) async fn remove_key(
    transaction: &mut Transaction<'static, Database>,
    key: &EdgeKey,
    edge: &EdgeId,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query::<Database>(
        "INSERT INTO removed_edge_key (key_sha256, edge, removed_at) VALUES ($1, $2, $3) \
         ON CONFLICT (key_sha256) DO UPDATE SET removed_at = excluded.removed_at",
    )
    .bind(key.as_bytes())
    .bind(edge.as_str())
    .bind(now.0)
    .execute(&mut **transaction)
    .await?;
    sqlx::query::<Database>(
        "DELETE FROM removed_edge_key WHERE removed_at < \
         (SELECT removed_at FROM removed_edge_key ORDER BY removed_at DESC LIMIT 1 OFFSET $1)",
    )
    .bind(i64::from(REMOVED_KEYS_MAX) - 1)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Whether an edge with this key was removed.
pub(super) async fn is_key_removed(
    transaction: &mut Transaction<'static, Database>,
    key: &EdgeKey,
) -> Result<bool, StoreError> {
    let removed: i64 = sqlx::query_scalar::<Database, _>("SELECT COUNT(*) FROM removed_edge_key WHERE key_sha256 = $1")
        .bind(key.as_bytes())
        .fetch_one(&mut **transaction)
        .await?;
    Ok(removed > 0)
}
