//! The statements about leases, and about how far certificates are that are ordered. None of them takes a revision.

use sqlx::{Executor, Transaction};
use switchyard_proto::vocab::HostPattern;

use super::{Database, REQUIRE_LEASE};
use crate::{
    model::{Certificate, Issuance, Lease, Timestamp},
    seal::Sealer,
    store::{
        StoreError,
        rows::{IssuanceRow, OrderColumns},
    },
};

pub(super) async fn require(transaction: &mut Transaction<'static, Database>, lease: &Lease) -> Result<(), StoreError> {
    let held = sqlx::query::<Database>(REQUIRE_LEASE)
        .bind(lease.name)
        .bind(&lease.holder)
        .bind(lease.epoch)
        .execute(&mut **transaction)
        .await?;
    if held.rows_affected() == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
}

pub(super) async fn issuance<'c>(
    executor: impl Executor<'c, Database = Database>,
    sealer: &Sealer,
    host: &HostPattern,
) -> Result<Option<Issuance>, StoreError> {
    sqlx::query_as::<Database, IssuanceRow>("SELECT * FROM issuance WHERE host = $1")
        .bind(host.as_str())
        .fetch_optional(executor)
        .await?
        .map(|row| row.issuance(sealer))
        .transpose()
}

pub(super) async fn due_issuances<'c>(
    executor: impl Executor<'c, Database = Database>,
    sealer: &Sealer,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Issuance>, StoreError> {
    sqlx::query_as::<Database, IssuanceRow>(
        "SELECT * FROM issuance WHERE next_at <= $1 ORDER BY next_at, host LIMIT $2",
    )
    .bind(now.0)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(executor)
    .await?
    .into_iter()
    .map(|row| row.issuance(sealer))
    .collect()
}

pub(super) async fn next_issuance_at<'c>(
    executor: impl Executor<'c, Database = Database>,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let next: Option<i64> = sqlx::query_scalar::<Database, _>("SELECT MIN(next_at) FROM issuance WHERE next_at > $1")
        .bind(now.0)
        .fetch_one(executor)
        .await?;
    Ok(next.map(Timestamp))
}

pub(super) async fn issuances<'c>(
    executor: impl Executor<'c, Database = Database>,
    sealer: &Sealer,
    after: &str,
    limit: usize,
) -> Result<Vec<Issuance>, StoreError> {
    sqlx::query_as::<Database, IssuanceRow>("SELECT * FROM issuance WHERE host > $1 ORDER BY host LIMIT $2")
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(executor)
        .await?
        .into_iter()
        .map(|row| row.issuance(sealer))
        .collect()
}

