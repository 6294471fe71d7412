//! Postgres: several control planes at a time, which tell each other of new revisions by `NOTIFY`.

use std::{sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use switchyard_process::chain;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::{StoreError, wakeup::Wakeup};
use crate::seal::Sealer;

#[path = "sql/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "the statements are compiled once for each database")]
mod sql;

/// What `sql/` is compiled for.
type Database = sqlx::Postgres;
/// The update of the revision's row waits for the change before it; what is read after it is newer than that.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// Its first statement fixes what is seen.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Sent with the commit, and not at all without it.
const NOTIFY: Option<&str> = Some("SELECT pg_notify('switchyard_revision', '')");
const CHANNEL: &str = "switchyard_revision";

/// A server that has no room for a change has none for what is written to find that out.
#[expect(clippy::unnecessary_wraps, reason = "it is the same for both databases")]
fn check_room(_: &PgPool) -> Result<(), StoreError> {
    Ok(())
}

/// Takes a lease that nobody holds any more, or renews it.
const TAKE_LEASE: &str = "INSERT INTO lease (name, holder, epoch, expires_at) \
    VALUES ($1, $2, 1, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) + $3) \
    ON CONFLICT (name) DO UPDATE SET \
    epoch = CASE WHEN lease.holder = excluded.holder THEN lease.epoch ELSE lease.epoch + 1 END, \
    holder = excluded.holder, expires_at = excluded.expires_at \
    WHERE lease.holder = excluded.holder \
    OR lease.expires_at <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) RETURNING epoch";
/// Locks a lease until the transaction ends.
const REQUIRE_LEASE: &str = "UPDATE lease SET epoch = epoch WHERE name = $1 AND holder = $2 AND epoch = $3 \
    AND expires_at > CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

const CONNECTIONS_MAX: u32 = 8;
/// How long to wait for a free connection, and for a new one to be established.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between attempts to listen again: the first, and the longest.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

pub(super) async fn open(url: &str, sealer: Arc<Sealer>) -> Result<sql::SqlStore, StoreError> {
    let options: PgConnectOptions =
        url.parse().map_err(|error| StoreError::Open { place: "the URL that was given".into(), error })?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let unopened = |error| StoreError::Open { place: place.clone(), error };
    let options = options.application_name("switchyard-control-plane");
    // Apart from the pool, which would only say that it has waited too long for a connection, and whose statements may
    // not take as long as a migration does.
    let mut connection = match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
        Ok(connection) => connection.map_err(unopened)?,
        Err(_) => return Err(unopened(sqlx::Error::PoolTimedOut)),
    };
    MIGRATIONS.run(&mut connection).await.map_err(StoreError::Migrate)?;
    connection.close().await.map_err(unopened)?;
    // A statement waits for the change before it at most this long; a session that a dead process left behind does not
    // hold the revision for ever.
    let options = options.options([("statement_timeout", "15s"), ("idle_in_transaction_session_timeout", "30s")]);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(unopened)?;
    // Before anything is read, so that nothing between the first reading and the first notification is missed.
    let listener = subscribe(&pool).await.map_err(unopened)?;
    let wakeup = Wakeup::listening(|sender| listen(pool.clone(), listener, sender));
    sql::SqlStore::new(pool, sealer, wakeup).await
}

async fn subscribe(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Wakes the followers for every notification, and after each time that some may have been lost.
async fn listen(pool: PgPool, mut listener: PgListener, sender: watch::Sender<()>) {
    loop {
        while let Ok(Some(_)) = listener.try_recv().await {
            sender.send_replace(());
        }
        // Whatever broke it, a new one is sure to be whole.
        drop(listener);
        warn!("the database does not tell of new revisions any more; they are looked for by a timer");
        listener = subscribe_again(&pool).await;
        info!("the database tells of new revisions again");
        sender.send_replace(());
    }
}

async fn subscribe_again(pool: &PgPool) -> PgListener {
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        tokio::time::sleep(pause).await;
        match subscribe(pool).await {
            Ok(listener) => return listener,
            Err(error) => debug!(error = chain(&error), "listen for new revisions"),
        }
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}
