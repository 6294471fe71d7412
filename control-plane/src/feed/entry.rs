//! A resource of the feed with its place in the order of revisions, as the ordered sets of the feed share it: an element of a set is a
//! pointer, however many sets a resource is in.

use std::{borrow::Borrow, cmp::Ordering, fmt, sync::Arc};

use bytes::Bytes;
use switchyard_proto::vocab::{Digest, ResourceKey, Revision};

/// Where a resource stands in the order of revisions.
pub(super) type Position = (Revision, ResourceKey);

/// A resource as edges receive it, or that there is none, since a revision.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) position: Position,
    pub(super) content: Content,
}

pub(super) enum Content {
    Present {
        encoded: Bytes,
    },
    Removed,
    /// It is there, and cannot be read: whoever has it keeps what it serves.
    Withheld,
}

impl Entry {
    pub(super) fn new(key: ResourceKey, revision: Revision, content: Content) -> Arc<Self> {
        Arc::new(Self { position: (revision, key), content })
    }

    /// The revision that changed it last.
    pub(super) fn revision(&self) -> Revision {
        self.position.0
    }

    /// Which resource it is.
    pub(super) fn key(&self) -> &ResourceKey {
        &self.position.1
    }

    /// As edges receive it; nothing if it was removed or is withheld.
    pub(super) fn encoded(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Present { encoded } => Some(encoded),
            Content::Removed | Content::Withheld => None,
        }
    }

    /// The same entry, in a place where it came into sight at `at`.
    pub(super) fn seen_since(self: &Arc<Self>, at: Revision) -> Arc<Self> {
        match &self.content {
            Content::Present { encoded } if at > self.revision() => {
                Self::new(self.key().clone(), at, Content::Present { encoded: encoded.clone() })
            }
            _ => self.clone(),
        }
    }
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

/// An entry in the order of the keys. Ordered, not hashed: nodes of hashed sets are mostly empty.
#[derive(Clone, Debug)]
pub(super) struct ByKey(pub(super) Arc<Entry>);

/// An entry in the order of the revisions.
#[derive(Clone, Debug)]
pub(super) struct ByRevision(pub(super) Arc<Entry>);

macro_rules! ordered_by {
    ($type:ident, $order:ty, $of:expr) => {
        impl Borrow<$order> for $type {
            fn borrow(&self) -> &$order {
                let of: fn(&Entry) -> &$order = $of;
                of(&self.0)
            }
        }

        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                Borrow::<$order>::borrow(self).cmp(other.borrow())
            }
        }

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other).is_eq()
            }
        }

        impl Eq for $type {}
    };
}

ordered_by!(ByKey, ResourceKey, |entry| &entry.position.1);
ordered_by!(ByRevision, Position, |entry| &entry.position);
