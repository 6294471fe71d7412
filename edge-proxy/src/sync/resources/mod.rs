//! What this edge has received, what of it is served, and why the rest is not.
//!
//! What always holds: what is served was checked; it is the newest version of each resource that can be served together
//! with everything it uses. [`Resources::digest`] and [`Resources::revision`] speak of what was received. The cost of a batch
//! follows the batch and what is pending or withheld, not what there is.
//!
//! A resource that the control plane cannot read is *withheld*: it was not received, so it is neither in the digest nor rejected, but
//! what is served of it, and of what it uses, stays.

mod dependencies;
mod record;
mod served;

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use switchyard_proto::vocab::{
    Digest, ResourceKey, ResourceKind, Revision, ServiceId,
    limits::{REJECTION_REASON_BYTES_MAX, REJECTIONS_MAX},
};

pub(in crate::sync) use self::record::{Kept, KeptServed, Record, ServedRecord, WithheldRecord};
use self::{
    dependencies::Dependencies,
    served::{Served, backend_id, certificate_id, host, service_id, ticket_keys_id},
};
use super::{
    batch::{Batch, BatchKind, Named, Received},
    convert::{Claim, Trust, Valid, convert},
    store::Loaded,
};
use crate::{
    balance::Backends,
    snapshot::{Edit, Snapshot},
};

/// What an edge holds of the fleet's configuration.
#[derive(Debug)]
pub(in crate::sync) struct Resources {
    revision: Revision,
    digest: Digest,
    /// Every resource as it was received last, and what it adds to the digest.
    received: HashMap<ResourceKey, Digest>,
    served: Served,
    /// What was received and is not served: a version, or a removal.
    pending: BTreeMap<ResourceKey, Pending>,
    /// What is there and was not received, since the control plane cannot read it; whether anything of it is served or not.
    withheld: BTreeSet<ResourceKey>,
    snapshot: Snapshot,
}

/// What was received and is not served.
#[derive(Debug)]
struct Pending {
    revision: Revision,
    change: PendingChange,
    /// Why it is not served; what it waits for may change with every batch.
    reason: String,
}

#[derive(Debug)]
enum PendingChange {
    /// A version that can be served, once everything it uses can be.
    Put(Valid),
    /// A version that this program will never serve.
    Unservable(Claim),
    Remove,
}

/// What a batch did.
#[derive(Debug)]
pub(in crate::sync) struct Applied {
    /// What is to be served from now on.
    pub(in crate::sync) snapshot: Snapshot,
    /// What is to be written to disk.
    pub(in crate::sync) record: Record,
}

/// A resource that is not served as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which one.
    pub key: ResourceKey,
    /// The revision of the version that is not served.
    pub revision: Revision,
    /// Why; at most [`REJECTION_REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

/// The digest after the batch would not be the one that the batch says. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("after the batch of revision {revision} the digest would be {computed:?}, and not {expected:?}")]
pub(in crate::sync) struct DigestMismatch {
    revision: Revision,
    computed: Digest,
    expected: Digest,
}

impl DigestMismatch {
    /// What the digest would be.
    pub(in crate::sync) fn computed(&self) -> Digest {
        self.computed
    }
}

impl Resources {
    /// An edge that has received nothing.
    pub(in crate::sync) fn new(known_backends: Arc<Backends>) -> Self {
        Self {
            revision: Revision::ZERO,
            digest: Digest::default(),
            received: HashMap::new(),
            served: Served::default(),
            pending: BTreeMap::new(),
            withheld: BTreeSet::new(),
            snapshot: Snapshot::new(known_backends),
        }
    }

    /// What an edge had when it wrote to its disk last. What was pending then is looked at again: this may be a newer
    /// program. Returns what is to be written for that.
    pub(in crate::sync) fn restore(known_backends: Arc<Backends>, loaded: Loaded) -> (Self, Record) {
        let Loaded { revision, mut kept, withheld, removed } = loaded;
        // Withheld ones first: what was received may have taken their place.
        kept.sort_by(|left, right| {
            let is_received = |kept: &Kept| kept.key().is_none_or(|key| !withheld.contains(key));
            is_received(left).cmp(&is_received(right)).then_with(|| left.key().cmp(&right.key()))
        });
        let mut resources = Self { revision, withheld, ..Self::new(known_backends) };
        resources.received.reserve(kept.len());
        let mut edit = resources.snapshot.edit();
        let mut unserved = Vec::new();
        for kept in kept {
            let Some(key) = kept.key().cloned() else { continue };
            let Kept { received, digest, served } = kept;
            if received.is_some() {
                resources.digest = resources.digest.plus(digest);
                resources.received.insert(key.clone(), digest);
            }
            let is_withheld = resources.withheld.contains(&key);
            let to_serve = match served {
                KeptServed::AsReceived => received,
                KeptServed::Other(other) => {
                    if !is_withheld {
                        unserved.push((key.clone(), received));
                    }
                    Some(*other)
                }
                KeptServed::Nothing => {
                    unserved.push((key, received));
                    continue;
                }
            };
            let Some(to_serve) = to_serve else { continue };
            match convert(&to_serve, Trust::CheckedBefore) {
                (_, Ok(valid)) => {
                    resources.served.put(&key, &valid);
                    put(&mut edit, valid);
                }
                // This program is older than the one that wrote it. What is withheld is not received: it stays on the disk.
                (_, Err(_)) if is_withheld => {}
                (_, Err(_)) => unserved.push((key, Some(to_serve))),
            }
        }
        resources.snapshot = edit.finish();
        let mut reconsidered = BTreeSet::new();
        for (key, received) in unserved {
            // What was received comes before what is served instead of it.
            if reconsidered.insert(key.clone()) {
                resources.pend(key, received);
            }
        }
        for (key, revision) in removed {
            if let Some(pending) =
                resources.pending.get_mut(&key).filter(|it| matches!(it.change, PendingChange::Remove))
            {
                pending.revision = revision;
            }
        }
        let settled = resources.settle();
        let mut record = Record { revision, digest: resources.digest, ..Record::default() };
        resources.record_served(reconsidered, &settled, &mut record);
        (resources, record)
    }

