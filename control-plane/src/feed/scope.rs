//! What edges see: a visible set for each class of labels, and the references by which what a domain uses is found.
//!
//! A class sees the domains whose selector its labels fulfil, the services that these refer to with their backends, and the
//! certificates that have a name in common with them; nothing else. What comes into sight is new there, however old it is.

use std::sync::Arc;

use bytes::Bytes;
use imbl::{HashMap, OrdMap, OrdSet};
use switchyard_proto::vocab::{BackendId, CertificateId, HostPattern, Labels, ResourceKey, Revision, ServiceId};

use super::visible::VisibleSet;
use crate::model::{Backend, Certificate, Domain, Service, Stored};

/// All resources that edges serve, as they are and as edges receive them. Clones share their structure.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    pub(super) domains: OrdMap<HostPattern, Arc<Stored<Domain>>>,
    pub(super) services: OrdMap<ServiceId, Arc<Stored<Service>>>,
    pub(super) backends: OrdMap<BackendId, Arc<Stored<Backend>>>,
    pub(super) certificates: OrdMap<CertificateId, Arc<Stored<Certificate>>>,
    encoded: HashMap<ResourceKey, Encoded>,
    backends_of: HashMap<ServiceId, OrdSet<BackendId>>,
    certificates_named: HashMap<HostPattern, OrdSet<CertificateId>>,
    certificate_names: Zones,
    domain_names: Zones,
}

/// A resource as edges receive it. Without the content, which may be a private key, where it is shown.
#[derive(Clone)]
struct Encoded {
    revision: Revision,
    bytes: Bytes,
}

impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoded").field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// Names by the zone right above them: those that a wildcard of that zone covers, and the wildcard itself.
#[derive(Clone, Debug, Default)]
struct Zones(HashMap<Arc<str>, OrdSet<HostPattern>>);

impl Zones {
    fn insert(&mut self, name: &HostPattern) {
        self.0.entry(zone(name).into()).or_default().insert(name.clone());
    }

    fn remove(&mut self, name: &HostPattern) {
        let zone = zone(name);
        if let Some(names) = self.0.get_mut(zone) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(zone);
            }
        }
    }

    /// The names that have a host in common with this one.
    fn related<'a>(&'a self, name: &'a HostPattern) -> Box<dyn Iterator<Item = &'a HostPattern> + 'a> {
        let Some(names) = self.0.get(zone(name)) else { return Box::new(std::iter::empty()) };
        if name.wildcard_suffix().is_some() {
            return Box::new(names.iter());
        }
        let wildcard = names.get_min().filter(|least| least.wildcard_suffix().is_some());
        Box::new(names.get(name).into_iter().chain(wildcard))
    }
}

/// What follows the first label: of `a.shop.example` and of `*.shop.example`, `shop.example`.
fn zone(name: &HostPattern) -> &str {
    name.as_str().split_once('.').map_or("", |(_, zone)| zone)
}

impl Resources {
    /// The certificates that have a name in common with a domain.
    fn certificates_of(&self, host: &HostPattern) -> OrdSet<CertificateId> {
        let named = |name| self.certificates_named.get(name).into_iter().flatten();
        self.certificate_names.related(host).flat_map(named).cloned().collect()
    }

    /// The domains that have a name in common with a certificate.
    fn domains_of(&self, certificate: &Certificate) -> OrdSet<HostPattern> {
        certificate.chain.dns_names.iter().flat_map(|name| self.domain_names.related(name)).cloned().collect()
    }

    fn backends_of(&self, service: &ServiceId) -> impl Iterator<Item = &BackendId> {
        self.backends_of.get(service).into_iter().flatten()
    }

    fn forget_backend(&mut self, backend: &Backend) {
        if let Some(backends) = self.backends_of.get_mut(&backend.service) {
            backends.remove(&backend.id);
            if backends.is_empty() {
                self.backends_of.remove(&backend.service);
            }
        }
    }

    fn forget_certificate(&mut self, certificate: &Certificate) {
        for name in &certificate.chain.dns_names {
            let Some(ids) = self.certificates_named.get_mut(name) else { continue };
            ids.remove(&certificate.id);
            if ids.is_empty() {
                self.certificates_named.remove(name);
                self.certificate_names.remove(name);
            }
        }
    }
}

