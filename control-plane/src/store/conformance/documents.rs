//! What every database must do with documents of every kind, and with those that it cannot read.

use prost::Message;
use switchyard_proto::{
    store::v1 as wire,
    vocab::{Revision, ServiceId},
};

use super::{
    super::document::encode,
    super::fixture::values::{
        backend, certificate, challenge, dns_provider, dns_settings, domain, edge, internal_certificate, invite,
        issuer, labels, service, ticket_keys, token,
    },
    Fixture, NOW, actor, put_service,
};
use crate::{
    model::{Backend, HistoryFilter, Object, ObjectKey, ObjectKind, Service},
    store::{Changes, Document, Store, StoreError, Withheld},
};

conformance!(
    every_field_of_every_kind_is_read_back_after_a_restart,
    a_document_is_replaced_and_deleted_with_its_references,
    a_reference_to_what_is_not_there_is_refused_at_the_commit,
    a_document_that_cannot_be_read_is_withheld_and_stops_nobody,
    a_document_that_cannot_be_read_is_never_written_over,
    what_cannot_be_read_is_described,
    everything_is_read_in_parts_at_one_moment,
);

/// Puts an object and checks that it is read back as it was, by id and among all of its kind.
async fn check<T: Document + Clone + PartialEq + std::fmt::Debug>(store: &dyn Store, value: T) -> Object {
    let secrets = encode(&value).secrets;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let stored = transaction.put(None, value.clone()).await.unwrap();
    assert_eq!(stored.value, value);
    transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let read = transaction.get::<T>(value.id()).await.unwrap();
    assert_eq!(read.as_ref(), Some(&stored));
    assert!(transaction.list::<T>().await.unwrap().contains(&stored));
    let history = transaction.get_at::<T>(value.id(), stored.revision).await.unwrap();
    assert_eq!(history, Some(value));
    let shown = format!("{:?}", store.history(&HistoryFilter::default(), 1).await.unwrap());
    for (path, secret) in secrets.iter() {
        assert!(shown.contains(path), "that there is one is no secret: {path} in {shown}");
        let secret = String::from_utf8_lossy(secret);
        assert!(!shown.contains(secret.trim_end()), "{path}: {secret} in {shown}");
    }
    T::object(std::sync::Arc::new(stored))
}

async fn every_field_of_every_kind_is_read_back_after_a_restart(fixture: Fixture) {
    let store = fixture.open().await;
    let mut put = vec![check(&*store, issuer("ca")).await, check(&*store, issuer("other-ca")).await];
    for (number, settings) in dns_settings().into_iter().enumerate() {
        put.push(check(&*store, dns_provider(&format!("provider-{number}"), settings)).await);
    }
    put.push(check(&*store, service("shop")).await);
    put.push(check(&*store, backend("shop-1", "shop")).await);
    put.push(check(&*store, certificate("shop.example")).await);
    put.push(check(&*store, internal_certificate("shop.example")).await);
    put.push(check(&*store, domain("*.shop.example", "shop", &["other-ca", "ca"])).await);
    put.push(check(&*store, challenge("*.shop.example")).await);
    put.push(check(&*store, ticket_keys()).await);
    put.push(check(&*store, edge("edge-1", &labels())).await);
    put.push(check(&*store, invite("k7")).await);
    put.push(check(&*store, token("ci")).await);
    drop(store);

    let store = fixture.open().await;
    let Changes { put: read, withheld, whole, .. } = store.changes_after(Revision::ZERO).await.unwrap();
    assert!(whole && withheld.is_empty(), "{withheld:?}");
    let mut kinds: Vec<ObjectKind> = read.iter().map(|object| object.key().kind).collect();
    let shown = |objects: &[Object]| objects.iter().map(|object| format!("{object:?}")).collect::<Vec<_>>();
    assert_eq!(shown(&read), shown(&put), "those first that others refer to");
    kinds.dedup();
    assert_eq!(kinds, ObjectKind::ALL, "a value of every kind");
}