    /// The revision of what was received.
    pub(in crate::sync) fn revision(&self) -> Revision {
        self.revision
    }

    /// The digest of what was received.
    pub(in crate::sync) fn digest(&self) -> Digest {
        self.digest
    }

    /// What is served.
    pub(in crate::sync) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What is not served as it was received: at most [`REJECTIONS_MAX`], those of the newest revisions first.
    pub(in crate::sync) fn rejections(&self) -> Vec<Rejection> {
        let mut newest: Vec<_> = self.pending.iter().collect();
        newest.sort_by_key(|(_, pending)| Reverse(pending.revision));
        newest
            .into_iter()
            .take(REJECTIONS_MAX)
            .map(|(key, pending)| Rejection {
                key: key.clone(),
                revision: pending.revision,
                reason: pending.reason[..pending.reason.floor_char_boundary(REJECTION_REASON_BYTES_MAX)].to_owned(),
            })
            .collect()
    }

    /// The served services whose backends are not verified.
    pub(in crate::sync) fn unverified(&self) -> &BTreeSet<ServiceId> {
        self.served.unverified()
    }

    /// How many resources are not served as they were received.
    pub(in crate::sync) fn rejected(&self) -> usize {
        self.pending.len()
    }

    /// How many resources the control plane cannot read.
    pub(in crate::sync) fn withheld(&self) -> usize {
        self.withheld.len()
    }

    /// Takes a batch: everything of it that can be served is, and what could not be until now is looked at again.
    ///
    /// # Errors
    ///
    /// The digest does not fit. Nothing was changed.
    pub(in crate::sync) fn apply(&mut self, batch: Batch) -> Result<Applied, DigestMismatch> {
        let Batch { revision, kind, resources, removed, withheld, named, digest: expected } = batch;
        let removed = self.removed(kind, named, &resources, removed, &withheld);
        let hashes: Vec<Digest> = resources.iter().map(|received| Digest::of(&received.encoded)).collect();
        let computed = self.digest_after(&resources, &hashes, removed.iter().chain(&withheld));
        if computed != expected {
            return Err(DigestMismatch { revision, computed, expected });
        }

        self.revision = revision;
        self.digest = computed;
        let mut record =
            Record { replaces_all: kind == BatchKind::Snapshot, revision, digest: computed, ..Record::default() };
        let mut reconsidered: BTreeSet<ResourceKey> = self.pending.keys().cloned().collect();
        for (received, hash) in resources.into_iter().zip(hashes) {
            let key = received.key.clone();
            let unchanged = self.received.insert(key.clone(), hash) == Some(hash);
            record.received.insert(key.clone(), Some(received.encoded.clone()));
            self.end_withheld(&key, &mut record);
            // The same version again says nothing new; if it is pending, it stays that.
            if !unchanged {
                self.pend(key.clone(), Some(received));
            }
            reconsidered.insert(key);
        }
        for key in removed {
            self.received.remove(&key);
            record.received.insert(key.clone(), None);
            self.end_withheld(&key, &mut record);
            self.pend(key.clone(), None);
            reconsidered.insert(key);
        }
        for key in withheld {
            self.received.remove(&key);
            record.received.insert(key.clone(), None);
            record.withheld.insert(key.clone(), WithheldRecord::Begun);
            // What is served of it stays; what was received after that is not known any more.
            self.pending.remove(&key);
            self.withheld.insert(key.clone());
            reconsidered.insert(key);
        }
        let settled = self.settle();
        self.record_served(reconsidered, &settled, &mut record);
        Ok(Applied { snapshot: self.snapshot.clone(), record })
    }

