//! What cannot be read is shown and deleted, over both databases.

use switchyard_proto::vocab::ServiceId;

use super::{Running, actor, domain, host, join, roles, ticket_keys};
use crate::{
    app::{AppError, Force, Mode, PageRequest, backend, service, unreadable},
    model::{Certificate, CertificateSource, HistoryFilter, ObjectKey, Service, TicketKeyRole, rules::BrokenRule},
    store::fixture::Fixture,
};

fn key(name: &str) -> ObjectKey {
    let (kind, id) = name.split_once('/').unwrap();
    ObjectKey::new(kind, id).unwrap()
}

/// Cuts the documents of these objects short, and reads the database anew.
async fn damage(running: Running, names: &[&str]) -> Running {
    let Running { fixture, .. } = running;
    for name in names {
        let ObjectKey { kind, id } = key(name);
        let kind = kind.collection();
        fixture
            .execute(format!(
                "UPDATE object SET document = substr(document, 1, length(document) - 1) \
                 WHERE kind = '{kind}' AND id = '{id}'"
            ))
            .await;
    }
    let running = Running::on(fixture).await;
    assert_eq!(listed(&running), names);
    running
}

fn listed(running: &Running) -> Vec<String> {
    let page = unreadable::list(&running.app, &PageRequest::parse(&running.app.page_tokens, 0, "").unwrap());
    page.items.into_iter().map(|(name, _)| name).collect()
}

async fn delete(running: &Running, name: &str, mode: Mode) -> Result<(), AppError> {
    unreadable::delete(&running.app, &actor(), &key(name), None, mode).await.map(drop)
}

async fn both() -> [Running; 2] {
    [Running::on(Fixture::sqlite().await).await, Running::on(Fixture::postgres().await).await]
}

#[tokio::test]
async fn a_domain_that_cannot_be_read_is_shown_and_deleted_with_its_certificate() {
    const NAME: &str = "domains/shop.example";
    for running in both().await {
        running.create_domain(domain("shop.example", CertificateSource::Internal)).await;
        running.create_domain(domain("other.example", CertificateSource::Uploaded)).await;
        let running = damage(running, &[NAME]).await;
        let app = &running.app;
        let found = unreadable::get(app, &key(NAME)).await.unwrap();
        assert_eq!((found.document.format, found.document.fields.len()), (1, 0), "{found:?}");
        assert!(found.document.undecoded_bytes > 0 && !found.reason.is_empty(), "{found:?}");

        for name in ["domains/other.example", "domains/none.example", "gadgets/none"] {
            let refused = delete(&running, name, Mode::Commit).await.unwrap_err();
            assert_eq!(refused.to_string(), format!("there is no unreadable {name}"), "only what cannot be read");
        }
        let stale = unreadable::delete(app, &actor(), &key(NAME), Some(running.head()), Mode::Commit).await;
        assert!(matches!(stale, Err(AppError::StaleEtag { current }) if current == found.revision), "{stale:?}");
        let head = running.head();
        delete(&running, NAME, Mode::ValidateOnly).await.unwrap();
        assert_eq!((running.head(), listed(&running)), (head, vec![NAME.to_owned()]), "it was only checked");

        unreadable::delete(app, &actor(), &key(NAME), Some(found.revision), Mode::Commit).await.unwrap();
        assert!(listed(&running).is_empty());
        let state = app.feed.state();
        assert!(state.certificates().is_empty(), "its certificate is of no use to anybody");
        assert!(state.domains().contains_key(&host("other.example")));
        let history = app.store.history(&HistoryFilter::default(), 2).await.unwrap();
        let entry = history.iter().find(|entry| entry.resource == NAME).unwrap();
        assert!(entry.new.is_none() && entry.actor == "tester", "{entry:?}");
        running.create_domain(domain("shop.example", CertificateSource::Internal)).await;
    }
}

#[tokio::test]
async fn what_something_refers_to_stays_and_what_always_exists_is_made_anew() {
    const DEFAULT: &str = "services/default";
    for running in both().await {
        running.create_domain(domain("shop.example", CertificateSource::Uploaded)).await;
        running.create_backend("shop-1", "a").await;
        let running = damage(running, &[DEFAULT]).await;
        let refused = delete(&running, DEFAULT, Mode::ValidateOnly).await.unwrap_err();
        let expected = BrokenRule::UnreadableInUse { object: key(DEFAULT), user: key("domains/shop.example") };
        assert!(matches!(&refused, AppError::Rule(rule) if *rule == expected), "{refused:?}");

        domain::delete(&running.app, &actor(), &host("shop.example"), None, Mode::Commit).await.unwrap();
        let backend = super::backend("shop-1", "a").id;
        backend::delete(&running.app, &actor(), &backend, None, Force::Yes, Mode::Commit).await.unwrap();
        delete(&running, DEFAULT, Mode::Commit).await.unwrap();
        let made = service::get(&running.app, &actor(), &ServiceId::default_service()).unwrap();
        assert_eq!(made.value, Service::new(ServiceId::default_service()));
        assert!(listed(&running).is_empty());
    }
}

#[tokio::test]
async fn a_certificate_and_keys_that_the_system_made_are_replaced() {
    for running in both().await {
        join(&running, "e1").await;
        join(&running, "e2").await;
        running.create_domain(domain("shop.example", CertificateSource::Internal)).await;
        let certificate = Certificate::internal_id(&host("shop.example"));
        let before = running.app.feed.state().certificates()[&certificate].value.chain.clone();
        let name = certificate.to_resource_name();
        let running = damage(running, &[&name, "edges/e1"]).await;
        delete(&running, &name, Mode::Commit).await.unwrap();
        let made = running.app.feed.state().certificates()[&certificate].value.chain.clone();
        assert_ne!(made.certificates, before.certificates);
        let sealed = "SELECT COUNT(*) FROM sealed WHERE kind = 'certificates' AND blob IS NOT NULL";
        assert_eq!(running.fixture.number(sealed).await, 1, "nobody goes back to the key before");

        assert_eq!(roles(&ticket_keys(&running).unwrap()), [TicketKeyRole::Current]);
        delete(&running, "edges/e1", Mode::Commit).await.unwrap();
        let condemned = roles(&ticket_keys(&running).unwrap());
        assert_eq!(condemned, [TicketKeyRole::Condemned, TicketKeyRole::Next], "it had them");
    }
}

#[tokio::test]
async fn a_row_of_a_kind_that_is_not_known_is_deleted() {
    for running in both().await {
        running
            .fixture
            .execute(
                "INSERT INTO object SELECT 'gadgets', 'Shop/1', document, 1, 1, 1 FROM object WHERE kind = 'services'",
            )
            .await;
        let Running { fixture, .. } = running;
        let running = Running::on(fixture).await;
        assert_eq!(listed(&running), ["gadgets/Shop/1"]);
        let found = unreadable::get(&running.app, &key("gadgets/Shop/1")).await.unwrap();
        assert!(found.document.format == 1 && found.document.undecoded_bytes > 0, "{found:?}");
        delete(&running, "gadgets/Shop/1", Mode::Commit).await.unwrap();
        assert!(listed(&running).is_empty());
        assert_eq!(running.fixture.number("SELECT COUNT(*) FROM tombstone WHERE kind = 'gadgets'").await, 1);
        // Edges of a newer version are told that it is gone.
        let removed = running.app.store.changes_after(switchyard_proto::vocab::Revision(1)).await.unwrap().removed;
        assert_eq!(removed[0].0, key("gadgets/Shop/1"));
    }
}
