use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use switchyard_proto::{
    fleet::v1 as wire,
    v1,
    vocab::{Digest, Labels, ResourceKey, ResourceKind, Revision, TicketKeysId},
};
use tempfile::TempDir;

mod newer;
mod withheld;

use super::*;
use crate::sync::{
    batch::{Batch, BatchKind},
    seal::StoreKey,
    store::{Persistence, Store},
};

/// A control plane, as far as an edge can tell.
#[derive(Clone, Default)]
struct Fleet {
    revision: u64,
    /// Each resource, encoded, by key; and when it was changed, also those that are gone.
    resources: BTreeMap<ResourceKey, Bytes>,
    changed: BTreeMap<ResourceKey, u64>,
    /// What the control plane cannot read.
    withheld: BTreeSet<ResourceKey>,
}

impl Fleet {
    /// Puts resources in one revision.
    fn change(&mut self, puts: &[(ResourceKey, Vec<u8>)], removed: &[ResourceKey]) {
        self.revision += 1;
        for (key, body) in puts {
            let resource =
                wire::Resource { key: Some(key.to_wire()), revision: self.revision, body: body.clone().into() };
            self.resources.insert(key.clone(), resource.encode_to_vec().into());
            self.changed.insert(key.clone(), self.revision);
            self.withheld.remove(key);
        }
        for key in removed {
            self.resources.remove(key);
            self.changed.insert(key.clone(), self.revision);
            self.withheld.remove(key);
        }
    }

    /// Has resources in one revision that the control plane cannot read.
    fn withhold(&mut self, keys: &[ResourceKey]) {
        self.change(&[], keys);
        self.withheld.extend(keys.iter().cloned());
    }

    fn digest(&self) -> Digest {
        self.resources.values().fold(Digest::default(), |digest, encoded| digest.plus(Digest::of(encoded)))
    }

    /// What an edge that has `after` is sent.
    fn batch(&self, after: Revision) -> Batch {
        let changed = self.changed.iter().filter(|(_, revision)| **revision > after.0);
        let (put, removed): (Vec<_>, Vec<_>) =
            changed.map(|(key, _)| key.clone()).partition(|key| self.resources.contains_key(key));
        let (withheld, removed) = removed.into_iter().partition(|key| self.withheld.contains(key));
        Batch {
            revision: Revision(self.revision),
            kind: BatchKind::Delta,
            resources: put.iter().map(|key| Received::read(self.resources[key].clone()).unwrap()).collect(),
            removed,
            withheld,
            named: Named::New,
            digest: self.digest(),
        }
    }

    fn snapshot(&self) -> Batch {
        let resources = self.resources.values().map(|encoded| Received::read(encoded.clone()).unwrap()).collect();
        let withheld = self.withheld.iter().cloned().collect();
        let whole = self.batch(Revision::ZERO);
        Batch { kind: BatchKind::Snapshot, resources, removed: Vec::new(), withheld, named: Named::All, ..whole }
    }
}

fn key(kind: ResourceKind, id: &str) -> ResourceKey {
    ResourceKey { kind, id: id.into() }
}

fn service(id: &str) -> (ResourceKey, Vec<u8>) {
    let message = v1::Service { name: format!("services/{id}"), ..Default::default() };
    (key(ResourceKind::Service, id), message.encode_to_vec())
}

fn backend(id: &str, service: &str, tag: &str, address: &str) -> (ResourceKey, Vec<u8>) {
    let message = v1::Backend {
        name: format!("backends/{id}"),
        service: format!("services/{service}"),
        address: address.into(),
        tags: vec![tag.into()],
        ..Default::default()
    };
    (key(ResourceKind::Backend, id), message.encode_to_vec())
}

fn domain(host: &str, service: &str, tag: &str) -> (ResourceKey, Vec<u8>) {
    let message = v1::Domain {
        name: format!("domains/{host}"),
        service: format!("services/{service}"),
        active_tag: tag.into(),
        ..Default::default()
    };
    (key(ResourceKind::Domain, host), message.encode_to_vec())
}

fn certificate(id: &str, name: &str) -> (ResourceKey, Vec<u8>) {
    let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let message = wire::Certificate {
        dns_names: vec![name.into()],
        chain: vec![issued.cert.der().to_vec().into()],
        private_key: issued.signing_key.serialize_der().into(),
    };
    (key(ResourceKind::Certificate, id), message.encode_to_vec())
}

