//! What every database must do, tried on each.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use switchyard_proto::vocab::{EdgeId, HostPattern, Labels, ResourceKey, Revision, ServiceId};

use super::{
    Changes, Location, Store, StoreError, TOMBSTONES_MAX,
    fixture::{
        Fixture, enrol,
        values::{NOW, backend, domain, edge, internal_certificate, invite, service, token},
    },
    open,
};
use crate::{
    model::{
        Actor, Certificate, EdgeKey, EdgeRecord, Enrolment, FreshTicketKey, HistoryFilter, Invite, Issuance, Object,
        ObjectKey, Origin, Phase, RejectionRecord, Renewal, Resource, Service, TicketKeys, Timestamp, Token,
    },
    seal::{MasterKey, Sealer},
};

/// Makes a test of each function, for each database.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Fixture::sqlite().await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Fixture::postgres().await).await;
            })*
        }
    };
}

mod acme;
mod documents;
mod history;
mod releases;
mod secrets;

conformance!(
    a_dropped_transaction_never_was_and_its_revision_is_used_again,
    concurrent_changes_have_revisions_without_gaps,
    a_reader_is_told_what_changed_after_its_revision,
    a_deletion_leaves_a_tombstone_until_the_resource_is_there_again,
    a_token_is_kept_with_what_it_allows_and_without_its_secret,
    secrets_are_sealed_and_another_master_key_is_refused,
    a_commit_wakes_followers_of_every_process,
    edges_are_remembered,
    ticket_keys_are_kept_for_their_labels_and_sealed,
    an_invitation_is_kept_without_its_secret,
    a_database_is_pristine_until_somebody_declares_something,
    what_is_remembered_about_other_edges_is_read_beside_a_damaged_row,
    the_oldest_tombstones_are_dropped_and_who_needs_them_is_sent_everything,
    changes_that_wait_leave_room_for_readers,
    names_on_demand_are_retired_and_revived_with_their_domain,
);

fn actor() -> Actor {
    Actor::without_call("tester", Origin::Grpc)
}

/// Commits one service of this id.
async fn put_service(store: &Arc<dyn Store>, id: &str) -> Revision {
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.put(None, service(id)).await.unwrap();
    transaction.commit().await.unwrap()
}

fn put_keys(changes: &Changes) -> BTreeSet<String> {
    changes.put.iter().map(|resource| resource.key().to_string()).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

async fn a_dropped_transaction_never_was_and_its_revision_is_used_again(fixture: Fixture) {
    let store = fixture.open().await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.put(None, service("shop")).await.unwrap();
    assert_eq!(transaction.revision(), Revision(1));
    drop(transaction);
    assert_eq!(put_service(&store, "other").await, Revision(1));
    let changes = store.changes_after(Revision::ZERO).await.unwrap();
    assert_eq!(put_keys(&changes), names(["services/other"]));
}

async fn concurrent_changes_have_revisions_without_gaps(fixture: Fixture) {
    const WRITERS: u64 = 8;
    let stores = [fixture.open().await, fixture.open().await];
    let writers = (0..WRITERS).map(|writer| {
        let store = stores[usize::try_from(writer % 2).unwrap()].clone();
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for change in 0..5 {
                revisions.push(put_service(&store, &format!("s{writer}-{change}")).await.0);
            }
            revisions
        })
    });
    let mut revisions = BTreeSet::new();
    for writer in writers.collect::<Vec<_>>() {
        revisions.extend(writer.await.unwrap());
    }
    assert_eq!(revisions, (1..=5 * WRITERS).collect());
}

