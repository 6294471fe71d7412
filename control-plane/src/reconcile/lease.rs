use std::{sync::Arc, time::Duration};

use switchyard_process::chain;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    model::Lease,
    store::{Store, StoreError},
};

/// How long a lease is taken for: so long nobody does the work of one that died.
const LIFETIME: Duration = Duration::from_secs(10);
/// How often a lease is taken again that is held, and how often one is asked for that is not.
const INTERVAL: Duration = Duration::from_secs(3);

/// Does what only one control plane may do at a time, while this one has the lease for it.
#[derive(Debug)]
pub struct Leader {
    store: Arc<dyn Store>,
    name: &'static str,
    /// Tells this process from any other, and from itself before.
    holder: String,
}

impl Leader {
    /// For the lease of this name; `None` if the system has no randomness to give.
    pub fn new(store: Arc<dyn Store>, name: &'static str) -> Option<Self> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        let holder = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { store, name, holder })
    }

    /// Works whenever the lease is held, until `ending` is cancelled. What is under way when it is lost is dropped.
    pub async fn run(self, work: impl AsyncFn(Lease), ending: CancellationToken) {
        let lead = async {
            loop {
                let asked_at = Instant::now();
                match self.take().await {
                    Ok(Some(lease)) => {
                        info!(lease = self.name, epoch = lease.epoch, "this control plane leads");
                        tokio::select! {
                            () = work(lease.clone()) => {}
                            () = self.keep(&lease, asked_at) => {}
                        }
                        warn!(lease = self.name, "this control plane does not lead any more");
                    }
                    Ok(None) => {}
                    Err(error) => warn!(lease = self.name, error = chain(&error), "the lease cannot be asked for"),
                }
                sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = lead => {}
            () = ending.cancelled() => {}
        }
        // So that another one need not wait for its end.
        if let Ok(Some(lease)) = self.take().await
            && let Err(error) = self.store.give_lease_back(&lease).await
        {
            warn!(lease = self.name, error = chain(&error), "the lease is not given back; it ends by itself");
        }
    }

    async fn take(&self) -> Result<Option<Lease>, StoreError> {
        self.store.take_lease(self.name, &self.holder, LIFETIME).await
    }

    /// Takes the lease again and again; returns when it is lost, by the time that passed here since before it was asked for.
    async fn keep(&self, lease: &Lease, mut asked_at: Instant) {
        loop {
            sleep(INTERVAL).await;
            let asking_at = Instant::now();
            match timeout_at(asked_at + LIFETIME, self.take()).await {
                Ok(Ok(Some(again))) if again == *lease => asked_at = asking_at,
                Ok(Ok(_)) | Err(_) => return,
                Ok(Err(_)) if Instant::now() + INTERVAL >= asked_at + LIFETIME => return,
                Ok(Err(error)) => warn!(lease = self.name, error = chain(&error), "the lease is not renewed yet"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::store::fixture::Fixture;

    #[tokio::test]
    async fn another_leads_once_the_first_has_ended() {
        let database = Fixture::postgres().await;
        let (sender, mut leaders) = mpsc::unbounded_channel();
        let ending = CancellationToken::new();
        let lead = |number: u32, store, ending: CancellationToken| {
            let leader = Leader::new(store, "test").unwrap();
            let sender = sender.clone();
            let work = async move |lease: Lease| {
                sender.send((number, lease.epoch)).unwrap();
                std::future::pending::<()>().await;
            };
            tokio::spawn(leader.run(work, ending))
        };
        let first_ending = ending.child_token();
        let first = lead(1, database.open().await, first_ending.clone());
        assert_eq!(leaders.recv().await, Some((1, 1)));
        let second = lead(2, database.open().await, ending.clone());
        first_ending.cancel();
        first.await.unwrap();
        assert_eq!(leaders.recv().await, Some((2, 2)));
        ending.cancel();
        second.await.unwrap();
    }
}