/// A certificate with another one's key.
fn wrong_certificate(id: &str, name: &str) -> (ResourceKey, Vec<u8>) {
    let (key, body) = certificate(id, name);
    let mut message = wire::Certificate::decode(body.as_slice()).unwrap();
    let other = certificate(id, name).1;
    message.private_key = wire::Certificate::decode(other.as_slice()).unwrap().private_key;
    (key, message.encode_to_vec())
}

/// Ticket keys of edges of a region: names and roles.
fn ticket_keys(region: &str, keys: &[(u8, wire::TicketKeyRole)]) -> (ResourceKey, Vec<u8>) {
    let key = |(name, role): &(u8, wire::TicketKeyRole)| wire::TicketKey {
        name: vec![*name; 16].into(),
        secret: vec![9; 32].into(),
        role: (*role).into(),
        created_at_ms: 1,
    };
    let labels = Labels::new([("region".to_owned(), region.to_owned())]).unwrap();
    let message = wire::TicketKeys { keys: keys.iter().map(key).collect() };
    (ResourceKey::ticket_keys(&TicketKeysId::of(&labels)), message.encode_to_vec())
}

/// The ticket keys that are accepted, of these names.
fn accepted(resources: &Resources) -> Vec<u8> {
    let now = std::time::Duration::from_secs(1);
    let Some(keys) = resources.snapshot().ticket_keys() else { return vec![] };
    (0..10).filter(|name| keys.key_of(&[*name; 60], now).is_some()).collect()
}

const GOOD: &str = "10.0.0.1:80";
const BAD: &str = "10.0.0.1";

fn resources() -> Resources {
    Resources::new(Backends::new())
}

/// The tag of a domain, and the ids of the backends that answer for it.
fn serves(resources: &Resources, host: &str) -> Option<(String, Vec<String>)> {
    let route = resources.snapshot().route(host)?;
    let backends = route.target().map_or_else(Vec::new, |target| {
        target.pool.backends().iter().map(|pooled| pooled.backend.id.to_string()).collect()
    });
    Some((route.domain().settings.active_tag.to_string(), backends))
}

fn tag_and(tag: &str, backends: &[&str]) -> Option<(String, Vec<String>)> {
    Some((tag.to_owned(), backends.iter().map(|id| (*id).to_owned()).collect()))
}

fn rejected(resources: &Resources) -> Vec<(String, String)> {
    resources.rejections().into_iter().map(|rejection| (rejection.key.to_string(), rejection.reason)).collect()
}

fn shop() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.change(
        &[
            service("shop"),
            backend("a1", "shop", "a", GOOD),
            domain("shop.example", "shop", "a"),
            domain("other.example", "shop", "a"),
        ],
        &[],
    );
    fleet
}

#[test]
fn a_rejected_resource_keeps_its_last_good_version_and_holds_up_nothing_else() {
    let mut fleet = shop();
    let mut resources = resources();
    resources.apply(fleet.batch(Revision::ZERO)).unwrap();
    fleet.change(&[domain("shop.example", "shop", "NOT A TAG"), domain("other.example", "shop", "b")], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("a", &["a1"]));
    assert_eq!(serves(&resources, "other.example"), tag_and("b", &[]));
    let [(resource, reason)] = &rejected(&resources)[..] else { panic!("{:?}", rejected(&resources)) };
    assert_eq!(resource, "domains/shop.example");
    assert!(reason.starts_with("active_tag: "), "{reason}");

    fleet.change(&[domain("shop.example", "shop", "b"), backend("b1", "shop", "b", GOOD)], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("b", &["b1"]));
    assert_eq!(rejected(&resources), []);
}

#[test]
fn a_switch_waits_for_every_backend_it_needs_and_goes_live_with_the_fix() {
    let mut fleet = shop();
    let mut resources = resources();
    resources.apply(fleet.batch(Revision::ZERO)).unwrap();
    let switched = domain("shop.example", "shop", "b");
    fleet.change(&[backend("b1", "shop", "b", GOOD), backend("b2", "shop", "b", BAD), switched], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("a", &["a1"]));
    let rejections = rejected(&resources);
    assert_eq!(rejections.len(), 2, "{rejections:?}");
    assert!(rejections[1].1.starts_with("waits for backends/b2: address: "), "{rejections:?}");

    fleet.change(&[backend("b2", "shop", "b", GOOD)], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("b", &["b1", "b2"]));
    assert_eq!(rejected(&resources), []);
}

