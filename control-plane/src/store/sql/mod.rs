//! The statements, the same for both databases: this folder is compiled once for each, with `super` saying what differs.

mod acme;
mod budget;
mod transaction;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{FromRow, Row as _};
use switchyard_proto::vocab::{HostPattern, IssuerId, Revision, TokenId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tracing::warn;

use self::transaction::SqlTransaction;
use super::{BEGIN_READ, BEGIN_WRITE, Database, NOTIFY, REQUIRE_LEASE, TAKE_LEASE};
use crate::{
    model::{
        Actor, EdgeRecord, Exhausted, HistoryEntry, HistoryFilter, Issuance, IssuerUse, Lease, Limit, Object,
        ObjectKey, RateLimits, Resource, Timestamp, Used,
    },
    seal::Sealer,
    store::{
        Changes, Store, StoreError, Transaction, Withheld,
        rows::{
            BackendRow, CertificateRow, ChallengeRow, DnsProviderRow, DomainRow, EdgeRow, EnrolmentRow, HistoryRow,
            InviteRow, IssuerRow, KeyRow, ServiceRow, TicketKeysRow, TokenRow, TokenUseRow, account_key_identity,
            client_key_identity, dns_settings_identity, external_account_key_identity, millis_column,
            order_key_identity, private_key_identity, rejections_column, revision_column, secret_identity,
            ticket_secrets_identity,
        },
        wakeup::Wakeup,
    },
    telemetry::chain,
};

/// A row as the driver has it.
type Row = <Database as sqlx::Database>::Row;

/// A secret whose text everybody knows: whether it opens tells whether the master key is the right one.
const CHECK_NAME: &str = "master-key-check";
const CHECK_TEXT: &[u8] = b"switchyard";
/// How long a change waits for those before it in this process.
const WRITE_QUEUE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long reading everything may take. A connection whose other end is gone says nothing for much longer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Records that are read at a time when they are sealed anew.
const RESEAL_PAGE: i64 = 500;

/// A table with sealed records.
struct SealedTable {
    select: &'static str,
    update: &'static str,
    identity: fn(&str) -> String,
}

const SEALED_CERTIFICATES: SealedTable = SealedTable {
    select: "SELECT id, sealed_private_key FROM certificate WHERE id > $1 ORDER BY id LIMIT $2",
    update: "UPDATE certificate SET sealed_private_key = $1 WHERE id = $2 AND sealed_private_key = $3",
    identity: private_key_identity,
};
const SEALED_CLIENT_KEYS: SealedTable = SealedTable {
    select: "SELECT id, tls_sealed_client_key FROM service WHERE id > $1 AND tls_sealed_client_key IS NOT NULL \
             ORDER BY id LIMIT $2",
    update: "UPDATE service SET tls_sealed_client_key = $1 WHERE id = $2 AND tls_sealed_client_key = $3",
    identity: client_key_identity,
};
const SEALED_ACCOUNT_KEYS: SealedTable = SealedTable {
    select: "SELECT id, sealed_account_key FROM issuer WHERE id > $1 AND sealed_account_key IS NOT NULL \
             ORDER BY id LIMIT $2",
    update: "UPDATE issuer SET sealed_account_key = $1 WHERE id = $2 AND sealed_account_key = $3",
    identity: account_key_identity,
};
const SEALED_EXTERNAL_ACCOUNT_KEYS: SealedTable = SealedTable {
    select: "SELECT id, sealed_external_account_key FROM issuer WHERE id > $1 \
             AND sealed_external_account_key IS NOT NULL ORDER BY id LIMIT $2",
    update: "UPDATE issuer SET sealed_external_account_key = $1 WHERE id = $2 AND sealed_external_account_key = $3",
    identity: external_account_key_identity,
};
const SEALED_ORDER_KEYS: SealedTable = SealedTable {
    select: "SELECT host, sealed_order_key FROM issuance WHERE host > $1 AND sealed_order_key IS NOT NULL \
             ORDER BY host LIMIT $2",
    update: "UPDATE issuance SET sealed_order_key = $1 WHERE host = $2 AND sealed_order_key = $3",
    identity: order_key_identity,
};
const SEALED_DNS_SETTINGS: SealedTable = SealedTable {
    select: "SELECT id, sealed_settings FROM dns_provider WHERE id > $1 ORDER BY id LIMIT $2",
    update: "UPDATE dns_provider SET sealed_settings = $1 WHERE id = $2 AND sealed_settings = $3",
    identity: dns_settings_identity,
};
const SEALED_TICKET_SECRETS: SealedTable = SealedTable {
    select: "SELECT id, sealed_secrets FROM ticket_keys WHERE id > $1 ORDER BY id LIMIT $2",
    update: "UPDATE ticket_keys SET sealed_secrets = $1 WHERE id = $2 AND sealed_secrets = $3",
    identity: ticket_secrets_identity,
};
/// Every table with sealed records.
const SEALED_TABLES: [&SealedTable; 8] = [
    &SEALED_CERTIFICATES,
    &SEALED_CLIENT_KEYS,
    &SEALED_ACCOUNT_KEYS,
    &SEALED_EXTERNAL_ACCOUNT_KEYS,
    &SEALED_ORDER_KEYS,
    &SEALED_DNS_SETTINGS,
    &SEALED_TICKET_SECRETS,
    &SEALED_SECRETS,
];
const SEALED_SECRETS: SealedTable = SealedTable {
    select: "SELECT name, sealed FROM secret WHERE name > $1 ORDER BY name LIMIT $2",
    update: "UPDATE secret SET sealed = $1 WHERE name = $2 AND sealed = $3",
    identity: secret_identity,
};

/// A database that speaks SQL.
pub(in crate::store) struct SqlStore {
    pool: sqlx::Pool<Database>,
    sealer: Arc<Sealer>,
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
        let identity = secret_identity(CHECK_NAME);
        sqlx::query::<Database>("INSERT INTO secret (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(CHECK_NAME)
            .bind(sealer.seal(&identity, CHECK_TEXT)?)
            .execute(&pool)
            .await?;
        let sealed: Vec<u8> = sqlx::query_scalar::<Database, _>("SELECT sealed FROM secret WHERE name = $1")
            .bind(CHECK_NAME)
            .fetch_one(&pool)
            .await?;
        sealer.open(&identity, &sealed).map_err(|_| StoreError::WrongMasterKey)?;
        Ok(Self { pool, sealer, wakeup, writer: Arc::new(Semaphore::new(1)) })
    }

    /// Waits for the writers before this one.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let turn = timeout(WRITE_QUEUE_TIMEOUT, self.writer.clone().acquire_owned())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?;
        Ok(turn.expect("the semaphore is never closed"))
    }

    /// Seals the records of a table anew, one by one: none that somebody changes meanwhile is written over.
    async fn reseal_table(&self, table: &SealedTable) -> Result<usize, StoreError> {
        let (mut last, mut resealed) = (String::new(), 0);
        loop {
            let page: Vec<(String, Vec<u8>)> =
                sqlx::query_as::<Database, _>(table.select).bind(&last).bind(RESEAL_PAGE).fetch_all(&self.pool).await?;
            let Some((id, _)) = page.last() else { return Ok(resealed) };
            last = id.clone();
            for (id, sealed) in page {
                if let Some(anew) = self.sealer.reseal(&(table.identity)(&id), &sealed)? {
                    sqlx::query::<Database>(table.update).bind(anew).bind(&id).bind(sealed).execute(&self.pool).await?;
                    resealed += 1;
                }
            }
        }
    }

    async fn read_changes(&self, after: Revision) -> Result<Changes, StoreError> {
        let mut transaction = self.pool.begin_with(BEGIN_READ).await?;
        let (head, floor): (i64, i64) =
            sqlx::query_as::<Database, _>("SELECT current, tombstone_floor FROM revision WHERE id = 1")
                .fetch_one(&mut *transaction)
                .await?;
        let revision = |column| Revision(u64::try_from(column).unwrap_or(0));
        let (asked, newest) = (revision_column(after), revision(head));
        let whole = asked == 0 || asked < floor || asked > head;
        if asked == head && !whole {
            return Ok(Changes { head: newest, floor: revision(floor), ..Changes::default() });
        }
        // Everything, also what is damaged so that its revision makes no sense.
        let after = if whole { i64::MIN } else { asked };
        let mut reader = Reader { transaction: &mut transaction, after, put: Vec::new(), withheld: Vec::new() };
        let sealer = &*self.sealer;
        let put = |resource| Object::Served(resource);
        reader
            .read("services", "SELECT * FROM service WHERE revision > $1", |row: ServiceRow| {
                Ok(put(Resource::Service(Arc::new(row.service(sealer)?))))
            })
            .await?;
        reader
            .read("backends", "SELECT * FROM backend WHERE revision > $1", |row: BackendRow| {
                Ok(put(Resource::Backend(Arc::new(row.backend()?))))
            })
            .await?;
        reader
            .read("certificates", "SELECT * FROM certificate WHERE revision > $1", |row: CertificateRow| {
                Ok(put(Resource::Certificate(Arc::new(row.certificate(sealer)?))))
            })
            .await?;
        reader
            .read("domains", "SELECT *, host AS id FROM domain WHERE revision > $1", |row: DomainRow| {
                Ok(put(Resource::Domain(Arc::new(row.domain()?))))
            })
            .await?;
        reader
            .read("challenges", "SELECT *, host AS id FROM challenge WHERE revision > $1", |row: ChallengeRow| {
                Ok(put(Resource::Challenge(Arc::new(row.challenge()?))))
            })
            .await?;
        reader
            .read("ticketKeys", "SELECT * FROM ticket_keys WHERE revision > $1", |row: TicketKeysRow| {
                Ok(put(Resource::TicketKeys(Arc::new(row.ticket_keys(sealer)?))))
            })
            .await?;
        reader
            .read("dnsProviders", "SELECT * FROM dns_provider WHERE revision > $1", |row: DnsProviderRow| {
                Ok(Object::DnsProvider(Arc::new(row.provider(sealer)?)))
            })
            .await?;
        reader
            .read("issuers", "SELECT * FROM issuer WHERE revision > $1", |row: IssuerRow| {
                Ok(Object::Issuer(Arc::new(row.issuer(sealer)?)))
            })
            .await?;
        reader
            .read("edges", "SELECT * FROM enrolment WHERE revision > $1", |row: EnrolmentRow| {
                Ok(Object::Edge(Arc::new(row.enrolment()?)))
            })
            .await?;
        reader
            .read("invites", "SELECT * FROM invite WHERE revision > $1", |row: InviteRow| {
                Ok(Object::Invite(Arc::new(row.invite()?)))
            })
            .await?;
        reader
            .read("tokens", "SELECT * FROM token WHERE revision > $1", |row: TokenRow| {
                Ok(Object::Token(Arc::new(row.token()?)))
            })
            .await?;
        let Reader { put, withheld, .. } = reader;
        let removed =
            sqlx::query_as::<Database, KeyRow>("SELECT kind, id, revision FROM tombstone WHERE revision > $1")
                .bind(after)
                .fetch_all(&mut *transaction)
                .await?
                .into_iter()
                .map(KeyRow::key)
                .collect::<Result<_, _>>()?;
        Ok(Changes { head: newest, floor: revision(floor), whole, put, withheld, removed })
    }
}

