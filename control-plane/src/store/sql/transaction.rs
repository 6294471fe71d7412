use std::sync::Arc;

use async_trait::async_trait;
use switchyard_proto::vocab::{
    BackendId, CertificateId, DnsProviderId, EdgeId, HostPattern, InviteId, IssuerId, Labels, ResourceKey,
    ResourceKind, Revision, ServiceId, TicketKeysId, TokenId,
};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Database, NOTIFY, acme};
use crate::{
    model::{
        Actor, Backend, Certificate, Challenge, ChallengeKind, DnsProvider, Domain, Enrolment, Invite, Issuance,
        Issuer, Lease, ObjectKey, Service, Stored, TicketKeys, Timestamp, Token,
    },
    seal::Sealer,
    store::{
        StoreError, TOMBSTONES_MAX, Transaction,
        history::Recorded,
        rows::{
            BackendRow, CertificateRow, ChallengeRow, DnsProviderRow, DomainRow, EnrolmentRow, InviteRow, IssuerRow,
            ServiceRow, TicketKeysRow, TlsColumns, TokenRow, account_key_identity, dns_settings_column,
            external_account_key_identity, issuers_column, labels_column, limits_column, millis_column, names_column,
            patterns_column, private_key_identity, revision_column, secret_identity, tags_column, ticket_keys_columns,
            ticket_secrets_identity, zones_column,
        },
    },
};

/// Tombstones are counted, and the oldest dropped, once in so many revisions.
const PRUNE_INTERVAL: i64 = 1_000;

