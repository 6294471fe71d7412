//! The statements, the same for both databases: this folder is compiled once for each, with `super` saying what differs.

mod acme;
mod budget;
mod edges;
mod history;
mod objects;
mod reseal;
mod transaction;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use switchyard_process::chain;
use switchyard_proto::vocab::{HostPattern, IssuerId, Revision, TokenId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tracing::warn;

use self::transaction::SqlTransaction;
use super::{BEGIN_READ, BEGIN_WRITE, Database, NOTIFY, REQUIRE_LEASE, TAKE_LEASE, check_room};
use crate::{
    model::{
        Actor, EdgeRecord, Exhausted, HistoryEntry, HistoryFilter, Issuance, IssuerUse, Lease, Limit, ObjectKey,
        RateLimits, Timestamp, Used,
    },
    seal::{SealError, Sealer},
    store::{
        Changes, Remains, Store, StoreError, Transaction,
        rows::{EdgeRow, KeyRow, TokenUseRow, millis_column, rejections_column, revision_column, secret_identity},
        vault::{FINGERPRINT_KEY_BYTES, Vault},
        wakeup::Wakeup,
    },
};

/// A secret whose text everybody knows: whether it opens tells whether the master key is the right one.
const CHECK_NAME: &str = "master-key-check";
const CHECK_TEXT: &[u8] = b"switchyard";
/// The secret that fingerprints are made with.
const FINGERPRINT_KEY_NAME: &str = "fingerprint-key";
/// How long a change waits for those before it in this process.
const WRITE_QUEUE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long reading everything may take. A connection whose other end is gone says nothing for much longer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A database that speaks SQL.
pub(in crate::store) struct SqlStore {
    pool: sqlx::Pool<Database>,
    vault: Vault,
    wakeup: Wakeup,
    /// Changes of this process queue here, in order, and not at the database: so they leave its connections to readers.
    writer: Arc<Semaphore>,
}

impl SqlStore {
    /// Takes a database whose tables are up to date, and checks that the master key is the one it was sealed under.
    pub(super) async fn new(
        pool: sqlx::Pool<Database>,
        sealer: Arc<Sealer>,
        wakeup: Wakeup,
    ) -> Result<Self, StoreError> {
        let check = first_secret(&pool, &sealer, CHECK_NAME, CHECK_TEXT).await?;
        sealer.open(&secret_identity(CHECK_NAME), &check).map_err(|_| StoreError::WrongMasterKey)?;
        let mut random = [0; FINGERPRINT_KEY_BYTES];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| SealError)?;
        let key = first_secret(&pool, &sealer, FINGERPRINT_KEY_NAME, &random).await?;
        let key = sealer.open(&secret_identity(FINGERPRINT_KEY_NAME), &key)?;
        let vault = Vault::new(sealer, &key);
        Ok(Self { pool, vault, wakeup, writer: Arc::new(Semaphore::new(1)) })
    }

    /// Waits for the writers before this one.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let turn = timeout(WRITE_QUEUE_TIMEOUT, self.writer.clone().acquire_owned())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?;
        Ok(turn.expect("the semaphore is never closed"))
    }

    async fn read_parts(&self, after: Revision, take: &mut (dyn FnMut(Changes) + Send)) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with(BEGIN_READ).await?;
        let (head, floor): (i64, i64) =
            sqlx::query_as::<Database, _>("SELECT current, tombstone_floor FROM revision WHERE id = 1")
                .fetch_one(&mut *transaction)
                .await?;
        let revision = |column| Revision(u64::try_from(column).unwrap_or(0));
        let asked = revision_column(after);
        let whole = asked == 0 || asked < floor || asked > head;
        let mut changes = Changes { head: revision(head), floor: revision(floor), whole, ..Changes::default() };
        if asked != head || whole {
            let after = if whole { 0 } else { asked };
            objects::read_put_after(&mut transaction, &self.vault, after, &mut changes, take).await?;
            changes.removed = objects::removed_after(&mut transaction, after).await?;
        }
        take(changes);
        Ok(())
    }
}

