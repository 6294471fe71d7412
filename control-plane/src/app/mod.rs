//! The use cases: one file per noun, one function per use case, and the only place that decides.
//!
//! What always holds: a use case takes who acts, checks everything inside the transaction that makes the change, and
//! returns when this process's readers see it. Reads come from memory, and go on when the database does not answer.
//! Time is an argument ([`App::clock`]). How requests arrive is left to `grpc`, how edges learn of a change to `feed`.

pub mod audit;
pub mod backend;
pub mod bootstrap;
pub mod certificate;
mod dependents;
pub mod dns_provider;
pub mod domain;
pub mod edge;
mod error;
pub mod invite;
pub mod issuance;
pub mod issuance_watch;
pub mod issuer;
mod page;
mod page_token;
mod scope;
pub mod seed;
pub mod service;
#[cfg(test)]
mod tests;
pub mod tickets;
pub mod token;
pub mod unreadable;

use std::{fmt::Debug, sync::Arc, time::Duration};

use switchyard_proto::vocab::Revision;
use tokio::sync::Notify;
use tracing::warn;

pub use self::{
    dependents::Force,
    error::{AppError, FieldViolation},
    page::{Page, PageRequest},
    page_token::PageTokens,
};
use crate::{
    clock::Clock,
    feed::Feed,
    model::{Actor, Stored, Timestamp},
    pki::Authority,
    store::{Store, Transaction},
};

/// How long a change may take to reach this process's readers after its commit.
const READ_YOUR_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the use cases work on.
#[derive(Debug)]
pub struct App {
    /// Where changes are made.
    pub store: Arc<dyn Store>,
    /// Where reads come from.
    pub feed: Feed,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Issues for domains that need no public CA.
    pub internal_ca: Authority,
    /// Issues for edges, and for the control plane itself.
    pub fleet_ca: Arc<Authority>,
    /// How long the certificates of edges live.
    pub edge_certificate_lifetime: Duration,
    /// The port that edges connect to.
    pub fleet_port: u16,
    /// What page tokens are sealed with.
    pub page_tokens: PageTokens,
    /// Told when an issuance became due by no revision.
    pub due: Notify,
}

/// Whether a change is made, or only checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is made.
    Commit,
    /// Everything is checked, nothing changed.
    ValidateOnly,
}

/// A transaction, and when and how it was begun.
struct Change {
    transaction: Box<dyn Transaction>,
    now: Timestamp,
    mode: Mode,
}

impl App {
    async fn begin(&self, actor: &Actor, mode: Mode) -> Result<Change, AppError> {
        let now = self.clock.now();
        let transaction = self.store.begin(actor, now).await?;
        Ok(Change { transaction, now, mode })
    }

    /// Commits, unless it was only to be checked, and waits until this process's readers see it.
    async fn finish(&self, change: Change) -> Result<Revision, AppError> {
        let Change { transaction, now: _, mode } = change;
        let revision = match mode {
            Mode::Commit => transaction.commit().await?,
            Mode::ValidateOnly => return Ok(transaction.revision()),
        };
        if self.feed.reached(revision, READ_YOUR_WRITE_TIMEOUT).await.is_err() {
            // It is committed, and that is what was asked for.
            warn!(revision = revision.0, "a committed change is not in memory yet: the database does not answer reads");
        }
        Ok(revision)
    }
}

/// An etag that is given must be the resource's.
fn check_etag<T>(given: Option<Revision>, stored: &Stored<T>) -> Result<(), AppError> {
    match given {
        Some(etag) if etag != stored.revision => Err(AppError::StaleEtag { current: stored.revision }),
        _ => Ok(()),
    }
}