async fn a_document_is_replaced_and_deleted_with_its_references(fixture: Fixture) {
    let store = fixture.open().await;
    let (shop, other) = (ServiceId::parse("shop").unwrap(), ServiceId::parse("other").unwrap());
    put_service(&store, "shop").await;
    put_service(&store, "other").await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let first = transaction.put(None, backend("shop-1", "shop")).await.unwrap();
    transaction.put(None, backend("shop-2", "shop")).await.unwrap();
    assert_eq!(transaction.user_of::<Service>(&shop).await.unwrap(), Some(first.value.key()));
    let on_shop = transaction.put(None, domain("shop.example", "shop", &[])).await.unwrap();
    let user = transaction.user_of::<Service>(&shop).await.unwrap().unwrap();
    assert_eq!(user.to_string(), "domains/shop.example");
    assert_eq!(transaction.count_backends_of(&shop).await.unwrap(), 2);
    assert_eq!(transaction.backends_of(&shop).await.unwrap()[0], first);
    transaction.commit().await.unwrap();

    let mut transaction = store.begin(&actor(), NOW.plus(std::time::Duration::from_secs(1))).await.unwrap();
    let moved = Backend { service: other.clone(), ..first.value.clone() };
    let moved = transaction.put(Some(&first), moved).await.unwrap();
    assert_eq!((moved.revision, moved.created_at), (Revision(4), NOW));
    assert_eq!(transaction.get::<Backend>(&moved.value.id).await.unwrap().as_ref(), Some(&moved));
    assert_eq!(transaction.count_backends_of(&shop).await.unwrap(), 1);
    assert_eq!(transaction.backends_of(&other).await.unwrap(), [moved]);
    transaction.delete(&on_shop).await.unwrap();
    let user = transaction.user_of::<Service>(&shop).await.unwrap().unwrap();
    assert_eq!(user.to_string(), "backends/shop-2");
    assert_eq!(transaction.count::<Backend>().await.unwrap(), 2);
    transaction.commit().await.unwrap();
}

async fn a_reference_to_what_is_not_there_is_refused_at_the_commit(fixture: Fixture) {
    let store = fixture.open().await;
    // What is referred to may come last.
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.put(None, domain("shop.example", "shop", &["ca"])).await.unwrap();
    let ca = transaction.put(None, issuer("ca")).await.unwrap();
    let shop = transaction.put(None, service("shop")).await.unwrap();
    transaction.commit().await.unwrap();

    let refused = |result: Result<Revision, StoreError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::DanglingReference(_)) && !error.is_unavailable(), "{error:?}");
    };
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.put(None, backend("shop-1", "other")).await.unwrap();
    refused(transaction.commit().await);
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.delete(&shop).await.unwrap();
    refused(transaction.commit().await);
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.delete(&ca).await.unwrap();
    refused(transaction.commit().await);
    assert_eq!(store.changes_after(Revision::ZERO).await.unwrap().head, Revision(1), "nothing of that was done");
}