pub(super) async fn count_on_demand(
    transaction: &mut Transaction<'static, Database>,
    domain: &HostPattern,
) -> Result<usize, StoreError> {
    let count: i64 = sqlx::query_scalar::<Database, _>(
        "SELECT COUNT(*) FROM issuance WHERE on_demand_domain = $1 AND phase <> 'retired'",
    )
    .bind(domain.as_str())
    .fetch_one(&mut **transaction)
    .await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Retires the names of a domain on demand, and forgets those that have no certificate.
pub(super) async fn retire_on_demand(
    transaction: &mut Transaction<'static, Database>,
    domain: &HostPattern,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query::<Database>(
        "DELETE FROM issuance WHERE on_demand_domain = $1 \
         AND NOT EXISTS (SELECT 1 FROM object WHERE kind = 'certificates' AND id = $2 || issuance.host)",
    )
    .bind(domain.as_str())
    .bind(Certificate::ACME_PREFIX)
    .execute(&mut **transaction)
    .await?;
    sqlx::query::<Database>(
        "UPDATE issuance SET version = version + 1, phase = 'retired', next_at = $2, failures = 0, failure = NULL, \
         order_issuer = NULL, order_url = NULL, sealed_order_key = NULL, order_began_at = NULL, updated_at = $3 \
         WHERE on_demand_domain = $1 AND phase <> 'retired'",
    )
    .bind(domain.as_str())
    .bind(until.0)
    .bind(now.0)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Goes on with the retired names of a domain on demand, when their certificates are to be replaced.
pub(super) async fn revive_on_demand(
    transaction: &mut Transaction<'static, Database>,
    domain: &HostPattern,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query::<Database>(
        "UPDATE issuance SET version = version + 1, phase = 'waiting', next_at = COALESCE(renew_at, $2), updated_at = $2 \
         WHERE on_demand_domain = $1 AND phase = 'retired'",
    )
    .bind(domain.as_str())
    .bind(now.0)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes an issuance whatever was there. Whoever has read the one before does not write over it.
pub(super) async fn put_issuance(
    transaction: &mut Transaction<'static, Database>,
    sealer: &Sealer,
    issuance: &Issuance,
) -> Result<(), StoreError> {
    let host = &issuance.host;
    sqlx::query::<Database>(
        "INSERT INTO issuance (host, version, phase, next_at, failures, updated_at) VALUES ($1, 0, $2, $3, 0, $4) \
         ON CONFLICT (host) DO NOTHING",
    )
    .bind(host.as_str())
    .bind(issuance.phase.as_str())
    .bind(issuance.next_at.0)
    .bind(issuance.updated_at.0)
    .execute(&mut **transaction)
    .await?;
    let version: i64 = sqlx::query_scalar::<Database, _>("SELECT version FROM issuance WHERE host = $1")
        .bind(host.as_str())
        .fetch_one(&mut **transaction)
        .await?;
    let read = Issuance { version: u64::try_from(version).unwrap_or(0), ..issuance.clone() };
    record_issuance(transaction, sealer, &read).await?;
    Ok(())
}

/// Writes an issuance, if it is still the one that was read; what was written.
pub(super) async fn record_issuance(
    transaction: &mut Transaction<'static, Database>,
    sealer: &Sealer,
    issuance: &Issuance,
) -> Result<Option<Issuance>, StoreError> {
    let Issuance {
        host,
        on_demand,
        version,
        phase,
        issuer,
        revoke,
        order,
        next_at,
        failures,
        failure,
        renewal,
        updated_at,
    } = issuance;
    let order = OrderColumns::of(host, order.as_ref(), sealer)?;
    let window = renewal.and_then(|renewal| renewal.window);
    let written = sqlx::query::<Database>(
        "UPDATE issuance SET version = version + 1, phase = $3, next_at = $4, failures = $5, failure = $6, \
         order_issuer = $7, order_url = $8, sealed_order_key = $9, order_began_at = $10, renew_at = $11, \
         window_start = $12, window_end = $13, updated_at = $14, issuer = $15, ask_at = $16, revoke = $17, \
         on_demand_domain = $18 WHERE host = $1 AND version = $2",
    )
    .bind(host.as_str())
    .bind(i64::try_from(*version).unwrap_or(i64::MAX))
    .bind(phase.as_str())
    .bind(next_at.0)
    .bind(i64::from(*failures))
    .bind(failure)
    .bind(order.issuer)
    .bind(order.url)
    .bind(order.sealed_key)
    .bind(order.began_at)
    .bind(renewal.map(|renewal| renewal.at.0))
    .bind(window.map(|(start, _)| start.0))
    .bind(window.map(|(_, end)| end.0))
    .bind(updated_at.0)
    .bind(issuer.as_ref().map(|id| id.as_str()))
    .bind(renewal.and_then(|renewal| renewal.ask_at).map(|at| at.0))
    .bind(revoke.as_deref())
    .bind(on_demand.as_ref().map(|domain| domain.as_str()))
    .execute(&mut **transaction)
    .await?;
    Ok((written.rows_affected() == 1).then(|| Issuance { version: version + 1, ..issuance.clone() }))
}
