use async_trait::async_trait;
use switchyard_proto::vocab::{EdgeId, HostPattern, Revision};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Database, NOTIFY, acme, edges, history, objects};
use crate::{
    model::{Actor, EdgeKey, Issuance, Lease, ObjectKey, ObjectKind, Timestamp},
    store::{
        Objects, Remains, StoreError, Transaction,
        document::{Encoded, Record},
        rows::{SealedRow, secret_identity},
        transaction::Write,
        vault::{Vault, document},
    },
};

/// Tombstones and changes are counted, and the oldest dropped, once in so many revisions.
const PRUNE_INTERVAL: i64 = 1_000;

/// An open transaction that holds the revision's row.
pub(super) struct SqlTransaction {
    transaction: sqlx::Transaction<'static, Database>,
    revision: i64,
    /// How many objects it has changed.
    changes: i64,
    actor: Actor,
    now: Timestamp,
    vault: Vault,
    wakeup: watch::Sender<()>,
    /// Given back when the transaction has ended: fields are dropped in order.
    _turn: OwnedSemaphorePermit,
}

impl SqlTransaction {
    pub(super) fn new(
        transaction: sqlx::Transaction<'static, Database>,
        revision: i64,
        actor: Actor,
        now: Timestamp,
        vault: Vault,
        wakeup: watch::Sender<()>,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        Self { transaction, revision, changes: 0, actor, now, vault, wakeup, _turn: turn }
    }