async fn a_reader_is_told_what_changed_after_its_revision(fixture: Fixture) {
    let store = fixture.open().await;
    put_service(&store, "first").await;
    put_service(&store, "second").await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.put(None, internal_certificate("shop.example")).await.unwrap();
    transaction.put(None, domain("shop.example", "second", &[])).await.unwrap();
    transaction.put(None, backend("shop-1", "first")).await.unwrap();
    transaction.commit().await.unwrap();

    let whole = store.changes_after(Revision::ZERO).await.unwrap();
    assert_eq!((whole.head, whole.whole), (Revision(3), true));
    let kinds: Vec<_> = whole.put.iter().map(|resource| resource.key().kind).collect();
    assert!(kinds.is_sorted(), "those that others refer to come first: {kinds:?}");
    let delta = store.changes_after(Revision(1)).await.unwrap();
    assert_eq!((delta.head, delta.whole), (Revision(3), false));
    assert_eq!(
        put_keys(&delta),
        names(["services/second", "certificates/internal-shop.example", "domains/shop.example", "backends/shop-1"])
    );
    let nothing = store.changes_after(Revision(3)).await.unwrap();
    assert!(nothing.put.is_empty() && nothing.removed.is_empty());
    // A reader that is ahead has read a database that was restored since: it must begin anew.
    assert!(store.changes_after(Revision(4)).await.unwrap().whole);
}

async fn a_deletion_leaves_a_tombstone_until_the_resource_is_there_again(fixture: Fixture) {
    let store = fixture.open().await;
    put_service(&store, "shop").await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let old = transaction.get::<Service>(&ServiceId::parse("shop").unwrap()).await.unwrap().unwrap();
    transaction.delete(&old).await.unwrap();
    transaction.commit().await.unwrap();
    let changes = store.changes_after(Revision(1)).await.unwrap();
    assert_eq!(changes.removed, [(ResourceKey::service(&old.value.id).into(), Revision(2))]);
    assert!(changes.put.is_empty());

    put_service(&store, "shop").await;
    let changes = store.changes_after(Revision(1)).await.unwrap();
    assert!(changes.removed.is_empty());
    assert_eq!(put_keys(&changes), names(["services/shop"]));
}

async fn a_token_is_kept_with_what_it_allows_and_without_its_secret(fixture: Fixture) {
    let store = fixture.open().await;
    let token = token("ci");
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let stored = transaction.put(None, token.clone()).await.unwrap();
    transaction.commit().await.unwrap();
    store.record_token_use(&token.id, NOW).await.unwrap();
    store.record_token_use(&token.id, Timestamp(NOW.0 + 1)).await.unwrap();
    assert_eq!(store.token_uses().await.unwrap(), [(token.id.clone(), Timestamp(NOW.0 + 1))]);
    let entries = store.history(&HistoryFilter::default(), 10).await.unwrap();
    let shown = serde_json::to_string(&entries[0].new).unwrap();
    assert!(shown.contains("*.shop.example") && !shown.contains("hash") && !shown.contains("secret"), "{shown}");

    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let read = transaction.get::<Token>(&token.id).await.unwrap().unwrap();
    assert_eq!((&read, &read.value), (&stored, &token));
    assert_eq!(transaction.list::<Token>().await.unwrap(), std::slice::from_ref(&read));
    transaction.delete(&read).await.unwrap();
    transaction.commit().await.unwrap();
    let changes = store.changes_after(Revision(1)).await.unwrap();
    assert_eq!(changes.removed, [(ObjectKey::token(&token.id), Revision(2))]);
    assert!(store.token_uses().await.unwrap().is_empty(), "a new one of that name was never used");
}

