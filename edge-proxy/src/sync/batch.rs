use std::collections::HashSet;

use bytes::Bytes;
use prost::Message;
use switchyard_proto::{
    fleet::v1 as wire,
    vocab::{
        Digest, InvalidResourceName, ResourceKey, Revision,
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
        let wire::Resource { key, revision, body } =
            wire::Resource::decode(encoded.clone()).map_err(|_| InvalidBatch::Envelope)?;
        let key = ResourceKey::from_wire(&key.ok_or(InvalidBatch::NoKey)?)?;
        Ok(Self { key, revision: Revision(revision), encoded, body })
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

/// Puts the parts of batches together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    begun: Option<(Revision, BatchKind)>,
    keys: HashSet<ResourceKey>,
    resources: Vec<Received>,
    removed: Vec<ResourceKey>,
}

impl Assembly {
    /// Takes the next part; returns the batch with its last one.
    ///
    /// # Errors
    ///
    /// The part cannot be read, or does not go with those before it. The stream is then of no more use.
    pub(super) fn take(&mut self, part: wire::Batch) -> Result<Option<Batch>, InvalidBatch> {
        let kind = part.kind();
        let wire::Batch { revision, kind: _, last, resources, removed, digest } = part;
        let kind = match kind {
            wire::BatchKind::Unspecified => return Err(InvalidBatch::Kind),
            wire::BatchKind::Delta => BatchKind::Delta,
            wire::BatchKind::Snapshot => BatchKind::Snapshot,
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
        if !last {
            return Ok(None);
        }
        let digest = Digest::from_bytes(&digest).ok_or(InvalidBatch::Digest)?;
        let Self { begun: _, keys: _, resources, removed } = std::mem::take(self);
        Ok(Some(Batch { revision, kind, resources, removed, digest }))
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
    /// A key that names no resource.
    #[error("a key that names no resource: {0}")]
    Key(#[from] InvalidResourceName),
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
        let key = wire::ResourceKey { kind: wire::ResourceKind::Service.into(), id: id.into() };
        wire::Resource { key: Some(key), revision, body: Bytes::new() }.encode_to_vec().into()
    }

    fn part(resources: Vec<Bytes>, last: bool) -> wire::Batch {
        wire::Batch {
            revision: 5,
            kind: wire::BatchKind::Delta.into(),
            last,
            resources,
            removed: Vec::new(),
            digest: if last { vec![0; 16].into() } else { Bytes::new() },
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
    fn what_cannot_be_read_is_refused_with_the_reason() {
        let take = |part| Assembly::default().take(part).unwrap_err();
        assert_eq!(take(part(vec![Bytes::from_static(b"\xff\xff")], true)), InvalidBatch::Envelope);
        assert_eq!(take(part(vec![Bytes::new()], true)), InvalidBatch::NoKey);
        assert!(matches!(take(part(vec![resource("A", 1)], true)), InvalidBatch::Key(_)));
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
