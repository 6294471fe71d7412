//! What fuzzing drives: bytes of a control plane and of a disk, taken as this program takes them. No part of the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use prost::Message;
use rustls::crypto::aws_lc_rs;
use switchyard_proto::{
    fleet::v1 as wire,
    vocab::{
        Digest,
        limits::{REJECTION_REASON_BYTES_MAX, REJECTIONS_MAX},
    },
};

use super::{
    apply::Applier,
    batch::{Assembly, Received},
    metrics::SyncMetrics,
    resources::{Kept, KeptServed, Resources},
    seal::StoreKey,
    store::{Loaded, Persistence, StoreError},
};
use crate::{
    balance::Backends,
    snapshot::{LiveSnapshot, Snapshot},
};

/// Takes `bytes` as messages of a control plane, each with its length before it, and then as what was kept of them on disk. The
/// digest of a batch is set right, since nobody guesses one.
///
/// # Panics
///
/// What an edge must never have: more rejections than it may tell, or a snapshot that differs from what it says is served.
pub fn receive(mut bytes: Bytes) {
    let _ = aws_lc_rs::default_provider().install_default();
    let mut resources = Resources::new(Backends::new());
    let mut assembly = Assembly::default();
    let (mut kept, mut withheld) = (Vec::new(), BTreeSet::new());
    while let Ok(message) = wire::SyncResponse::decode_length_delimited(&mut bytes) {
        let Some(wire::sync_response::Message::Batch(mut batch)) = message.message else { continue };
        if batch.last {
            batch.digest = vec![0; 16].into();
        }
        for encoded in &batch.resources {
            if let Ok(received) = Received::read(encoded.clone()) {
                let served = if batch.revision % 2 == 0 { KeptServed::AsReceived } else { KeptServed::Nothing };
                let digest = Digest::of(&received.encoded);
                kept.push(Kept { received: Some(received), digest, served });
            }
        }
        let Ok(Some(mut batch)) = assembly.take(batch).inspect_err(|_| assembly = Assembly::default()) else {
            continue;
        };
        let revision = batch.revision;
        withheld.extend(batch.withheld.iter().cloned());
        if let Err(mismatch) = resources.apply(batch.clone()) {
            batch.digest = mismatch.computed();
            resources.apply(batch).expect("the digest is the one that was computed");
        }
        assert_eq!(resources.revision(), revision, "it speaks of what was received");
        check(&resources);
    }
    let loaded = Loaded { revision: resources.revision(), kept, withheld, removed: BTreeMap::new() };
    let (restored, _) = Resources::restore(Backends::new(), loaded);
    check(&restored);
}

fn check(resources: &Resources) {
    let rejections = resources.rejections();
    assert!(rejections.len() <= REJECTIONS_MAX.min(resources.rejected()), "what is told is bounded");
    assert!(rejections.iter().all(|rejection| rejection.reason.len() <= REJECTION_REASON_BYTES_MAX), "and so is why");
    let snapshot: &Snapshot = resources.snapshot();
    for domain in snapshot.domains() {
        let host = domain.settings.host.as_str().replace('*', "any");
        assert!(snapshot.route(&host).is_some(), "{host} is served and not found");
        drop(snapshot.certificate(&host));
    }
}

/// Writes a store into a state directory, as an edge does that was sent these messages.
///
/// # Panics
///
/// They are not whole batches that fit to each other, or the disk refuses.
pub fn write_store(directory: &Path, mut messages: Bytes) {
    let mut applier = open(directory).expect("there is none yet");
    let mut assembly = Assembly::default();
    while let Ok(message) = wire::SyncResponse::decode_length_delimited(&mut messages) {
        let Some(wire::sync_response::Message::Batch(part)) = message.message else { continue };
        let Some(mut batch) = assembly.take(part).expect("a part that can be read") else { continue };
        if let Err(mismatch) = applier.apply(batch.clone()).result {
            batch.digest = mismatch.computed();
            assert_eq!(applier.apply(batch).persistence, Persistence::Persisted, "the disk takes it");
        }
    }
}

/// Opens a state directory whose store may hold anything, as a start does, and then once more: it must have been set aside, or be
/// good. How many resources are not served.
///
/// # Panics
///
/// An edge could not start from it.
pub fn open_store(directory: &Path) -> usize {
    drop(open(directory).expect("whatever is in the file, the edge starts"));
    open(directory).expect("and starts again").status().borrow().rejected
}

fn open(directory: &Path) -> Result<Applier, StoreError> {
    let _ = aws_lc_rs::default_provider().install_default();
    let key = StoreKey::load(None, directory).expect("a key can be made");
    let live = LiveSnapshot::new(Snapshot::default());
    let metrics = SyncMetrics::register(&mut Registry::default());
    Applier::open(directory, key, Backends::new(), live, metrics)
}
