//! The databases that every end-to-end test runs on.

use std::{
    env, fs,
    hash::{BuildHasher, RandomState},
    path::Path,
};

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// Names the Postgres server in which tests make their databases; `scripts/test` sets it.
pub const POSTGRES_URL_VARIABLE: &str = "SWITCHYARD_TEST_POSTGRES_URL";

/// SQLite's file in the data directory, and a copy beside it.
const SQLITE_FILE: &str = "switchyard.db";
const SQLITE_BACKUP: &str = "switchyard.db.backup";

/// Where a control plane keeps its data.
#[derive(Clone, Debug)]
pub enum Database {
    /// In a file in its data directory.
    Sqlite,
    /// In a Postgres database of its own.
    Postgres {
        /// Its URL.
        url: String,
    },
}

impl Database {
    /// Makes an empty Postgres database. The server, and with it the database, is gone after the tests.
    pub async fn postgres() -> Result<Self> {
        let name = format!("switchyard_{:016x}", RandomState::new().hash_one(0u8));
        execute(format!("CREATE DATABASE {name}")).await?;
        let server = server()?;
        let (base, _) = server.rsplit_once('/').context("a URL that ends in a database")?;
        Ok(Self::Postgres { url: format!("{base}/{name}") })
    }

    /// Executes a statement in it, as somebody who damages it does. `data_dir` is the data directory of its control plane.
    pub async fn execute(&self, data_dir: &Path, statement: &'static str) -> Result<()> {
        match self {
            Self::Sqlite => {
                let path = data_dir.join(SQLITE_FILE);
                let mut connection = SqliteConnection::connect(&path.display().to_string()).await?;
                sqlx::query(statement).execute(&mut connection).await.context(statement)?;
                Ok(connection.close().await?)
            }
            Self::Postgres { url } => {
                let mut connection = PgConnection::connect(url).await?;
                sqlx::query(statement).execute(&mut connection).await.context(statement)?;
                Ok(connection.close().await?)
            }
        }
    }

    /// Copies it as it is; nobody is connected to it. `data_dir` is the data directory of its control plane.
    pub async fn back_up(&self, data_dir: &Path) -> Result<()> {
        match self {
            Self::Sqlite => drop(fs::copy(data_dir.join(SQLITE_FILE), data_dir.join(SQLITE_BACKUP))?),
            Self::Postgres { url } => {
                let name = name_in(url)?;
                execute(format!("CREATE DATABASE {name}_backup TEMPLATE {name}")).await?;
            }
        }
        Ok(())
    }

    /// Puts the copy in its place; nobody is connected to it.
    pub async fn restore(&self, data_dir: &Path) -> Result<()> {
        match self {
            Self::Sqlite => fs::rename(data_dir.join(SQLITE_BACKUP), data_dir.join(SQLITE_FILE))?,
            Self::Postgres { url } => {
                let name = name_in(url)?;
                execute(format!("DROP DATABASE {name} WITH (FORCE)")).await?;
                execute(format!("ALTER DATABASE {name}_backup RENAME TO {name}")).await?;
            }
        }
        Ok(())
    }
}

fn name_in(url: &str) -> Result<&str> {
    Ok(url.rsplit_once('/').context("a URL that ends in a database")?.1)
}

fn server() -> Result<String> {
    env::var(POSTGRES_URL_VARIABLE)
        .with_context(|| format!("{POSTGRES_URL_VARIABLE} is not set: run the tests with scripts/test"))
}

/// Executes a statement on the server.
async fn execute(statement: String) -> Result<()> {
    let mut connection = PgConnection::connect(&server()?).await.context("connect to Postgres")?;
    let what = statement.clone();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.context(what)?;
    Ok(connection.close().await?)
}

/// Makes two tests of one: `NAME::sqlite` and `NAME::postgres`.
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($database:ident: Database) -> $result:ty $body:block)+) => {$(
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports, clippy::allow_attributes, reason = "a test may need nothing of its file")]
            use super::*;

            async fn run($database: $crate::database::Database) -> $result $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() -> $result {
                $crate::install_crypto_provider();
                run($crate::database::Database::Sqlite).await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() -> $result {
                $crate::install_crypto_provider();
                run($crate::database::Database::postgres().await?).await
            }
        }
    )+};
}