#[test]
fn a_backend_that_cannot_be_read_holds_up_what_was_changed_with_it() {
    let mut fleet = shop();
    let mut resources = resources();
    resources.apply(fleet.batch(Revision::ZERO)).unwrap();
    let garbage = (key(ResourceKind::Backend, "b1"), b"\xff\xff".to_vec());
    fleet.change(&[garbage, domain("shop.example", "shop", "b")], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("a", &["a1"]));
    fleet.change(&[], &[key(ResourceKind::Backend, "b1")]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("b", &[]));
}

#[test]
fn the_old_pool_stays_as_long_as_a_domain_cannot_leave_it() {
    let fleet = shop();
    // The old backend is deleted, or moved to the new tag, together with a switch that cannot be made.
    for (puts, removed) in
        [(vec![], vec![key(ResourceKind::Backend, "a1")]), (vec![backend("a1", "shop", "b", GOOD)], vec![])]
    {
        let (mut fleet, mut resources) = (fleet.clone(), resources_with(&fleet));
        let switch = [domain("shop.example", "shop", "b"), backend("b1", "shop", "b", BAD)];
        fleet.change(&[&switch[..], &puts].concat(), &removed);
        resources.apply(fleet.batch(resources.revision())).unwrap();
        assert_eq!(serves(&resources, "shop.example"), tag_and("a", &["a1"]));
        fleet.change(&[backend("b1", "shop", "b", GOOD)], &[]);
        resources.apply(fleet.batch(resources.revision())).unwrap();
        let (tag, backends) = serves(&resources, "shop.example").unwrap();
        assert_eq!(tag, "b");
        assert_eq!(backends.len(), 1 + puts.len());
        assert_eq!(rejected(&resources), []);
    }
}

fn resources_with(fleet: &Fleet) -> Resources {
    let mut resources = resources();
    resources.apply(fleet.snapshot()).unwrap();
    resources
}

#[test]
fn a_service_stays_as_long_as_something_that_is_served_refers_to_it() {
    let mut fleet = shop();
    let mut resources = resources_with(&fleet);
    let keys = [
        key(ResourceKind::Service, "shop"),
        key(ResourceKind::Backend, "a1"),
        key(ResourceKind::Domain, "other.example"),
    ];
    // The new service is unservable, so the domain stays on the old one, and so do its service and its backend.
    let (bad_key, mut bad) = service("new");
    bad.truncate(2);
    fleet.change(&[(bad_key, bad), domain("shop.example", "new", "a")], &keys);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("a", &["a1"]));
    assert_eq!(serves(&resources, "other.example"), None);
    fleet.change(&[service("new"), backend("n1", "new", "a", GOOD)], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("a", &["n1"]));
    assert_eq!(rejected(&resources), []);
    assert_eq!(resources.snapshot().services().count(), 1);
}

#[test]
fn a_domain_whose_only_certificate_is_wrong_waits_for_a_right_one() {
    let mut fleet = shop();
    let mut resources = resources_with(&fleet);
    fleet.change(&[wrong_certificate("new", "*.new.example"), domain("a.new.example", "shop", "a")], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "a.new.example"), None);
    fleet.change(&[certificate("other", "a.new.example")], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "a.new.example"), tag_and("a", &["a1"]));
    assert_eq!(rejected(&resources).len(), 1);
}

