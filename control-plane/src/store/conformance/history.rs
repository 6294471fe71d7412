//! What the history must tell, and for how long.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_proto::vocab::{ResourceKey, Revision, ServiceId};

use super::{
    super::fixture::values::{domain, internal_certificate, service},
    Fixture, NOW, actor, put_service,
};
use crate::{
    model::{
        Access, Actor, Certificate, Domain, HistoryFilter, HistoryPlace, ObjectKey, Origin, Service, Timestamp,
        TlsVersion,
    },
    store::{HISTORY_MAX, StoreError},
};

conformance!(
    the_history_says_what_each_revision_changed_and_holds_no_secret,
    the_history_is_asked_by_place_resource_actor_and_time,
    a_document_is_read_as_it_was_at_a_revision,
    the_history_is_kept_up_to_a_horizon_with_the_last_entry_before_of_each_object,
);

async fn the_history_says_what_each_revision_changed_and_holds_no_secret(fixture: Fixture) {
    let store = fixture.open().await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let shop = transaction.put(None, service("shop")).await.unwrap();
    let certificate = transaction.put(None, internal_certificate("shop.example")).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.delete(&certificate).await.unwrap();
    let mut tls = shop.value.tls.clone().unwrap();
    tls.client_certificate = None;
    transaction.put(Some(&shop), Service { tls: Some(tls), ..shop.value.clone() }).await.unwrap();
    transaction.commit().await.unwrap();

    let changed = |keys: Vec<ObjectKey>| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first = changed(store.changed_at(Revision(1)).await.unwrap());
    assert_eq!(first, ["services/shop", "certificates/internal-shop.example"]);
    let second = changed(store.changed_at(Revision(2)).await.unwrap());
    assert_eq!(second, ["certificates/internal-shop.example", "services/shop"]);
    assert!(store.changed_at(Revision(3)).await.unwrap().is_empty());

    let entries = store.history(&HistoryFilter::default(), 10).await.unwrap();
    let places: Vec<_> = entries.iter().map(|entry| (entry.place.revision.0, entry.place.position)).collect();
    assert_eq!(places, [(2, 1), (2, 0), (1, 1), (1, 0)], "the newest first");
    let [changed, deleted, created, shop] = &entries[..] else { panic!("{entries:?}") };
    assert!(deleted.old == created.new && deleted.new.is_none() && created.old.is_none());
    let (before, after) = (changed.old.as_ref().unwrap(), changed.new.as_ref().unwrap());
    let key = "tls.client_certificate.private_key_pem";
    assert!(before[key].as_str().unwrap().starts_with("secret ") && !after.contains_key(key));
    assert_eq!(after["timeouts.connect"], before["timeouts.connect"]);
    assert!(after["timeouts.connect"].as_str().unwrap().ends_with('s'), "{after:?}");
    assert!(!format!("{entries:?}").contains("PRIVATE KEY"), "{entries:?}");
    assert_eq!((shop.resource.as_str(), shop.actor.as_str(), shop.at), ("services/shop", "tester", NOW));
}

