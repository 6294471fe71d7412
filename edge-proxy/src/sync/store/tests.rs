use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use prost::Message;
use switchyard_proto::{fleet::v1 as wire, vocab::HostPattern};

use super::*;

/// The record of one domain that was received.
fn record(host: &str, revision: u64, before: &[&Record]) -> Record {
    let key = ResourceKey::domain(&HostPattern::parse(host).unwrap());
    let resource = wire::Resource { key: Some(key.to_wire()), revision, body: Bytes::new() };
    let encoded: Bytes = resource.encode_to_vec().into();
    let digest = before.last().map_or(Digest::default(), |record| record.digest).plus(Digest::of(&encoded));
    Record {
        replaces_all: false,
        received: BTreeMap::from([(key.clone(), Some(encoded))]),
        served: BTreeMap::from([(key, ServedRecord::AsReceived)]),
        withheld: BTreeMap::new(),
        revision: Revision(revision),
        digest,
    }
}

/// The store in a directory, with the key that it has there.
fn open(directory: &Path) -> Result<(Store, Loaded), StoreError> {
    Store::open(directory, StoreKey::load(None, directory).unwrap())
}

fn hosts(loaded: &Loaded) -> Vec<&str> {
    loaded.kept.iter().map(|kept| &*kept.received.as_ref().unwrap().key.id).collect()
}

#[test]
fn what_was_written_is_there_after_a_restart_and_only_its_owner_may_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, loaded) = open(directory.path()).unwrap();
    assert_eq!((loaded.revision, loaded.kept.len()), (Revision::ZERO, 0));
    let first = record("a.example", 1, &[]);
    let second = record("b.example", 2, &[&first]);
    assert_eq!(store.write(first), Persistence::Persisted);
    assert_eq!(store.write(second), Persistence::Persisted);
    drop(store);
    let (_store, loaded) = open(directory.path()).unwrap();
    assert_eq!((loaded.revision, hosts(&loaded)), (Revision(2), vec!["a.example", "b.example"]));
    let mode = fs::metadata(directory.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_in_use_is_not_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path()).unwrap();
    assert!(matches!(open(directory.path()), Err(StoreError::Locked { .. })));
    drop(store);
    open(directory.path()).unwrap();
}

#[test]
fn a_damaged_file_is_set_aside_wherever_the_damage_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let (mut store, _) = open(directory.path()).unwrap();
    store.write(record("a.example", 1, &[]));
    drop(store);
    let sealed = {
        let database = Database::open(&path).unwrap();
        let table = database.begin_read().unwrap().open_table(RECEIVED).unwrap();
        table.get("domains/a.example").unwrap().unwrap().value().to_vec()
    };
    let good = fs::read(&path).unwrap();
    let encoded = record("a.example", 1, &[]).received.into_values().next().unwrap().unwrap();
    assert!(!good.windows(encoded.len()).any(|window| window == encoded), "what is kept is sealed");
    let row = good.windows(sealed.len()).position(|window| window == sealed).unwrap();
    let mut flipped = good.clone();
    flipped[row + 4] ^= 0xff;
    for (number, damaged) in
        [flipped, good[..good.len() / 2].to_vec(), b"garbage".to_vec(), Vec::new()].iter().enumerate()
    {
        fs::write(&path, damaged).unwrap();
        let (mut store, loaded) = open(directory.path()).unwrap();
        // An empty file is what a crash leaves between its creation and the first write.
        assert_eq!((loaded.revision, loaded.kept.len()), (Revision::ZERO, 0), "damage {number}");
        assert_eq!(store.write(record("b.example", 1, &[])), Persistence::Persisted);
        let aside = directory.path().join(format!("{FILE_NAME}.damaged-{}", number + 1));
        assert!(aside.exists(), "damage {number}");
    }
}

#[test]
fn what_the_disk_refused_is_written_when_it_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let (mut store, _) = open(directory.path()).unwrap();
    let first = record("a.example", 1, &[]);
    let second = record("b.example", 2, &[&first]);
    let third = record("c.example", 3, &[&first, &second]);
    assert_eq!(store.write(first), Persistence::Persisted);
    // As after an error of the disk, and it still refuses: there is a directory where the file was.
    store.database = None;
    let elsewhere = directory.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(store.write(second), Persistence::NotPersisted);
    fs::remove_dir(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(store.write(third), Persistence::Persisted);
    drop(store);
    let (_store, loaded) = open(directory.path()).unwrap();
    assert_eq!((loaded.revision, loaded.kept.len()), (Revision(3), 3));
}

#[test]
fn when_the_disk_forgot_everything_everything_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(directory.path()).unwrap();
    let first = record("a.example", 1, &[]);
    let second = record("b.example", 2, &[&first]);
    let everything = Record { replaces_all: true, ..record("c.example", 3, &[]) };
    assert_eq!(store.write(first), Persistence::Persisted);
    store.database = None;
    fs::remove_file(directory.path().join(FILE_NAME)).unwrap();
    assert_eq!(store.write(second.clone()), Persistence::NotPersisted);
    assert_eq!(store.write(second), Persistence::EverythingNeeded);
    assert_eq!(store.write(everything), Persistence::Persisted);
    drop(store);
    let (_store, loaded) = open(directory.path()).unwrap();
    assert_eq!((loaded.revision, hosts(&loaded)), (Revision(3), vec!["c.example"]));
}

#[test]
fn what_is_withheld_is_remembered_until_it_ends_or_everything_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(directory.path()).unwrap();
    let first = record("a.example", 1, &[]);
    let key = |host: &str| ResourceKey::domain(&HostPattern::parse(host).unwrap());
    let withheld = |revision, of: &[(&str, WithheldRecord)]| Record {
        withheld: of.iter().map(|(host, withheld)| (key(host), *withheld)).collect(),
        revision: Revision(revision),
        digest: first.digest,
        ..Record::default()
    };
    store.write(first.clone());
    store.write(withheld(2, &[("b.example", WithheldRecord::Begun), ("c.example", WithheldRecord::Begun)]));
    store.write(withheld(3, &[("b.example", WithheldRecord::Ended)]));
    drop(store);
    let (mut store, loaded) = open(directory.path()).unwrap();
    assert_eq!(loaded.withheld.iter().map(ToString::to_string).collect::<Vec<_>>(), ["domains/c.example"]);
    let whole = withheld(4, &[("d.example", WithheldRecord::Begun)]);
    store.write(Record { replaces_all: true, received: first.received.clone(), ..whole });
    drop(store);
    let (_store, loaded) = open(directory.path()).unwrap();
    assert_eq!(loaded.withheld.iter().map(ToString::to_string).collect::<Vec<_>>(), ["domains/d.example"]);
}
