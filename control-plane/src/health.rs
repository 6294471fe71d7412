//! Whether the control plane can do all that it is for: follow the database, and write to it. Reads go on from memory without either.

use std::{sync::Arc, time::Duration};

use switchyard_process::chain;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    feed::Feed,
    store::{Store, StoreError},
};

/// How often it is looked whether the database is followed.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often the database is written to, to know whether it can be.
const WRITE_INTERVAL: Duration = Duration::from_secs(3);
/// How often that is tried again when it failed.
const WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long such a write may take, changes before it included.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How old what is in memory may be. The database is read every second.
const LAG_MAX: Duration = Duration::from_secs(5);

/// What the control plane can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All that it is for.
    Serving,
    /// What is in memory may be old: the database cannot be read.
    NotFollowing,
    /// Nothing can be changed: the database cannot be written.
    NotWriting,
    /// Nothing can be changed: there is no room for it.
    NoSpace,
}

impl Health {
    /// What is wrong, if anything is.
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::Serving => None,
            Self::NotFollowing => Some("the database cannot be read"),
            Self::NotWriting => Some("the database cannot be written"),
            Self::NoSpace => Some("the database cannot be written: no space left on device"),
        }
    }
}

/// Finds out about the health of this process.
#[derive(Debug)]
pub struct HealthMonitor {
    feed: Feed,
    store: Arc<dyn Store>,
    health: watch::Sender<Health>,
}

impl HealthMonitor {
    /// Of a control plane that has just read and written its database.
    pub fn new(feed: Feed, store: Arc<dyn Store>) -> Self {
        Self { feed, store, health: watch::Sender::new(Health::Serving) }
    }

    /// The health now and from now on.
    pub fn subscribe(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Finds out until `ending` is cancelled.
    pub async fn run(self, ending: CancellationToken) {
        tokio::select! {
            () = ending.cancelled() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&self) {
        let written = watch::Sender::new(Health::Serving);
        let writes = async {
            loop {
                let pause = if *written.borrow() == Health::Serving { WRITE_INTERVAL } else { WRITE_RETRY_INTERVAL };
                sleep(pause).await;
                written.send_replace(self.write().await);
            }
        };
        let health = async {
            loop {
                let is_followed = self.feed.is_followed(Instant::now(), LAG_MAX);
                self.publish(if is_followed { *written.borrow() } else { Health::NotFollowing });
                sleep(INTERVAL).await;
            }
        };
        tokio::join!(writes, health);
    }

    /// Writes to the database; what that says of the health.
    async fn write(&self) -> Health {
        match timeout(WRITE_TIMEOUT, self.store.check_write()).await {
            Ok(Ok(())) => Health::Serving,
            Ok(Err(error)) => {
                warn!(error = chain(&error), "the database cannot be written");
                if matches!(error, StoreError::NoSpace(_)) { Health::NoSpace } else { Health::NotWriting }
            }
            Err(_) => {
                warn!(timeout = ?WRITE_TIMEOUT, "the database cannot be written: it does not answer in time");
                Health::NotWriting
            }
        }
    }

    fn publish(&self, health: Health) {
        let is_new = self.health.send_if_modified(|before| std::mem::replace(before, health) != health);
        match health.problem() {
            _ if !is_new => {}
            Some(problem) => warn!(problem, "not serving"),
            None => info!("serving"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::DropGuard;

    use super::*;
    use crate::{feed::Follower, store::fixture::Fixture};

    /// A monitor of a database that is followed; what it says.
    async fn monitored() -> (Fixture, watch::Receiver<Health>, DropGuard) {
        let fixture = Fixture::sqlite().await;
        let store = fixture.open().await;
        let (feed, ending) = (Feed::new(), CancellationToken::new());
        let follower = Follower::new(feed.clone(), store.clone());
        follower.catch_up().await.unwrap();
        tokio::spawn(follower.run(ending.clone()));
        let monitor = HealthMonitor::new(feed, store);
        let health = monitor.subscribe();
        tokio::spawn(monitor.run(ending.clone()));
        (fixture, health, ending.drop_guard())
    }

    /// Awaits that the health becomes this.
    async fn becomes(health: &mut watch::Receiver<Health>, expected: Health) {
        let reached = timeout(Duration::from_secs(30), health.wait_for(|now| *now == expected)).await;
        assert!(reached.is_ok(), "it never became {expected:?}");
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_read_is_reported_until_it_can() {
        let (fixture, mut health, _running) = monitored().await;
        fixture.execute("ALTER TABLE revision RENAME TO elsewhere").await;
        becomes(&mut health, Health::NotFollowing).await;
        fixture.execute("ALTER TABLE elsewhere RENAME TO revision").await;
        becomes(&mut health, Health::Serving).await;
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_is_reported_until_it_can() {
        let (fixture, mut health, _running) = monitored().await;
        let refuse = "CREATE TRIGGER full BEFORE UPDATE ON revision BEGIN SELECT RAISE(ABORT, 'full'); END";
        fixture.execute(refuse).await;
        becomes(&mut health, Health::NotWriting).await;
        fixture.execute("DROP TRIGGER full").await;
        becomes(&mut health, Health::Serving).await;
    }
}