/// The classes of labels that there are, and what each one sees. Clones share their structure.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes(HashMap<Labels, Class>);

#[derive(Clone, Debug, Default)]
struct Class {
    /// How many edges have these labels.
    edges: usize,
    visible: VisibleSet,
    /// How many visible domains refer to each visible service.
    services: HashMap<ServiceId, usize>,
    /// How many visible domains have a name in common with each visible certificate.
    certificates: HashMap<CertificateId, usize>,
}

impl Classes {
    /// What edges with these labels may see. Of labels that no edge has, it is found out anew.
    pub(super) fn visible(&self, labels: &Labels, resources: &Resources) -> VisibleSet {
        match self.0.get(labels) {
            Some(class) => class.visible.clone(),
            None => Class::of(labels, resources).visible,
        }
    }

    /// The certificates whose keys edges with these labels have.
    pub(super) fn certificates(&self, labels: &Labels) -> Vec<CertificateId> {
        let mut ids: Vec<_> =
            self.0.get(labels).into_iter().flat_map(|class| class.certificates.keys()).cloned().collect();
        ids.sort();
        ids
    }

    /// An edge has these labels from now on.
    pub(super) fn join(&mut self, labels: &Labels, resources: &Resources, at: Revision) {
        let class = self.0.entry(labels.clone()).or_insert_with(|| {
            let mut class = Class::of(labels, resources);
            // What such edges saw before is not known.
            class.visible.raise_floor(at);
            class
        });
        class.edges += 1;
    }

    /// An edge has these labels no more.
    pub(super) fn leave(&mut self, labels: &Labels) {
        if let Some(class) = self.0.get_mut(labels) {
            class.edges -= 1;
            if class.edges == 0 {
                self.0.remove(labels);
            }
        }
    }

    /// Says that removals up to and including `floor` may be unknown.
    pub(super) fn raise_floor(&mut self, floor: Revision) {
        for (_, class) in self.0.iter_mut() {
            class.visible.raise_floor(floor);
        }
    }

    /// Remembers a removal of before anything was known here. Who saw it then is not known: with a single class it was that one;
    /// with several none is told, and whoever still has it is sent everything, as the digest shows.
    pub(super) fn removed_before(&mut self, key: ResourceKey, revision: Revision) {
        if self.0.len() == 1 {
            for (_, class) in self.0.iter_mut() {
                class.visible.remove(key.clone(), revision);
            }
        }
    }

    pub(super) fn put_service(&mut self, resources: &mut Resources, stored: Arc<Stored<Service>>, bytes: Bytes) {
        let (id, at) = (stored.value.id.clone(), stored.revision);
        let key = resources.encode(ResourceKey::service(&id), at, bytes);
        resources.services.insert(id.clone(), stored);
        for (_, class) in self.0.iter_mut() {
            if class.services.contains_key(&id) {
                class.show(resources, key.clone(), at);
            }
        }
    }

    pub(super) fn put_backend(&mut self, resources: &mut Resources, stored: Arc<Stored<Backend>>, bytes: Bytes) {
        let Backend { id, service, .. } = stored.value.clone();
        let at = stored.revision;
        let key = resources.encode(ResourceKey::backend(&id), at, bytes);
        if let Some(old) = resources.backends.insert(id.clone(), stored) {
            resources.forget_backend(&old.value);
        }
        resources.backends_of.entry(service.clone()).or_default().insert(id);
        for (_, class) in self.0.iter_mut() {
            if class.services.contains_key(&service) {
                class.show(resources, key.clone(), at);
            } else {
                class.hide(&key, at);
            }
        }
    }

