use std::collections::HashSet;

use bytes::Bytes;
use prost::Message;
use switchyard_proto::{
    fleet::v1 as wire,
    vocab::{
        Digest, InvalidResourceKey, ResourceKey, Revision,
        limits::{BATCH_PART_BYTES_MAX, RESOURCE_BYTES_MAX},
    },
};

/// One resource as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Which one.
    pub(super) key: ResourceKey,
    /// The revision that made this version.
    pub(super) revision: Revision,
    /// The whole encoded envelope: what the digest is about, and what is kept.
    pub(super) encoded: Bytes,
    /// The encoded resource in it.
    pub(super) body: Bytes,
    /// Whether the envelope holds more.
    pub(super) envelope: Envelope,
}

/// Whether an envelope holds more than this version knows. Its key is readable either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// It does not.
    Known,
    /// It does: the resource needs a newer edge.
    Newer,
}

impl Received {
    /// Reads an envelope.
    ///
    /// # Errors
    ///
    /// It is too large, no envelope, or names no resource.
    pub(super) fn read(encoded: Bytes) -> Result<Self, InvalidBatch> {
        if encoded.len() > RESOURCE_BYTES_MAX {
            return Err(InvalidBatch::ResourceTooLarge);
        }
        let message = wire::Resource::decode(encoded.clone()).map_err(|_| InvalidBatch::Envelope)?;
        // What was not decoded is missing in the length.
        let envelope = if message.encoded_len() == encoded.len() { Envelope::Known } else { Envelope::Newer };
        let wire::Resource { key, revision, body } = message;
        let key = ResourceKey::from_wire(&key.ok_or(InvalidBatch::NoKey)?)?;
        Ok(Self { key, revision: Revision(revision), encoded, body, envelope })
    }
}

/// A whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// What the edge has once it is applied.
    pub(super) revision: Revision,
    /// Whether it is a difference or everything.
    pub(super) kind: BatchKind,
    /// New resources, and new versions; each key once.
    pub(super) resources: Vec<Received>,
    /// What is gone; none of them in `resources`.
    pub(super) removed: Vec<ResourceKey>,
    /// What is there and cannot be read by the control plane; none of them in `resources` or `removed`.
    pub(super) withheld: Vec<ResourceKey>,
    /// Whether `withheld` names all that is withheld. A snapshot does.
    pub(super) named: Named,
    /// The digest of what the edge has once it is applied.
    pub(super) digest: Digest,
}

/// What a batch is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// To what was acknowledged.
    Delta,
    /// To nothing: it is everything.
    Snapshot,
}

impl BatchKind {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Snapshot => "snapshot",
        }
    }
}

/// What of that which is withheld a batch names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// What came to be withheld since the edge's revision.
    New,
    /// All of it: what the edge knew as withheld before, and the batch does not name, is gone.
    All,
}

/// Puts the parts of batches together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    begun: Option<(Revision, BatchKind)>,
    keys: HashSet<ResourceKey>,
    resources: Vec<Received>,
    removed: Vec<ResourceKey>,
    withheld: Vec<ResourceKey>,
}

impl Assembly {
    /// Takes the next part; returns the batch with its last one.
    ///
    /// # Errors
    ///
    /// The part cannot be read, or does not go with those before it. The stream is then of no more use.
    pub(super) fn take(&mut self, part: wire::Batch) -> Result<Option<Batch>, InvalidBatch> {
        let wire::Batch { revision, kind, last, resources, removed, digest, withheld, withheld_complete } = part;
        let kind = match wire::BatchKind::try_from(kind) {
            Err(_) | Ok(wire::BatchKind::Unspecified) => return Err(InvalidBatch::Kind),
            Ok(wire::BatchKind::Delta) => BatchKind::Delta,
            Ok(wire::BatchKind::Snapshot) => BatchKind::Snapshot,
        };
        let revision = Revision(revision);
        if *self.begun.get_or_insert((revision, kind)) != (revision, kind) {
            return Err(InvalidBatch::Mixed);
        }
        if kind == BatchKind::Snapshot && !removed.is_empty() {
            return Err(InvalidBatch::RemovalInSnapshot);
        }
        for encoded in resources {
            let received = Received::read(encoded)?;
            if received.revision > revision {
                return Err(InvalidBatch::Future { key: received.key });
            }
            self.claim(&received.key)?;
            self.resources.push(received);
        }
        for key in &removed {
            let key = ResourceKey::from_wire(key)?;
            self.claim(&key)?;
            self.removed.push(key);
        }
        for key in &withheld {
            let key = ResourceKey::from_wire(key)?;
            self.claim(&key)?;
            self.withheld.push(key);
        }
        if !last {
            return Ok(None);
        }
        let digest = Digest::from_bytes(&digest).ok_or(InvalidBatch::Digest)?;
        let named = if withheld_complete || kind == BatchKind::Snapshot { Named::All } else { Named::New };
        let Self { begun: _, keys: _, resources, removed, withheld } = std::mem::take(self);
        Ok(Some(Batch { revision, kind, resources, removed, withheld, named, digest }))
    }

    fn claim(&mut self, key: &ResourceKey) -> Result<(), InvalidBatch> {
        if self.keys.insert(key.clone()) { Ok(()) } else { Err(InvalidBatch::Twice { key: key.clone() }) }
    }
}