/// Harms one service in each of the ways that there are, and adds what no version has written.
async fn harm(fixture: &Fixture, store: &dyn Store) -> Vec<&'static str> {
    let names = ["bytes", "envelope", "field", "format", "name", "nested", "secret", "word"];
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    for name in names {
        transaction.put(None, service(name)).await.unwrap();
    }
    transaction.put(None, Service::new(ServiceId::parse("whole").unwrap())).await.unwrap();
    transaction.put(None, domain("shop.example", "word", &[])).await.unwrap();
    transaction.commit().await.unwrap();

    for name in names {
        let read =
            |id: &str| fixture.bytes(format!("SELECT document FROM object WHERE kind = 'services' AND id = '{id}'"));
        let document = wire::Document::decode(&*read(name).await).unwrap();
        // A field of a number that no version has: 2047.
        let extended = |bytes: &[u8]| [bytes, &[0xf8, 0x7f, 1]].concat();
        let with = |message: Vec<u8>| wire::Document { message: message.into(), ..document.clone() }.encode_to_vec();
        let harmed = match name {
            "bytes" => b"no message at all".to_vec(),
            "envelope" => extended(&document.encode_to_vec()),
            "field" => with(extended(&document.message)),
            "format" => wire::Document { format: 2, ..document.clone() }.encode_to_vec(),
            "name" => read("whole").await,
            // In its TLS, which follows what is there of it.
            "nested" => with([&*document.message, &[0x4a, 0x03, 0xf8, 0x7f, 1]].concat()),
            // Another way to choose a backend.
            "word" => with([&*document.message, &[0x10, 0x8f, 0x4e]].concat()),
            _ => continue,
        };
        let harmed = fixture.literal(&harmed);
        fixture
            .execute(format!("UPDATE object SET document = {harmed} WHERE kind = 'services' AND id = '{name}'"))
            .await;
    }
    let blob = fixture.literal(b"not what was sealed");
    fixture.execute(format!("UPDATE sealed SET blob = {blob} WHERE id = 'secret'")).await;
    fixture
        .execute(
            "INSERT INTO object (kind, id, document, revision, created_at, updated_at) \
             SELECT 'rollouts', 'Shop/1', document, 1, 1, 1 FROM object WHERE id = 'whole'",
        )
        .await;
    fixture.execute("INSERT INTO tombstone (kind, id, revision) VALUES ('rollouts', 'other', 1)").await;
    names.to_vec()
}

async fn a_document_that_cannot_be_read_is_withheld_and_stops_nobody(fixture: Fixture) {
    let store = fixture.open().await;
    let names = harm(&fixture, &*store).await;
    let Changes { put, withheld, removed, .. } = fixture.open().await.changes_after(Revision::ZERO).await.unwrap();
    let read: Vec<String> = put.iter().map(|object| object.key().to_string()).collect();
    assert_eq!(read, ["services/whole", "domains/shop.example"]);
    let removed: Vec<String> = removed.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(removed, ["rollouts/other"], "edges may have it, whatever it was");
    let expected: Vec<(String, String)> = names
        .iter()
        .map(|name| ("services".to_owned(), (*name).to_owned()))
        .chain([("rollouts".to_owned(), "Shop/1".to_owned())])
        .collect();
    let found: Vec<_> = withheld.iter().map(|it| (it.kind.clone(), it.id.clone())).collect();
    assert_eq!(found, expected);
    assert!(withheld.iter().all(|it| it.revision == Revision(1)));
    let reason = |id: &str| {
        let Withheld { reason, .. } = withheld.iter().find(|it| it.id == id).unwrap();
        reason.clone()
    };
    let newer = "it has fields that this version does not know; a newer one wrote it";
    assert_eq!([reason("envelope"), reason("field"), reason("nested")], [newer; 3]);
    assert_eq!(reason("format"), "it is of format 2, which a newer version wrote");
    assert_eq!(reason("name"), "it is of the name services/whole");
    assert_eq!(reason("word"), "balancing: this version does not know the value 9999");
    assert!(reason("secret").starts_with("its secret tls.client_certificate.private_key_pem does not open"));
    assert_eq!(reason("Shop/1"), "it is of a kind that this version does not know; a newer one wrote it");

    // The same, but one by one.
    let nothing = store.changes_after(Revision(1)).await.unwrap();
    assert!(nothing.withheld.is_empty() && nothing.put.is_empty());
    let history = store.history(&HistoryFilter::default(), 100).await.unwrap();
    assert_eq!(history.len(), names.len() + 2);
}

