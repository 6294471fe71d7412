//! Postgres: several control planes at a time, which tell each other of new revisions by `NOTIFY`.

use std::{sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    StoreError,
    wakeup::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN, Wakeup},
};
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

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

const CONNECTIONS_MAX: u32 = 8;
/// How long to wait for a free connection, and for a new one to be established.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn open(url: &str, sealer: Arc<Sealer>) -> Result<sql::SqlStore, StoreError> {
    let options: PgConnectOptions =
        url.parse().map_err(|error| StoreError::Open { place: "the URL that was given".into(), error })?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let unopened = |error| StoreError::Open { place: place.clone(), error };
    let options = options
        .application_name("switchyard-control-plane")
        // A statement waits for the change before it at most this long; a session that a dead process left behind does not
        // hold the revision for ever.
        .options([("statement_timeout", "15s"), ("idle_in_transaction_session_timeout", "30s")]);
    // A pool would only say that it has waited too long for a connection.
    match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
        Ok(connection) => connection.map_err(unopened)?.close().await.map_err(unopened)?,
        Err(_) => return Err(unopened(sqlx::Error::PoolTimedOut)),
    }
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(unopened)?;
    MIGRATIONS.run(&pool).await.map_err(StoreError::Migrate)?;
    let wakeup = Wakeup::listening(|sender| listen(pool.clone(), sender));
    sql::SqlStore::new(pool, sealer, wakeup).await
}

/// Wakes the followers for every notification, and after each time that some may have been lost.
async fn listen(pool: PgPool, sender: watch::Sender<()>) {
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        match follow(&pool, &sender, &mut pause).await {
            Ok(()) => info!("the connection that tells of new revisions broke; connecting again"),
            Err(error) => warn!(%error, "the database does not tell of new revisions; they are looked for by a timer"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

async fn follow(pool: &PgPool, sender: &watch::Sender<()>, pause: &mut Duration) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    *pause = RETRY_PAUSE_MIN;
    sender.send_replace(());
    while listener.try_recv().await?.is_some() {
        sender.send_replace(());
    }
    Ok(())
}
