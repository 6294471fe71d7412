//! The change feed: the fleet's current resources in memory, and what each edge is to be sent.
//!
//! What always holds: a [`State`] is one committed revision of the database, whole; it is immutable and shares its
//! structure with those before and after it. Each resource is encoded once. The cost of a change follows the change, not
//! the fleet. Notification is never the truth: a [`Follower`] that missed every wake-up still finds the change.
//!
//! Who is connected and what they acknowledged is left to `fleet`, transport to `grpc`.

mod batch;
mod encode;
mod entry;
mod follower;
mod resources;
mod scope;
mod state;
mod visible;

use std::{sync::Arc, time::Duration};

use switchyard_proto::vocab::Revision;
use tokio::{sync::watch, time::Instant};

pub use batch::{Batch, BatchKind, Last, Named, Part};
pub use follower::Follower;
pub use state::State;
pub use visible::VisibleSet;

#[cfg(test)]
use crate::model::Enrolment;

/// A handle on the feed; clones share it.
#[derive(Clone, Debug)]
pub struct Feed {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<Arc<State>>,
    /// How often somebody asked that the database be read.
    asked: watch::Sender<u64>,
    /// The last of these whose reading, begun after it was asked for, is done.
    answered: watch::Sender<u64>,
    /// When the database was read last; none if the last attempt failed, or there was none.
    read_at: watch::Sender<Option<Instant>>,
}

impl Feed {
    /// A feed without resources. A [`Follower`] fills it.
    #[expect(clippy::new_without_default, reason = "it is of no use without a follower, and made in one place")]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: watch::Sender::new(Arc::default()),
                asked: watch::Sender::new(0),
                answered: watch::Sender::new(0),
                read_at: watch::Sender::new(None),
            }),
        }
    }

    /// A feed that has these edges, and nothing else.
    #[cfg(test)]
    pub(crate) fn holding(edges: Vec<Enrolment>) -> Self {
        let feed = Self::new();
        feed.shared.state.send_replace(Arc::new(State::holding(edges)));
        feed
    }

    /// The resources now.
    pub fn state(&self) -> Arc<State> {
        self.shared.state.borrow().clone()
    }

    /// The resources now and from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.shared.state.subscribe()
    }

    /// Asks that the database be read soon.
    pub fn wake(&self) {
        self.ask();
    }

    /// Waits until the resources are those of `revision` or of a later one.
    ///
    /// # Errors
    ///
    /// They are not after `timeout`: the database does not answer, or the revision was never committed.
    pub async fn reached(&self, revision: Revision, timeout: Duration) -> Result<Arc<State>, NotReached> {
        self.wake();
        let mut states = self.subscribe();
        let reached = states.wait_for(|state| state.revision() >= revision);
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(state)) => Ok(state.clone()),
            // The sender lives in `self`, so only time can have run out.
            Ok(Err(_)) | Err(_) => Err(NotReached { revision }),
        }
    }

    /// Reads the database, and returns what was found there.
    ///
    /// # Errors
    ///
    /// It could not be read within `timeout`.
    pub async fn read(&self, timeout: Duration) -> Result<Arc<State>, NotRead> {
        let mut answers = self.shared.answered.subscribe();
        let question = self.ask();
        match tokio::time::timeout(timeout, answers.wait_for(|answered| *answered >= question)).await {
            Ok(Ok(_)) => Ok(self.state()),
            Ok(Err(_)) | Err(_) => Err(NotRead),
        }
    }

    /// Whether the resources are those of the database, as far as that was read at most `lag` before `now`.
    pub fn is_followed(&self, now: Instant, lag: Duration) -> bool {
        self.shared.read_at.borrow().is_some_and(|read_at| now.saturating_duration_since(read_at) <= lag)
    }

    fn ask(&self) -> u64 {
        let mut question = 0;
        self.shared.asked.send_modify(|asked| {
            *asked += 1;
            question = *asked;
        });
        question
    }
}

/// The feed has not reached a revision in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {revision} could not be read back from the database in time")]
pub struct NotReached {
    /// The revision.
    pub revision: Revision,
}

/// The database could not be read in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database could not be read in time")]
pub struct NotRead;
