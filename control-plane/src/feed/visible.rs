use std::{fmt, ops::Bound};

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use switchyard_proto::vocab::{Digest, ResourceKey, ResourceKind, Revision};

use super::batch::Batch;

/// Removals that are remembered. An edge that was away for more of them is sent everything.
const REMOVALS_MAX: usize = 100_000;

/// What the edges of one class may see: encoded, and by the revision that changed it last.
///
/// Clones share their structure.
#[derive(Clone, Debug, Default)]
pub struct VisibleSet {
    /// In order, not hashed: nodes of hashed maps are mostly empty, and entries are large.
    entries: OrdMap<ResourceKey, Entry>,
    present: OrdSet<Position>,
    removed: OrdSet<Position>,
    withheld: OrdSet<Position>,
    digest: Digest,
    floor: Revision,
}

#[derive(Clone, Debug)]
struct Entry {
    revision: Revision,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Present {
        encoded: Bytes,
    },
    Removed,
    /// It is there, and cannot be read: whoever has it keeps what it serves.
    Withheld,
}

/// Without the content: it may be a private key.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present { encoded } => f.debug_tuple("Present").field(&Digest::of(encoded)).finish(),
            Self::Removed => f.write_str("Removed"),
            Self::Withheld => f.write_str("Withheld"),
        }
    }
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

    /// Puts a resource, or a new version of it.
    pub(super) fn put(&mut self, key: ResourceKey, revision: Revision, encoded: Bytes) {
        self.forget(&key);
        self.digest = self.digest.plus(Digest::of(&encoded));
        self.present.insert((revision, key.clone()));
        self.entries.insert(key, Entry { revision, content: Content::Present { encoded } });
    }

    /// Whether a resource is there.
    pub(super) fn has(&self, key: &ResourceKey) -> bool {
        self.entries.get(key).is_some_and(|entry| matches!(entry.content, Content::Present { .. }))
    }

    /// Whether a resource was put or removed here at a revision, or after it.
    pub(super) fn changed_since(&self, key: &ResourceKey, revision: Revision) -> bool {
        self.entries.get(key).is_some_and(|entry| {
            entry.revision >= revision && matches!(entry.content, Content::Present { .. } | Content::Removed)
        })
    }

    /// Withholds a resource that cannot be read since a revision: it is not in the digest, but not gone either.
    pub(super) fn withhold(&mut self, key: ResourceKey, revision: Revision) {
        self.forget(&key);
        self.withheld.insert((revision, key.clone()));
        self.entries.insert(key, Entry { revision, content: Content::Withheld });
    }

    /// Removes a resource, and remembers when.
    pub(super) fn remove(&mut self, key: ResourceKey, revision: Revision) {
        self.forget(&key);
        self.removed.insert((revision, key.clone()));
        self.entries.insert(key, Entry { revision, content: Content::Removed });
        while self.removed.len() > REMOVALS_MAX {
            let Some((oldest, key)) = self.removed.get_min().cloned() else { break };
            self.forget(&key);
            self.raise_floor(oldest);
        }
    }

    /// Says that removals up to and including `floor` may be unknown.
    pub(super) fn raise_floor(&mut self, floor: Revision) {
        self.floor = self.floor.max(floor);
    }

    fn forget(&mut self, key: &ResourceKey) {
        let Some(Entry { revision, content }) = self.entries.remove(key) else { return };
        match content {
            Content::Present { encoded } => {
                self.present.remove(&(revision, key.clone()));
                // Worked out again: kept, it would be in memory for every resource, for the few that change.
                self.digest = self.digest.minus(Digest::of(&encoded));
            }
            Content::Removed => {
                self.removed.remove(&(revision, key.clone()));
            }
            Content::Withheld => {
                self.withheld.remove(&(revision, key.clone()));
            }
        }
    }

    /// The resources from a place in the order of their revisions on, each with its place.
    pub(super) fn present_from(&self, place: Place) -> impl Iterator<Item = (&Position, &Bytes)> {
        self.present.range((place, Bound::Unbounded)).filter_map(|position| {
            match &self.entries.get(&position.1)?.content {
                Content::Present { encoded } => Some((position, encoded)),
                Content::Removed | Content::Withheld => None,
            }
        })
    }

    /// The removals from a place in the order of their revisions on, each with its place.
    pub(super) fn removed_from(&self, place: Place) -> impl Iterator<Item = &Position> {
        self.removed.range((place, Bound::Unbounded))
    }

    /// What is withheld from a place in the order of their revisions on, each with its place.
    pub(super) fn withheld_from(&self, place: Place) -> impl Iterator<Item = &Position> {
        self.withheld.range((place, Bound::Unbounded))
    }
}

/// Where a resource stands in the order of revisions.
pub(super) type Position = (Revision, ResourceKey);

/// Where to begin in that order.
pub(super) type Place = Bound<Position>;

/// The place behind everything that `revision` or an earlier one changed last.
pub(super) fn later_than(revision: Revision) -> Place {
    let least = ResourceKey { kind: ResourceKind::Service, id: "".into() };
    Bound::Included((revision.next(), least))
}
