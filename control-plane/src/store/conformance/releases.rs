//! A database that any release wrote is opened by this version, with everything in it.
//!
//! `testdata/databases` has one database of each release, for SQLite and for Postgres, with a fully populated object of every kind, its
//! history, and the key that its secrets are sealed under. CONTRIBUTING says how that of a new release is made.

use std::{env, fs, path::Path, process::Command, sync::Arc};

use prost::Message;
use switchyard_proto::{
    store::v1 as wire,
    vocab::{EdgeId, HostPattern, IssuerId, ResourceKey, Revision, ServiceId, TokenId},
};

use super::{
    super::{
        document::{Encoded, encode},
        fixture::values::{
            backend, certificate, challenge, client_certificate, dns_provider, dns_settings, domain, edge,
            internal_certificate, invite, issuer, labels, service, ticket_keys, token,
        },
    },
    Fixture, NOW, actor,
};
use crate::{
    model::{
        EdgeRecord, HistoryFilter, Issuance, IssuerUse, Object, ObjectKey, ObjectKind, Order, PrivateKey,
        RejectionRecord, Resource, Service, Stored, UseKind,
    },
    seal::MasterKey,
    store::{Changes, Document, Location, Store},
};

conformance!(a_database_of_this_version_is_read_whole, the_database_of_every_release_is_read_whole);

/// Where the databases are: a directory for each release.
const DATABASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/databases");
const SQLITE_FILE: &str = "switchyard.db";
const POSTGRES_FILE: &str = "postgres.sql";
const KEY_FILE: &str = "master-key";
/// Names the directory to which a database of this version is written. Its secrets protect nothing.
const WRITE_VARIABLE: &str = "SWITCHYARD_WRITE_TEST_DATABASE";
/// What every database in there is sealed under.
const KEY: &str = "5377697463687961726420746573742064617461626173652c206e6f7468696e";
/// Entries of the history that are read.
const ENTRIES_MAX: usize = 10_000;

async fn put<T: Document>(store: &dyn Store, old: Option<&Stored<T>>, new: T) -> Stored<T> {
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let stored = transaction.put(old, new).await.unwrap();
    transaction.commit().await.unwrap();
    stored
}

/// Puts an object of every kind with every field set, changes and deletes some, and fills what is no configuration.
async fn populate(store: &dyn Store) {
    put(store, None, issuer("ca")).await;
    for (number, settings) in dns_settings().into_iter().enumerate() {
        put(store, None, dns_provider(&format!("provider-{number}"), settings)).await;
    }
    let first = put(store, None, service("shop")).await;
    let mut tls = first.value.tls.clone().unwrap();
    tls.client_certificate = Some(client_certificate());
    put(store, Some(&first), Service { tls: Some(tls), ..first.value.clone() }).await;
    put(store, None, backend("shop-1", "shop")).await;
    put(store, None, certificate("shop.example")).await;
    put(store, None, internal_certificate("shop.example")).await;
    put(store, None, domain("*.shop.example", "shop", &["ca"])).await;
    put(store, None, challenge("*.shop.example")).await;
    put(store, None, ticket_keys()).await;
    put(store, None, edge("edge-1", &labels())).await;
    put(store, None, invite("k7")).await;
    put(store, None, token("ci")).await;
    let gone = put(store, None, service("gone")).await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.delete(&gone).await.unwrap();
    transaction.put_secret("authority", b"a secret of the control plane").await.unwrap();
    let host = HostPattern::parse("*.shop.example").unwrap();
    let order = Order {
        issuer: IssuerId::parse("ca").unwrap(),
        url: "https://ca.example/order/1".to_owned(),
        private_key: PrivateKey::from_pkcs8(b"key".to_vec()),
        began_at: NOW,
    };
    let issuance = Issuance { order: Some(order), ..Issuance::new(host.clone(), NOW) };
    transaction.put_issuance(&issuance).await.unwrap();
    transaction.commit().await.unwrap();
    let rejection = RejectionRecord {
        key: ResourceKey::domain(&host),
        revision: Revision(1),
        reason: "it needs a newer edge".to_owned(),
    };
    let record = EdgeRecord {
        id: EdgeId::parse("edge-1").unwrap(),
        version: "0.1.0".to_owned(),
        acknowledged_revision: Revision(1),
        acknowledged_at: Some(NOW),
        last_contact_at: NOW,
        rejections: vec![rejection],
        rejections_total: 7,
    };
    store.record_edge(&record).await.unwrap();
    store.record_token_use(&TokenId::parse("ci").unwrap(), NOW).await.unwrap();
    let lease = store.take_lease("acme", "one", std::time::Duration::from_secs(1)).await.unwrap().unwrap();
    let spent = IssuerUse {
        issuer: IssuerId::parse("ca").unwrap(),
        kind: UseKind::Order,
        host: HostPattern::parse("shop.example").unwrap(),
        at: NOW,
    };
    store.note_use(&lease, &spent).await.unwrap();
}

