use std::{collections::BTreeSet, path::Path, sync::Arc};

use switchyard_process::chain;
use switchyard_proto::vocab::{Digest, Revision, ServiceId};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    batch::Batch,
    metrics::SyncMetrics,
    resources::{DigestMismatch, KeptServed, Record, Rejection, Resources},
    seal::StoreKey,
    store::{Persistence, Store, StoreError},
};
use crate::{balance::Backends, snapshot::LiveSnapshot};

/// Takes batches: to memory, to the disk, to traffic, in this order but for the disk, which may refuse.
#[derive(Debug)]
pub struct Applier {
    resources: Resources,
    store: Store,
    /// Everything must be received anew, for the disk's sake.
    needs_everything: bool,
    live: LiveSnapshot,
    status: watch::Sender<Status>,
    metrics: SyncMetrics,
    /// The services whose backends are not verified, as far as the log says so.
    warned_of: BTreeSet<ServiceId>,
}

/// How far this edge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The revision of what it has received.
    pub revision: Revision,
    /// The digest of that.
    pub digest: Digest,
    /// How much of it is not served.
    pub rejected: usize,
    /// Whether it ever had a configuration.
    pub configuration: Configuration,
    /// Whether it has a stream to a control plane.
    pub link: Link,
}

/// Whether there is a configuration to serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Configuration {
    /// None was ever received.
    #[default]
    Missing,
    /// It is served.
    Loaded,
}

/// Whether there is a stream to a control plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// There is none: the edge serves what it has.
    #[default]
    Down,
    /// There is one.
    Up,
}

/// What the control plane is told of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) revision: Revision,
    pub(super) result: Result<(), DigestMismatch>,
    pub(super) rejections: Vec<Rejection>,
    /// How many rejections there are, whether they are in it or not.
    pub(super) rejected: usize,
    pub(super) persistence: Persistence,
}

impl Applier {
    /// Begins with what is on disk in a state directory, and serves it.
    ///
    /// # Errors
    ///
    /// The file cannot be used. One that is damaged is set aside, and the edge begins with nothing.
    pub fn open(
        state_dir: &Path,
        key: StoreKey,
        known_backends: Arc<Backends>,
        live: LiveSnapshot,
        metrics: SyncMetrics,
    ) -> Result<Self, StoreError> {
        let (store, loaded) = Store::open(state_dir, key)?;
        let had_rejections = loaded.kept.iter().any(|kept| !matches!(kept.served, KeptServed::AsReceived));
        let (resources, record) = Resources::restore(known_backends, loaded);
        live.store(resources.snapshot().clone());
        let mut applier = Self {
            resources,
            store,
            needs_everything: false,
            live,
            status: watch::Sender::new(Status::default()),
            metrics,
            warned_of: BTreeSet::new(),
        };
        if had_rejections || applier.resources.rejected() > 0 {
            applier.persist(record);
        }
        applier.tell();
        Ok(applier)
    }

    /// How far this edge is, from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// What the control plane is to be told first: it goes on from there.
    pub(super) fn position(&self) -> (Revision, Digest) {
        if self.needs_everything {
            return (Revision::ZERO, Digest::default());
        }
        (self.resources.revision(), self.resources.digest())
    }

    /// What is not served as it was received.
    pub(super) fn rejections(&self) -> Vec<Rejection> {
        self.resources.rejections()
    }

    /// How much is not served as it was received.
    pub(super) fn rejected(&self) -> usize {
        self.resources.rejected()
    }

    /// How many resources are known to be withheld.
    pub(super) fn withheld(&self) -> usize {
        self.resources.withheld()
    }

    /// Notes whether there is a stream.
    pub(super) fn link(&self, link: Link) {
        self.status.send_if_modified(|status| std::mem::replace(&mut status.link, link) != link);
    }

    /// Takes a batch. Blocks on the disk.
    pub(super) fn apply(&mut self, batch: Batch) -> Outcome {
        let (revision, kind) = (batch.revision, batch.kind);
        match self.resources.apply(batch) {
            Ok(applied) => {
                self.live.store(applied.snapshot);
                let persistence = self.persist(applied.record);
                self.metrics.batch(kind);
                self.tell();
                info!(
                    revision = revision.0,
                    kind = kind.as_str(),
                    rejected = self.resources.rejected(),
                    "serving a new revision"
                );
                for Rejection { key, revision, reason } in self.resources.rejections() {
                    warn!(resource = %key, revision = revision.0, reason, "not served: its last good version is, if there was one");
                }
                self.outcome(revision, Ok(()), persistence)
            }
            Err(mismatch) => {
                warn!(error = chain(&mismatch), "a batch does not fit to what this edge has: everything is asked for");
                self.outcome(revision, Err(mismatch), Persistence::Persisted)
            }
        }
    }

    fn outcome(&self, revision: Revision, result: Result<(), DigestMismatch>, persistence: Persistence) -> Outcome {
        Outcome { revision, result, rejections: self.rejections(), rejected: self.rejected(), persistence }
    }

    fn persist(&mut self, record: Record) -> Persistence {
        let persistence = self.store.write(record);
        self.needs_everything = persistence == Persistence::EverythingNeeded;
        persistence
    }

    fn tell(&mut self) {
        let (revision, digest, rejected) =
            (self.resources.revision(), self.resources.digest(), self.resources.rejected());
        let unverified = self.resources.unverified();
        if !unverified.is_subset(&self.warned_of) {
            let services = unverified.iter().map(ServiceId::as_str).collect::<Vec<_>>().join(", ");
            warn!(services, "the backends' certificates are not verified: insecure_skip_verify is set");
        }
        self.warned_of.clone_from(unverified);
        self.metrics.position(revision, rejected, unverified.len());
        self.status.send_modify(|status| {
            status.revision = revision;
            status.digest = digest;
            status.rejected = rejected;
            if revision > Revision::ZERO {
                status.configuration = Configuration::Loaded;
            }
        });
    }
}
