//! Everything that is sealed, to be sealed under another master key.

use tracing::error;

use super::Database;
use crate::{
    seal::Sealer,
    store::{
        StoreError,
        rows::{order_key_identity, secret_identity},
        vault,
    },
};

/// Records that are read at a time.
const PAGE: i64 = 500;

/// A table with sealed records. What is selected of one: its key, what it is about, and what is sealed.
struct SealedTable {
    select: &'static str,
    update: &'static str,
    /// What a record is sealed for, by what it is about.
    identity: fn(&str) -> String,
}

/// Every table with sealed records.
const TABLES: [SealedTable; 3] = [
    SealedTable {
        select: "SELECT ref, ref || '/' || kind || '/' || id || '/' || path, blob FROM sealed \
                 WHERE ref > $1 AND blob IS NOT NULL ORDER BY ref LIMIT $2",
        update: "UPDATE sealed SET blob = $1 WHERE ref = $2 AND blob = $3",
        identity: vault::identity,
    },
    SealedTable {
        select: "SELECT host, host, sealed_order_key FROM issuance WHERE host > $1 AND sealed_order_key IS NOT NULL \
                 ORDER BY host LIMIT $2",
        update: "UPDATE issuance SET sealed_order_key = $1 WHERE host = $2 AND sealed_order_key = $3",
        identity: order_key_identity,
    },
    SealedTable {
        select: "SELECT name, name, sealed FROM secret WHERE name > $1 ORDER BY name LIMIT $2",
        update: "UPDATE secret SET sealed = $1 WHERE name = $2 AND sealed = $3",
        identity: secret_identity,
    },
];

/// What became of the sealed records.
#[derive(Default)]
struct Outcome {
    resealed: usize,
    unopened: Vec<String>,
}

/// Seals every record under the master key; how many were not.
pub(super) async fn reseal(pool: &sqlx::Pool<Database>, sealer: &Sealer) -> Result<usize, StoreError> {
    let mut resealed = 0;
    // Another process may still seal under the key before: until nothing of that is found.
    loop {
        let mut outcome = Outcome::default();
        for table in TABLES {
            reseal_table(pool, sealer, &table, &mut outcome).await?;
        }
        resealed += outcome.resealed;
        if outcome.resealed > 0 {
            continue;
        }
        return match outcome.unopened.first() {
            None => Ok(resealed),
            Some(subject) => Err(StoreError::NotResealed { count: outcome.unopened.len(), subject: subject.clone() }),
        };
    }
}

/// Seals the records of a table anew, one by one: none that somebody changes meanwhile is written over, and one that does not open keeps
/// none of the others.
async fn reseal_table(
    pool: &sqlx::Pool<Database>,
    sealer: &Sealer,
    table: &SealedTable,
    outcome: &mut Outcome,
) -> Result<(), StoreError> {
    let mut last = String::new();
    loop {
        let page: Vec<(String, String, Vec<u8>)> =
            sqlx::query_as::<Database, _>(table.select).bind(&last).bind(PAGE).fetch_all(pool).await?;
        let Some((key, ..)) = page.last() else { return Ok(()) };
        last = key.clone();
        for (key, subject, sealed) in page {
            let identity = (table.identity)(&subject);
            match sealer.reseal(&identity, &sealed) {
                Ok(None) => {}
                Ok(Some(anew)) => {
                    sqlx::query::<Database>(table.update).bind(anew).bind(&key).bind(sealed).execute(pool).await?;
                    outcome.resealed += 1;
                }
                Err(crate::seal::ResealError::Open(_)) => {
                    error!(secret = %identity, "a secret does not open under any of the keys that were given");
                    outcome.unopened.push(identity);
                }
                Err(crate::seal::ResealError::Seal(error)) => return Err(error.into()),
            }
        }
    }
}
