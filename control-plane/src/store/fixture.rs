//! Databases for tests, each of a test's own.

use std::{env, sync::Arc};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use switchyard_proto::vocab::{EdgeId, Labels};
use tempfile::TempDir;

use super::{Location, Store, open};
use crate::{
    model::{Actor, EdgeKey, Enrolment, Timestamp},
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

    /// Does to the tables what this program never does.
    pub(crate) async fn execute(&self, statement: &'static str) {
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
    let enrolment = Enrolment { id: id.clone(), key: EdgeKey::of(b"key"), labels: Labels::default() };
    transaction.put_enrolment(None, enrolment).await.unwrap();
    transaction.commit().await.unwrap();
}