/// Encodes an object as this version would write it.
fn encoded(object: &Object) -> Encoded {
    match object {
        Object::Served(Resource::Service(it)) => encode(&it.value),
        Object::Served(Resource::Backend(it)) => encode(&it.value),
        Object::Served(Resource::Certificate(it)) => encode(&it.value),
        Object::Served(Resource::Domain(it)) => encode(&it.value),
        Object::Served(Resource::Challenge(it)) => encode(&it.value),
        Object::Served(Resource::TicketKeys(it)) => encode(&it.value),
        Object::Edge(it) => encode(&it.value),
        Object::Invite(it) => encode(&it.value),
        Object::Token(it) => encode(&it.value),
        Object::Issuer(it) => encode(&it.value),
        Object::DnsProvider(it) => encode(&it.value),
    }
}

/// Reads everything that a database has, and says which kinds that is.
async fn check(fixture: &Fixture) -> Vec<ObjectKind> {
    let store = fixture.open().await;
    let Changes { put, withheld, removed, .. } = store.changes_after(Revision::ZERO).await.unwrap();
    assert!(withheld.is_empty(), "{withheld:?}");
    let objects = fixture.number("SELECT COUNT(*) FROM object").await;
    assert_eq!(i64::try_from(put.len()).unwrap(), objects);
    for object in &put {
        let ObjectKey { kind, id } = object.key();
        let select = format!("SELECT document FROM object WHERE kind = '{}' AND id = '{id}'", kind.collection());
        let document = wire::Document::decode(&*fixture.bytes(select).await).unwrap();
        let Encoded { message, secrets } = encoded(object);
        assert_eq!(message, document.message, "{kind:?} {id}: this version writes what that one wrote");
        let paths: Vec<&str> = secrets.iter().map(|(path, _)| path).collect();
        assert!(document.secrets.keys().eq(paths), "{kind:?} {id}: its secrets open");
    }

    let history = store.history(&HistoryFilter::default(), ENTRIES_MAX).await.unwrap();
    let entries = fixture.number("SELECT COUNT(*) FROM change").await;
    assert_eq!(i64::try_from(history.len()).unwrap(), entries);
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    for entry in &history {
        let key = ObjectKey::parse_name(&entry.resource).unwrap();
        let then = transaction.read_at(&key, entry.place.revision).await.unwrap();
        assert_eq!(then.is_some(), entry.new.is_some(), "{entry:?}");
        if let (Some(record), Some(shown)) = (then, &entry.new) {
            record.object(&key.kind).unwrap();
            assert!(shown.contains_key("name") && !shown.contains_key("document"), "{entry:?}");
        }
    }
    assert!(!removed.is_empty() && transaction.secret("authority").await.unwrap().is_some());
    drop(transaction);

    let [edge] = &store.edges().await.unwrap()[..] else { panic!("one edge is remembered") };
    assert_eq!((edge.rejections.len(), edge.rejections_total), (1, 7));
    assert_eq!(store.token_uses().await.unwrap(), [(TokenId::parse("ci").unwrap(), NOW)]);
    let [issuance] = &store.issuances("", 10).await.unwrap()[..] else { panic!("one issuance") };
    assert_eq!(issuance.order.as_ref().unwrap().private_key.expose_pkcs8(), b"key");
    assert_eq!(fixture.number("SELECT COUNT(*) FROM issuer_use WHERE host = 'shop.example'").await, 1);
    check_changes(store).await;
    let mut kinds: Vec<_> = put.iter().map(|object| object.key().kind).collect();
    kinds.dedup();
    kinds
}

