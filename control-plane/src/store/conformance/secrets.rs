//! What every database must do with the secrets of documents.

use switchyard_proto::vocab::{CertificateId, Revision, ServiceId};

use super::{
    super::fixture::values::{client_certificate, dns_provider, dns_settings, internal_certificate, issuer, service},
    Fixture, NOW, actor,
};
use crate::{
    model::{Certificate, HistoryFilter, Issuer, ObjectKey, Place, PrivateKey, Service, Stored},
    seal::MasterKey,
    store::{Document, Location, Store, StoreError, Unreadable},
};

conformance!(
    a_secret_that_did_not_change_keeps_its_record,
    a_client_key_is_brought_back_from_the_history_and_refused_once_it_was_purged,
    what_the_system_made_before_is_purged_with_its_successor,
    every_secret_is_sealed_anew_under_another_master_key,
    a_secret_that_does_not_open_keeps_no_other_from_being_sealed_anew,
    two_stores_seal_and_open_for_each_other,
);

const CLIENT_KEY: &str = "tls.client_certificate.private_key_pem";

/// The service with another client certificate, or with none.
fn with_client(old: &Service, is_there: bool) -> Service {
    let mut tls = old.tls.clone().unwrap();
    tls.client_certificate = is_there.then(client_certificate);
    Service { tls: Some(tls), ..old.clone() }
}

async fn put<T: Document + Clone>(store: &dyn Store, old: Option<&Stored<T>>, new: T) -> Stored<T> {
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let stored = transaction.put(old, new).await.unwrap();
    transaction.commit().await.unwrap();
    stored
}

async fn a_secret_that_did_not_change_keeps_its_record(fixture: Fixture) {
    let store = fixture.open().await;
    let records = "SELECT COUNT(*) FROM sealed";
    let first = put(&*store, None, issuer("ca")).await;
    assert_eq!(fixture.number(records).await, 2, "its account's key, and that of its external account");
    let second = put(&*store, Some(&first), Issuer { place: Place::Rank(77), ..first.value.clone() }).await;
    assert_eq!(fixture.number(records).await, 2);
    let mut changed = second.value.clone();
    changed.account.as_mut().unwrap().key = PrivateKey::from_pkcs8(b"another".to_vec());
    let third = put(&*store, Some(&second), changed).await;
    assert_eq!(fixture.number(records).await, 3, "the one before is in the history");
    assert_eq!(fixture.number("SELECT COUNT(*) FROM sealed WHERE released_at IS NULL").await, 2);
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    assert_eq!(transaction.get::<Issuer>(&third.value.id).await.unwrap(), Some(third));
    assert_eq!(transaction.get_at::<Issuer>(&first.value.id, Revision(1)).await.unwrap(), Some(first.value));
}

async fn a_client_key_is_brought_back_from_the_history_and_refused_once_it_was_purged(fixture: Fixture) {
    let store = fixture.open().await;
    let first = put(&*store, None, service("shop")).await;
    let second = put(&*store, Some(&first), with_client(&first.value, true)).await;
    assert_ne!(first.value, second.value);
    let third = put(&*store, Some(&second), with_client(&first.value, false)).await;

    let id = &first.value.id;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let before = transaction.get_at::<Service>(id, Revision(1)).await.unwrap().unwrap();
    assert_eq!(before, first.value, "with its key");
    let back = transaction.put(Some(&third), before).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    assert_eq!(transaction.get::<Service>(id).await.unwrap(), Some(back));
    drop(transaction);

    let key = first.value.key();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    assert_eq!(transaction.purge_secret(&key, "tls.other").await.unwrap(), 0);
    assert_eq!(transaction.purge_secret(&key, CLIENT_KEY).await.unwrap(), 2, "all but the one that it is now");
    assert_eq!(transaction.purge_secret(&key, CLIENT_KEY).await.unwrap(), 0, "once");
    transaction.commit().await.unwrap();
    let newest = store.history(&HistoryFilter::default(), 1).await.unwrap().remove(0);
    assert_eq!((newest.place.revision, newest.purged.as_deref()), (Revision(5), Some(CLIENT_KEY)));
    assert_eq!(newest.old, newest.new, "it is what it was");
    let left = fixture.number("SELECT COUNT(*) FROM sealed WHERE blob IS NOT NULL").await;
    assert_eq!((left, fixture.number("SELECT COUNT(fingerprint) FROM sealed").await), (1, 3));
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    for revision in [1, 2] {
        let error = transaction.get_at::<Service>(id, Revision(revision)).await.unwrap_err();
        let StoreError::Unreadable { name, reason } = &error else { panic!("{error:?}") };
        assert_eq!(name, "services/shop");
        assert_eq!(*reason, Unreadable::PurgedSecret { path: CLIENT_KEY.into() });
        assert!(error.to_string().ends_with("its secret tls.client_certificate.private_key_pem was purged"));
    }
    // What needs none of them is still there.
    assert_eq!(transaction.get_at::<Service>(id, Revision(3)).await.unwrap(), Some(third.value));
    assert_eq!(transaction.get_at::<Service>(id, Revision(4)).await.unwrap(), Some(first.value));
    drop(transaction);
    assert!(store.changes_after(Revision::ZERO).await.unwrap().withheld.is_empty());
    assert!(store.changes_after(Revision(4)).await.unwrap().put.is_empty(), "it was not written again");
}