#[test]
fn ticket_keys_that_cannot_be_used_leave_those_before_and_everything_else() {
    use wire::TicketKeyRole::{Current, Next, Previous, Unspecified};
    let mut fleet = shop();
    fleet.change(&[ticket_keys("eu", &[(1, Current), (2, Next)])], &[]);
    let mut resources = resources_with(&fleet);
    assert_eq!(accepted(&resources), [1, 2]);
    let (own, good) = ticket_keys("eu", &[(2, Current)]);
    let changed = |change: fn(&mut wire::TicketKey)| {
        let mut message = wire::TicketKeys::decode(good.as_slice()).unwrap();
        message.keys.iter_mut().for_each(change);
        message.encode_to_vec()
    };
    for (bad, reason) in [
        (changed(|key| key.secret = vec![9; 16].into()), "keys: a secret has 32 bytes"),
        (changed(|key| key.name = vec![9; 17].into()), "keys: a name has 16 bytes"),
        (changed(|key| key.created_at_ms = -1), "keys.created_at_ms: "),
        (ticket_keys("eu", &[(1, Unspecified)]).1, "keys.role: "),
        (ticket_keys("eu", &[]).1, "keys: 1 to 8 are required"),
        (ticket_keys("eu", &[(1, Current); 9]).1, "keys: 1 to 8 are required"),
        (ticket_keys("eu", &[(1, Previous), (1, Current)]).1, "keys: two have the same name"),
        (ticket_keys("eu", &[(1, Current), (2, Current)]).1, "keys: two are current"),
        (b"\xff\xff".to_vec(), "it cannot be read"),
    ] {
        fleet.change(&[(own.clone(), bad), domain("shop.example", "shop", "b")], &[]);
        resources.apply(fleet.batch(resources.revision())).unwrap();
        assert_eq!(accepted(&resources), [1, 2], "{reason}");
        assert_eq!(serves(&resources, "shop.example"), tag_and("b", &[]), "nothing else waits for it");
        let [(resource, why)] = &rejected(&resources)[..] else { panic!("{:?}", rejected(&resources)) };
        assert!(*resource == own.to_string() && why.starts_with(reason), "{resource}: {why}");
    }
    fleet.change(&[(own.clone(), good)], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!((accepted(&resources), rejected(&resources)), (vec![2], vec![]));
    fleet.change(&[], &[own]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!((accepted(&resources), rejected(&resources)), (vec![], vec![]));
}

#[test]
fn an_edge_that_is_labelled_anew_has_the_ticket_keys_of_its_labels_alone() {
    use wire::TicketKeyRole::Current;
    let (eu, us) = (ticket_keys("eu", &[(1, Current)]), ticket_keys("us", &[(2, Current)]));
    // Whichever comes first by id.
    for (before, after, name) in [(&eu, &us, 2), (&us, &eu, 1)] {
        let mut fleet = shop();
        fleet.change(std::slice::from_ref(before), &[]);
        let mut edge = Edge::new();
        edge.apply(fleet.snapshot());
        fleet.change(std::slice::from_ref(after), std::slice::from_ref(&before.0));
        edge.apply(fleet.batch(edge.resources.revision()));
        assert_eq!(accepted(&edge.resources), [name]);
        assert_eq!(accepted(&edge.restart().resources), [name]);
    }
}

#[test]
fn a_batch_whose_digest_does_not_fit_changes_nothing() {
    let mut fleet = shop();
    let mut resources = resources_with(&fleet);
    fleet.change(&[domain("shop.example", "shop", "b")], &[]);
    let wrong = Batch { digest: Digest::default(), ..fleet.batch(resources.revision()) };
    resources.apply(wrong).unwrap_err();
    assert_eq!((resources.revision(), resources.digest()), (Revision(1), shop().digest()));
    assert_eq!(serves(&resources, "shop.example"), tag_and("a", &["a1"]));
    resources.apply(fleet.snapshot()).unwrap();
    assert_eq!(resources.digest(), fleet.digest());
}

/// An edge whose process can end at any time.
struct Edge {
    directory: TempDir,
    resources: Resources,
    store: Store,
}

impl Edge {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (resources, store) = Self::start(&directory);
        Self { directory, resources, store }
    }

    fn start(directory: &TempDir) -> (Resources, Store) {
        let (mut store, loaded) =
            Store::open(directory.path(), StoreKey::load(None, directory.path()).unwrap()).unwrap();
        let (resources, record) = Resources::restore(Backends::new(), loaded);
        assert_eq!(store.write(record), Persistence::Persisted);
        (resources, store)
    }

    fn restart(self) -> Self {
        let Self { directory, resources, store } = self;
        drop((resources, store));
        let (resources, store) = Self::start(&directory);
        Self { directory, resources, store }
    }

    fn apply(&mut self, batch: Batch) {
        let applied = self.resources.apply(batch).unwrap();
        assert_eq!(self.store.write(applied.record), Persistence::Persisted);
    }
}

/// Everything that is served, comparable.
fn everything(resources: &Resources) -> BTreeMap<String, Option<(String, Vec<String>)>> {
    resources
        .snapshot()
        .domains()
        .map(|domain| (domain.settings.host.to_string(), serves(resources, domain.settings.host.as_str())))
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Changes in one revision: each a resource of a small world, in a version that is good, bad or gone.
    Change(Vec<(u8, Version)>),
    /// The edge is sent what it misses.
    Sync,
    /// The edge is sent everything.
    SyncWhole,
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    Good(u8),
    Bad,
    Gone,
    Withheld,
}

fn steps(versions: impl Strategy<Value = Version> + Clone + 'static) -> impl Strategy<Value = Vec<Step>> {
    let change = prop::collection::vec((0_u8..9, versions), 1..5);
    prop::collection::vec(
        prop_oneof![
            4 => change.prop_map(Step::Change),
            4 => Just(Step::Sync),
            1 => Just(Step::SyncWhole),
            1 => Just(Step::Restart),
        ],
        1..25,
    )
}

/// The resource of a number: three domains, four backends, two services. Only its key if it is gone or cannot be read.
fn resource(number: u8, version: Version) -> Result<(ResourceKey, Vec<u8>), ResourceKey> {
    let tag = |number: u8| ["a", "b"][usize::from(number % 2)];
    let service_of = |number: u8| ["s0", "s1"][usize::from(number / 2 % 2)];
    let made = |number_of_version: u8| match number {
        0..3 => domain(&format!("d{number}.example"), service_of(number_of_version), tag(number_of_version)),
        3..7 => backend(&format!("b{number}"), service_of(number_of_version), tag(number_of_version), GOOD),
        _ => service(&format!("s{}", number - 7)),
    };
    match version {
        Version::Good(of) => Ok(made(of)),
        Version::Gone | Version::Withheld => Err(made(0).0),
        Version::Bad => Ok(match number {
            0..3 => domain(&format!("d{number}.example"), "s0", "NOT A TAG"),
            3..7 => backend(&format!("b{number}"), "s0", "a", BAD),
            _ => (made(0).0, Vec::new()),
        }),
    }
}

fn run(steps: Vec<Step>) -> (Fleet, Edge) {
    let mut fleet = Fleet::default();
    let mut edge = Edge::new();
    for step in steps {
        match step {
            Step::Change(changes) => {
                // Within one revision each resource is changed once.
                let changes: BTreeMap<u8, Version> = changes.into_iter().collect();
                let made = |(number, version): (&u8, &Version)| resource(*number, *version);
                let puts: Vec<_> = changes.iter().filter_map(|change| made(change).ok()).collect();
                let (withheld, removed): (Vec<_>, Vec<_>) =
                    changes.iter().partition(|(_, version)| **version == Version::Withheld);
                let keys = |of: Vec<_>| -> Vec<_> { of.into_iter().filter_map(|change| made(change).err()).collect() };
                let withheld = keys(withheld);
                fleet.change(&puts, &[keys(removed), withheld.clone()].concat());
                fleet.withheld.extend(withheld);
            }
            Step::Sync => edge.apply(fleet.batch(edge.resources.revision())),
            Step::SyncWhole => edge.apply(fleet.snapshot()),
            Step::Restart => edge = edge.restart(),
        }
    }
    edge.apply(fleet.batch(edge.resources.revision()));
    (fleet, edge)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sequence_ends_with_the_digest_and_the_service_of_a_fresh_snapshot(
        steps in steps(prop_oneof![8 => (0_u8..4).prop_map(Version::Good), 1 => Just(Version::Gone)]),
    ) {
        let (fleet, edge) = run(steps);
        let fresh = resources_with(&fleet);
        prop_assert_eq!(edge.resources.digest(), fleet.digest());
        prop_assert_eq!(edge.resources.revision(), Revision(fleet.revision));
        // What refers to a service that is gone waits, and keeps what was served before: a fresh edge has nothing before.
        if rejected(&edge.resources).is_empty() {
            prop_assert_eq!(everything(&edge.resources), everything(&fresh));
        }
    }

    #[test]
    fn whatever_is_bad_is_never_served_and_a_restart_changes_nothing(
        steps in steps(prop_oneof![
            6 => (0_u8..4).prop_map(Version::Good),
            3 => Just(Version::Bad),
            2 => Just(Version::Gone),
            2 => Just(Version::Withheld),
        ]),
    ) {
        let (fleet, edge) = run(steps);
        prop_assert_eq!(edge.resources.digest(), fleet.digest());
        for domain in edge.resources.snapshot().domains() {
            // Everything that is served has its service.
            prop_assert!(edge.resources.snapshot().services().any(|service| service.settings.id == domain.settings.service));
        }
        let before = (everything(&edge.resources), rejected(&edge.resources), edge.resources.digest(), edge.resources.revision());
        let edge = edge.restart();
        let after = (everything(&edge.resources), rejected(&edge.resources), edge.resources.digest(), edge.resources.revision());
        prop_assert_eq!(before, after);

        // When everything is good again, nothing of the past is left.
        let (mut fleet, mut edge) = (fleet, edge);
        let good: Vec<_> = (0..9).map(|number| resource(number, Version::Good(number)).unwrap()).collect();
        fleet.change(&good, &[]);
        edge.apply(fleet.batch(edge.resources.revision()));
        prop_assert_eq!(rejected(&edge.resources), []);
        prop_assert_eq!(edge.resources.withheld(), 0);
        prop_assert_eq!(everything(&edge.resources), everything(&resources_with(&fleet)));
    }
}
