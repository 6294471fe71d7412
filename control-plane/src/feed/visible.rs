use std::{ops::Bound, sync::Arc};

use bytes::Bytes;
use imbl::OrdSet;
use switchyard_proto::vocab::{Digest, ResourceKey, ResourceKind, Revision};

use super::{
    batch::Batch,
    entry::{ByKey, ByRevision, Content, Entry, Position},
};

/// Removals that are remembered. An edge that was away for more of them is sent everything.
const REMOVALS_MAX: usize = 100_000;

/// What the edges of one class may see: encoded, and by the revision that changed it last.
///
/// Clones share their structure.
#[derive(Clone, Debug, Default)]
pub struct VisibleSet {
    entries: OrdSet<ByKey>,
    present: OrdSet<ByRevision>,
    removed: OrdSet<ByRevision>,
    withheld: OrdSet<ByRevision>,
    digest: Digest,
    floor: Revision,
}

impl VisibleSet {
    /// The digest that an edge has when it has all of this.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.present.len()
    }

    /// Whether there are no resources.
    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// The batch that brings an edge from what it has received to all of this, which is `revision`: the difference, or
    /// everything if it has nothing that is known (`None`), or something older than the removals that are remembered.
    pub fn batch(&self, received: Option<Revision>, revision: Revision) -> Batch {
        match received {
            Some(received) if received >= self.floor && received <= revision => {
                Batch::delta(self.clone(), received, revision)
            }
            _ => Batch::snapshot(self.clone(), revision),
        }
    }

    /// Puts an entry in the place of the one before it: a resource, that it cannot be read since a revision (then it is not in the
    /// digest, but not gone either), or that it was removed.
    pub(super) fn put(&mut self, entry: Arc<Entry>) {
        self.forget(entry.key());
        let by_revision = ByRevision(entry.clone());
        match &entry.content {
            Content::Present { encoded } => {
                self.digest = self.digest.plus(Digest::of(encoded));
                self.present.insert(by_revision);
            }
            Content::Withheld => drop(self.withheld.insert(by_revision)),
            Content::Removed => drop(self.removed.insert(by_revision)),
        }
        self.entries.insert(ByKey(entry));
        while self.removed.len() > REMOVALS_MAX {
            let Some(ByRevision(oldest)) = self.removed.get_min().cloned() else { break };
            self.forget(oldest.key());
            self.raise_floor(oldest.revision());
        }
    }

    /// Whether a resource is there.
    pub(super) fn has(&self, key: &ResourceKey) -> bool {
        self.entries.get(key).is_some_and(|ByKey(entry)| entry.encoded().is_some())
    }

    /// Whether a resource was put or removed here at a revision, or after it.
    pub(super) fn changed_since(&self, key: &ResourceKey, revision: Revision) -> bool {
        self.entries.get(key).is_some_and(|ByKey(entry)| {
            entry.revision() >= revision && matches!(entry.content, Content::Present { .. } | Content::Removed)
        })
    }

    /// Withholds a resource that cannot be read since a revision.
    pub(super) fn withhold(&mut self, key: ResourceKey, revision: Revision) {
        self.put(Entry::new(key, revision, Content::Withheld));
    }

    /// Removes a resource, and remembers when.
    pub(super) fn remove(&mut self, key: ResourceKey, revision: Revision) {
        self.put(Entry::new(key, revision, Content::Removed));
    }

    /// Says that removals up to and including `floor` may be unknown.
    pub(super) fn raise_floor(&mut self, floor: Revision) {
        self.floor = self.floor.max(floor);
    }

    fn forget(&mut self, key: &ResourceKey) {
        let Some(ByKey(entry)) = self.entries.remove(key) else { return };
        match &entry.content {
            Content::Present { encoded } => {
                self.present.remove(&entry.position);
                // Worked out again: kept, it would be in memory for every resource, for the few that change.
                self.digest = self.digest.minus(Digest::of(encoded));
            }
            Content::Removed => drop(self.removed.remove(&entry.position)),
            Content::Withheld => drop(self.withheld.remove(&entry.position)),
        }
    }

    /// The resources from a place in the order of their revisions on, each with its place.
    pub(super) fn present_from(&self, place: Place) -> impl Iterator<Item = (&Position, &Bytes)> {
        from(&self.present, place).filter_map(|entry| Some((&entry.position, entry.encoded()?)))
    }

    /// The removals from a place in the order of their revisions on, each with its place.
    pub(super) fn removed_from(&self, place: Place) -> impl Iterator<Item = &Position> {
        from(&self.removed, place).map(|entry| &entry.position)
    }

    /// What is withheld from a place in the order of their revisions on, each with its place.
    pub(super) fn withheld_from(&self, place: Place) -> impl Iterator<Item = &Position> {
        from(&self.withheld, place).map(|entry| &entry.position)
    }
}

fn from(entries: &OrdSet<ByRevision>, place: Place) -> impl Iterator<Item = &Entry> {
    entries.range::<_, Position>((place, Bound::Unbounded)).map(|ByRevision(entry)| &**entry)
}

/// Where to begin in that order.
pub(super) type Place = Bound<Position>;

/// The place behind everything that `revision` or an earlier one changed last.
pub(super) fn later_than(revision: Revision) -> Place {
    let least = ResourceKey { kind: ResourceKind::Service, id: "".into() };
    Bound::Included((revision.next(), least))
}
