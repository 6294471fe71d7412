//! Databases for tests, each of a test's own.

pub(crate) mod values;

use std::{env, sync::Arc};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use switchyard_proto::vocab::{EdgeId, Labels};
use tempfile::TempDir;

use self::values::edge;
use super::{Location, Store, open};
use crate::{
    model::{Actor, Timestamp},
    seal::{MasterKey, Sealer},
};

const POSTGRES_URL: &str = "SWITCHYARD_TEST_POSTGRES_URL";

/// A database, and the means to harm it.
pub(crate) struct Fixture {
    pub(crate) location: Location,
    key: MasterKey,
    _directory: Option<TempDir>,
}

impl Fixture {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(directory.path().join("switchyard.db"));
        Self { location, key: MasterKey::generate().unwrap(), _directory: Some(directory) }
    }

    pub(crate) async fn postgres() -> Self {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let name = format!("store_{}", crate::seal::hex(&random));
        on_server(format!("CREATE DATABASE {name}")).await;
        let server = server();
        let (before, _) = server.rsplit_once('/').unwrap();
        let location = Location::Postgres(format!("{before}/{name}"));
        Self { location, key: MasterKey::generate().unwrap(), _directory: None }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        open(&self.location, Sealer::new(&self.key)).await.unwrap()
    }

    /// The database, with this master key.
    pub(crate) fn sealed_under(self, key: MasterKey) -> Self {
        Self { key, ..self }
    }

    /// Opens the database with another master key, and with those that it was sealed under before.
    pub(crate) async fn open_with(&self, key: &MasterKey, previous: &[MasterKey]) -> Arc<dyn Store> {
        open(&self.location, Sealer::new(key).with_previous(previous)).await.unwrap()
    }

    /// The master key.
    pub(crate) fn key(&self) -> &MasterKey {
        &self.key
    }

    /// Bytes as a literal of the database's.
    pub(crate) fn literal(&self, bytes: &[u8]) -> String {
        let digits = crate::seal::hex(bytes);
        match &self.location {
            Location::Sqlite(_) => format!("X'{digits}'"),
            Location::Postgres(_) => format!("'\\x{digits}'::bytea"),
        }
    }

    /// Does to the tables what this program never does.
    pub(crate) async fn execute(&self, statement: impl Into<String>) {
        let statement = AssertSqlSafe(statement.into());
        match &self.location {
            Location::Sqlite(path) => {
                let mut connection = SqliteConnection::connect(&path.display().to_string()).await.unwrap();
                connection.execute(statement).await.unwrap();
                connection.close().await.unwrap();
            }
            Location::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                connection.execute(statement).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// What a query for one number says.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        match &self.location {
            Location::Sqlite(path) => {
                let mut connection = SqliteConnection::connect(&path.display().to_string()).await.unwrap();
                sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
            }
            Location::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// What a query for one value of bytes says.
    pub(crate) async fn bytes(&self, query: impl Into<String>) -> Vec<u8> {
        let query = AssertSqlSafe(query.into());
        match &self.location {
            Location::Sqlite(path) => {
                let mut connection = SqliteConnection::connect(&path.display().to_string()).await.unwrap();
                sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
            }
            Location::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// Ends all connections to a Postgres database.
    pub(crate) async fn end_connections(&self) {
        let name = self.postgres_name();
        on_server(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;
    }

    /// Takes a Postgres database away under its users.
    pub(crate) async fn destroy(&self) {
        on_server(format!("DROP DATABASE {} WITH (FORCE)", self.postgres_name())).await;
    }

    fn postgres_name(&self) -> &str {
        let Location::Postgres(url) = &self.location else { panic!("not a Postgres database") };
        url.rsplit_once('/').unwrap().1
    }
}

fn server() -> String {
    env::var(POSTGRES_URL)
        .unwrap_or_else(|_| panic!("{POSTGRES_URL} is not set: run `make test`, which starts a Postgres"))
}

async fn on_server(statement: String) {
    let mut connection = PgConnection::connect(&server()).await.unwrap();
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    connection.close().await.unwrap();
}

/// Lets an edge belong to the fleet.
pub(crate) async fn enrol(store: &Arc<dyn Store>, id: &EdgeId) {
    let mut transaction = store.begin(&Actor::system(), Timestamp(1)).await.unwrap();
    transaction.put(None, edge(id.as_str(), &Labels::default())).await.unwrap();
    transaction.commit().await.unwrap();
}