async fn what_the_system_made_before_is_purged_with_its_successor(fixture: Fixture) {
    let store = fixture.open().await;
    let first = put(&*store, None, internal_certificate("shop.example")).await;
    let second = put(&*store, Some(&first), internal_certificate("shop.example")).await;
    let opened = "SELECT COUNT(*) FROM sealed WHERE blob IS NOT NULL";
    assert_eq!(fixture.number(opened).await, 1);
    let id: &CertificateId = &first.value.id;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    assert_eq!(transaction.get::<Certificate>(id).await.unwrap().as_ref(), Some(&second));
    let purged = transaction.get_at::<Certificate>(id, first.revision).await;
    assert!(matches!(purged, Err(StoreError::Unreadable { .. })), "{purged:?}");
    transaction.delete(&second).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(fixture.number(opened).await, 0);
}

async fn every_secret_is_sealed_anew_under_another_master_key(fixture: Fixture) {
    let store = fixture.open().await;
    let shop = put(&*store, None, service("shop")).await;
    let later = put(&*store, Some(&shop), with_client(&shop.value, true)).await;
    let ca = put(&*store, None, issuer("ca")).await;
    for (number, settings) in dns_settings().into_iter().enumerate() {
        put(&*store, None, dns_provider(&format!("provider-{number}"), settings)).await;
    }
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.put_secret("authority", b"secret").await.unwrap();
    transaction.commit().await.unwrap();
    store.close().await;

    let key = MasterKey::generate().unwrap();
    let store = fixture.open_with(&key, std::slice::from_ref(fixture.key())).await;
    // Two of the service, two of the issuer, four of providers; the check, the key of fingerprints and the authority.
    assert_eq!(store.reseal().await.unwrap(), 11);
    assert_eq!(store.reseal().await.unwrap(), 0);
    store.close().await;
    let store = fixture.open_with(&key, &[]).await;
    assert!(store.changes_after(Revision::ZERO).await.unwrap().withheld.is_empty());
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    assert_eq!(transaction.get::<Issuer>(&ca.value.id).await.unwrap(), Some(ca));
    assert_eq!(transaction.get_at::<Service>(&shop.value.id, shop.revision).await.unwrap(), Some(shop.value));
    assert_eq!(transaction.secret("authority").await.unwrap().as_deref(), Some(&b"secret"[..]));
    drop(transaction);
    // Secrets are still known for what they are.
    let plain = Service { timeouts: Default::default(), ..later.value.clone() };
    put(&*store, Some(&later), plain).await;
    assert_eq!(fixture.number("SELECT COUNT(*) FROM sealed WHERE kind = 'services'").await, 2);
}

async fn a_secret_that_does_not_open_keeps_no_other_from_being_sealed_anew(fixture: Fixture) {
    let store = fixture.open().await;
    put(&*store, None, service("lost")).await;
    put(&*store, None, service("shop")).await;
    store.close().await;
    let blob = fixture.literal(b"sealed under a key that is lost");
    fixture.execute(format!("UPDATE sealed SET blob = {blob} WHERE id = 'lost'")).await;
    let key = MasterKey::generate().unwrap();
    let store = fixture.open_with(&key, std::slice::from_ref(fixture.key())).await;
    let error = store.reseal().await.unwrap_err();
    assert!(error.to_string().contains("/services/lost/tls.client_certificate.private_key_pem"), "{error}");
    let store = fixture.open_with(&key, &[]).await;
    let changes = store.changes_after(Revision::ZERO).await.unwrap();
    let names = |keys: Vec<String>| keys;
    assert_eq!(names(changes.put.iter().map(|it| it.key().to_string()).collect()), ["services/shop"]);
    assert_eq!(names(changes.withheld.iter().map(|it| it.id.clone()).collect()), ["lost"]);
}

async fn two_stores_seal_and_open_for_each_other(fixture: Fixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    let first = put(&*one, None, service("shop")).await;
    let id = ServiceId::parse("shop").unwrap();
    let mut transaction = two.begin(&actor(), NOW).await.unwrap();
    assert_eq!(transaction.get::<Service>(&id).await.unwrap().as_ref(), Some(&first));
    let second = Service { timeouts: Default::default(), ..first.value.clone() };
    transaction.put(Some(&first), second).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(fixture.number("SELECT COUNT(*) FROM sealed").await, 1, "both know a secret by the same fingerprint");
    if let Location::Sqlite(path) = &fixture.location {
        for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(11).any(|window| window == b"PRIVATE KEY"));
        }
    }
    let keys: Vec<ObjectKey> = one.changed_at(Revision(2)).await.unwrap();
    assert_eq!(keys, [first.value.key()]);
}
