use std::{sync::Arc, time::Duration};

use switchyard_process::chain;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tracing::{info, warn};

use super::driver::{Step, StepError, Task, Timing};
use crate::{model::Lease, store::Store};

/// How long a lease is taken for: so long nobody does the work of one that died.
const LIFETIME: Duration = Duration::from_secs(10);

/// Acquires a lease, and renews it before its end.
#[derive(Debug)]
pub struct LeaseKeeper {
    store: Arc<dyn Store>,
    name: &'static str,
    /// Tells this process from any other, and from itself before.
    holder: String,
    term: watch::Sender<Option<Term>>,
}

/// A lease, and until when it is certain that nobody else has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    lease: Lease,
    /// By the time that passed here since before the database was asked.
    until: Instant,
}

impl LeaseKeeper {
    /// For the lease of this name.
    pub fn new(store: Arc<dyn Store>, name: &'static str, holder: String) -> Self {
        Self { store, name, holder, term: watch::Sender::new(None) }
    }

    /// What follows the lease.
    pub fn leadership(&self) -> Leadership {
        Leadership { term: self.term.subscribe() }
    }

    async fn acquire(&self, before: Option<&Term>) -> Result<Option<Lease>, StepError> {
        let acquire = self.store.take_lease(self.name, &self.holder, LIFETIME);
        match before {
            // One that does not answer is not waited for longer than the lease lasts.
            Some(before) => Ok(timeout_at(before.until, acquire).await.map_err(|_| StepError::LeaseEnded)??),
            None => Ok(acquire.await?),
        }
    }

    fn publish(&self, term: Option<Term>) {
        let lease = |term: &Option<Term>| term.as_ref().map(|term| term.lease.clone());
        let (before, after) = (lease(&self.term.borrow()), lease(&term));
        if before != after {
            if before.is_some() {
                warn!(lease = self.name, "lost leadership");
            }
            if let Some(lease) = after {
                info!(lease = self.name, epoch = lease.epoch, "acquired leadership");
            }
        }
        self.term.send_replace(term);
    }
}

impl Task for LeaseKeeper {
    const TIMING: Timing = Timing {
        rest: Duration::ZERO,
        interval: Duration::from_secs(3),
        retry: Duration::from_millis(500),
        retry_max: Duration::from_secs(3),
    };

    async fn step(&mut self) -> Result<Step, StepError> {
        let before = self.term.borrow().clone();
        let asked_at = Instant::now();
        let acquired = self.acquire(before.as_ref()).await;
        match acquired {
            Ok(Some(lease)) => {
                let is_renewed = before.is_some_and(|before| before.lease == lease);
                let step = if is_renewed { Step::idle() } else { Step::did(format!("acquired epoch {}", lease.epoch)) };
                self.publish(Some(Term { lease, until: asked_at + LIFETIME }));
                Ok(step)
            }
            Ok(None) => {
                self.publish(None);
                Ok(Step::idle().waiting_for("the lease, which another control plane has"))
            }
            Err(error) => {
                // Before, it may be renewed by the next step.
                if before.is_some_and(|before| before.until <= Instant::now()) {
                    self.publish(None);
                }
                Err(error)
            }
        }
    }

    /// Gives the lease back, so that another control plane need not wait for its end.
    async fn end(&mut self) {
        let Some(Term { lease, until: _ }) = self.term.send_replace(None) else { return };
        if let Err(error) = self.store.give_lease_back(&lease).await {
            warn!(lease = self.name, error = chain(&error), "the lease is not given back; it ends by itself");
        }
    }
}

/// Follows a lease.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: watch::Receiver<Option<Term>>,
}

impl Leadership {
    /// Ends when the lease is here.
    pub(super) async fn acquired(&mut self) -> Lease {
        loop {
            let term = self.term.borrow_and_update().clone();
            if let Some(Term { lease, .. }) = term.filter(|term| term.until > Instant::now()) {
                return lease;
            }
            self.changed().await;
        }
    }

    /// Ends when this lease is lost: another control plane may have it from then on.
    pub(super) async fn lost(&mut self, lease: &Lease) {
        loop {
            let term = self.term.borrow_and_update().clone();
            let Some(Term { until, .. }) = term.filter(|term| term.lease == *lease) else { return };
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.changed() => {}
            }
        }
    }

    async fn changed(&mut self) {
        if self.term.changed().await.is_err() {
            // The keeper is gone, so the lease does not come any more; one that is here ends by its time.
            std::future::pending::<()>().await;
        }
    }
}

/// What tells this process from any other that asks for leases, and from itself before.
///
/// # Errors
///
/// The system has no randomness to give.
pub fn holder() -> Result<String, NoRandomness> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness to give")]
pub struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Fixture;

    fn keeper(store: Arc<dyn Store>) -> LeaseKeeper {
        LeaseKeeper::new(store, "test", holder().unwrap())
    }

    #[tokio::test]
    async fn another_leads_once_the_first_has_ended() {
        let database = Fixture::postgres().await;
        let (mut first, mut second) = (keeper(database.open().await), keeper(database.open().await));
        assert_eq!(first.step().await.unwrap(), Step::did("acquired epoch 1"));
        let lease = first.leadership().acquired().await;
        assert_eq!(first.step().await.unwrap(), Step::idle(), "it is renewed");
        let mut leadership = first.leadership();
        assert!(futures::poll!(Box::pin(leadership.lost(&lease))).is_pending());

        assert_ne!(second.step().await.unwrap(), Step::did("acquired epoch 2"), "it waits");
        first.end().await;
        leadership.lost(&lease).await;
        assert_eq!(second.step().await.unwrap(), Step::did("acquired epoch 2"));
        assert_eq!(second.leadership().acquired().await.epoch, 2);
    }

    #[tokio::test]
    async fn a_lease_ends_by_time_when_the_database_renews_it_no_more() {
        let database = Fixture::sqlite().await;
        let mut keeper = keeper(database.open().await);
        keeper.step().await.unwrap();
        let lease = keeper.leadership().acquired().await;
        keeper.term.send_modify(|term| term.as_mut().unwrap().until = Instant::now());
        keeper.leadership().lost(&lease).await;
        let mut leadership = keeper.leadership();
        assert!(futures::poll!(Box::pin(leadership.acquired())).is_pending(), "its time is over");

        assert!(matches!(keeper.step().await, Err(StepError::LeaseEnded)));
        assert_eq!(*keeper.term.borrow(), None);
        keeper.step().await.unwrap();
        leadership.acquired().await;
    }

    #[tokio::test]
    async fn a_failure_to_renew_ends_no_lease_before_its_time() {
        let database = Fixture::sqlite().await;
        let mut keeper = keeper(database.open().await);
        keeper.step().await.unwrap();
        let lease = keeper.leadership().acquired().await;
        database.execute("ALTER TABLE lease RENAME TO elsewhere").await;
        assert!(matches!(keeper.step().await, Err(StepError::Store(_))));
        assert!(futures::poll!(Box::pin(keeper.leadership().lost(&lease))).is_pending());
    }
}
