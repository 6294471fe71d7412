use std::fmt;

use bytes::Bytes;
use switchyard_proto::vocab::{Digest, ResourceKey, Revision, limits::BATCH_PART_BYTES_MAX};

use super::visible::{Place, VisibleSet, later_than};

/// What a resource or a key costs on the wire beside its own bytes.
const ELEMENT_OVERHEAD_BYTES: usize = 16;

/// What brings an edge from what it has received to one revision, in bounded parts. However long the parts take, they are
/// of that one revision: the batch holds on to it.
#[derive(Clone, Debug)]
pub struct Batch {
    set: VisibleSet,
    revision: Revision,
    kind: BatchKind,
    next: Next,
    withheld_from: Place,
}

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// The difference to what the edge has received.
    Delta,
    /// Everything; what is not in it is gone.
    Snapshot,
}

/// One message of a batch.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// What the edge has once the last part is applied.
    pub revision: Revision,
    /// What the batch is.
    pub kind: BatchKind,
    /// Encoded resources: new ones, and new versions.
    pub resources: Vec<Bytes>,
    /// Resources that are gone.
    pub removed: Vec<ResourceKey>,
    /// Resources that are there and cannot be read.
    pub withheld: Vec<ResourceKey>,
    /// With the last part: what the edge must have after it.
    pub last: Option<Last>,
}

/// What the last part of a batch says of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// The digest of what the edge must have.
    pub digest: Digest,
    /// What of that which is withheld the batch has named.
    pub named: Named,
}

/// What of that which is withheld a batch names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// What came to be withheld since the edge's revision.
    New,
    /// All of it: what the edge knew as withheld, and the batch does not name, is gone.
    All,
}

/// Where the next part begins. What it begins with is followed by the kinds of elements below, each from its own place on.
#[derive(Clone, Debug)]
enum Next {
    /// With these resources; a delta's removals, from there on, follow.
    Resources { from: Place, removals_from: Option<Place> },
    /// With these removals.
    Removals { from: Place },
    /// With these that are withheld.
    Withheld { from: Place },
    /// There is none.
    Done,
}

impl Batch {
    pub(super) fn delta(set: VisibleSet, received: Revision, revision: Revision) -> Self {
        let from = later_than(received);
        let next = Next::Resources { from: from.clone(), removals_from: Some(from.clone()) };
        Self { set, revision, kind: BatchKind::Delta, next, withheld_from: from }
    }

    pub(super) fn snapshot(set: VisibleSet, revision: Revision) -> Self {
        let next = Next::Resources { from: later_than(Revision::ZERO), removals_from: None };
        Self { set, revision, kind: BatchKind::Snapshot, next, withheld_from: Place::Unbounded }
    }

    /// The same batch, but for that it names all that is withheld: for an edge that knows of some, part of which may be gone.
    #[must_use]
    pub fn naming_all_withheld(self) -> Self {
        Self { withheld_from: Place::Unbounded, ..self }
    }

    /// The revision it brings an edge to.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What it is.
    pub fn kind(&self) -> BatchKind {
        self.kind
    }

    /// The next part; none after the last. There is always at least one, be it without resources: then only the number
    /// moves.
    pub fn next_part(&mut self) -> Option<Part> {
        if matches!(self.next, Next::Done) {
            return None;
        }
        let (resources, removed, withheld) = (Vec::new(), Vec::new(), Vec::new());
        let mut part = Part { revision: self.revision, kind: self.kind, resources, removed, withheld, last: None };
        let mut room = Room { bytes: BATCH_PART_BYTES_MAX, used: false };
        if let Next::Resources { from, removals_from } = &self.next {
            for (position, encoded) in self.set.present_from(from.clone()) {
                if !room.take(encoded.len()) {
                    let from = Place::Included(position.clone());
                    self.next = Next::Resources { from, removals_from: removals_from.clone() };
                    return Some(part);
                }
                part.resources.push(encoded.clone());
            }
            self.next = match removals_from.clone() {
                Some(from) => Next::Removals { from },
                None => Next::Withheld { from: self.withheld_from.clone() },
            };
        }
        if let Next::Removals { from } = &self.next {
            for position in self.set.removed_from(from.clone()) {
                if !room.take(key_bytes(&position.1)) {
                    self.next = Next::Removals { from: Place::Included(position.clone()) };
                    return Some(part);
                }
                part.removed.push(position.1.clone());
            }
            self.next = Next::Withheld { from: self.withheld_from.clone() };
        }
        if let Next::Withheld { from } = &self.next {
            for position in self.set.withheld_from(from.clone()) {
                if !room.take(key_bytes(&position.1)) {
                    self.next = Next::Withheld { from: Place::Included(position.clone()) };
                    return Some(part);
                }
                part.withheld.push(position.1.clone());
            }
        }
        self.next = Next::Done;
        let named = if matches!(self.withheld_from, Place::Unbounded) { Named::All } else { Named::New };
        part.last = Some(Last { digest: self.set.digest(), named });
        Some(part)
    }
}

