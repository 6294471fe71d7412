//! What an edge has, as its disk is to remember it.

use std::collections::BTreeMap;

use bytes::Bytes;
use switchyard_proto::vocab::{Digest, ResourceKey, Revision};

use crate::sync::batch::Received;

/// What a batch changes on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sync) struct Record {
    /// Everything that was received before is gone, unless it is in `received`.
    pub(in crate::sync) replaces_all: bool,
    /// What was received: the encoded envelope, or `None` for what is gone.
    pub(in crate::sync) received: BTreeMap<ResourceKey, Option<Bytes>>,
    /// What is served instead of what was received. Keys that are not in it keep what they have.
    pub(in crate::sync) served: BTreeMap<ResourceKey, ServedRecord>,
    /// What is withheld, or is so no more. If `replaces_all`, nothing else is.
    pub(in crate::sync) withheld: BTreeMap<ResourceKey, WithheldRecord>,
    /// The revision of what was received.
    pub(in crate::sync) revision: Revision,
    /// Its digest.
    pub(in crate::sync) digest: Digest,
}

/// Whether a resource is withheld, as the disk is to remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sync) enum WithheldRecord {
    /// From now on.
    Begun,
    /// No more.
    Ended,
}

/// What of a resource is served, as the disk is to remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sync) enum ServedRecord {
    /// What was received.
    AsReceived,
    /// What was served until now, which is another version. On disk that is what was received before, unless the disk
    /// remembers one already.
    AsBefore,
    /// Nothing: there was never a version of it that could be served.
    Nothing,
}

/// A resource as a disk had it.
#[derive(Clone, Debug)]
pub(in crate::sync) struct Kept {
    /// As it was received; `None` if it was removed or is withheld, and is still served.
    pub(in crate::sync) received: Option<Received>,
    /// What that adds to the digest.
    pub(in crate::sync) digest: Digest,
    /// What is served instead.
    pub(in crate::sync) served: KeptServed,
}

impl Kept {
    /// Which resource it is; nothing if there is nothing of it.
    pub(in crate::sync) fn key(&self) -> Option<&ResourceKey> {
        match (&self.received, &self.served) {
            (Some(received), _) => Some(&received.key),
            (None, KeptServed::Other(received)) => Some(&received.key),
            (None, KeptServed::AsReceived | KeptServed::Nothing) => None,
        }
    }
}

/// What of a kept resource is served.
#[derive(Clone, Debug)]
pub(in crate::sync) enum KeptServed {
    /// What was received.
    AsReceived,
    /// Another version.
    Other(Box<Received>),
    /// Nothing.
    Nothing,
}