async fn the_history_is_asked_by_place_resource_actor_and_time(fixture: Fixture) {
    let store = fixture.open().await;
    let caller = Actor {
        name: "ann".into(),
        origin: Origin::Grpc,
        access: Access::EVERYTHING,
        address: Some("192.0.2.7".parse().unwrap()),
        method: Some("CreateService"),
    };
    for (number, actor) in [actor(), caller.clone(), actor()].iter().enumerate() {
        let later = NOW.plus(Duration::from_secs(number as u64));
        let mut transaction = store.begin(actor, later).await.unwrap();
        transaction.put(None, service(&format!("shop-{number}"))).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let of = async |filter: HistoryFilter, limit| {
        let entries = store.history(&filter, limit).await.unwrap();
        entries.iter().map(|entry| entry.place.revision.0).collect::<Vec<_>>()
    };
    let all = HistoryFilter::default();
    assert_eq!(of(all.clone(), 2).await, [3, 2]);
    let place = HistoryPlace { revision: Revision(2), position: 0 };
    assert_eq!(of(HistoryFilter { before: Some(place), ..all.clone() }, 9).await, [1]);
    let resource = ResourceKey::service(&ServiceId::parse("shop-2").unwrap());
    assert_eq!(of(HistoryFilter { resource: Some(resource.into()), ..all.clone() }, 9).await, [3]);
    assert_eq!(of(HistoryFilter { actor: Some("ann".into()), ..all.clone() }, 9).await, [2]);
    let since = Some(Timestamp(NOW.0 + 1_000));
    assert_eq!(of(HistoryFilter { since, ..all.clone() }, 9).await, [3, 2]);
    assert_eq!(of(HistoryFilter { until: since, ..all.clone() }, 9).await, [1]);
    let entries = store.history(&HistoryFilter { actor: Some("ann".into()), ..all }, 1).await.unwrap();
    assert_eq!((entries[0].address, entries[0].method.as_deref()), (caller.address, caller.method));
}

async fn a_document_is_read_as_it_was_at_a_revision(fixture: Fixture) {
    let store = fixture.open().await;
    put_service(&store, "shop").await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let first = transaction.put(None, domain("shop.example", "shop", &[])).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let changed = Domain { minimum_tls_version: TlsVersion::V12, ..first.value.clone() };
    let second = transaction.put(Some(&first), changed).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.delete(&second).await.unwrap();
    transaction.commit().await.unwrap();

    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let mut versions = Vec::new();
    for revision in 1..5 {
        versions.push(transaction.get_at::<Domain>(&first.value.host, Revision(revision)).await.unwrap());
    }
    assert_eq!(versions, [None, Some(first.value), Some(second.value), None]);
}

/// The rows that one more change needs to reach the horizon after 1000 revisions.
const FILL: &str = "INSERT INTO change (revision, seq, kind, id, document, actor, origin, changed_at) \
    SELECT 900, n, 'services', 'gone', NULL, 'filler', 'grpc', 0 FROM \
    (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100000) SELECT n FROM c) AS n";

async fn the_history_is_kept_up_to_a_horizon_with_the_last_entry_before_of_each_object(fixture: Fixture) {
    assert_eq!(HISTORY_MAX, 100_000, "what FILL makes");
    let store = fixture.open().await;
    let put = async |old: Option<Service>, new: Service| {
        let mut transaction = store.begin(&actor(), NOW).await.unwrap();
        let old = match &old {
            Some(old) => transaction.get::<Service>(&old.id).await.unwrap(),
            None => None,
        };
        transaction.put(old.as_ref(), new).await.unwrap();
        transaction.commit().await.unwrap()
    };
    let (first, plain) = (service("shop"), Service::new(ServiceId::parse("shop").unwrap()));
    // Its key is in the first version only; a second service keeps its own.
    put(None, first.clone()).await;
    put(Some(first.clone()), plain.clone()).await;
    put(None, service("other")).await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let removed = transaction.put(None, internal_certificate("gone.example")).await.unwrap();
    transaction.delete(&removed).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(fixture.number("SELECT COUNT(*) FROM sealed").await, 3);
    fixture.execute(FILL).await;
    fixture.execute("UPDATE revision SET current = 999").await;
    // The change after it is the first that a horizon is looked for at.
    let last = put(Some(plain.clone()), first.clone()).await;
    assert_eq!(last, Revision(1_000));

    assert_eq!(fixture.number("SELECT history_floor FROM revision").await, 900);
    let kept = fixture.number("SELECT COUNT(*) FROM change").await;
    assert_eq!(kept, 3, "the last before the horizon of the two that are there, and what came after");
    assert_eq!(fixture.number("SELECT COUNT(*) FROM sealed").await, 2, "one for each document that names one");
    let entries = store.history(&HistoryFilter::default(), 10).await.unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    let before = Value::Object(entry.old.clone().unwrap());
    assert_eq!(before, json!({ "name": "services/shop" }), "the entry before the horizon");

    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let other = ServiceId::parse("other").unwrap();
    assert_eq!(transaction.get_at::<Service>(&other, Revision(950)).await.unwrap(), Some(service("other")));
    assert_eq!(transaction.get_at::<Service>(&first.id, Revision(2)).await.unwrap(), Some(plain));
    assert_eq!(transaction.get_at::<Service>(&first.id, last).await.unwrap(), Some(first.clone()));
    let gone = transaction.get_at::<Service>(&first.id, Revision(1)).await.unwrap_err();
    assert!(matches!(gone, StoreError::HistoryGone { floor: Revision(900), .. }), "{gone:?}");
    let gone = transaction.get_at::<Certificate>(&removed.value.id, Revision(4)).await;
    assert!(matches!(gone, Err(StoreError::HistoryGone { .. })), "{gone:?}");
    assert!(!transaction.is_pristine().await.unwrap(), "somebody has declared what the history has lost");
}