    pub(super) fn put_certificate(
        &mut self,
        resources: &mut Resources,
        stored: Arc<Stored<Certificate>>,
        bytes: Bytes,
    ) {
        let (id, at) = (stored.value.id.clone(), stored.revision);
        let key = resources.encode(ResourceKey::certificate(&id), at, bytes);
        if let Some(old) = resources.certificates.insert(id.clone(), stored.clone()) {
            resources.forget_certificate(&old.value);
        }
        for name in &stored.value.chain.dns_names {
            resources.certificates_named.entry(name.clone()).or_default().insert(id.clone());
            resources.certificate_names.insert(name);
        }
        let domains = resources.domains_of(&stored.value);
        for (labels, class) in self.0.iter_mut() {
            let sees = |host: &&HostPattern| resources.domains.get(*host).is_some_and(|it| sees(labels, &it.value));
            match domains.iter().filter(sees).count() {
                0 => {
                    class.certificates.remove(&id);
                    class.hide(&key, at);
                }
                count => {
                    class.certificates.insert(id.clone(), count);
                    class.show(resources, key.clone(), at);
                }
            }
        }
    }

    pub(super) fn put_domain(&mut self, resources: &mut Resources, stored: Arc<Stored<Domain>>, bytes: Bytes) {
        let (host, at) = (stored.value.host.clone(), stored.revision);
        let key = resources.encode(ResourceKey::domain(&host), at, bytes);
        let old = resources.domains.insert(host.clone(), stored.clone());
        resources.domain_names.insert(&host);
        for (labels, class) in self.0.iter_mut() {
            let seen = old.as_ref().filter(|old| sees(labels, &old.value));
            let is_seen = sees(labels, &stored.value);
            // What both refer to is taken up before it is let go: it stays in sight.
            if is_seen {
                class.show(resources, key.clone(), at);
                class.take_up_service(resources, &stored.value.service, at);
            }
            if let Some(old) = seen {
                class.let_go_service(resources, &old.value.service, at);
            }
            match (seen.is_some(), is_seen) {
                (false, true) => class.take_up_certificates(resources, &host, at),
                (true, false) => {
                    class.hide(&key, at);
                    class.let_go_certificates(resources, &host, at);
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    pub(super) fn remove_service(&mut self, resources: &mut Resources, id: &ServiceId, at: Revision) {
        resources.services.remove(id);
        self.remove(resources, &ResourceKey::service(id), at);
    }

    pub(super) fn remove_backend(&mut self, resources: &mut Resources, id: &BackendId, at: Revision) {
        if let Some(old) = resources.backends.remove(id) {
            resources.forget_backend(&old.value);
        }
        self.remove(resources, &ResourceKey::backend(id), at);
    }

    pub(super) fn remove_certificate(&mut self, resources: &mut Resources, id: &CertificateId, at: Revision) {
        if let Some(old) = resources.certificates.remove(id) {
            resources.forget_certificate(&old.value);
        }
        for (_, class) in self.0.iter_mut() {
            class.certificates.remove(id);
        }
        self.remove(resources, &ResourceKey::certificate(id), at);
    }

    pub(super) fn remove_domain(&mut self, resources: &mut Resources, host: &HostPattern, at: Revision) {
        if let Some(old) = resources.domains.remove(host) {
            resources.domain_names.remove(host);
            for (labels, class) in self.0.iter_mut() {
                if sees(labels, &old.value) {
                    class.let_go_service(resources, &old.value.service, at);
                    class.let_go_certificates(resources, host, at);
                }
            }
        }
        self.remove(resources, &ResourceKey::domain(host), at);
    }

    fn remove(&mut self, resources: &mut Resources, key: &ResourceKey, at: Revision) {
        resources.encoded.remove(key);
        for (_, class) in self.0.iter_mut() {
            class.hide(key, at);
        }
    }
}

impl Resources {
    fn encode(&mut self, key: ResourceKey, revision: Revision, bytes: Bytes) -> ResourceKey {
        self.encoded.insert(key.clone(), Encoded { revision, bytes });
        key
    }
}

fn sees(labels: &Labels, domain: &Domain) -> bool {
    labels.contain(&domain.edge_selector)
}

impl Class {
    /// What edges with these labels see of what there is, each resource since it was changed last.
    fn of(labels: &Labels, resources: &Resources) -> Self {
        let mut class = Self::default();
        for (host, stored) in &resources.domains {
            if sees(labels, &stored.value) {
                class.show(resources, ResourceKey::domain(host), Revision::ZERO);
                class.take_up_service(resources, &stored.value.service, Revision::ZERO);
                class.take_up_certificates(resources, host, Revision::ZERO);
            }
        }
        class
    }

    /// Shows a resource that changed or came into sight at a revision.
    fn show(&mut self, resources: &Resources, key: ResourceKey, at: Revision) {
        if let Some(Encoded { revision, bytes }) = resources.encoded.get(&key) {
            self.visible.put(key, at.max(*revision), bytes.clone());
        }
    }

    /// Hides a resource, if it was in sight. Whoever never saw it hears nothing of it.
    fn hide(&mut self, key: &ResourceKey, at: Revision) {
        if self.visible.has(key) {
            self.visible.remove(key.clone(), at);
        }
    }

    fn take_up_service(&mut self, resources: &Resources, service: &ServiceId, at: Revision) {
        let users = self.services.entry(service.clone()).or_default();
        *users += 1;
        if *users == 1 {
            self.show(resources, ResourceKey::service(service), at);
            for backend in resources.backends_of(service) {
                self.show(resources, ResourceKey::backend(backend), at);
            }
        }
    }

    fn let_go_service(&mut self, resources: &Resources, service: &ServiceId, at: Revision) {
        if let_go(&mut self.services, service) {
            self.hide(&ResourceKey::service(service), at);
            for backend in resources.backends_of(service) {
                self.hide(&ResourceKey::backend(backend), at);
            }
        }
    }

    fn take_up_certificates(&mut self, resources: &Resources, host: &HostPattern, at: Revision) {
        for id in resources.certificates_of(host) {
            let users = self.certificates.entry(id.clone()).or_default();
            *users += 1;
            if *users == 1 {
                self.show(resources, ResourceKey::certificate(&id), at);
            }
        }
    }

    fn let_go_certificates(&mut self, resources: &Resources, host: &HostPattern, at: Revision) {
        for id in resources.certificates_of(host) {
            if let_go(&mut self.certificates, &id) {
                self.hide(&ResourceKey::certificate(&id), at);
            }
        }
    }
}

/// Counts one user less; whether it was the last.
fn let_go<K: std::hash::Hash + Eq + Clone>(users: &mut HashMap<K, usize>, key: &K) -> bool {
    let Some(count) = users.get_mut(key) else { return false };
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        users.remove(key);
    }
    is_last
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use switchyard_proto::vocab::{BackendAddress, Digest, EdgeId, Tag};

    use super::*;
    use crate::{
        feed::{BatchKind, State},
        model::{
            BackendState, CertificateChain, CertificateSource, EdgeKey, Enrolment, Object, ObjectKey, PrivateKey,
            Resource, Tags, Timestamp,
        },
        store::Changes,
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
        RemoveService(u8),
        RemoveBackend(u8),
        RemoveCertificate(u8),
        RemoveDomain(u8),
        RemoveEdge(u8),
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
            1 => few.clone().prop_map(Change::RemoveService),
            1 => few.clone().prop_map(Change::RemoveBackend),
            1 => few.clone().prop_map(Change::RemoveCertificate),
            2 => host.prop_map(Change::RemoveDomain),
            1 => few.prop_map(Change::RemoveEdge),
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
            certificates: vec![vec![id]],
            dns_names: names.into_iter().map(host).collect(),
            issuer: String::new(),
            fingerprint_sha256: String::new(),
            not_before: Timestamp(0),
            not_after: Timestamp(0),
        };
        let private_key = PrivateKey::from_pkcs8(vec![id]);
        Certificate { id: certificate_id(id), source: CertificateSource::Uploaded, chain, private_key }
    }

    fn domain(number: u8, service: u8, selector: u8) -> Domain {
        Domain {
            host: host(number),
            service: service_id(service),
            active_tag: Tag::parse("a").unwrap(),
            previous_tag: None,
            certificate_source: CertificateSource::Uploaded,
            http_to_https: false,
            edge_selector: labels(selector),
        }
    }

    /// What the database says of one change.
    fn changes(change: &Change, head: Revision) -> Changes {
        let served = |resource| (vec![Object::Served(resource)], vec![]);
        let removed = |key: ObjectKey| (vec![], vec![(key, head)]);
        let (put, removed) = match *change {
            Change::Service(id) => served(Resource::Service(stored(Service::new(service_id(id)), head))),
            Change::Backend(id, service) => served(Resource::Backend(stored(
                Backend {
                    id: backend_id(id),
                    service: service_id(service),
                    address: BackendAddress::parse("127.0.0.1:1").unwrap(),
                    tags: Tags::new([Tag::parse("a").unwrap()].into()).unwrap(),
                    state: BackendState::Active,
                },
                head,
            ))),
            Change::Certificate(id, one, other) => {
                served(Resource::Certificate(stored(certificate(id, [one, other].into()), head)))
            }
            Change::Domain(number, service, selector) => {
                served(Resource::Domain(stored(domain(number, service, selector), head)))
            }
            Change::Relabel(edge, number) => {
                let enrolment = Enrolment { id: edge_id(edge), key: EdgeKey::of(b"key"), labels: labels(number) };
                (vec![Object::Edge(stored(enrolment, head))], vec![])
            }
            Change::RemoveService(id) => removed(ResourceKey::service(&service_id(id)).into()),
            Change::RemoveBackend(id) => removed(ResourceKey::backend(&backend_id(id)).into()),
            Change::RemoveCertificate(id) => removed(ResourceKey::certificate(&certificate_id(id)).into()),
            Change::RemoveDomain(number) => removed(ResourceKey::domain(&host(number)).into()),
            Change::RemoveEdge(edge) => removed(ObjectKey::edge(&edge_id(edge))),
        };
        Changes { head, floor: Revision::ZERO, whole: false, put, removed }
    }

    /// What edges with these labels are to see, found out the long way round.
    fn expected(state: &State, labels: &Labels) -> BTreeSet<String> {
        let seen = state.domains().values().map(|stored| &stored.value).filter(|it| labels.contain(&it.edge_selector));
        let mut keys = BTreeSet::new();
        for domain in seen {
            keys.insert(domain.host.to_resource_name());
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

    /// What an edge has received, by the encoded resource's name.
    type Received = BTreeMap<String, Bytes>;

    fn receive(received: &mut Received, set: &VisibleSet, from: Option<Revision>, to: Revision) -> BatchKind {
        use prost::Message;
        use switchyard_proto::fleet::v1 as wire;
        let mut batch = set.batch(from, to);
        if batch.kind() == BatchKind::Snapshot {
            received.clear();
        }
        while let Some(part) = batch.next_part() {
            for encoded in part.resources {
                let key = wire::Resource::decode(encoded.clone()).unwrap().key.unwrap();
                received.insert(ResourceKey::from_wire(&key).unwrap().to_string(), encoded);
            }
            for key in part.removed {
                received.remove(&key.to_string());
            }
        }
        batch.kind()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// However things come and go, each class sees what its domains use and nothing else, and an edge that follows from any
        /// earlier revision has the same as a fresh one.
        #[test]
        fn a_class_sees_what_its_domains_use_and_nothing_else(history in proptest::collection::vec(change(), 1..40)) {
            let mut state = State::default();
            // One edge that stays for each class, so that each is followed all the time.
            for number in 0..3 {
                let enrolment = Enrolment { id: edge_id(10 + number), key: EdgeKey::of(b"key"), labels: labels(number) };
                let put = vec![Object::Edge(stored(enrolment, Revision(1)))];
                let head = Revision(u64::from(number) + 1);
                state.apply(Changes { head, floor: Revision::ZERO, whole: false, put, removed: vec![] });
            }
            let begun = state.revision();
            let mut followers: Vec<(u8, Revision, Received)> = vec![];
            for change in &history {
                let head = Revision(state.revision().0 + 1);
                state.apply(changes(change, head));
                for number in 0..3 {
                    let set = state.visible(&labels(number));
                    let mut fresh = Received::new();
                    receive(&mut fresh, &set, None, head);
                    prop_assert_eq!(fresh.keys().cloned().collect::<BTreeSet<_>>(), expected(&state, &labels(number)));
                    let digest = fresh.values().fold(Digest::default(), |sum, bytes| sum.plus(Digest::of(bytes)));
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
}