/// A secret of the system as it is sealed: the one that is there, or `text` if none is.
async fn first_secret(
    pool: &sqlx::Pool<Database>,
    sealer: &Sealer,
    name: &str,
    text: &[u8],
) -> Result<Vec<u8>, StoreError> {
    sqlx::query::<Database>("INSERT INTO secret (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(sealer.seal(&secret_identity(name), text)?)
        .execute(pool)
        .await?;
    Ok(sqlx::query_scalar::<Database, _>("SELECT sealed FROM secret WHERE name = $1")
        .bind(name)
        .fetch_one(pool)
        .await?)
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn begin(&self, actor: &Actor, now: Timestamp) -> Result<Box<dyn Transaction>, StoreError> {
        let turn = self.turn().await?;
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        let revision: i64 = sqlx::query_scalar::<Database, _>(
            "UPDATE revision SET current = current + 1 WHERE id = 1 RETURNING current",
        )
        .fetch_one(&mut *transaction)
        .await?;
        Ok(Box::new(SqlTransaction::new(
            transaction,
            revision,
            actor.clone(),
            now,
            self.vault.clone(),
            self.wakeup.sender(),
            turn,
        )))
    }

    async fn read_changes(&self, after: Revision, take: &mut (dyn FnMut(Changes) + Send)) -> Result<(), StoreError> {
        timeout(READ_TIMEOUT, self.read_parts(after, take)).await.map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    async fn remains(&self, key: &ObjectKey) -> Result<Option<Remains>, StoreError> {
        objects::remains(&mut *self.pool.acquire().await?, &self.vault, key).await
    }

    async fn changed_at(&self, revision: Revision) -> Result<Vec<ObjectKey>, StoreError> {
        let rows: Vec<KeyRow> =
            sqlx::query_as::<Database, _>("SELECT kind, id, revision FROM change WHERE revision = $1 ORDER BY seq")
                .bind(revision_column(revision))
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().filter_map(|row| Some(row.key()?.0)).collect())
    }

    async fn history(&self, filter: &HistoryFilter, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let read = history::history(&self.pool, filter, limit);
        timeout(READ_TIMEOUT, read).await.map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    fn wakeups(&self) -> watch::Receiver<()> {
        self.wakeup.subscribe()
    }

    async fn record_edge(&self, edge: &EdgeRecord) -> Result<(), StoreError> {
        let EdgeRecord {
            id,
            version,
            acknowledged_revision,
            acknowledged_at,
            last_contact_at,
            rejections,
            rejections_total,
        } = edge;
        sqlx::query::<Database>(
            "INSERT INTO edge (id, version, acknowledged_revision, acknowledged_at, last_contact_at, rejections, \
             rejections_total) SELECT $1, $2, $3, $4, $5, $6, $7 \
             WHERE EXISTS (SELECT 1 FROM object WHERE kind = 'edges' AND id = $1) \
             ON CONFLICT (id) DO UPDATE SET version = excluded.version, \
             acknowledged_revision = excluded.acknowledged_revision, acknowledged_at = excluded.acknowledged_at, \
             last_contact_at = excluded.last_contact_at, rejections = excluded.rejections, \
             rejections_total = excluded.rejections_total",
        )
        .bind(id.as_str())
        .bind(version)
        .bind(revision_column(*acknowledged_revision))
        .bind(acknowledged_at.map(|at| at.0))
        .bind(last_contact_at.0)
        .bind(rejections_column(rejections))
        .bind(i64::try_from(*rejections_total).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn record_token_use(&self, id: &TokenId, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query::<Database>(
            "INSERT INTO token_use (id, last_used_at) VALUES ($1, $2) \
             ON CONFLICT (id) DO UPDATE SET last_used_at = excluded.last_used_at",
        )
        .bind(id.as_str())
        .bind(at.0)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn token_uses(&self) -> Result<Vec<(TokenId, Timestamp)>, StoreError> {
        sqlx::query_as::<Database, TokenUseRow>("SELECT id, last_used_at FROM token_use")
            .fetch_all(&self.pool)
            .await?
            .into_iter()
            .map(TokenUseRow::token_use)
            .collect()
    }

    async fn take_lease(
        &self,
        name: &'static str,
        holder: &str,
        lifetime: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let epoch: Option<i64> = sqlx::query_scalar::<Database, _>(TAKE_LEASE)
            .bind(name)
            .bind(holder)
            .bind(millis_column(lifetime))
            .fetch_optional(&self.pool)
            .await?;
        Ok(epoch.map(|epoch| Lease { name, holder: holder.to_owned(), epoch }))
    }

    async fn give_lease_back(&self, lease: &Lease) -> Result<(), StoreError> {
        sqlx::query::<Database>("UPDATE lease SET expires_at = 0 WHERE name = $1 AND holder = $2 AND epoch = $3")
            .bind(lease.name)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn issuance(&self, host: &HostPattern) -> Result<Option<Issuance>, StoreError> {
        acme::issuance(&self.pool, self.vault.sealer(), host).await
    }

    async fn due_issuances(&self, now: Timestamp, limit: usize) -> Result<Vec<Issuance>, StoreError> {
        acme::due_issuances(&self.pool, self.vault.sealer(), now, limit).await
    }

    async fn next_issuance_at(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        acme::next_issuance_at(&self.pool, now).await
    }

    async fn issuances(&self, after: &str, limit: usize) -> Result<Vec<Issuance>, StoreError> {
        acme::issuances(&self.pool, self.vault.sealer(), after, limit).await
    }

    async fn request_issuance(
        &self,
        host: &HostPattern,
        revoke: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let asked = sqlx::query::<Database>(
            "UPDATE issuance SET version = version + 1, next_at = $2, renew_at = NULL, window_start = NULL, \
             window_end = NULL, ask_at = NULL, updated_at = $2, revoke = COALESCE($3, revoke) \
             WHERE host = $1 AND phase <> 'retired'",
        )
        .bind(host.as_str())
        .bind(now.0)
        .bind(revoke)
        .execute(&self.pool)
        .await?;
        Ok(asked.rows_affected() == 1)
    }

    async fn spend(&self, lease: &Lease, it: &IssuerUse, limits: &RateLimits) -> Result<Option<Exhausted>, StoreError> {
        let _turn = self.turn().await?;
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        // It is locked until the end: what is counted does not change before it is noted.
        acme::require(&mut transaction, lease).await?;
        let exhausted = budget::exhausted(&mut transaction, it, limits).await?;
        if exhausted.is_none() {
            budget::note(&mut transaction, it).await?;
            transaction.commit().await?;
        }
        Ok(exhausted)
    }

    async fn note_use(&self, lease: &Lease, it: &IssuerUse) -> Result<(), StoreError> {
        let _turn = self.turn().await?;
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        acme::require(&mut transaction, lease).await?;
        budget::note(&mut transaction, it).await?;
        Ok(transaction.commit().await?)
    }

    async fn used(
        &self,
        issuer: &IssuerId,
        limit: &Limit,
        now: Timestamp,
        max: usize,
    ) -> Result<Vec<Used>, StoreError> {
        budget::used(&self.pool, issuer, limit, now, max).await
    }

    async fn record_issuance(&self, lease: &Lease, issuance: &Issuance) -> Result<Option<Issuance>, StoreError> {
        let _turn = self.turn().await?;
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        acme::require(&mut transaction, lease).await?;
        let recorded = acme::record_issuance(&mut transaction, self.vault.sealer(), issuance).await?;
        transaction.commit().await?;
        Ok(recorded)
    }

    async fn check_write(&self) -> Result<(), StoreError> {
        let _turn = self.turn().await?;
        // The row that every change begins with, committed: a full disk refuses nothing before that.
        sqlx::query::<Database>("UPDATE revision SET current = current WHERE id = 1").execute(&self.pool).await?;
        check_room(&self.pool)
    }

    async fn reseal(&self) -> Result<usize, StoreError> {
        reseal::reseal(&self.pool, self.vault.sealer()).await
    }

    async fn close(&self) {
        self.pool.close().await;
    }

    async fn edges(&self) -> Result<Vec<EdgeRecord>, StoreError> {
        let rows = sqlx::query_as::<Database, EdgeRow>(
            "SELECT id, version, acknowledged_revision, acknowledged_at, last_contact_at, rejections, rejections_total \
             FROM edge ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await?;
        let records = rows.into_iter().filter_map(|row| match row.edge() {
            Err(error) if error.is_unreadable() => {
                warn!(error = chain(&error), "what is remembered about an edge cannot be read, until it says it again");
                None
            }
            record => Some(record),
        });
        records.collect()
    }
}
