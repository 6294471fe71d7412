//! What every database must do for certificates that are ordered.

use std::time::Duration;

use switchyard_proto::vocab::{HostPattern, IssuerId};

use super::{Fixture, NOW, actor};
use crate::{
    model::{
        Exhausted, Issuance, IssuerUse, Lease, Order, Phase, PrivateKey, Rate, RateLimits, Renewal, Timestamp, UseKind,
    },
    store::{Store, StoreError},
};

conformance!(
    a_lease_has_one_holder_at_a_time,
    an_issuance_is_written_by_who_read_it_and_holds_the_lease,
    what_is_due_comes_first_and_the_next_moment_is_known,
    what_a_ca_allows_is_counted_in_windows_that_move,
);

fn host(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap()
}

async fn lease(store: &dyn Store) -> Lease {
    store.take_lease("acme", "one", Duration::from_secs(60)).await.unwrap().unwrap()
}

async fn put_issuance(store: &dyn Store, issuance: &Issuance) {
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.put_issuance(issuance).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn a_lease_has_one_holder_at_a_time(fixture: Fixture) {
    let store = fixture.open().await;
    let first = lease(&*store).await;
    assert_eq!(lease(&*store).await, first, "its holder takes it again");
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.require(&first).await.unwrap();
    drop(transaction);
    // Of a file there is one control plane: whoever comes is its successor. Elsewhere it waits for the end.
    store.give_lease_back(&first).await.unwrap();
    let second = store.take_lease("acme", "two", Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(second.epoch, first.epoch + 1);
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    assert!(matches!(transaction.require(&first).await, Err(StoreError::LeaseLost)));
}

async fn an_issuance_is_written_by_who_read_it_and_holds_the_lease(fixture: Fixture) {
    let store = fixture.open().await;
    let held = lease(&*store).await;
    let shop = host("shop.example");
    put_issuance(&*store, &Issuance::new(shop.clone(), NOW)).await;
    let read = store.issuance(&shop).await.unwrap().unwrap();
    let order = Order {
        issuer: IssuerId::parse("ca").unwrap(),
        url: "https://ca.example/order/1".to_owned(),
        private_key: PrivateKey::from_pkcs8(b"key".to_vec()),
        began_at: NOW,
    };
    let at = |days: i64| Timestamp(NOW.0 + days * 24 * 60 * 60 * 1_000);
    let step = Issuance {
        phase: Phase::Validating,
        issuer: Some(order.issuer.clone()),
        revoke: Some(vec![1, 2]),
        order: Some(order),
        failures: 3,
        failure: Some("because".to_owned()),
        renewal: Some(Renewal { at: at(60), window: Some((at(59), at(61))), ask_at: Some(at(1)) }),
        ..read.clone()
    };
    let written = store.record_issuance(&held, &step).await.unwrap().unwrap();
    assert_eq!(written, Issuance { version: read.version + 1, ..step.clone() });
    assert_eq!(store.issuance(&shop).await.unwrap(), Some(written.clone()));
    assert_eq!(store.record_issuance(&held, &step).await.unwrap(), None, "somebody wrote since it was read");

    assert!(store.request_issuance(&shop, None, at(2)).await.unwrap());
    let asked = store.issuance(&shop).await.unwrap().unwrap();
    assert_eq!((asked.renewal, asked.next_at, asked.revoke), (None, at(2), Some(vec![1, 2])));
    assert!(!store.request_issuance(&host("other.example"), None, NOW).await.unwrap());

    store.give_lease_back(&held).await.unwrap();
    let now = store.issuance(&shop).await.unwrap().unwrap();
    assert!(matches!(store.record_issuance(&held, &now).await, Err(StoreError::LeaseLost)));
}

async fn what_is_due_comes_first_and_the_next_moment_is_known(fixture: Fixture) {
    let store = fixture.open().await;
    for (name, next_at) in [("b.example", 3), ("a.example", 2), ("c.example", 1), ("d.example", 9)] {
        let issuance = Issuance { next_at: Timestamp(next_at), ..Issuance::new(host(name), NOW) };
        put_issuance(&*store, &issuance).await;
    }
    let names = |all: Vec<Issuance>| all.into_iter().map(|it| it.host.to_string()).collect::<Vec<_>>();
    let due = store.due_issuances(Timestamp(3), 2).await.unwrap();
    assert_eq!(names(due), ["c.example", "a.example"]);
    assert_eq!(store.next_issuance_at(Timestamp(3)).await.unwrap(), Some(Timestamp(9)));
    assert_eq!(store.next_issuance_at(Timestamp(9)).await.unwrap(), None);
    assert_eq!(names(store.issuances("a.example", 2).await.unwrap()), ["b.example", "c.example"]);
}

async fn what_a_ca_allows_is_counted_in_windows_that_move(fixture: Fixture) {
    let store = fixture.open().await;
    let held = lease(&*store).await;
    let limits = RateLimits {
        certificates_per_registered_domain: Some(Rate { count: 2, window: Duration::from_secs(100) }),
        ..RateLimits::default()
    };
    let it = |kind, name: &str, seconds: i64| IssuerUse {
        issuer: IssuerId::parse("ca").unwrap(),
        kind,
        host: host(name),
        at: Timestamp(NOW.0 + seconds * 1_000),
    };
    store.note_use(&held, &it(UseKind::Certificate, "a.shop.co.uk", 0)).await.unwrap();
    store.note_use(&held, &it(UseKind::Certificate, "b.shop.co.uk", 10)).await.unwrap();
    let full = store.spend(&held, &it(UseKind::Order, "c.shop.co.uk", 20), &limits).await.unwrap();
    let Some(Exhausted { limit, subject, until }) = full else { panic!("two were issued for it") };
    assert_eq!((subject.as_str(), until), ("shop.co.uk", Timestamp(NOW.0 + 100_000)));
    assert_eq!(store.spend(&held, &it(UseKind::Order, "c.other.co.uk", 20), &limits).await.unwrap(), None);
    assert_eq!(store.spend(&held, &it(UseKind::Order, "c.shop.co.uk", 101), &limits).await.unwrap(), None);
    let issuer = IssuerId::parse("ca").unwrap();
    let used = store.used(&issuer, &limit, Timestamp(NOW.0 + 20_000), 10).await.unwrap();
    assert_eq!((used.len(), used[0].count, used[0].first_at), (1, 2, NOW));
}