/// An open transaction that holds the revision's row.
pub(super) struct SqlTransaction {
    transaction: sqlx::Transaction<'static, Database>,
    revision: i64,
    /// How many resources it has changed.
    changes: i64,
    actor: Actor,
    now: Timestamp,
    sealer: Arc<Sealer>,
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
        sealer: Arc<Sealer>,
        wakeup: watch::Sender<()>,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        Self { transaction, revision, changes: 0, actor, now, sealer, wakeup, _turn: turn }
    }

    /// What `new` becomes by being written in this transaction.
    fn stored<T>(&self, old: Option<&Stored<T>>, new: T) -> Stored<T> {
        Stored {
            value: new,
            revision: self.revision(),
            created_at: old.map_or(self.now, |old| old.created_at),
            updated_at: self.now,
        }
    }

    /// Writes the history of one put, and takes away the tombstone of what was there before.
    async fn record_put<T: Recorded>(
        &mut self,
        key: &ObjectKey,
        old: Option<&Stored<T>>,
        new: &T,
    ) -> Result<(), StoreError> {
        if old.is_none() {
            sqlx::query::<Database>("DELETE FROM tombstone WHERE kind = $1 AND id = $2")
                .bind(key.kind.collection())
                .bind(&*key.id)
                .execute(&mut *self.transaction)
                .await?;
        }
        self.record(key, old.map(|old| old.value.recorded().to_string()), Some(new.recorded().to_string())).await
    }

    /// Writes the history of one deletion, and its tombstone.
    async fn record_delete<T: Recorded>(&mut self, key: &ObjectKey, old: &Stored<T>) -> Result<(), StoreError> {
        sqlx::query::<Database>(
            "INSERT INTO tombstone (kind, id, revision) VALUES ($1, $2, $3) \
             ON CONFLICT (kind, id) DO UPDATE SET revision = excluded.revision",
        )
        .bind(key.kind.collection())
        .bind(&*key.id)
        .bind(self.revision)
        .execute(&mut *self.transaction)
        .await?;
        self.record(key, Some(old.value.recorded().to_string()), None).await
    }

    async fn record(&mut self, key: &ObjectKey, old: Option<String>, new: Option<String>) -> Result<(), StoreError> {
        sqlx::query::<Database>(
            "INSERT INTO change (revision, seq, kind, id, old_value, new_value, actor, door, address, method, changed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(self.revision)
        .bind(self.changes)
        .bind(key.kind.collection())
        .bind(&*key.id)
        .bind(old)
        .bind(new)
        .bind(&self.actor.name)
        .bind(self.actor.door.as_str())
        .bind(self.actor.address.map(|address| address.to_string()))
        .bind(self.actor.method)
        .bind(self.now.0)
        .execute(&mut *self.transaction)
        .await?;
        self.changes += 1;
        Ok(())
    }

    /// Drops the oldest tombstones beyond [`TOMBSTONES_MAX`].
    async fn prune_tombstones(&mut self) -> Result<(), StoreError> {
        let oldest: Option<i64> = sqlx::query_scalar::<Database, _>(
            "SELECT revision FROM tombstone ORDER BY revision DESC LIMIT 1 OFFSET $1",
        )
        .bind(i64::from(TOMBSTONES_MAX))
        .fetch_optional(&mut *self.transaction)
        .await?;
        if let Some(oldest) = oldest {
            sqlx::query::<Database>("DELETE FROM tombstone WHERE revision <= $1")
                .bind(oldest)
                .execute(&mut *self.transaction)
                .await?;
            sqlx::query::<Database>("UPDATE revision SET tombstone_floor = $1 WHERE id = 1")
                .bind(oldest)
                .execute(&mut *self.transaction)
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Transaction for SqlTransaction {
    fn revision(&self) -> Revision {
        Revision(u64::try_from(self.revision).unwrap_or(0))
    }

    async fn commit(mut self: Box<Self>) -> Result<Revision, StoreError> {
        if self.revision % PRUNE_INTERVAL == 0 {
            self.prune_tombstones().await?;
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

    async fn is_pristine(&mut self) -> Result<bool, StoreError> {
        let by_people: i64 = sqlx::query_scalar::<Database, _>(
            "SELECT COUNT(*) FROM (SELECT 1 FROM change WHERE door <> 'system' LIMIT 1) AS declared",
        )
        .fetch_one(&mut *self.transaction)
        .await?;
        Ok(by_people == 0)
    }

    async fn domain(&mut self, host: &HostPattern) -> Result<Option<Stored<Domain>>, StoreError> {
        sqlx::query_as::<Database, DomainRow>("SELECT * FROM domain WHERE host = $1")
            .bind(host.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(DomainRow::domain)
            .transpose()
    }

    async fn put_domain(&mut self, old: Option<&Stored<Domain>>, new: Domain) -> Result<Stored<Domain>, StoreError> {
        let stored = self.stored(old, new);
        let Domain {
            host,
            service,
            active_tag,
            previous_tag,
            certificate_source,
            http_to_https,
            edge_selector,
            client_authentication,
            minimum_tls_version,
            acme,
        } = &stored.value;
        sqlx::query::<Database>(
            "INSERT INTO domain (host, service, active_tag, previous_tag, certificate_source, http_to_https, edge_selector, \
             client_authorities, client_certificate_mode, minimum_tls_version, acme_challenge, acme_issuers, \
             on_demand_hook, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
             ON CONFLICT (host) DO UPDATE SET service = excluded.service, active_tag = excluded.active_tag, \
             previous_tag = excluded.previous_tag, certificate_source = excluded.certificate_source, \
             http_to_https = excluded.http_to_https, edge_selector = excluded.edge_selector, \
             client_authorities = excluded.client_authorities, \
             client_certificate_mode = excluded.client_certificate_mode, \
             minimum_tls_version = excluded.minimum_tls_version, acme_challenge = excluded.acme_challenge, \
             acme_issuers = excluded.acme_issuers, on_demand_hook = excluded.on_demand_hook, \
             revision = excluded.revision, updated_at = excluded.updated_at",
        )
        .bind(host.as_str())
        .bind(service.as_str())
        .bind(active_tag.as_str())
        .bind(previous_tag.as_ref().map(|tag| tag.as_str()))
        .bind(certificate_source.as_str())
        .bind(http_to_https)
        .bind(labels_column(edge_selector))
        .bind(client_authentication.as_ref().map(|it| it.authorities.certificates().concat()))
        .bind(client_authentication.as_ref().map(|it| it.mode.as_str()))
        .bind(minimum_tls_version.as_str())
        .bind(acme.challenge.map(ChallengeKind::as_str))
        .bind(issuers_column(acme))
        .bind(acme.on_demand.as_ref().map(|on_demand| on_demand.hook.as_str()))
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ResourceKey::domain(host).into(), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_domain(&mut self, old: &Stored<Domain>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM domain WHERE host = $1")
            .bind(old.value.host.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ResourceKey::domain(&old.value.host).into(), old).await
    }

    async fn service(&mut self, id: &ServiceId) -> Result<Option<Stored<Service>>, StoreError> {
        sqlx::query_as::<Database, ServiceRow>("SELECT * FROM service WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(|row| row.service(&self.sealer))
            .transpose()
    }

    async fn user_of_service(&mut self, id: &ServiceId) -> Result<Option<ResourceKey>, StoreError> {
        let domain: Option<String> =
            sqlx::query_scalar::<Database, _>("SELECT host FROM domain WHERE service = $1 ORDER BY host LIMIT 1")
                .bind(id.as_str())
                .fetch_optional(&mut *self.transaction)
                .await?;
        if let Some(host) = domain {
            return Ok(Some(ResourceKey { kind: ResourceKind::Domain, id: host.into() }));
        }
        let backend: Option<String> =
            sqlx::query_scalar::<Database, _>("SELECT id FROM backend WHERE service = $1 ORDER BY id LIMIT 1")
                .bind(id.as_str())
                .fetch_optional(&mut *self.transaction)
                .await?;
        Ok(backend.map(|id| ResourceKey { kind: ResourceKind::Backend, id: id.into() }))
    }

    async fn put_service(
        &mut self,
        old: Option<&Stored<Service>>,
        new: Service,
    ) -> Result<Stored<Service>, StoreError> {
        let stored = self.stored(old, new);
        let Service { id, balancing, protocol, timeouts, tls } = &stored.value;
        let tls = TlsColumns::of(id, tls.as_ref(), &self.sealer)?;
        sqlx::query::<Database>(
            "INSERT INTO service (id, balancing, protocol, connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, \
             tls_trust, tls_authorities, tls_server_name, tls_alternative_name, tls_client_chain, tls_sealed_client_key, \
             revision, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
             ON CONFLICT (id) DO UPDATE SET balancing = excluded.balancing, protocol = excluded.protocol, \
             connect_timeout_ms = excluded.connect_timeout_ms, first_byte_timeout_ms = excluded.first_byte_timeout_ms, \
             idle_timeout_ms = excluded.idle_timeout_ms, tls_trust = excluded.tls_trust, \
             tls_authorities = excluded.tls_authorities, tls_server_name = excluded.tls_server_name, \
             tls_alternative_name = excluded.tls_alternative_name, \
             tls_client_chain = excluded.tls_client_chain, \
             tls_sealed_client_key = excluded.tls_sealed_client_key, revision = excluded.revision, \
             updated_at = excluded.updated_at",
        )
        .bind(id.as_str())
        .bind(balancing.as_str())
        .bind(protocol.as_str())
        .bind(millis_column(timeouts.connect()))
        .bind(millis_column(timeouts.first_byte()))
        .bind(millis_column(timeouts.idle()))
        .bind(tls.trust)
        .bind(tls.authorities)
        .bind(tls.server_name)
        .bind(tls.alternative_name)
        .bind(tls.client_chain)
        .bind(tls.sealed_client_key)
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ResourceKey::service(id).into(), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_service(&mut self, old: &Stored<Service>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM service WHERE id = $1")
            .bind(old.value.id.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ResourceKey::service(&old.value.id).into(), old).await
    }

    async fn backend(&mut self, id: &BackendId) -> Result<Option<Stored<Backend>>, StoreError> {
        sqlx::query_as::<Database, BackendRow>("SELECT * FROM backend WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(BackendRow::backend)
            .transpose()
    }

    async fn count_backends(&mut self, id: &ServiceId) -> Result<usize, StoreError> {
        let count: i64 = sqlx::query_scalar::<Database, _>("SELECT COUNT(*) FROM backend WHERE service = $1")
            .bind(id.as_str())
            .fetch_one(&mut *self.transaction)
            .await?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    async fn backends_of_service(&mut self, id: &ServiceId) -> Result<Vec<Stored<Backend>>, StoreError> {
        sqlx::query_as::<Database, BackendRow>("SELECT * FROM backend WHERE service = $1 ORDER BY id")
            .bind(id.as_str())
            .fetch_all(&mut *self.transaction)
            .await?
            .into_iter()
            .map(BackendRow::backend)
            .collect()
    }

    async fn put_backend(
        &mut self,
        old: Option<&Stored<Backend>>,
        new: Backend,
    ) -> Result<Stored<Backend>, StoreError> {
        let stored = self.stored(old, new);
        let Backend { id, service, address, tags, state } = &stored.value;
        sqlx::query::<Database>(
            "INSERT INTO backend (id, service, address, tags, state, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (id) DO UPDATE SET service = excluded.service, address = excluded.address, \
             tags = excluded.tags, state = excluded.state, revision = excluded.revision, \
             updated_at = excluded.updated_at",
        )
        .bind(id.as_str())
        .bind(service.as_str())
        .bind(address.to_string())
        .bind(tags_column(tags))
        .bind(state.as_str())
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ResourceKey::backend(id).into(), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_backend(&mut self, old: &Stored<Backend>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM backend WHERE id = $1")
            .bind(old.value.id.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ResourceKey::backend(&old.value.id).into(), old).await
    }

    async fn certificate(&mut self, id: &CertificateId) -> Result<Option<Stored<Certificate>>, StoreError> {
        sqlx::query_as::<Database, CertificateRow>("SELECT * FROM certificate WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(|row| row.certificate(&self.sealer))
            .transpose()
    }

    async fn put_certificate(
        &mut self,
        old: Option<&Stored<Certificate>>,
        new: Certificate,
    ) -> Result<Stored<Certificate>, StoreError> {
        let stored = self.stored(old, new);
        let Certificate { id, source, chain, private_key } = &stored.value;
        let sealed = self.sealer.seal(&private_key_identity(id.as_str()), private_key.expose_pkcs8())?;
        sqlx::query::<Database>(
            "INSERT INTO certificate (id, source, chain, dns_names, issuer, fingerprint_sha256, not_before, not_after, \
             sealed_private_key, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (id) DO UPDATE SET source = excluded.source, chain = excluded.chain, \
             dns_names = excluded.dns_names, issuer = excluded.issuer, \
             fingerprint_sha256 = excluded.fingerprint_sha256, not_before = excluded.not_before, \
             not_after = excluded.not_after, sealed_private_key = excluded.sealed_private_key, \
             revision = excluded.revision, updated_at = excluded.updated_at",
        )
        .bind(id.as_str())
        .bind(source.as_str())
        .bind(chain.certificates.concat())
        .bind(names_column(&chain.dns_names))
        .bind(&chain.issuer)
        .bind(&chain.fingerprint_sha256)
        .bind(chain.not_before.0)
        .bind(chain.not_after.0)
        .bind(sealed)
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ResourceKey::certificate(id).into(), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_certificate(&mut self, old: &Stored<Certificate>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM certificate WHERE id = $1")
            .bind(old.value.id.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ResourceKey::certificate(&old.value.id).into(), old).await
    }

    async fn challenge(&mut self, host: &HostPattern) -> Result<Option<Stored<Challenge>>, StoreError> {
        sqlx::query_as::<Database, ChallengeRow>("SELECT * FROM challenge WHERE host = $1")
            .bind(host.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(ChallengeRow::challenge)
            .transpose()
    }

    async fn put_challenge(
        &mut self,
        old: Option<&Stored<Challenge>>,
        new: Challenge,
    ) -> Result<Stored<Challenge>, StoreError> {
        let stored = self.stored(old, new);
        let Challenge { host, http_01, tls_alpn_01 } = &stored.value;
        sqlx::query::<Database>(
            "INSERT INTO challenge (host, http_01_thumbprint, tls_alpn_01_digest, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (host) DO UPDATE SET http_01_thumbprint = excluded.http_01_thumbprint, \
             tls_alpn_01_digest = excluded.tls_alpn_01_digest, revision = excluded.revision, \
             updated_at = excluded.updated_at",
        )
        .bind(host.as_str())
        .bind(http_01.as_ref().map(|thumbprint| thumbprint.as_str()))
        .bind(tls_alpn_01.as_ref().map(|digest| digest.as_bytes()))
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ResourceKey::challenge(host).into(), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_challenge(&mut self, old: &Stored<Challenge>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM challenge WHERE host = $1")
            .bind(old.value.host.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ResourceKey::challenge(&old.value.host).into(), old).await
    }

    async fn ticket_keys(&mut self, id: &TicketKeysId) -> Result<Option<Stored<TicketKeys>>, StoreError> {
        sqlx::query_as::<Database, TicketKeysRow>("SELECT * FROM ticket_keys WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(|row| row.ticket_keys(&self.sealer))
            .transpose()
    }

    async fn put_ticket_keys(
        &mut self,
        old: Option<&Stored<TicketKeys>>,
        new: TicketKeys,
    ) -> Result<Stored<TicketKeys>, StoreError> {
        let stored = self.stored(old, new);
        let id = stored.value.id();
        let (keys, secrets) = ticket_keys_columns(stored.value.keys());
        sqlx::query::<Database>(
            "INSERT INTO ticket_keys (id, labels, keys, sealed_secrets, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (id) DO UPDATE SET keys = excluded.keys, sealed_secrets = excluded.sealed_secrets, \
             revision = excluded.revision, updated_at = excluded.updated_at",
        )
        .bind(id.as_str())
        .bind(labels_column(stored.value.labels()))
        .bind(keys)
        .bind(self.sealer.seal(&ticket_secrets_identity(id.as_str()), &secrets)?)
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ResourceKey::ticket_keys(id).into(), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_ticket_keys(&mut self, old: &Stored<TicketKeys>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM ticket_keys WHERE id = $1")
            .bind(old.value.id().as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ResourceKey::ticket_keys(old.value.id()).into(), old).await
    }

    async fn issuer(&mut self, id: &IssuerId) -> Result<Option<Stored<Issuer>>, StoreError> {
        sqlx::query_as::<Database, IssuerRow>("SELECT * FROM issuer WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(|row| row.issuer(&self.sealer))
            .transpose()
    }

    async fn issuers(&mut self) -> Result<Vec<Stored<Issuer>>, StoreError> {
        sqlx::query_as::<Database, IssuerRow>("SELECT * FROM issuer ORDER BY id")
            .fetch_all(&mut *self.transaction)
            .await?
            .into_iter()
            .map(|row| row.issuer(&self.sealer))
            .collect()
    }

    async fn user_of_issuer(&mut self, id: &IssuerId) -> Result<Option<ResourceKey>, StoreError> {
        let host: Option<String> = sqlx::query_scalar::<Database, _>(
            "SELECT host FROM domain WHERE REPLACE(acme_issuers, '\"' || $1 || '\"', '') <> acme_issuers \
             ORDER BY host LIMIT 1",
        )
        .bind(id.as_str())
        .fetch_optional(&mut *self.transaction)
        .await?;
        Ok(host.map(|host| ResourceKey { kind: ResourceKind::Domain, id: host.into() }))
    }

    async fn put_issuer(&mut self, old: Option<&Stored<Issuer>>, new: Issuer) -> Result<Stored<Issuer>, StoreError> {
        let stored = self.stored(old, new);
        let Issuer {
            id,
            directory,
            roots,
            email,
            external_account,
            profile,
            preferred_chain,
            place: _,
            limits,
            account,
        } = &stored.value;
        let external_key = external_account
            .as_ref()
            .map(|it| self.sealer.seal(&external_account_key_identity(id.as_str()), it.expose_key()))
            .transpose()?;
        let account_key = account
            .as_ref()
            .map(|it| self.sealer.seal(&account_key_identity(id.as_str()), it.key.expose_pkcs8()))
            .transpose()?;
        sqlx::query::<Database>(
            "INSERT INTO issuer (id, directory, roots, email, profile, preferred_chain, rank, limits, \
             external_account_key_id, sealed_external_account_key, account_url, account_thumbprint, sealed_account_key, \
             revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
             ON CONFLICT (id) DO UPDATE SET directory = excluded.directory, roots = excluded.roots, \
             email = excluded.email, profile = excluded.profile, preferred_chain = excluded.preferred_chain, \
             rank = excluded.rank, limits = excluded.limits, \
             external_account_key_id = excluded.external_account_key_id, \
             sealed_external_account_key = excluded.sealed_external_account_key, account_url = excluded.account_url, \
             account_thumbprint = excluded.account_thumbprint, sealed_account_key = excluded.sealed_account_key, \
             revision = excluded.revision, updated_at = excluded.updated_at",
        )
        .bind(id.as_str())
        .bind(directory.as_str())
        .bind(roots.as_ref().map(|roots| roots.certificates().concat()))
        .bind(email.as_ref().map(|email| email.as_str()))
        .bind(profile.as_ref().map(|name| name.as_str()))
        .bind(preferred_chain.as_ref().map(|name| name.as_str()))
        .bind(stored.value.rank().map(i64::from))
        .bind(limits_column(limits))
        .bind(external_account.as_ref().map(|it| it.key_id.as_str()))
        .bind(external_key)
        .bind(account.as_ref().map(|account| account.url.as_str()))
        .bind(account.as_ref().map(|account| account.thumbprint.as_str()))
        .bind(account_key)
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ObjectKey::issuer(id), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_issuer(&mut self, old: &Stored<Issuer>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM issuer WHERE id = $1")
            .bind(old.value.id.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ObjectKey::issuer(&old.value.id), old).await
    }

    async fn dns_provider(&mut self, id: &DnsProviderId) -> Result<Option<Stored<DnsProvider>>, StoreError> {
        sqlx::query_as::<Database, DnsProviderRow>("SELECT * FROM dns_provider WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(|row| row.provider(&self.sealer))
            .transpose()
    }

    async fn dns_providers(&mut self) -> Result<Vec<Stored<DnsProvider>>, StoreError> {
        sqlx::query_as::<Database, DnsProviderRow>("SELECT * FROM dns_provider ORDER BY id")
            .fetch_all(&mut *self.transaction)
            .await?
            .into_iter()
            .map(|row| row.provider(&self.sealer))
            .collect()
    }

    async fn put_dns_provider(
        &mut self,
        old: Option<&Stored<DnsProvider>>,
        new: DnsProvider,
    ) -> Result<Stored<DnsProvider>, StoreError> {
        let stored = self.stored(old, new);
        let DnsProvider { id, zones, settings } = &stored.value;
        sqlx::query::<Database>(
            "INSERT INTO dns_provider (id, zones, sealed_settings, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET zones = excluded.zones, sealed_settings = excluded.sealed_settings, \
             revision = excluded.revision, updated_at = excluded.updated_at",
        )
        .bind(id.as_str())
        .bind(zones_column(zones))
        .bind(dns_settings_column(id, settings, &self.sealer)?)
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ObjectKey::dns_provider(id), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_dns_provider(&mut self, old: &Stored<DnsProvider>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM dns_provider WHERE id = $1")
            .bind(old.value.id.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ObjectKey::dns_provider(&old.value.id), old).await
    }

    async fn issuance(&mut self, host: &HostPattern) -> Result<Option<Issuance>, StoreError> {
        acme::issuance(&mut *self.transaction, &self.sealer, host).await
    }

    async fn put_issuance(&mut self, issuance: &Issuance) -> Result<(), StoreError> {
        acme::put_issuance(&mut self.transaction, &self.sealer, issuance).await
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

    async fn enrolment(&mut self, id: &EdgeId) -> Result<Option<Stored<Enrolment>>, StoreError> {
        sqlx::query_as::<Database, EnrolmentRow>("SELECT * FROM enrolment WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(EnrolmentRow::enrolment)
            .transpose()
    }

    async fn count_edges(&mut self, labels: &Labels) -> Result<usize, StoreError> {
        let count: i64 = sqlx::query_scalar::<Database, _>("SELECT COUNT(*) FROM enrolment WHERE labels = $1")
            .bind(labels_column(labels))
            .fetch_one(&mut *self.transaction)
            .await?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    async fn put_enrolment(
        &mut self,
        old: Option<&Stored<Enrolment>>,
        new: Enrolment,
    ) -> Result<Stored<Enrolment>, StoreError> {
        let stored = self.stored(old, new);
        let Enrolment { id, key, labels } = &stored.value;
        sqlx::query::<Database>(
            "INSERT INTO enrolment (id, key_sha256, labels, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET key_sha256 = excluded.key_sha256, labels = excluded.labels, \
             revision = excluded.revision, updated_at = excluded.updated_at",
        )
        .bind(id.as_str())
        .bind(key.as_bytes())
        .bind(labels_column(labels))
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ObjectKey::edge(id), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_enrolment(&mut self, old: &Stored<Enrolment>) -> Result<(), StoreError> {
        for statement in ["DELETE FROM enrolment WHERE id = $1", "DELETE FROM edge WHERE id = $1"] {
            sqlx::query::<Database>(statement).bind(old.value.id.as_str()).execute(&mut *self.transaction).await?;
        }
        self.record_delete(&ObjectKey::edge(&old.value.id), old).await
    }

    async fn invite(&mut self, id: &InviteId) -> Result<Option<Stored<Invite>>, StoreError> {
        sqlx::query_as::<Database, InviteRow>("SELECT * FROM invite WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(InviteRow::invite)
            .transpose()
    }

    async fn put_invite(&mut self, old: Option<&Stored<Invite>>, new: Invite) -> Result<Stored<Invite>, StoreError> {
        let stored = self.stored(old, new);
        let Invite { id, hash, labels, uses, expires_at } = &stored.value;
        sqlx::query::<Database>(
            "INSERT INTO invite (id, secret_sha256, labels, uses, expires_at, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (id) DO UPDATE SET secret_sha256 = excluded.secret_sha256, labels = excluded.labels, \
             uses = excluded.uses, expires_at = excluded.expires_at, revision = excluded.revision, \
             updated_at = excluded.updated_at",
        )
        .bind(id.as_str())
        .bind(hash.as_bytes())
        .bind(labels_column(labels))
        .bind(i64::from(*uses))
        .bind(expires_at.0)
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ObjectKey::invite(id), old, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_invite(&mut self, old: &Stored<Invite>) -> Result<(), StoreError> {
        sqlx::query::<Database>("DELETE FROM invite WHERE id = $1")
            .bind(old.value.id.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.record_delete(&ObjectKey::invite(&old.value.id), old).await
    }

    async fn token(&mut self, id: &TokenId) -> Result<Option<Stored<Token>>, StoreError> {
        sqlx::query_as::<Database, TokenRow>("SELECT * FROM token WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.transaction)
            .await?
            .map(TokenRow::token)
            .transpose()
    }

    async fn tokens(&mut self) -> Result<Vec<Stored<Token>>, StoreError> {
        sqlx::query_as::<Database, TokenRow>("SELECT * FROM token ORDER BY id")
            .fetch_all(&mut *self.transaction)
            .await?
            .into_iter()
            .map(TokenRow::token)
            .collect()
    }

    async fn create_token(&mut self, new: Token) -> Result<Stored<Token>, StoreError> {
        let stored = self.stored(None, new);
        let Token { id, hash, access, expires_at } = &stored.value;
        let (domains, services) = access.scope.patterns();
        sqlx::query::<Database>(
            "INSERT INTO token (id, secret_sha256, role, domains, services, expires_at, revision, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(id.as_str())
        .bind(hash.as_bytes())
        .bind(access.role.as_str())
        .bind(patterns_column(domains))
        .bind(patterns_column(services))
        .bind(expires_at.map(|at| at.0))
        .bind(revision_column(stored.revision))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0)
        .execute(&mut *self.transaction)
        .await?;
        self.record_put(&ObjectKey::token(id), None, &stored.value).await?;
        Ok(stored)
    }

    async fn delete_token(&mut self, old: &Stored<Token>) -> Result<(), StoreError> {
        for statement in ["DELETE FROM token WHERE id = $1", "DELETE FROM token_use WHERE id = $1"] {
            sqlx::query::<Database>(statement).bind(old.value.id.as_str()).execute(&mut *self.transaction).await?;
        }
        self.record_delete(&ObjectKey::token(&old.value.id), old).await
    }

    async fn secret(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed: Option<Vec<u8>> = sqlx::query_scalar::<Database, _>("SELECT sealed FROM secret WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *self.transaction)
            .await?;
        Ok(sealed.map(|sealed| self.sealer.open(&secret_identity(name), &sealed)).transpose()?)
    }

    async fn put_secret(&mut self, name: &str, secret: &[u8]) -> Result<(), StoreError> {
        let sealed = self.sealer.seal(&secret_identity(name), secret)?;
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
