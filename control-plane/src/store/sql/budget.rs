//! The statements about what was asked of issuers.

use sqlx::Transaction;
use switchyard_proto::vocab::IssuerId;

use super::Database;
use crate::{
    model::{Exhausted, IssuerUse, Limit, Per, Rate, RateLimits, Timestamp, Used, registered_domain},
    store::StoreError,
};

/// How long anything is remembered: no limit has a longer window.
const REMEMBERED_MS: i64 = 31 * 24 * 60 * 60 * 1_000;

/// Notes a use, and forgets what counts no more.
pub(super) async fn note(transaction: &mut Transaction<'static, Database>, it: &IssuerUse) -> Result<(), StoreError> {
    let IssuerUse { issuer, kind, host, at } = it;
    sqlx::query::<Database>("DELETE FROM issuer_use WHERE issuer = $1 AND kind = $2 AND at < $3")
        .bind(issuer.as_str())
        .bind(kind.as_str())
        .bind(at.0 - REMEMBERED_MS)
        .execute(&mut **transaction)
        .await?;
    sqlx::query::<Database>(
        "INSERT INTO issuer_use (issuer, kind, registered_domain, host, at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(issuer.as_str())
    .bind(kind.as_str())
    .bind(registered_domain(host))
    .bind(host.as_str())
    .bind(at.0)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// The first of the limits that leaves no room for a use.
pub(super) async fn exhausted(
    transaction: &mut Transaction<'static, Database>,
    it: &IssuerUse,
    limits: &RateLimits,
) -> Result<Option<Exhausted>, StoreError> {
    for limit in Limit::all(limits) {
        let Rate { count, window } = limit.rate;
        let subject = limit.subject(&it.host);
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        // The newest that must have left the window before there is room.
        let blocking: Option<i64> = sqlx::query_scalar::<Database, _>(match limit.per {
            Per::Account => {
                "SELECT at FROM issuer_use WHERE issuer = $1 AND kind = $2 AND $3 = '' AND at > $4 \
                 ORDER BY at DESC LIMIT 1 OFFSET $5"
            }
            Per::RegisteredDomain => {
                "SELECT at FROM issuer_use WHERE issuer = $1 AND kind = $2 AND registered_domain = $3 AND at > $4 \
                 ORDER BY at DESC LIMIT 1 OFFSET $5"
            }
            Per::Name => {
                "SELECT at FROM issuer_use WHERE issuer = $1 AND kind = $2 AND host = $3 AND at > $4 \
                 ORDER BY at DESC LIMIT 1 OFFSET $5"
            }
        })
        .bind(it.issuer.as_str())
        .bind(limit.kind.as_str())
        .bind(&subject)
        .bind(it.at.0 - window)
        .bind(i64::from(count) - 1)
        .fetch_optional(&mut **transaction)
        .await?;
        if let Some(at) = blocking {
            return Ok(Some(Exhausted { limit, subject, until: Timestamp(at.saturating_add(window)) }));
        }
    }
    Ok(None)
}

/// How much of a limit is used, that of which most is used first; at most `max` subjects.
pub(super) async fn used(
    pool: &sqlx::Pool<Database>,
    issuer: &IssuerId,
    limit: &Limit,
    now: Timestamp,
    max: usize,
) -> Result<Vec<Used>, StoreError> {
    let window = i64::try_from(limit.window().as_millis()).unwrap_or(i64::MAX);
    let rows: Vec<(String, i64, i64)> = sqlx::query_as::<Database, _>(match limit.per {
        Per::Account => {
            "SELECT '' AS subject, COUNT(*) AS uses, MIN(at) FROM issuer_use \
             WHERE issuer = $1 AND kind = $2 AND at > $3 GROUP BY issuer ORDER BY 2 DESC LIMIT $4"
        }
        Per::RegisteredDomain => {
            "SELECT registered_domain, COUNT(*) AS uses, MIN(at) FROM issuer_use \
             WHERE issuer = $1 AND kind = $2 AND at > $3 GROUP BY registered_domain ORDER BY 2 DESC, 1 LIMIT $4"
        }
        Per::Name => {
            "SELECT host, COUNT(*) AS uses, MIN(at) FROM issuer_use \
             WHERE issuer = $1 AND kind = $2 AND at > $3 GROUP BY host ORDER BY 2 DESC, 1 LIMIT $4"
        }
    })
    .bind(issuer.as_str())
    .bind(limit.kind.as_str())
    .bind(now.0 - window)
    .bind(i64::try_from(max).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    let used = |(subject, count, first_at)| Used {
        subject,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        first_at: Timestamp(first_at),
    };
    Ok(rows.into_iter().map(used).collect())
}