    /// Everything that a batch removes: also what it does not name, where it names all that there is.
    fn removed(
        &self,
        kind: BatchKind,
        named: Named,
        resources: &[Received],
        removed: Vec<ResourceKey>,
        withheld: &[ResourceKey],
    ) -> Vec<ResourceKey> {
        if named == Named::New {
            return removed;
        }
        let contained: HashSet<&ResourceKey> =
            resources.iter().map(|received| &received.key).chain(&removed).chain(withheld).collect();
        let is_gone = |key: &&ResourceKey| !contained.contains(key);
        let mut gone: Vec<ResourceKey> = self.withheld.iter().filter(is_gone).cloned().collect();
        if kind == BatchKind::Snapshot {
            gone.extend(self.received.keys().filter(is_gone).cloned());
        }
        gone.extend(removed);
        gone
    }

    fn end_withheld(&mut self, key: &ResourceKey, record: &mut Record) {
        if self.withheld.remove(key) {
            record.withheld.insert(key.clone(), WithheldRecord::Ended);
        }
    }

    fn digest_after<'a>(
        &self,
        resources: &[Received],
        hashes: &[Digest],
        removed: impl Iterator<Item = &'a ResourceKey>,
    ) -> Digest {
        let before = |key: &ResourceKey| self.received.get(key).copied().unwrap_or_default();
        let mut digest = self.digest;
        for (received, hash) in resources.iter().zip(hashes) {
            digest = digest.minus(before(&received.key)).plus(*hash);
        }
        for key in removed {
            digest = digest.minus(before(key));
        }
        digest
    }

    /// Notes a version that was received, or a removal, as not served yet.
    fn pend(&mut self, key: ResourceKey, received: Option<Received>) {
        let pending = match received {
            Some(received) => match convert(&received, Trust::Checked) {
                (_, Ok(valid)) => {
                    Pending { revision: received.revision, change: PendingChange::Put(valid), reason: String::new() }
                }
                (claim, Err(error)) => Pending {
                    revision: received.revision,
                    change: PendingChange::Unservable(claim),
                    reason: error.to_string(),
                },
            },
            None if self.served.contains(&key) => {
                Pending { revision: self.revision, change: PendingChange::Remove, reason: String::new() }
            }
            None => {
                self.pending.remove(&key);
                return;
            }
        };
        self.pending.insert(key, pending);
    }

    /// Serves everything that can be. Returns the keys of what changed.
    fn settle(&mut self) -> BTreeSet<ResourceKey> {
        let dependencies = Dependencies::find(&self.pending, &self.withheld, &self.served);
        let mut ready: Vec<ResourceKey> = Vec::new();
        for (key, pending) in &mut self.pending {
            match dependencies.reason(key) {
                Some(reason) => reason.clone_into(&mut pending.reason),
                None if matches!(pending.change, PendingChange::Unservable(_)) => {}
                None => ready.push(key.clone()),
            }
        }
        let mut edit = self.snapshot.edit();
        for key in &ready {
            match self.pending.remove(key).map(|pending| pending.change) {
                Some(PendingChange::Put(valid)) => {
                    self.served.put(key, &valid);
                    put(&mut edit, valid);
                }
                Some(PendingChange::Remove) => {
                    self.served.remove(key);
                    remove(&mut edit, key);
                }
                Some(PendingChange::Unservable(_)) | None => {}
            }
        }
        self.snapshot = edit.finish();
        ready.into_iter().collect()
    }

    /// Notes for the disk what is served of the resources that were looked at.
    fn record_served(&self, reconsidered: BTreeSet<ResourceKey>, settled: &BTreeSet<ResourceKey>, record: &mut Record) {
        for key in reconsidered {
            let is_as_received = settled.contains(&key) || !self.pending.contains_key(&key);
            let served = if is_as_received && !(self.withheld.contains(&key) && self.served.contains(&key)) {
                ServedRecord::AsReceived
            } else if self.served.contains(&key) {
                ServedRecord::AsBefore
            } else {
                ServedRecord::Nothing
            };
            record.served.insert(key, served);
        }
    }
}

fn put(edit: &mut Edit, valid: Valid) {
    match valid {
        Valid::Service(service) => edit.put_service(service),
        Valid::Backend(backend) => edit.put_backend(backend),
        Valid::Certificate(certificate) => edit.put_certificate(certificate),
        Valid::Domain(domain) => edit.put_domain(domain),
        Valid::Challenge(challenge) => edit.put_challenge(challenge),
        Valid::TicketKeys(keys) => edit.put_ticket_keys(keys),
    }
}

fn remove(edit: &mut Edit, key: &ResourceKey) {
    match key.kind {
        ResourceKind::Service => service_id(key).iter().for_each(|id| edit.remove_service(id)),
        ResourceKind::Backend => backend_id(key).iter().for_each(|id| edit.remove_backend(id)),
        ResourceKind::Certificate => certificate_id(key).iter().for_each(|id| edit.remove_certificate(id)),
        ResourceKind::Domain => host(key).iter().for_each(|host| edit.remove_domain(host)),
        ResourceKind::Challenge => host(key).iter().for_each(|host| edit.remove_challenge(host)),
        ResourceKind::TicketKeys => ticket_keys_id(key).iter().for_each(|id| edit.remove_ticket_keys(id)),
        ResourceKind::Unknown(_) => {}
    }
}