async fn a_document_that_cannot_be_read_is_never_written_over(fixture: Fixture) {
    let store = fixture.open().await;
    let names = harm(&fixture, &*store).await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    for name in &names {
        let id = ServiceId::parse(name).unwrap();
        let error = transaction.get::<Service>(&id).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }) && !error.is_unavailable(), "{error:?}");
        assert!(error.to_string().starts_with(&format!("services/{name} cannot be read from the database: ")));
    }
    // They count, and others go on beside them.
    assert_eq!(transaction.count::<Service>().await.unwrap(), names.len() + 1);
    assert_eq!(transaction.list::<Service>().await.unwrap().len(), 1);
    let word = ServiceId::parse("word").unwrap();
    assert!(transaction.user_of::<Service>(&word).await.unwrap().is_some());
    transaction.put(None, backend("shop-1", "word")).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let taken = transaction.put(None, service("word")).await;
    assert!(taken.is_err(), "what is there is not created again");
    drop(transaction);
    assert_eq!(store.changes_after(Revision::ZERO).await.unwrap().withheld.len(), names.len() + 1);
}

async fn what_cannot_be_read_is_described(fixture: Fixture) {
    let store = fixture.open().await;
    let names = harm(&fixture, &*store).await;
    let withheld = store.changes_after(Revision::ZERO).await.unwrap().withheld;
    for it in &withheld {
        let key = ObjectKey::new(&it.kind, &it.id).unwrap();
        let remains = store.remains(&key).await.unwrap().unwrap();
        assert_eq!((&remains.reason, remains.revision), (&it.reason, it.revision), "{key}");
    }
    let document = async |id: &str| {
        let key = ObjectKey::new("services", id).unwrap();
        store.remains(&key).await.unwrap().unwrap().document
    };
    let bytes = document("bytes").await;
    assert_eq!((bytes.format, bytes.undecoded.as_slice()), (0, &b"no message at all"[..]));
    assert_eq!(document("field").await.unknown_fields, ["2047"]);
    assert_eq!(document("nested").await.unknown_fields, ["tls.2047"]);
    assert_eq!(document("format").await.format, 2);
    assert_eq!(document("word").await.fields["balancing"], 9999);
    let secret = document("secret").await.fields["tls.client_certificate.private_key_pem"].to_string();
    assert!(secret.starts_with("\"secret ") && !secret.contains("PRIVATE"), "{secret}");
    for name in ["services/whole", "services/none", "gadgets/none"] {
        let (kind, id) = name.split_once('/').unwrap();
        assert_eq!(store.remains(&ObjectKey::new(kind, id).unwrap()).await.unwrap(), None, "{name}");
    }

    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    for name in names.iter().filter(|name| **name != "word") {
        let key = ObjectKey::new("services", name).unwrap();
        assert!(transaction.remains(&key).await.unwrap().is_some(), "{name}");
        transaction.remove(&key, false).await.unwrap();
    }
    let revision = transaction.commit().await.unwrap();
    let changes = store.changes_after(Revision(1)).await.unwrap();
    assert_eq!(changes.removed.len(), names.len() - 1);
    assert!(changes.removed.iter().all(|(_, at)| *at == revision));
    let named = "SELECT COUNT(*) FROM sealed WHERE kind = 'services' AND released_at IS NULL";
    assert_eq!(fixture.number(named).await, 1, "that of the one that is left");
}

async fn everything_is_read_in_parts_at_one_moment(fixture: Fixture) {
    const SERVICES: usize = 2_100;
    let store = fixture.open().await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    for number in 0..SERVICES {
        let id = ServiceId::parse(&format!("s{number}")).unwrap();
        transaction.put(None, Service::new(id)).await.unwrap();
    }
    transaction.put(None, backend("b", "s0")).await.unwrap();
    transaction.commit().await.unwrap();
    let mut parts = Vec::new();
    let mut take = |part: Changes| parts.push(part);
    store.read_changes(Revision::ZERO, &mut take).await.unwrap();
    let flags: Vec<_> = parts.iter().map(|part| (part.continues, part.continued)).collect();
    assert_eq!(flags, [(false, true), (true, true), (true, false)]);
    assert!(parts.iter().all(|part| part.head == Revision(1) && part.whole));
    assert_eq!(parts.iter().map(|part| part.put.len()).sum::<usize>(), SERVICES + 1);
    assert_eq!(parts[2].put.last().unwrap().key().to_string(), "backends/b");
}