/// Reads what was changed after a revision, row by row: one that cannot be read is withheld, and the others are read all the same.
struct Reader<'a> {
    transaction: &'a mut sqlx::Transaction<'static, Database>,
    after: i64,
    put: Vec<Object>,
    withheld: Vec<Withheld>,
}

impl Reader<'_> {
    async fn read<R: for<'r> FromRow<'r, Row>>(
        &mut self,
        kind: &'static str,
        select: &'static str,
        object: impl Fn(R) -> Result<Object, StoreError>,
    ) -> Result<(), StoreError> {
        let rows = sqlx::query::<Database>(select).bind(self.after).fetch_all(&mut **self.transaction).await?;
        for row in rows {
            let reason = match R::from_row(&row).map(&object) {
                Ok(Ok(object)) => {
                    self.put.push(object);
                    continue;
                }
                Ok(Err(error)) if error.is_unreadable() => chain(&error),
                Ok(Err(error)) => return Err(error),
                Err(error @ sqlx::Error::ColumnDecode { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            let revision: i64 = row.try_get("revision").unwrap_or_default();
            self.withheld.push(Withheld {
                kind: kind.to_owned(),
                id: row.try_get("id").unwrap_or_default(),
                revision: Revision(u64::try_from(revision).unwrap_or(0)),
                reason,
            });
        }
        Ok(())
    }
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
            self.sealer.clone(),
            self.wakeup.sender(),
            turn,
        )))
    }

    async fn changes_after(&self, after: Revision) -> Result<Changes, StoreError> {
        timeout(READ_TIMEOUT, self.read_changes(after)).await.map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    async fn changed_at(&self, revision: Revision) -> Result<Vec<ObjectKey>, StoreError> {
        sqlx::query_as::<Database, KeyRow>("SELECT kind, id, revision FROM change WHERE revision = $1 ORDER BY seq")
            .bind(revision_column(revision))
            .fetch_all(&self.pool)
            .await?
            .into_iter()
            .map(|row| Ok(row.key()?.0))
            .collect()
    }

    async fn history(&self, filter: &HistoryFilter, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let HistoryFilter { before, resource, actor, since, until } = filter;
        let (revision, position) =
            before.map_or((i64::MAX, 0), |place| (revision_column(place.revision), i64::from(place.position)));
        let (kind, id) = resource.as_ref().map_or(("", ""), |key| (key.kind.collection(), &*key.id));
        let read = sqlx::query_as::<Database, HistoryRow>(
            "SELECT revision, seq, kind, id, old_value, new_value, actor, door, address, method, changed_at FROM change \
             WHERE (revision < $1 OR (revision = $1 AND seq < $2)) \
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
        .fetch_all(&self.pool);
        let rows = timeout(READ_TIMEOUT, read).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        rows.into_iter().map(HistoryRow::entry).collect()
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
             rejections_total) SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS (SELECT 1 FROM enrolment WHERE id = $1) \
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
        acme::issuance(&self.pool, &self.sealer, host).await
    }

    async fn due_issuances(&self, now: Timestamp, limit: usize) -> Result<Vec<Issuance>, StoreError> {
        acme::due_issuances(&self.pool, &self.sealer, now, limit).await
    }

    async fn next_issuance_at(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        acme::next_issuance_at(&self.pool, now).await
    }

    async fn issuances(&self, after: &str, limit: usize) -> Result<Vec<Issuance>, StoreError> {
        acme::issuances(&self.pool, &self.sealer, after, limit).await
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
        let recorded = acme::record_issuance(&mut transaction, &self.sealer, issuance).await?;
        transaction.commit().await?;
        Ok(recorded)
    }

    async fn reseal(&self) -> Result<usize, StoreError> {
        let mut resealed = 0;
        // Another process may still seal under the key before: until nothing of that is found.
        loop {
            let mut found = 0;
            for table in SEALED_TABLES {
                found += self.reseal_table(table).await?;
            }
            if found == 0 {
                return Ok(resealed);
            }
            resealed += found;
        }
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