    /// Executes a statement about an object, whose first two values are its kind and id.
    async fn execute(&mut self, statement: &'static str, key: &ObjectKey) -> Result<(), StoreError> {
        sqlx::query::<Database>(statement)
            .bind(key.kind.collection())
            .bind(&*key.id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Executes a statement about an object, whose third value is the revision.
    async fn execute_at(&mut self, statement: &'static str, key: &ObjectKey) -> Result<(), StoreError> {
        sqlx::query::<Database>(statement)
            .bind(key.kind.collection())
            .bind(&*key.id)
            .bind(self.revision)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    async fn write_object(&mut self, key: &ObjectKey, document: &[u8], replaces: bool) -> Result<(), StoreError> {
        let statement = if replaces {
            "UPDATE object SET document = $3, revision = $4, updated_at = $5 WHERE kind = $1 AND id = $2"
        } else {
            "INSERT INTO object (kind, id, document, revision, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)"
        };
        let written = sqlx::query::<Database>(statement)
            .bind(key.kind.collection())
            .bind(&*key.id)
            .bind(document)
            .bind(self.revision)
            .bind(self.now.0)
            .execute(&mut *self.transaction)
            .await?;
        // Nobody else writes between its reading and this.
        if written.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound.into()) }
    }

    /// Writes the secrets of an object; the ref of each, by its path. One that is as it was keeps its record.
    async fn write_secrets(
        &mut self,
        key: &ObjectKey,
        encoded: &Encoded,
        is_derived: bool,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut before: Vec<SealedRow> = sqlx::query_as::<Database, _>(
            "SELECT ref, path, fingerprint, blob IS NULL AS is_purged FROM sealed \
             WHERE kind = $1 AND id = $2 AND released_at IS NULL",
        )
        .bind(key.kind.collection())
        .bind(&*key.id)
        .fetch_all(&mut *self.transaction)
        .await?;
        let mut refs = Vec::new();
        for (path, secret) in encoded.secrets.iter() {
            let fingerprint = self.vault.fingerprint(key, path, secret);
            let is_same = |it: &SealedRow| it.path == path && it.fingerprint == fingerprint && !it.is_purged;
            let reference = match before.iter().position(is_same) {
                Some(place) => before.swap_remove(place).reference,
                None => self.seal(key, path, secret, &fingerprint).await?,
            };
            refs.push((path.to_owned(), reference));
        }
        for SealedRow { reference, .. } in &before {
            sqlx::query::<Database>("UPDATE sealed SET released_at = $2 WHERE ref = $1")
                .bind(reference)
                .bind(self.revision)
                .execute(&mut *self.transaction)
                .await?;
        }
        if is_derived && !before.is_empty() {
            self.purge_released(key).await?;
        }
        Ok(refs)
    }

    /// Writes the record of a secret; its ref.
    async fn seal(
        &mut self,
        key: &ObjectKey,
        path: &str,
        secret: &[u8],
        fingerprint: &[u8],
    ) -> Result<String, StoreError> {
        let sealed = self.vault.seal(key, path, secret)?;
        sqlx::query::<Database>(
            "INSERT INTO sealed (ref, kind, id, path, fingerprint, blob) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&sealed.reference)
        .bind(key.kind.collection())
        .bind(&*key.id)
        .bind(path)
        .bind(fingerprint)
        .bind(sealed.blob)
        .execute(&mut *self.transaction)
        .await?;
        Ok(sealed.reference)
    }

    /// Purges the secrets that an object has no more.
    async fn purge_released(&mut self, key: &ObjectKey) -> Result<(), StoreError> {
        let statement = "UPDATE sealed SET blob = NULL \
                         WHERE kind = $1 AND id = $2 AND released_at IS NOT NULL AND blob IS NOT NULL";
        self.execute(statement, key).await
    }

    async fn write_references(&mut self, from: &ObjectKey, to: &[ObjectKey]) -> Result<(), StoreError> {
        self.execute("DELETE FROM reference WHERE from_kind = $1 AND from_id = $2", from).await?;
        for to in to {
            sqlx::query::<Database>(
                "INSERT INTO reference (from_kind, from_id, to_kind, to_id) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(from.kind.collection())
            .bind(&*from.id)
            .bind(to.kind.collection())
            .bind(&*to.id)
            .execute(&mut *self.transaction)
            .await?;
        }
        Ok(())
    }

    /// Writes an entry of the history: what the object is from now on, and which secret's earlier values are gone.
    async fn record(
        &mut self,
        key: &ObjectKey,
        document: Option<&[u8]>,
        purged: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query::<Database>(
            "INSERT INTO change (revision, seq, kind, id, document, purged, actor, origin, address, method, changed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(self.revision)
        .bind(self.changes)
        .bind(key.kind.collection())
        .bind(&*key.id)
        .bind(document)
        .bind(purged)
        .bind(&self.actor.name)
        .bind(self.actor.origin.as_str())
        .bind(self.actor.address.map(|address| address.to_string()))
        .bind(self.actor.method)
        .bind(self.now.0)
        .execute(&mut *self.transaction)
        .await?;
        self.changes += 1;
        Ok(())
    }
}

#[async_trait]
impl Objects for SqlTransaction {
    fn now(&self) -> Timestamp {
        self.now
    }

    async fn read(&mut self, key: &ObjectKey) -> Result<Option<Record>, StoreError> {
        objects::read(&mut self.transaction, &self.vault, key).await
    }

    async fn remains(&mut self, key: &ObjectKey) -> Result<Option<Remains>, StoreError> {
        objects::remains(&mut self.transaction, &self.vault, key).await
    }

    async fn read_at(&mut self, key: &ObjectKey, revision: Revision) -> Result<Option<Record>, StoreError> {
        objects::read_at(&mut self.transaction, &self.vault, key, revision).await
    }

    async fn read_all(
        &mut self,
        kind: &ObjectKind,
        referring_to: Option<&ObjectKey>,
    ) -> Result<Vec<Record>, StoreError> {
        objects::read_all(&mut self.transaction, &self.vault, kind, referring_to).await
    }

    async fn write(&mut self, write: Write) -> Result<(), StoreError> {
        let Write { key, replaces, encoded, has_secrets, references, is_derived } = write;
        let refs = match has_secrets {
            true => self.write_secrets(&key, &encoded, is_derived).await?,
            false => Vec::new(),
        };
        let document = document(&encoded, refs.into_iter());
        self.write_object(&key, &document, replaces).await?;
        if let Some(references) = references {
            self.write_references(&key, &references).await?;
        }
        if !replaces {
            self.execute("DELETE FROM tombstone WHERE kind = $1 AND id = $2", &key).await?;
        }
        self.record(&key, Some(&document), None).await
    }

    async fn remove(&mut self, key: &ObjectKey, is_derived: bool) -> Result<(), StoreError> {
        self.execute("DELETE FROM reference WHERE from_kind = $1 AND from_id = $2", key).await?;
        self.execute("DELETE FROM object WHERE kind = $1 AND id = $2", key).await?;
        let release = "UPDATE sealed SET released_at = $3 WHERE kind = $1 AND id = $2 AND released_at IS NULL";
        self.execute_at(release, key).await?;
        if is_derived {
            self.purge_released(key).await?;
        }
        let remembered = match key.kind {
            ObjectKind::Edge => Some("DELETE FROM edge WHERE id = $1"),
            ObjectKind::Token => Some("DELETE FROM token_use WHERE id = $1"),
            _ => None,
        };
        if let Some(statement) = remembered {
            sqlx::query::<Database>(statement).bind(&*key.id).execute(&mut *self.transaction).await?;
        }
        let tombstone = "INSERT INTO tombstone (kind, id, revision) VALUES ($1, $2, $3) \
                         ON CONFLICT (kind, id) DO UPDATE SET revision = excluded.revision";
        self.execute_at(tombstone, key).await?;
        self.record(key, None, None).await
    }

    async fn count_all(&mut self, kind: &ObjectKind, referring_to: Option<&ObjectKey>) -> Result<usize, StoreError> {
        objects::count_all(&mut self.transaction, kind, referring_to).await
    }

    async fn user(&mut self, key: &ObjectKey) -> Result<Option<ObjectKey>, StoreError> {
        objects::user(&mut self.transaction, key).await
    }
}

#[async_trait]
impl Transaction for SqlTransaction {
    fn revision(&self) -> Revision {
        Revision(u64::try_from(self.revision).unwrap_or(0))
    }

    async fn commit(mut self: Box<Self>) -> Result<Revision, StoreError> {
        if self.revision % PRUNE_INTERVAL == 0 {
            history::prune_tombstones(&mut self.transaction).await?;
            history::prune_changes(&mut self.transaction).await?;
        }
        if let Some(notify) = NOTIFY {
            sqlx::query::<Database>(notify).execute(&mut *self.transaction).await?;
        }
        let revision = self.revision();
        let Self { transaction, wakeup, _turn, .. } = *self;
        transaction.commit().await?;
        wakeup.send_replace(());
        Ok(revision)
    }

    async fn purge_secret(&mut self, object: &ObjectKey, path: &str) -> Result<u64, StoreError> {
        let purged = sqlx::query::<Database>(
            "UPDATE sealed SET blob = NULL \
             WHERE kind = $1 AND id = $2 AND path = $3 AND released_at IS NOT NULL AND blob IS NOT NULL",
        )
        .bind(object.kind.collection())
        .bind(&*object.id)
        .bind(path)
        .execute(&mut *self.transaction)
        .await?
        .rows_affected();
        if purged > 0 {
            let document: Option<Vec<u8>> =
                sqlx::query_scalar::<Database, _>("SELECT document FROM object WHERE kind = $1 AND id = $2")
                    .bind(object.kind.collection())
                    .bind(&*object.id)
                    .fetch_optional(&mut *self.transaction)
                    .await?;
            self.record(object, document.as_deref(), Some(path)).await?;
        }
        Ok(purged)
    }

    async fn is_pristine(&mut self) -> Result<bool, StoreError> {
        // What the history has lost, somebody has declared.
        let declared: i64 = sqlx::query_scalar::<Database, _>(
            "SELECT COUNT(*) FROM (SELECT 1 FROM change WHERE origin <> 'system' \
             UNION ALL SELECT 1 FROM revision WHERE history_floor > 0 LIMIT 1) AS declared",
        )
        .fetch_one(&mut *self.transaction)
        .await?;
        Ok(declared == 0)
    }

    async fn issuance(&mut self, host: &HostPattern) -> Result<Option<Issuance>, StoreError> {
        acme::issuance(&mut *self.transaction, self.vault.sealer(), host).await
    }

    async fn put_issuance(&mut self, issuance: &Issuance) -> Result<(), StoreError> {
        acme::put_issuance(&mut self.transaction, self.vault.sealer(), issuance).await
    }

    async fn delete_issuance(&mut self, host: &HostPattern) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM issuance WHERE host = $1")
            .bind(host.as_str())
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    async fn count_on_demand(&mut self, domain: &HostPattern) -> Result<usize, StoreError> {
        acme::count_on_demand(&mut self.transaction, domain).await
    }

    async fn retire_on_demand(
        &mut self,
        domain: &HostPattern,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        acme::retire_on_demand(&mut self.transaction, domain, until, now).await
    }

    async fn revive_on_demand(&mut self, domain: &HostPattern, now: Timestamp) -> Result<(), StoreError> {
        acme::revive_on_demand(&mut self.transaction, domain, now).await
    }

    async fn require(&mut self, lease: &Lease) -> Result<(), StoreError> {
        acme::require(&mut self.transaction, lease).await
    }

    async fn remove_edge_key(&mut self, key: &EdgeKey, edge: &EdgeId, now: Timestamp) -> Result<(), StoreError> {
        edges::remove_key(&mut self.transaction, key, edge, now).await
    }

    async fn is_edge_key_removed(&mut self, key: &EdgeKey) -> Result<bool, StoreError> {
        edges::is_key_removed(&mut self.transaction, key).await
    }

    async fn secret(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed: Option<Vec<u8>> = sqlx::query_scalar::<Database, _>("SELECT sealed FROM secret WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *self.transaction)
            .await?;
        Ok(sealed.map(|sealed| self.vault.sealer().open(&secret_identity(name), &sealed)).transpose()?)
    }

    async fn put_secret(&mut self, name: &str, secret: &[u8]) -> Result<(), StoreError> {
        let sealed = self.vault.sealer().seal(&secret_identity(name), secret)?;
        sqlx::query::<Database>(
            "INSERT INTO secret (name, sealed) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
        )
        .bind(name)
        .bind(sealed)
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }
}