/// Changes and deletes what is there.
async fn check_changes(store: Arc<dyn Store>) {
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let id = ServiceId::parse("shop").unwrap();
    let shop = transaction.get::<Service>(&id).await.unwrap().unwrap();
    let keys = transaction.list::<crate::model::TicketKeys>().await.unwrap();
    transaction.delete(&keys[0]).await.unwrap();
    let changed = transaction.put(Some(&shop), Service { tls: None, ..shop.value.clone() }).await.unwrap();
    let revision = transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    assert_eq!(transaction.get::<Service>(&id).await.unwrap(), Some(changed));
    let before = Revision(revision.0 - 1);
    assert_eq!(transaction.get_at::<Service>(&id, before).await.unwrap(), Some(shop.value));
}

async fn a_database_of_this_version_is_read_whole(fixture: Fixture) {
    let fixture = fixture.sealed_under(MasterKey::parse(KEY).unwrap());
    let store = fixture.open().await;
    populate(&*store).await;
    store.close().await;
    if let Some(directory) = env::var_os(WRITE_VARIABLE) {
        write(&fixture, Path::new(&directory));
    }
    assert_eq!(check(&fixture).await, ObjectKind::ALL, "an object of every kind");
}

/// Writes a database as it is checked in.
fn write(fixture: &Fixture, directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join(KEY_FILE), format!("{KEY}\n")).unwrap();
    match &fixture.location {
        Location::Sqlite(path) => drop(fs::copy(path, directory.join(SQLITE_FILE)).unwrap()),
        Location::Postgres(url) => {
            let dump = Command::new("pg_dump").args(["--inserts", "--no-owner", "--no-privileges", url]).output();
            let dump = dump.expect("pg_dump, which comes with Postgres");
            assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
            let dump = String::from_utf8(dump.stdout).unwrap();
            // What psql alone understands, what says nothing, and what older servers do not know.
            let is_needed = |line: &&str| {
                !line.is_empty() && !["\\", "--", "SET transaction_timeout"].iter().any(|it| line.starts_with(it))
            };
            let lines: Vec<&str> = dump.lines().filter(is_needed).collect();
            fs::write(directory.join(POSTGRES_FILE), lines.join("\n") + "\n").unwrap();
        }
    }
}

async fn the_database_of_every_release_is_read_whole(fixture: Fixture) {
    let mut releases = 0;
    for release in fs::read_dir(DATABASES).unwrap() {
        let directory = release.unwrap().path();
        // Checked in, it is readable by everybody.
        let key = MasterKey::parse(&fs::read_to_string(directory.join(KEY_FILE)).unwrap()).unwrap();
        let fixture = match &fixture.location {
            Location::Sqlite(_) => Fixture::sqlite().await,
            Location::Postgres(_) => Fixture::postgres().await,
        };
        let fixture = fixture.sealed_under(key);
        match &fixture.location {
            Location::Sqlite(path) => drop(fs::copy(directory.join(SQLITE_FILE), path).unwrap()),
            Location::Postgres(_) => {
                fixture.execute(fs::read_to_string(directory.join(POSTGRES_FILE)).unwrap()).await;
            }
        }
        assert!(check(&fixture).await.len() >= 11, "{}: an object of every kind of that time", directory.display());
        releases += 1;
    }
    assert!(releases > 0, "there are databases");
}