/// Why a batch cannot be read. None of it is applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidBatch {
    /// The kind is not set, or unknown to this version.
    #[error("a kind of batch that this version does not know")]
    Kind,
    /// Parts of two batches were mixed.
    #[error("a part of another batch before the last part of this one")]
    Mixed,
    /// A snapshot removes something; what is not in it is gone anyway.
    #[error("a snapshot with removals")]
    RemovalInSnapshot,
    /// A resource is larger than any may be.
    #[error("a resource of more than {RESOURCE_BYTES_MAX} bytes")]
    ResourceTooLarge,
    /// A resource that is not one.
    #[error("a resource that cannot be read")]
    Envelope,
    /// A resource that does not say which it is.
    #[error("a resource without a key")]
    NoKey,
    /// A key that is missing or out of bounds.
    #[error("a key that names no resource: {0}")]
    Key(#[from] InvalidResourceKey),
    /// A resource of a later revision than the batch.
    #[error("{key} is of a later revision than its batch")]
    Future {
        /// Which one.
        key: ResourceKey,
    },
    /// The same resource twice.
    #[error("{key} twice in one batch")]
    Twice {
        /// Which one.
        key: ResourceKey,
    },
    /// The last part has no digest.
    #[error("a last part without a digest of 16 bytes")]
    Digest,
}

// What a part may hold must pass a stream that takes messages of that size.
const _: () = assert!(RESOURCE_BYTES_MAX <= BATCH_PART_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(id: &str, revision: u64) -> Bytes {
        let key = wire::ResourceKey { kind: "services".into(), id: id.into() };
        wire::Resource { key: Some(key), revision, body: Bytes::new() }.encode_to_vec().into()
    }

    fn part(resources: Vec<Bytes>, last: bool) -> wire::Batch {
        wire::Batch {
            revision: 5,
            kind: wire::BatchKind::Delta.into(),
            last,
            resources,
            digest: if last { vec![0; 16].into() } else { Bytes::new() },
            ..wire::Batch::default()
        }
    }

    #[test]
    fn a_batch_is_the_sum_of_its_parts() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(part(vec![resource("a", 4)], false)), Ok(None));
        let batch = assembly.take(part(vec![resource("b", 5)], true)).unwrap().unwrap();
        assert_eq!(batch.resources.iter().map(|received| &*received.key.id).collect::<Vec<_>>(), ["a", "b"]);
        // The next one begins anew.
        assert!(assembly.take(part(vec![resource("a", 4)], true)).unwrap().is_some());
    }

    #[test]
    fn what_is_not_known_is_kept_by_its_key() {
        let key = wire::ResourceKey { kind: "gadgets".into(), id: "ANY thing".into() };
        let envelope = wire::Resource { key: Some(key), revision: 5, body: Bytes::new() }.encode_to_vec();
        let received = |encoded: Vec<u8>| {
            let batch = Assembly::default().take(part(vec![encoded.into()], true)).unwrap().unwrap();
            (batch.resources[0].key.to_string(), batch.resources[0].envelope)
        };
        assert_eq!(received(envelope.clone()), ("gadgets/ANY thing".to_owned(), Envelope::Known));
        // Field 9999, a number.
        let newer = [&envelope[..], b"\xf8\xf0\x04\x01"].concat();
        assert_eq!(received(newer), ("gadgets/ANY thing".to_owned(), Envelope::Newer));
    }

    #[test]
    fn what_is_withheld_may_be_named_in_any_part_and_a_snapshot_names_all() {
        let withheld = |id: &str| vec![wire::ResourceKey { kind: "domains".into(), id: id.into() }];
        let mut assembly = Assembly::default();
        assembly.take(wire::Batch { withheld: withheld("a"), ..part(vec![], false) }).unwrap();
        let batch = assembly.take(wire::Batch { withheld: withheld("b"), ..part(vec![], true) }).unwrap().unwrap();
        assert_eq!(batch.withheld.iter().map(ToString::to_string).collect::<Vec<_>>(), ["domains/a", "domains/b"]);
        assert_eq!(batch.named, Named::New);
        let named = |batch| Assembly::default().take(batch).unwrap().unwrap().named;
        assert_eq!(named(wire::Batch { withheld_complete: true, ..part(vec![], true) }), Named::All);
        assert_eq!(named(wire::Batch { kind: wire::BatchKind::Snapshot.into(), ..part(vec![], true) }), Named::All);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_reason() {
        let take = |part| Assembly::default().take(part).unwrap_err();
        assert_eq!(take(part(vec![Bytes::from_static(b"\xff\xff")], true)), InvalidBatch::Envelope);
        assert_eq!(take(part(vec![Bytes::new()], true)), InvalidBatch::NoKey);
        assert!(matches!(take(part(vec![resource("", 1)], true)), InvalidBatch::Key(_)));
        let key = |id: &str| wire::ResourceKey { kind: "services".into(), id: id.into() };
        let both = wire::Batch { withheld: vec![key("a")], ..part(vec![resource("a", 1)], true) };
        assert!(matches!(take(both), InvalidBatch::Twice { .. }));
        let nameless = wire::Batch { withheld: vec![key("")], ..part(vec![], true) };
        assert!(matches!(take(nameless), InvalidBatch::Key(_)));
        assert!(matches!(take(part(vec![resource("a", 6)], true)), InvalidBatch::Future { .. }));
        assert!(matches!(take(part(vec![resource("a", 1), resource("a", 2)], true)), InvalidBatch::Twice { .. }));
        assert_eq!(take(part(vec![vec![0; RESOURCE_BYTES_MAX + 1].into()], true)), InvalidBatch::ResourceTooLarge);
        assert_eq!(take(wire::Batch { kind: 7, ..part(vec![], true) }), InvalidBatch::Kind);
        assert_eq!(take(wire::Batch { digest: Bytes::new(), ..part(vec![], true) }), InvalidBatch::Digest);
        let mut assembly = Assembly::default();
        assembly.take(part(vec![], false)).unwrap();
        assert_eq!(assembly.take(wire::Batch { revision: 6, ..part(vec![], true) }), Err(InvalidBatch::Mixed));
    }
}