async fn ticket_keys_are_kept_for_their_labels_and_sealed(fixture: Fixture) {
    let store = fixture.open().await;
    let labels = Labels::new([("region".to_owned(), "eu".to_owned()), ("a".to_owned(), "b".to_owned())]).unwrap();
    let keys = TicketKeys::new(labels.clone(), FreshTicketKey::generate().unwrap(), NOW);
    let secret = keys.keys()[0].secret.expose().to_vec();
    let later = NOW.plus(std::time::Duration::from_secs(9));
    let next = keys.begun(FreshTicketKey::generate().unwrap(), later);
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    assert_eq!(transaction.get::<TicketKeys>(keys.id()).await.unwrap(), None);
    let stored = transaction.put(None, keys).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), later).await.unwrap();
    assert_eq!(transaction.get::<TicketKeys>(stored.value.id()).await.unwrap().as_ref(), Some(&stored));
    let stored = transaction.put(Some(&stored), next).await.unwrap();
    transaction.commit().await.unwrap();

    let changes = store.changes_after(Revision::ZERO).await.unwrap();
    let [Object::Served(Resource::TicketKeys(read))] = &changes.put[..] else { panic!("{changes:?}") };
    assert_eq!(**read, stored);
    let shown = serde_json::to_string(&store.history(&HistoryFilter::default(), 10).await.unwrap()[0].new).unwrap();
    assert!(shown.contains(&STANDARD.encode(stored.value.keys()[0].name.as_bytes())), "{shown}");
    assert!(shown.contains("TICKET_KEY_ROLE_NEXT") && !shown.contains(&STANDARD.encode(&secret)), "{shown}");
    if let Location::Sqlite(path) = &fixture.location {
        for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }

    let mut transaction = store.begin(&actor(), later).await.unwrap();
    for (id, labels) in [("e1", &labels), ("e2", &labels), ("e3", &Labels::default())] {
        transaction.put(None, edge(id, labels)).await.unwrap();
    }
    assert_eq!(transaction.count_edges(&labels).await.unwrap(), 2);
    transaction.delete(&stored).await.unwrap();
    assert_eq!(transaction.get::<TicketKeys>(stored.value.id()).await.unwrap(), None);
    transaction.commit().await.unwrap();
    let removed = store.changes_after(Revision(2)).await.unwrap().removed;
    assert_eq!(removed, [(ResourceKey::ticket_keys(stored.value.id()).into(), Revision(3))]);
}

async fn secrets_are_sealed_and_another_master_key_is_refused(fixture: Fixture) {
    let store = fixture.open().await;
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.put_secret("token", b"a secret that is easily found").await.unwrap();
    assert_eq!(transaction.secret("token").await.unwrap().as_deref(), Some(&b"a secret that is easily found"[..]));
    assert_eq!(transaction.secret("other").await.unwrap(), None);
    transaction.commit().await.unwrap();
    drop(store);
    if let Location::Sqlite(path) = &fixture.location {
        for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(8).any(|window| window == b"a secret"));
        }
    }
    let other = Sealer::new(&MasterKey::generate().unwrap());
    assert!(matches!(open(&fixture.location, other).await, Err(StoreError::WrongMasterKey)));
}

async fn a_commit_wakes_followers_of_every_process(fixture: Fixture) {
    let store = fixture.open().await;
    let mut here = store.wakeups();
    here.borrow_and_update();
    put_service(&store, "first").await;
    here.changed().await.unwrap();

    if matches!(fixture.location, Location::Sqlite(_)) {
        // There is no other process.
        return;
    }
    let other = fixture.open().await;
    let mut there = other.wakeups();
    // A commit is heard as soon as the other one listens; when that is, nobody says.
    let commits = async {
        for number in 0.. {
            put_service(&store, &format!("s{number}")).await;
        }
    };
    tokio::select! {
        () = commits => {}
        changed = there.changed() => changed.unwrap(),
    }
}

async fn edges_are_remembered(fixture: Fixture) {
    let store = fixture.open().await;
    let mut edge = EdgeRecord {
        id: EdgeId::parse("edge-1").unwrap(),
        version: "0.1.0".into(),
        acknowledged_revision: Revision(7),
        acknowledged_at: None,
        last_contact_at: NOW,
        rejections: vec![RejectionRecord {
            key: ResourceKey::domain(&HostPattern::parse("shop.example").unwrap()),
            revision: Revision(7),
            reason: "waits".into(),
        }],
        rejections_total: 300,
    };
    store.record_edge(&edge).await.unwrap();
    assert!(store.edges().await.unwrap().is_empty(), "it does not belong to the fleet");
    enrol(&store, &edge.id).await;
    store.record_edge(&edge).await.unwrap();
    assert_eq!(store.edges().await.unwrap(), std::slice::from_ref(&edge));
    edge.acknowledged_at = Some(NOW);
    edge.rejections.clear();
    store.record_edge(&edge).await.unwrap();
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.edges().await.unwrap(), std::slice::from_ref(&edge));
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let enrolment = transaction.get::<Enrolment>(&edge.id).await.unwrap().unwrap();
    assert_eq!(enrolment.value.key, EdgeKey::of(b"key"));
    transaction.delete(&enrolment).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(store.edges().await.unwrap().is_empty(), "nothing is left of it");
}

