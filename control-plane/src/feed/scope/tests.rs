use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use switchyard_proto::vocab::{BackendAddress, Digest, EdgeId, Tag};

use super::*;
use crate::{
    feed::{BatchKind, State},
    model::{
        CertificateChain, CertificateSource, EdgeKey, Enrolment, FreshTicketKey, Object, ObjectKey, PrivateKey,
        Resource, Tags, Timestamp,
    },
    store::{Changes, Withheld},
};

const HOSTS: [&str; 5] = ["a.example", "b.example", "*.example", "a.b.example", "*.b.example"];
const LABELS: [&[(&str, &str)]; 3] = [&[], &[("region", "eu")], &[("region", "eu"), ("role", "big")]];

/// What somebody does. Numbers choose among few, so that things meet.
#[derive(Clone, Debug)]
enum Change {
    Service(u8),
    Backend(u8, u8),
    Certificate(u8, u8, u8),
    Domain(u8, u8, u8),
    Relabel(u8, u8),
    TicketKeys(u8),
    RemoveService(u8),
    RemoveBackend(u8),
    RemoveCertificate(u8),
    RemoveDomain(u8),
    RemoveEdge(u8),
    RemoveTicketKeys(u8),
    /// Something cannot be read any more; the first number says of which kind.
    Withhold(u8, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let few = 0..3_u8;
    let host = 0..u8::try_from(HOSTS.len()).unwrap();
    prop_oneof![
        1 => few.clone().prop_map(Change::Service),
        1 => (few.clone(), few.clone()).prop_map(|(id, service)| Change::Backend(id, service)),
        1 => (few.clone(), host.clone(), host.clone()).prop_map(|(id, one, other)| Change::Certificate(id, one, other)),
        4 => (host.clone(), few.clone(), few.clone()).prop_map(|(host, service, labels)| Change::Domain(host, service, labels)),
        1 => (few.clone(), few.clone()).prop_map(|(edge, labels)| Change::Relabel(edge, labels)),
        1 => few.clone().prop_map(Change::TicketKeys),
        1 => few.clone().prop_map(Change::RemoveTicketKeys),
        1 => few.clone().prop_map(Change::RemoveService),
        1 => few.clone().prop_map(Change::RemoveBackend),
        1 => few.clone().prop_map(Change::RemoveCertificate),
        2 => host.prop_map(Change::RemoveDomain),
        1 => few.prop_map(Change::RemoveEdge),
        3 => (0..6_u8, 0..3_u8).prop_map(|(kind, number)| Change::Withhold(kind, number)),
    ]
}

fn labels(number: u8) -> Labels {
    let pairs = LABELS[usize::from(number)].iter();
    Labels::new(pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
}

fn host(number: u8) -> HostPattern {
    HostPattern::parse(HOSTS[usize::from(number)]).unwrap()
}

fn service_id(number: u8) -> ServiceId {
    ServiceId::parse(&format!("s{number}")).unwrap()
}

fn backend_id(number: u8) -> BackendId {
    BackendId::parse(&format!("b{number}")).unwrap()
}

fn certificate_id(number: u8) -> CertificateId {
    CertificateId::parse(&format!("c{number}")).unwrap()
}

fn edge_id(number: u8) -> EdgeId {
    EdgeId::parse(&format!("e{number}")).unwrap()
}

fn stored<T>(value: T, revision: Revision) -> Arc<Stored<T>> {
    Arc::new(Stored { value, revision, created_at: Timestamp(1), updated_at: Timestamp(1) })
}

fn certificate(id: u8, names: BTreeSet<u8>) -> Certificate {
    let chain = CertificateChain {
        certificates: vec![vec![id].into()],
        dns_names: names.into_iter().map(host).collect(),
        issuer: String::new(),
        not_before: Timestamp(0),
        not_after: Timestamp(0),
    };
    let private_key = PrivateKey::from_pkcs8(vec![id]);
    Certificate { id: certificate_id(id), source: CertificateSource::Uploaded, chain, private_key }
}

fn domain(number: u8, service: u8, selector: u8) -> Domain {
    let domain = Domain::new(host(number), service_id(service), Tag::parse("a").unwrap());
    Domain { edge_selector: labels(selector), ..domain }
}

/// What the database says of one change.
fn changes(change: &Change, head: Revision) -> Changes {
    let served = |resource| (vec![Object::Served(resource)], vec![]);
    let removed = |key: ObjectKey| (vec![], vec![(key, head)]);
    let (put, removed) = match *change {
        Change::Withhold(kind, number) => {
            let key = match kind {
                0 => ResourceKey::service(&service_id(number)),
                1 => ResourceKey::backend(&backend_id(number)),
                2 => ResourceKey::certificate(&certificate_id(number)),
                3 => ResourceKey::domain(&host(number)),
                4 => ResourceKey::ticket_keys(&TicketKeysId::of(&labels(number))),
                _ => ResourceKey::new("gadgets", &number.to_string()).unwrap(),
            };
            let (kind, id) = (key.kind.collection().to_owned(), key.id.to_string());
            let withheld = vec![Withheld { kind, id, revision: head, reason: String::new() }];
            return Changes { head, withheld, ..Changes::default() };
        }
        Change::Service(id) => served(Resource::Service(stored(Service::new(service_id(id)), head))),
        Change::Backend(id, service) => {
            let address = BackendAddress::parse("127.0.0.1:1").unwrap();
            let tags = Tags::new([Tag::parse("a").unwrap()].into()).unwrap();
            let backend = Backend::new(backend_id(id), service_id(service), address, tags);
            served(Resource::Backend(stored(backend, head)))
        }
        Change::Certificate(id, one, other) => {
            served(Resource::Certificate(stored(certificate(id, [one, other].into()), head)))
        }
        Change::Domain(number, service, selector) => {
            served(Resource::Domain(stored(domain(number, service, selector), head)))
        }
        Change::Relabel(edge, number) => {
            let enrolment =
                Enrolment { id: edge_id(edge), key: EdgeKey::of(b"key"), labels: labels(number), invite: None };
            (vec![Object::Edge(stored(enrolment, head))], vec![])
        }
        Change::TicketKeys(number) => {
            let keys = TicketKeys::new(labels(number), FreshTicketKey::generate().unwrap(), Timestamp(1));
            served(Resource::TicketKeys(stored(keys, head)))
        }
        Change::RemoveTicketKeys(number) => {
            removed(ResourceKey::ticket_keys(&TicketKeysId::of(&labels(number))).into())
        }
        Change::RemoveService(id) => removed(ResourceKey::service(&service_id(id)).into()),
        Change::RemoveBackend(id) => removed(ResourceKey::backend(&backend_id(id)).into()),
        Change::RemoveCertificate(id) => removed(ResourceKey::certificate(&certificate_id(id)).into()),
        Change::RemoveDomain(number) => removed(ResourceKey::domain(&host(number)).into()),
        Change::RemoveEdge(edge) => removed(ObjectKey::edge(&edge_id(edge))),
    };
    Changes { head, put, removed, ..Changes::default() }
}

/// What edges with these labels are to see, found out the long way round.
fn expected(state: &State, labels: &Labels) -> BTreeSet<String> {
    // What withheld domains use is in sight, too, as far as it is known.
    let retained = state.resources().retained().map(|(_, stored)| (false, &stored.value));
    let domains = state.domains().values().map(|stored| (true, &stored.value)).chain(retained);
    let seen = domains.filter(|(_, it)| labels.contain(&it.edge_selector));
    let own = TicketKeysId::of(labels);
    let own = state.ticket_keys().contains_key(&own).then(|| ResourceKey::ticket_keys(&own).to_string());
    let mut keys: BTreeSet<String> = own.into_iter().collect();
    for (is_readable, domain) in seen {
        if is_readable {
            keys.insert(domain.host.to_resource_name());
        }
        if state.services().contains_key(&domain.service) {
            keys.insert(domain.service.to_resource_name());
        }
        let backends = state.backends().values().filter(|stored| stored.value.service == domain.service);
        keys.extend(backends.map(|stored| stored.value.id.to_resource_name()));
        let common = |name: &HostPattern| name.covers(&domain.host) || domain.host.covers(name);
        let certificates = state.certificates().values().filter(|it| it.value.chain.dns_names.iter().any(common));
        keys.extend(certificates.map(|stored| stored.value.id.to_resource_name()));
    }
    keys
}

/// What an edge has received, by the encoded resource's name, and what it knows to be withheld.
#[derive(Clone, Debug, Default, PartialEq)]
struct Received {
    resources: BTreeMap<String, Bytes>,
    withheld: BTreeSet<String>,
}

fn receive(received: &mut Received, set: &VisibleSet, from: Option<Revision>, to: Revision) -> BatchKind {
    use prost::Message;
    use switchyard_proto::fleet::v1 as wire;
    let mut batch = set.batch(from, to);
    if batch.kind() == BatchKind::Snapshot {
        *received = Received::default();
    }
    while let Some(part) = batch.next_part() {
        for encoded in part.resources {
            let key = wire::Resource::decode(encoded.clone()).unwrap().key.unwrap();
            let name = ResourceKey::from_wire(&key).unwrap().to_string();
            received.withheld.remove(&name);
            received.resources.insert(name, encoded);
        }
        for key in part.removed {
            received.withheld.remove(&key.to_string());
            received.resources.remove(&key.to_string());
        }
        for key in part.withheld {
            received.withheld.insert(key.to_string());
            received.resources.remove(&key.to_string());
        }
    }
    batch.kind()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However things come and go, each class sees what its domains use, its own ticket keys and nothing else, and an edge that follows from any
    /// earlier revision has the same as a fresh one.
    #[test]
    fn a_class_sees_what_its_domains_use_and_nothing_else(history in proptest::collection::vec(change(), 1..40)) {
        let mut state = State::default();
        // One edge that stays for each class, so that each is followed all the time.
        for number in 0..3 {
            let enrolment = Enrolment { id: edge_id(10 + number), key: EdgeKey::of(b"key"), labels: labels(number), invite: None };
            let put = vec![Object::Edge(stored(enrolment, Revision(1)))];
            let head = Revision(u64::from(number) + 1);
            state.apply(Changes { head, put, ..Changes::default() });
        }
        let begun = state.revision();
        let mut followers: Vec<(u8, Revision, Received)> = vec![];
        for change in &history {
            let head = Revision(state.revision().0 + 1);
            state.apply(changes(change, head));
            for number in 0..3 {
                let set = state.visible(&labels(number));
                let mut fresh = Received::default();
                receive(&mut fresh, &set, None, head);
                let names: BTreeSet<_> = fresh.resources.keys().cloned().collect();
                prop_assert_eq!(names, expected(&state, &labels(number)));
                let withheld = state.withheld().map(|it| format!("{}/{}", it.kind, it.id));
                prop_assert_eq!(&fresh.withheld, &withheld.collect::<BTreeSet<_>>(), "all are named");
                let digest = fresh.resources.values().fold(Digest::default(), |sum, bytes| sum.plus(Digest::of(bytes)));
                prop_assert_eq!(set.digest(), digest);
                // Made anew, as after a restart, it is the same.
                let anew = Class::of(&labels(number), state.resources()).visible;
                prop_assert_eq!(anew.digest(), digest);
                for (_, seen, received) in followers.iter().filter(|(class, ..)| *class == number) {
                    let mut received = received.clone();
                    prop_assert_eq!(receive(&mut received, &set, Some(*seen), head), BatchKind::Delta);
                    prop_assert_eq!(&received, &fresh, "from {}", seen);
                }
                prop_assert!(head > begun);
                followers.push((number, head, fresh));
            }
        }
    }
}

#[test]
fn a_change_concerns_the_edges_that_see_it_and_those_that_saw_it() {
    let mut state = State::default();
    let mut apply = |change: Change| {
        let head = state.revision().next();
        state.apply(changes(&change, head));
        (state.clone(), head)
    };
    apply(Change::Relabel(0, 0));
    apply(Change::Relabel(1, 1));
    let (unused, at) = apply(Change::Service(0));
    let service = [ResourceKey::service(&service_id(0))].into();
    let domain = [ResourceKey::domain(&host(0))].into();
    assert!(
        !unused.concerns(&labels(0), &service, at) && !unused.concerns(&labels(1), &service, at),
        "no domain uses it"
    );

    let (shown, at) = apply(Change::Domain(0, 0, 1));
    assert!(!shown.concerns(&labels(0), &domain, at), "it asks for other labels");
    assert!(
        shown.concerns(&labels(1), &domain, at) && shown.concerns(&labels(1), &service, at),
        "both came into sight"
    );
    let (gone, at) = apply(Change::RemoveDomain(0));
    assert!(gone.concerns(&labels(1), &domain, at) && !gone.concerns(&labels(0), &domain, at));
    assert!(!gone.concerns(&labels(1), &[ResourceKey::backend(&backend_id(0))].into(), at));

    // After a restart it is not known any more who saw what was removed.
    let mut anew = State::default();
    let put = [0, 1].map(|number| changes(&Change::Relabel(number, number), at).put).concat();
    let removed = vec![(ResourceKey::domain(&host(0)).into(), at)];
    anew.apply(Changes { head: at, whole: true, put, removed, ..Changes::default() });
    assert!(anew.concerns(&labels(0), &domain, at) && anew.concerns(&labels(1), &domain, at));
}
