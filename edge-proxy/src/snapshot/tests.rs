use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use switchyard_proto::{
    resource::{self, BackendState, Tags},
    vocab::{BackendAddress, HostPattern},
};

use super::*;

fn domain(host: &str, service: &str, tag: &str) -> Domain {
    let host = HostPattern::parse(host).unwrap();
    let settings = resource::Domain::new(host, ServiceId::parse(service).unwrap(), Tag::parse(tag).unwrap());
    Domain::new(settings).unwrap()
}

fn service(id: &str) -> Service {
    Service::new(resource::Service::new(ServiceId::parse(id).unwrap())).unwrap()
}

fn backend(id: &str, service: &str, tags: &[&str]) -> Backend {
    let (id, service) = (BackendId::parse(id).unwrap(), ServiceId::parse(service).unwrap());
    let tags = Tags::new(tags.iter().map(|tag| Tag::parse(tag).unwrap()).collect()).unwrap();
    Backend::new(id, service, BackendAddress::parse("10.0.0.1:80").unwrap(), tags)
}

fn certificate(id: &str, names: &[&str], last_year: i32, parsed: bool) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).unwrap();
    params.not_after = date_time_ymd(last_year, 1, 1);
    let chain = vec![params.self_signed(&key).unwrap().der().clone()];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let id = CertificateId::parse(id).unwrap();
    let names = names.iter().map(|name| HostPattern::parse(name).unwrap()).collect();
    if parsed {
        Certificate::parse(id, names, chain, key).unwrap()
    } else {
        Certificate::trusted(id, names, chain, key)
    }
}

fn edited(snapshot: &Snapshot, change: impl FnOnce(&mut Edit)) -> Snapshot {
    let mut edit = snapshot.edit();
    change(&mut edit);
    edit.finish()
}

/// The ids of the backends that may answer for `host`.
fn answering(snapshot: &Snapshot, host: &str) -> Vec<String> {
    let route = snapshot.route(host).expect("the host is known");
    let pool = route.target().map(|target| target.pool.clone()).unwrap_or_default();
    pool.backends().iter().map(|pooled| pooled.backend.id.to_string()).collect()
}

fn shop() -> Snapshot {
    edited(&Snapshot::default(), |edit| {
        edit.put_domain(domain("shop.example", "shop", "a"));
        edit.put_backend(backend("shop-2", "shop", &["b"]));
        edit.put_backend(backend("shop-1", "shop", &["a"]));
        edit.put_service(service("shop"));
    })
}

#[test]
fn a_switch_moves_a_domain_to_the_other_pool() {
    let before = shop();
    let after = edited(&before, |edit| edit.put_domain(domain("shop.example", "shop", "b")));
    assert_eq!(answering(&before, "shop.example"), ["shop-1"]);
    assert_eq!(answering(&after, "shop.example"), ["shop-2"]);
}