async fn an_invitation_is_kept_without_its_secret(fixture: Fixture) {
    let store = fixture.open().await;
    let invite = invite("k7");
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let stored = transaction.put(None, invite.clone()).await.unwrap();
    let used = Invite { uses: 1, ..invite.clone() };
    transaction.put(Some(&stored), used.clone()).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    let read = transaction.get::<Invite>(&invite.id).await.unwrap().unwrap();
    assert_eq!(read.value, used);
    transaction.delete(&read).await.unwrap();
    transaction.commit().await.unwrap();
    let changes = store.changes_after(Revision(1)).await.unwrap();
    assert_eq!(changes.removed, [(ObjectKey::invite(&invite.id), Revision(2))]);
    let shown = format!("{:?}", store.history(&HistoryFilter::default(), 10).await.unwrap());
    assert!(shown.contains("region") && !shown.contains("hash") && !shown.contains("secret"), "{shown}");
}

async fn a_database_is_pristine_until_somebody_declares_something(fixture: Fixture) {
    let store = fixture.open().await;
    let mut transaction = store.begin(&Actor::system(), NOW).await.unwrap();
    transaction.put(None, service("default")).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(store.begin(&actor(), NOW).await.unwrap().is_pristine().await.unwrap());
    put_service(&store, "shop").await;
    assert!(!store.begin(&actor(), NOW).await.unwrap().is_pristine().await.unwrap());
}

async fn what_is_remembered_about_other_edges_is_read_beside_a_damaged_row(fixture: Fixture) {
    let store = fixture.open().await;
    for id in ["edge-1", "edge-2"] {
        let id = EdgeId::parse(id).unwrap();
        enrol(&store, &id).await;
        let key = ResourceKey::new("gadgets", "Any Thing").unwrap();
        let edge = EdgeRecord {
            id,
            version: "0.1.0".into(),
            acknowledged_revision: Revision(7),
            acknowledged_at: None,
            last_contact_at: NOW,
            rejections: vec![RejectionRecord { key, revision: Revision(7), reason: "needs a newer edge".into() }],
            rejections_total: 1,
        };
        store.record_edge(&edge).await.unwrap();
    }
    fixture.execute("UPDATE edge SET rejections = '{' WHERE id = 'edge-1'").await;
    let edges = store.edges().await.unwrap();
    let [edge] = &edges[..] else { panic!("{edges:?}") };
    assert_eq!((edge.id.as_str(), edge.rejections[0].key.to_string().as_str()), ("edge-2", "gadgets/Any Thing"));
}

async fn the_oldest_tombstones_are_dropped_and_who_needs_them_is_sent_everything(fixture: Fixture) {
    let store = fixture.open().await;
    let dropped = 5;
    fixture
        .execute(
            "INSERT INTO tombstone (kind, id, revision) SELECT 'services', 's' || n, n FROM \
             (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100005) SELECT n FROM c) AS n",
        )
        .await;
    fixture.execute("UPDATE revision SET current = 199999").await;
    assert_eq!(put_service(&store, "shop").await, Revision(200_000));
    let late = store.changes_after(Revision(dropped - 1)).await.unwrap();
    assert_eq!((late.whole, late.floor), (true, Revision(dropped)));
    let just_in_time = store.changes_after(Revision(dropped)).await.unwrap();
    assert!(!just_in_time.whole);
    assert_eq!(just_in_time.removed.len(), usize::try_from(TOMBSTONES_MAX).unwrap());
}

