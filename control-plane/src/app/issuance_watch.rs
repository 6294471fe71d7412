//! Issuances that are watched. They go on at whichever control plane leads, so the database is asked: once for all that watch the same.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};

use switchyard_proto::vocab::HostPattern;
use tokio::{
    sync::{Semaphore, watch},
    time::sleep,
};

use super::{
    App, AppError,
    issuance::{self, Standing},
};
use crate::model::Actor;

/// How often the database is asked whether an issuance went on.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Issuances that the database is asked about at a time; the others wait, so that its connections are left to calls.
const POLLS_MAX: usize = 2;

/// What is watched, and what was read of it; clones share it.
#[derive(Clone, Debug)]
pub struct IssuanceWatches {
    app: Arc<App>,
    pollers: Arc<Mutex<HashMap<HostPattern, watch::Sender<Option<Standing>>>>>,
    polls: Arc<Semaphore>,
}

/// One issuance as it goes on.
#[derive(Debug)]
pub struct IssuanceWatch {
    app: Arc<App>,
    actor: Actor,
    host: HostPattern,
    standings: watch::Receiver<Option<Standing>>,
}

impl IssuanceWatches {
    /// Watches nothing yet.
    pub fn new(app: Arc<App>) -> Self {
        Self { app, pollers: Arc::default(), polls: Arc::new(Semaphore::new(POLLS_MAX)) }
    }

    /// How many issuances the database is asked about.
    #[cfg(test)]
    pub(super) fn pollers(&self) -> usize {
        self.pollers.lock().unwrap().len()
    }

    /// Begins to watch an issuance; with it, how far it is now.
    ///
    /// # Errors
    ///
    /// As of [`issuance::get`].
    pub async fn watch(&self, actor: Actor, host: HostPattern) -> Result<(Standing, IssuanceWatch), AppError> {
        let now = issuance::get(&self.app, &actor, &host).await?;
        let standings = match self.pollers.lock().expect("no panic while it is locked").entry(host.clone()) {
            Entry::Occupied(poller) => {
                let mut standings = poller.get().subscribe();
                let version = |standing: &Option<Standing>| standing.as_ref().map(|it| it.issuance.version);
                if version(&standings.borrow()) > Some(now.issuance.version) {
                    standings.mark_changed();
                }
                standings
            }
            Entry::Vacant(vacant) => {
                let (sender, standings) = watch::channel(Some(now.clone()));
                vacant.insert(sender.clone());
                tokio::spawn(self.clone().poll(host.clone(), sender));
                standings
            }
        };
        Ok((now, IssuanceWatch { app: self.app.clone(), actor, host, standings }))
    }

    /// Asks for one issuance as long as it can be read and somebody watches it.
    async fn poll(self, host: HostPattern, sender: watch::Sender<Option<Standing>>) {
        let system = Actor::system();
        loop {
            sleep(POLL_INTERVAL).await;
            let now = {
                let _permit = self.polls.acquire().await.expect("the semaphore is never closed");
                issuance::get(&self.app, &system, &host).await.ok()
            };
            let mut pollers = self.pollers.lock().expect("no panic while it is locked");
            let is_over = now.is_none() || sender.receiver_count() == 0;
            sender.send_if_modified(|before| {
                let is_new = *before != now;
                *before = now;
                is_new
            });
            if is_over {
                pollers.remove(&host);
                return;
            }
        }
    }
}

impl IssuanceWatch {
    /// How far it is once that has changed.
    ///
    /// # Errors
    ///
    /// It is gone, or the database does not answer: nothing more comes.
    pub async fn next(&mut self) -> Result<Standing, AppError> {
        // Without a sender the last that was read is seen again.
        let _ = self.standings.changed().await;
        let standing = self.standings.borrow_and_update().clone();
        match standing {
            Some(standing) => Ok(standing),
            // Why is for this watcher to find out; that it was read again since is news as well.
            None => issuance::get(&self.app, &self.actor, &self.host).await,
        }
    }
}