#[test]
fn an_exact_name_comes_before_a_wildcard() {
    let snapshot = edited(&shop(), |edit| {
        edit.put_domain(domain("*.example", "shop", "b"));
        edit.put_domain(domain("*.shop.example", "shop", "b"));
    });
    assert_eq!(snapshot.route("shop.example").unwrap().domain().settings.host.as_str(), "shop.example");
    assert_eq!(snapshot.route("www.example").unwrap().domain().settings.host.as_str(), "*.example");
    assert_eq!(snapshot.route("www.shop.example").unwrap().domain().settings.host.as_str(), "*.shop.example");
    for unknown in ["example", "a.www.example", ".example", "", "shop.example.org"] {
        assert!(snapshot.route(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn only_active_backends_answer() {
    for state in [BackendState::Draining, BackendState::Disabled] {
        let snapshot = edited(&shop(), |edit| {
            edit.put_backend(Backend { state, ..backend("shop-1", "shop", &["a"]) });
        });
        assert!(snapshot.route("shop.example").unwrap().target().is_none());
        let again = edited(&snapshot, |edit| edit.put_backend(backend("shop-1", "shop", &["a"])));
        assert_eq!(answering(&again, "shop.example"), ["shop-1"]);
    }
}

#[test]
fn a_backend_that_changes_its_tags_changes_its_pools() {
    let snapshot = edited(&shop(), |edit| edit.put_backend(backend("shop-2", "shop", &["a", "c"])));
    assert_eq!(answering(&snapshot, "shop.example"), ["shop-1", "shop-2"]);
    let snapshot = edited(&snapshot, |edit| edit.put_backend(backend("shop-1", "other", &["a"])));
    assert_eq!(answering(&snapshot, "shop.example"), ["shop-2"]);
    let snapshot = edited(&snapshot, |edit| edit.put_domain(domain("shop.example", "shop", "b")));
    assert!(snapshot.route("shop.example").unwrap().target().is_none());
}

#[test]
fn a_domain_never_reaches_what_took_the_place_of_its_service() {
    let without = edited(&shop(), |edit| {
        edit.remove_service(&ServiceId::parse("shop").unwrap());
        edit.remove_backend(&BackendId::parse("shop-1").unwrap());
        edit.remove_backend(&BackendId::parse("shop-2").unwrap());
    });
    let other = edited(&without, |edit| {
        edit.put_service(service("other"));
        edit.put_backend(backend("other-1", "other", &["a"]));
    });
    assert!(other.route("shop.example").unwrap().target().is_none());
    let back = edited(&other, |edit| {
        edit.put_service(service("shop"));
        edit.put_backend(backend("shop-1", "shop", &["a"]));
    });
    assert_eq!(answering(&back, "shop.example"), ["shop-1"]);
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let mut snapshot = shop();
    for round in 0..100 {
        let host = format!("{round}.example");
        snapshot = edited(&snapshot, |edit| edit.put_domain(domain(&host, &format!("s{round}"), "a")));
        snapshot = edited(&snapshot, |edit| edit.remove_domain(&HostPattern::parse(&host).unwrap()));
    }
    assert_eq!((snapshot.services.values().count(), snapshot.pools.values().count()), (1, 2));
    assert_eq!(snapshot.domains().count(), 1);
}

#[test]
fn an_unrelated_change_keeps_what_is_known_of_a_backend() {
    let before = shop();
    let after = edited(&before, |edit| {
        edit.put_domain(domain("other.example", "shop", "a"));
        edit.put_backend(backend("shop-1", "shop", &["a", "b"]));
    });
    let handle = |snapshot: &Snapshot| snapshot.backends[&BackendId::parse("shop-1").unwrap()].handle.clone();
    assert!(Arc::ptr_eq(&handle(&before), &handle(&after)));
}

#[test]
fn of_several_certificates_the_one_that_is_valid_longest_is_chosen() {
    for parsed in [true, false] {
        let early = certificate("early", &["shop.example"], 2030, parsed);
        let late = certificate("late", &["shop.example", "*.shop.example"], 2040, parsed);
        let wildcard = certificate("wildcard", &["*.example"], 2050, parsed);
        let [early_key, late_key, wildcard_key] = [&early, &late, &wildcard].map(|c| c.key().unwrap().clone());
        let snapshot = edited(&Snapshot::default(), |edit| {
            edit.put_certificate(late);
            edit.put_certificate(early);
            edit.put_certificate(wildcard);
        });
        let chosen = |snapshot: &Snapshot, name| snapshot.certificate(name).unwrap();
        assert!(Arc::ptr_eq(&chosen(&snapshot, "shop.example"), &late_key));
        assert!(Arc::ptr_eq(&chosen(&snapshot, "www.shop.example"), &late_key));
        assert!(Arc::ptr_eq(&chosen(&snapshot, "www.example"), &wildcard_key));
        assert!(snapshot.certificate("shop.test").is_none());

        let snapshot = edited(&snapshot, |edit| edit.remove_certificate(&CertificateId::parse("late").unwrap()));
        assert!(Arc::ptr_eq(&chosen(&snapshot, "shop.example"), &early_key));
        assert!(snapshot.certificate("www.shop.example").is_none());
    }
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let own = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let other = KeyPair::generate().unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(other.serialize_der()));
    let id = CertificateId::parse("shop").unwrap();
    let chain = vec![own.cert.der().clone()];
    let refused = |chain, key| Certificate::parse(id.clone(), Vec::new(), chain, key).unwrap_err();
    assert_eq!(refused(chain.clone(), key.clone_key()), InvalidCertificate::KeyMismatch);
    assert_eq!(refused(Vec::new(), key.clone_key()), InvalidCertificate::Empty);
    assert_eq!(refused(vec![b"garbage".to_vec().into()], key), InvalidCertificate::Encoding);
    let garbage = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(b"garbage".to_vec()));
    assert_eq!(refused(chain, garbage), InvalidCertificate::PrivateKey);
}