async fn names_on_demand_are_retired_and_revived_with_their_domain(fixture: Fixture) {
    let store = fixture.open().await;
    let host = |text: &str| HostPattern::parse(text).unwrap();
    let sites = host("*.sites.example");
    let renewal = Renewal { at: NOW.plus(std::time::Duration::from_secs(9)), window: None, ask_at: None };
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    for (name, domain) in
        [("a.sites.example", &sites), ("b.sites.example", &sites), ("a.pages.example", &host("*.pages.example"))]
    {
        let on_demand = Some(domain.clone());
        let issuance = Issuance { on_demand, renewal: Some(renewal), ..Issuance::new(host(name), NOW) };
        transaction.put_issuance(&issuance).await.unwrap();
    }
    let issued =
        Certificate { id: Certificate::acme_id(&host("a.sites.example")), ..internal_certificate("a.sites.example") };
    transaction.put(None, issued).await.unwrap();
    assert_eq!(transaction.count_on_demand(&sites).await.unwrap(), 2);
    transaction.commit().await.unwrap();
    let first = store.issuance(&host("a.sites.example")).await.unwrap().unwrap();
    assert_eq!(first.on_demand.as_ref(), Some(&sites));

    let until = NOW.plus(std::time::Duration::from_secs(60));
    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.retire_on_demand(&sites, until, NOW).await.unwrap();
    assert_eq!(transaction.count_on_demand(&sites).await.unwrap(), 0);
    transaction.commit().await.unwrap();
    let retired = store.issuance(&host("a.sites.example")).await.unwrap().unwrap();
    assert_eq!((retired.phase, retired.next_at), (Phase::Retired, until));
    assert!(retired.version > first.version, "whoever has read it before does not write over it");
    assert_eq!(store.issuance(&host("b.sites.example")).await.unwrap(), None, "it has nothing to be kept");
    let other = store.issuance(&host("a.pages.example")).await.unwrap().unwrap();
    assert_eq!(other.phase, Phase::Waiting, "another domain's");

    let mut transaction = store.begin(&actor(), NOW).await.unwrap();
    transaction.revive_on_demand(&sites, NOW).await.unwrap();
    assert_eq!(transaction.count_on_demand(&sites).await.unwrap(), 1);
    transaction.commit().await.unwrap();
    let revived = store.issuance(&host("a.sites.example")).await.unwrap().unwrap();
    assert_eq!((revived.phase, revived.next_at), (Phase::Waiting, renewal.at));
}

async fn changes_that_wait_leave_room_for_readers(fixture: Fixture) {
    let store = fixture.open().await;
    let first = store.begin(&actor(), NOW).await.unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { put_service(&store, &format!("s{number}")).await })
        })
        .collect();
    assert_eq!(store.changes_after(Revision::ZERO).await.unwrap().head, Revision::ZERO);
    first.commit().await.unwrap();
    for change in waiting {
        change.await.unwrap();
    }
    assert_eq!(store.changes_after(Revision::ZERO).await.unwrap().head, Revision(21));
}

#[tokio::test]
async fn postgres_tells_of_changes_again_after_its_connections_broke() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut wakeups = store.wakeups();
    wakeups.borrow_and_update();
    fixture.end_connections().await;
    // Something may have been missed, so followers are woken as soon as they would hear again.
    wakeups.changed().await.unwrap();
    put_service(&fixture.open().await, "shop").await;
    wakeups.changed().await.unwrap();
    assert_eq!(store.changes_after(Revision::ZERO).await.unwrap().head, Revision(1));
}

#[tokio::test]
async fn a_postgres_that_is_gone_is_unavailable() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    fixture.destroy().await;
    for _ in 0..3 {
        assert!(store.begin(&actor(), NOW).await.err().is_some_and(|error| error.is_unavailable()));
        assert!(store.changes_after(Revision::ZERO).await.is_err_and(|error| error.is_unavailable()));
    }
}