fn key_bytes(key: &ResourceKey) -> usize {
    key.kind.collection().len() + key.id.len()
}

/// What still fits into a part.
struct Room {
    bytes: usize,
    used: bool,
}

impl Room {
    /// Takes room for an element, if there is; the first one always fits.
    fn take(&mut self, bytes: usize) -> bool {
        let bytes = bytes + ELEMENT_OVERHEAD_BYTES;
        if self.used && bytes > self.bytes {
            return false;
        }
        self.used = true;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// Without the resources: there may be private keys in them.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, kind, resources, removed, withheld, last } = self;
        f.debug_struct("Part")
            .field("revision", revision)
            .field("kind", kind)
            .field("resources", &resources.len())
            .field("removed", removed)
            .field("withheld", withheld)
            .field("last", last)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use switchyard_proto::vocab::{Digest, ResourceKind};

    use super::*;
    use crate::feed::entry::{Content, Entry};

    /// What an edge has received.
    type Received = BTreeMap<ResourceKey, Bytes>;

    #[derive(Clone, Debug)]
    enum Change {
        Put(u8, usize),
        Remove(u8),
        Withhold(u8),
    }

    /// What happened, revision by revision.
    type History = Vec<Vec<Change>>;

    fn history(ids: u8, bytes_max: usize, changes_max: usize, revisions_max: usize) -> impl Strategy<Value = History> {
        let change = prop_oneof![
            4 => (0..ids, 1..bytes_max).prop_map(|(id, bytes)| Change::Put(id, bytes)),
            2 => (0..ids).prop_map(Change::Remove),
            1 => (0..ids).prop_map(Change::Withhold),
        ];
        proptest::collection::vec(proptest::collection::vec(change, 0..changes_max), 1..revisions_max)
    }

    fn key(id: u8) -> ResourceKey {
        ResourceKey { kind: ResourceKind::Backend, id: format!("b-{id}").into() }
    }

    fn apply(set: &mut VisibleSet, changes: &[Change], revision: Revision) {
        for change in changes {
            match change {
                Change::Put(id, bytes) => {
                    let mut encoded = format!("{id} at {revision} ").into_bytes();
                    encoded.resize(encoded.len() + bytes, b'.');
                    set.put(Entry::new(key(*id), revision, Content::Present { encoded: encoded.into() }));
                }
                Change::Remove(id) => set.remove(key(*id), revision),
                Change::Withhold(id) => set.withhold(key(*id), revision),
            }
        }
    }

    /// Reads the key back out of a resource of these tests.
    fn key_of(encoded: &Bytes) -> ResourceKey {
        let id = std::str::from_utf8(&encoded[..encoded.len().min(4)]).unwrap();
        key(id.split(' ').next().unwrap().parse().unwrap())
    }

    /// Applies a batch as an edge does; the digest it must have then. `withheld` is what it knows to be that.
    fn receive(received: &mut Received, withheld: &mut BTreeSet<ResourceKey>, mut batch: Batch) -> Digest {
        let mut next = match batch.kind() {
            BatchKind::Delta => received.clone(),
            BatchKind::Snapshot => Received::new(),
        };
        let (mut named, mut ended, mut digest) = (BTreeSet::new(), BTreeSet::new(), None);
        while let Some(part) = batch.next_part() {
            assert!(digest.is_none(), "nothing comes after the last part");
            let bytes: usize = part.resources.iter().map(Bytes::len).sum();
            assert!(bytes <= BATCH_PART_BYTES_MAX || part.resources.len() == 1, "{bytes} bytes in one part");
            assert_eq!((part.revision, part.kind), (batch.revision(), batch.kind()));
            for encoded in part.resources {
                ended.insert(key_of(&encoded));
                next.insert(key_of(&encoded), encoded);
            }
            for key in part.removed {
                next.remove(&key);
                ended.insert(key);
            }
            for key in part.withheld {
                next.remove(&key);
                assert!(named.insert(key), "each is named once");
            }
            if part.last.is_some_and(|last| last.named == Named::All) {
                withheld.clear();
            }
            digest = part.last.map(|last| last.digest);
        }
        assert!(named.is_disjoint(&ended), "a resource is in one list");
        withheld.retain(|key| !ended.contains(key));
        withheld.append(&mut named);
        *received = next;
        digest.expect("a batch has a last part")
    }

    fn digest(received: &Received) -> Digest {
        received.values().fold(Digest::default(), |sum, encoded| sum.plus(Digest::of(encoded)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// From wherever an edge was, one batch brings it to where a fresh edge is.
        #[test]
        fn a_delta_from_any_earlier_revision_ends_where_a_snapshot_does(
            history in prop_oneof![
                // Some fill parts, some fill trees.
                history(12, 100_000, 4, 12),
                history(u8::MAX, 10, 120, 12),
            ],
        ) {
            let mut set = VisibleSet::default();
            // An edge for every revision, which has seen nothing since.
            let mut edges = vec![];
            for (index, changes) in history.iter().enumerate() {
                let revision = Revision(index as u64 + 1);
                apply(&mut set, changes, revision);
                let (mut fresh, mut fresh_withheld) = (Received::new(), BTreeSet::new());
                let expected = receive(&mut fresh, &mut fresh_withheld, set.batch(None, revision));
                prop_assert_eq!(digest(&fresh), expected);
                prop_assert_eq!(set.digest(), expected);
                prop_assert_eq!(set.len(), fresh.len());
                for (seen, received, withheld) in &edges {
                    for all in [false, true] {
                        let (mut received, mut withheld) = (Received::clone(received), BTreeSet::clone(withheld));
                        let batch = set.batch(Some(*seen), revision);
                        let batch = if all { batch.naming_all_withheld() } else { batch };
                        prop_assert_eq!(batch.kind(), BatchKind::Delta);
                        prop_assert_eq!(receive(&mut received, &mut withheld, batch), expected);
                        prop_assert_eq!((&received, &withheld), (&fresh, &fresh_withheld));
                    }
                }
                edges.push((revision, fresh, fresh_withheld));
            }
        }
    }

    #[test]
    fn a_batch_without_changes_moves_only_the_number() {
        let mut set = VisibleSet::default();
        set.put(Entry::new(key(1), Revision(1), Content::Present { encoded: Bytes::from_static(b"1 ") }));
        let mut batch = set.batch(Some(Revision(1)), Revision(5));
        let part = batch.next_part().unwrap();
        assert_eq!((part.revision, part.kind), (Revision(5), BatchKind::Delta));
        assert!(part.resources.is_empty() && part.removed.is_empty());
        assert_eq!(part.last, Some(Last { digest: set.digest(), named: Named::New }));
        assert_eq!(batch.next_part(), None);
    }

    #[test]
    fn a_batch_is_of_one_revision_however_long_it_takes() {
        let mut set = VisibleSet::default();
        for id in 0..4 {
            apply(&mut set, &[Change::Put(id, 175_000)], Revision(u64::from(id) + 1));
        }
        let before = set.digest();
        let mut batch = set.batch(None, Revision(4));
        let first = batch.next_part().unwrap();
        assert_eq!(first.last, None);
        apply(&mut set, &[Change::Remove(3), Change::Put(2, 5)], Revision(5));
        let mut received: Received = first.resources.into_iter().map(|encoded| (key_of(&encoded), encoded)).collect();
        let last = loop {
            let part = batch.next_part().unwrap();
            received.extend(part.resources.into_iter().map(|encoded| (key_of(&encoded), encoded)));
            if let Some(last) = part.last {
                break last.digest;
            }
        };
        assert_eq!(last, before);
        assert_eq!(digest(&received), before);
    }

    #[test]
    fn what_is_withheld_is_named_in_bounded_parts() {
        let mut set = VisibleSet::default();
        for number in 0..5_000 {
            let key = ResourceKey::new("gadgets", &format!("{number:0>300}")).unwrap();
            set.withhold(key, Revision::ZERO);
        }
        assert_eq!((set.digest(), set.len()), (Digest::default(), 0), "nothing of it is in sight");
        let mut batch = set.batch(None, Revision(1));
        let (mut named, mut parts) = (0, 0);
        while let Some(part) = batch.next_part() {
            assert!(part.withheld.iter().map(key_bytes).sum::<usize>() <= BATCH_PART_BYTES_MAX);
            named += part.withheld.len();
            parts += 1;
        }
        assert_eq!((named, parts), (5_000, 7));
        let mut delta = set.batch(Some(Revision(1)), Revision(1));
        assert!(delta.next_part().unwrap().withheld.is_empty(), "it was named before");
    }

    #[test]
    fn below_the_floor_everything_is_sent() {
        let mut set = VisibleSet::default();
        set.put(Entry::new(key(1), Revision(9), Content::Present { encoded: Bytes::from_static(b"1 ") }));
        set.raise_floor(Revision(5));
        assert_eq!(set.batch(Some(Revision(4)), Revision(9)).kind(), BatchKind::Snapshot);
        assert_eq!(set.batch(Some(Revision(5)), Revision(9)).kind(), BatchKind::Delta);
    }

    #[test]
    fn an_edge_from_the_future_is_sent_everything() {
        let set = VisibleSet::default();
        assert_eq!(set.batch(Some(Revision(4)), Revision(3)).kind(), BatchKind::Snapshot);
    }

    #[test]
    fn the_oldest_removals_are_forgotten_and_the_floor_says_so() {
        let mut set = VisibleSet::default();
        let removals = 100_010;
        for number in 1..=removals {
            let key = ResourceKey { kind: ResourceKind::Domain, id: format!("{number}.example").into() };
            set.remove(key, Revision(number));
        }
        assert_eq!(set.batch(Some(Revision(9)), Revision(removals)).kind(), BatchKind::Snapshot);
        assert_eq!(set.batch(Some(Revision(10)), Revision(removals)).kind(), BatchKind::Delta);
    }
}
