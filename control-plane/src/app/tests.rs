//! The use cases over a real database, read through a real feed.

mod dependents;
mod issuance_watch;
mod unreadable;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use switchyard_proto::{
    resource::Patch,
    vocab::{
        BackendAddress, BackendId, CertificateId, DnsProviderId, EdgeId, HostPattern, Labels, Revision, ServiceId, Tag,
        TicketKeysId, TokenId, limits::SERVICE_BACKENDS_MAX,
    },
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    App, AppError, Force, Mode, PageRequest, backend, bootstrap, certificate,
    certificate::{INTERNAL_LIFETIME, Renewals, Upload},
    dns_provider,
    domain::{self, Source},
    edge, invite, issuance,
    seed::{self, Outcome, Seed},
    service, tickets, token,
};
use crate::{
    clock::Clock,
    feed::{Feed, Follower},
    model::{
        Access, AcmeSettings, Actor, Backend, BackendState, Certificate, CertificateSource, DnsProvider, DnsSettings,
        Domain, HookMode, HookUrl, Lease, OnDemand, Origin, Patterns, Role, Scope, Secret, Service, Tags,
        TicketKeyRole, TicketKeys, Timestamp, Zones, rules::BrokenRule,
    },
    pki::{self, Authority, AuthorityKind},
    store::{
        StoreError,
        fixture::{Fixture, enrol},
    },
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// What bootstrap takes.
const FIRST: Revision = Revision(1);

/// A clock that a test sets.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// The use cases on a database that was begun with, and nothing more.
struct Running {
    app: Arc<App>,
    hand: Arc<Hand>,
    fixture: Fixture,
    _follower: AbortOnDropHandle<()>,
}

impl Running {
    async fn sqlite() -> Self {
        Self::on(Fixture::sqlite().await).await
    }

    async fn on(fixture: Fixture) -> Self {
        let store = fixture.open().await;
        let hand = Arc::new(Hand(AtomicI64::new(NOW.0)));
        let foundation = bootstrap::run(&store, &*hand, |_| Ok(())).await.unwrap();
        let feed = Feed::new();
        let follower = Follower::new(feed.clone(), store.clone());
        follower.catch_up().await.unwrap();
        let follower = AbortOnDropHandle::new(tokio::spawn(follower.run(CancellationToken::new())));
        let app = Arc::new(App {
            due: tokio::sync::Notify::new(),
            page_tokens: foundation.page_tokens,
            store,
            feed,
            clock: hand.clone(),
            internal_ca: foundation.internal_ca,
            fleet_ca: Arc::new(foundation.fleet_ca),
            edge_certificate_lifetime: 3 * HOUR,
            fleet_port: 7443,
        });
        Self { app, hand, fixture, _follower: follower }
    }

    fn head(&self) -> Revision {
        self.app.feed.state().revision()
    }

    async fn create_domain(&self, domain: Domain) -> Revision {
        domain::create(&self.app, &actor(), domain, Source::Given, Mode::Commit).await.unwrap().revision
    }

    async fn create_backend(&self, id: &str, tag: &str) -> Revision {
        backend::create(&self.app, &actor(), backend(id, tag), Mode::Commit).await.unwrap().revision
    }

    async fn update_domain(&self, host: &HostPattern, change: impl FnOnce(&mut Domain)) -> Revision {
        let patch = self.patch(host, change);
        domain::update(&self.app, &actor(), host, &patch, None, Mode::Commit).await.unwrap().revision
    }

    /// A change of a domain as it is.
    fn patch(&self, host: &HostPattern, change: impl FnOnce(&mut Domain)) -> Patch<Domain> {
        let mut domain = domain::get(&self.app, &actor(), host).unwrap().value.clone();
        change(&mut domain);
        Patch::to(&domain)
    }
}

fn actor() -> Actor {
    Actor::without_call("tester", Origin::Grpc)
}

fn host(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap()
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn domain(name: &str, certificate_source: CertificateSource) -> Domain {
    Domain { certificate_source, ..Domain::new(host(name), ServiceId::default_service(), tag("a")) }
}

fn backend(id: &str, tag_text: &str) -> Backend {
    let address = BackendAddress::parse("10.0.0.5:3000").unwrap();
    let tags = Tags::new(vec![tag(tag_text)]).unwrap();
    Backend::new(BackendId::parse(id).unwrap(), ServiceId::default_service(), address, tags)
}

/// A certificate of some authority, as people would upload it.
fn upload(name: &str) -> Upload {
    let authority = Authority::generate(AuthorityKind::Internal, NOW).unwrap();
    let issued = authority.issue_server(&[name], NOW, 24 * HOUR).unwrap();
    Upload {
        chain_pem: pki::certificate_pem(&issued.certificate),
        private_key_pem: pem::encode(&pem::Pem::new("PRIVATE KEY", issued.private_key.expose_pkcs8())).into(),
    }
}

/// The keys of edges without labels.
fn ticket_keys(running: &Running) -> Option<TicketKeys> {
    let state = running.app.feed.state();
    Some(state.ticket_keys().get(&TicketKeysId::of(&Labels::default()))?.value.clone())
}

fn roles(keys: &TicketKeys) -> Vec<TicketKeyRole> {
    keys.keys().iter().map(|key| key.role).collect()
}

async fn join(running: &Running, edge: &str) {
    let new = invite::NewInvite { labels: Labels::default(), uses: 1, expires_at: None };
    let (invite, _) = invite::create(&running.app, &actor(), new, Mode::Commit).await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let application = edge::Application {
        invite: invite.value.id.clone(),
        secret: invite.value.hash,
        edge: EdgeId::parse(edge).unwrap(),
        request: pki::CertificateRequest::parse(request.der()).unwrap(),
        address: "192.0.2.1".parse().unwrap(),
    };
    edge::enrol(&running.app, application).await.unwrap();
}

#[tokio::test]
async fn ticket_keys_come_with_the_first_edge_are_replaced_with_one_and_go_with_the_last() {
    use TicketKeyRole::{Condemned, Current, Next};
    for fixture in [Fixture::sqlite().await, Fixture::postgres().await] {
        let running = Running::on(fixture).await;
        let app = &running.app;
        let nobody = Labels::default();
        let lease = app.store.take_lease("tickets", "test", HOUR).await.unwrap().unwrap();
        join(&running, "e1").await;
        let first = ticket_keys(&running).unwrap();
        assert_eq!(roles(&first), [Current]);
        join(&running, "e2").await;
        join(&running, "e3").await;
        assert_eq!(ticket_keys(&running).as_ref(), Some(&first), "they are there already");
        tickets::step(app, &lease, &nobody, None).await.unwrap();
        assert_eq!(ticket_keys(&running).as_ref(), Some(&first), "nothing is due");

        edge::delete(app, &actor(), &EdgeId::parse("e1").unwrap(), Mode::ValidateOnly).await.unwrap();
        assert_eq!(ticket_keys(&running).as_ref(), Some(&first), "nobody is removed");
        edge::delete(app, &actor(), &EdgeId::parse("e1").unwrap(), Mode::Commit).await.unwrap();
        let condemned = ticket_keys(&running).unwrap();
        assert_eq!(roles(&condemned), [Condemned, Next]);
        let at = running.head();
        for not_these in [None, Some(Revision(at.0 - 1))] {
            tickets::step(app, &lease, &nobody, not_these).await.unwrap();
            assert_eq!(running.head(), at, "they were not acknowledged");
        }
        tickets::step(app, &lease, &nobody, Some(at)).await.unwrap();
        let replaced = ticket_keys(&running).unwrap();
        assert_eq!(roles(&replaced), [Current]);
        assert_eq!(replaced.keys()[0].name, condemned.keys()[1].name);

        running.hand.0.fetch_add(12 * 60 * 60 * 1_000, Ordering::Relaxed);
        tickets::step(app, &lease, &nobody, None).await.unwrap();
        assert_eq!(roles(&ticket_keys(&running).unwrap()), [Current, Next]);
        let other = Lease { epoch: lease.epoch + 1, ..lease.clone() };
        let lost = tickets::step(app, &other, &nobody, Some(running.head())).await.unwrap_err();
        assert!(matches!(lost, AppError::Store(StoreError::LeaseLost)), "{lost:?}");

        // The last of a class takes its keys along; the first of another one finds some.
        edge::delete(app, &actor(), &EdgeId::parse("e2").unwrap(), Mode::Commit).await.unwrap();
        let eu = Labels::new([("region".to_owned(), "eu".to_owned())]).unwrap();
        edge::relabel(app, &actor(), &EdgeId::parse("e3").unwrap(), eu.clone(), Mode::Commit).await.unwrap();
        assert!(ticket_keys(&running).is_some(), "the reconciler finds that nobody has these labels");
        tickets::step(app, &lease, &nobody, None).await.unwrap();
        assert_eq!(ticket_keys(&running), None);
        assert!(app.feed.state().ticket_keys().contains_key(&TicketKeysId::of(&eu)));
        edge::delete(app, &actor(), &EdgeId::parse("e3").unwrap(), Mode::Commit).await.unwrap();
        assert!(app.feed.state().ticket_keys().is_empty());
        let head = running.head();
        tickets::step(app, &lease, &eu, None).await.unwrap();
        assert_eq!(running.head(), head, "there is nothing to be done for nobody");
    }
}

#[tokio::test]
async fn edges_of_before_there_were_ticket_keys_are_given_some() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let lease = app.store.take_lease("tickets", "test", HOUR).await.unwrap().unwrap();
    enrol(&app.store, &EdgeId::parse("e1").unwrap()).await;
    tickets::step(app, &lease, &Labels::default(), None).await.unwrap();
    assert_eq!(roles(&ticket_keys(&running).unwrap()), [TicketKeyRole::Current]);
}

#[tokio::test]
async fn two_control_planes_lay_one_foundation() {
    for fixture in [Fixture::sqlite().await, Fixture::postgres().await] {
        let (one, other) = (fixture.open().await, fixture.open().await);
        let hand = Hand(AtomicI64::new(NOW.0));
        let kept = AtomicUsize::new(0);
        let keep = |_: &Secret| {
            kept.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let (first, second) = tokio::join!(bootstrap::run(&one, &hand, keep), bootstrap::run(&other, &hand, keep));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.fleet_ca.certificate(), second.fleet_ca.certificate());
        assert_eq!(first.internal_ca.certificate(), second.internal_ca.certificate());
        assert_ne!(first.fleet_ca.certificate(), first.internal_ca.certificate());
        let changes = one.changes_after(Revision::ZERO).await.unwrap();
        let keys: Vec<_> = changes.put.iter().map(|resource| resource.key().to_string()).collect();
        assert_eq!(
            (changes.head, keys.as_slice()),
            (FIRST, &["services/default", "tokens/admin"].map(String::from)[..])
        );
        assert_eq!(kept.into_inner(), 1, "there is one first token");
    }
}

#[tokio::test]
async fn a_domain_of_the_internal_ca_has_a_certificate_for_as_long_as_it_is_one() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let name = host("*.shop.example");
    let id = Certificate::internal_id(&name);
    let created = running.create_domain(domain("*.shop.example", CertificateSource::Internal)).await;
    let issued = certificate::get(app, &actor(), &id).unwrap();
    assert_eq!(issued.revision, created);
    assert_eq!(issued.value.chain.dns_names, std::slice::from_ref(&name));
    assert_eq!(issued.value.chain.not_after, NOW.plus(INTERNAL_LIFETIME));

    running.update_domain(&name, |domain| domain.certificate_source = CertificateSource::Uploaded).await;
    assert!(
        matches!(certificate::get(app, &actor(), &id), Err(AppError::NotFound(name)) if name == id.to_resource_name())
    );

    let again = running.update_domain(&name, |domain| domain.certificate_source = CertificateSource::Internal).await;
    assert_eq!(certificate::get(app, &actor(), &id).unwrap().revision, again);

    domain::delete(app, &actor(), &name, None, Mode::Commit).await.unwrap();
    assert!(certificate::get(app, &actor(), &id).is_err() && domain::get(app, &actor(), &name).is_err());
}

#[tokio::test]
async fn people_leave_the_internal_cas_certificates_alone() {
    let running = Running::sqlite().await;
    let app = &running.app;
    running.create_domain(domain("shop.example", CertificateSource::Internal)).await;
    let id = Certificate::internal_id(&host("shop.example"));
    let refused = certificate::create(app, &actor(), id.clone(), &upload("shop.example"), Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::Invalid(fields)) if fields[0].field == "certificate.name"));
    let refused = certificate::update(app, &actor(), &id, &upload("shop.example"), None, Force::No, Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::Rule(BrokenRule::ManagedCertificate { .. }))));
    let refused = certificate::delete(app, &actor(), &id, None, Force::No, Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::Rule(BrokenRule::ManagedCertificate { .. }))));
    assert!(certificate::get(app, &actor(), &id).is_ok());
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let created = running.create_domain(domain("shop.example", CertificateSource::Internal)).await;
    assert_eq!(running.update_domain(&host("shop.example"), |_| {}).await, created);

    let id = CertificateId::parse("own").unwrap();
    let own = upload("own.example");
    let created = certificate::create(app, &actor(), id.clone(), &own, Mode::Commit).await.unwrap();
    let updated = certificate::update(app, &actor(), &id, &own, None, Force::No, Mode::Commit).await.unwrap();
    assert_eq!(updated, created);
    assert_eq!(running.head(), created.revision);
}

#[tokio::test]
async fn a_stale_etag_is_refused_with_the_present_one() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let created = running.create_domain(domain("shop.example", CertificateSource::Uploaded)).await;
    let name = host("shop.example");
    let redirect = |on| running.patch(&name, |domain| domain.http_to_https = on);
    let changed = domain::update(app, &actor(), &name, &redirect(true), Some(created), Mode::Commit).await.unwrap();
    let refused = domain::update(app, &actor(), &name, &redirect(false), Some(created), Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::StaleEtag { current }) if current == changed.revision));
    let refused = domain::delete(app, &actor(), &name, Some(created), Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::StaleEtag { .. })));
    assert_eq!(*domain::get(app, &actor(), &name).unwrap(), changed);
}

#[tokio::test]
async fn what_is_only_to_be_checked_is_refused_as_if_it_were_made_and_changes_nothing() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let shop = domain("shop.example", CertificateSource::Internal);
    let checked = domain::create(app, &actor(), shop.clone(), Source::Given, Mode::ValidateOnly).await.unwrap();
    assert_eq!(checked.value, shop);
    assert!(domain::get(app, &actor(), &shop.host).is_err());
    let elsewhere = Domain { service: ServiceId::parse("nowhere").unwrap(), ..shop };
    let refused = domain::create(app, &actor(), elsewhere, Source::Given, Mode::ValidateOnly).await;
    assert!(matches!(refused, Err(AppError::Rule(BrokenRule::NoSuchService { .. }))));
    // The revision that was taken for the check is free again.
    assert_eq!(running.create_backend("shop-1", "a").await, Revision(FIRST.0 + 1));
}

#[tokio::test]
async fn a_switch_asks_for_a_backend_unless_forced_and_may_be_repeated() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let name = host("shop.example");
    let created = running.create_domain(domain("shop.example", CertificateSource::Uploaded)).await;
    let switch =
        async |to: &str, check, etag| domain::switch(app, &actor(), &name, tag(to), check, etag, Mode::Commit).await;

    let refused = switch("b", Force::No, None).await;
    assert!(matches!(refused, Err(AppError::Rule(BrokenRule::NoBackendForTag { .. }))));
    running.create_backend("shop-b", "b").await;
    let switched = switch("b", Force::No, Some(created)).await.unwrap();
    assert_eq!((&switched.value.active_tag, &switched.value.previous_tag), (&tag("b"), &Some(tag("a"))));
    // The answer was lost, and the caller asks again with the etag it has.
    assert_eq!(switch("b", Force::No, Some(created)).await.unwrap(), switched);
    assert!(matches!(switch("a", Force::Yes, Some(created)).await, Err(AppError::StaleEtag { .. })));
    let back = switch("a", Force::Yes, None).await.unwrap();
    assert_eq!((&back.value.active_tag, &back.value.previous_tag), (&tag("a"), &Some(tag("b"))));
    assert_eq!(*domain::get(app, &actor(), &name).unwrap(), back);
}

#[tokio::test]
async fn a_service_goes_when_nothing_refers_to_it() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let id = ServiceId::parse("shop").unwrap();
    service::create(app, &actor(), Service::new(id.clone()), Mode::Commit).await.unwrap();
    let refused = service::create(app, &actor(), Service::new(id.clone()), Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::AlreadyExists(name)) if name == "services/shop"));
    running.create_domain(Domain { service: id.clone(), ..domain("a.example", CertificateSource::Uploaded) }).await;
    let refused = service::delete(app, &actor(), &id, None, Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::Rule(BrokenRule::ServiceInUse { .. }))));
    domain::delete(app, &actor(), &host("a.example"), None, Mode::Commit).await.unwrap();
    service::delete(app, &actor(), &id, None, Mode::Commit).await.unwrap();
    let refused = service::delete(app, &actor(), &ServiceId::default_service(), None, Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::Rule(BrokenRule::DefaultService))));
    let ids: Vec<_> =
        service::list(app, &actor(), &PageRequest::parse(&running.app.page_tokens, 0, "").unwrap()).unwrap().items;
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_backend_drains_and_comes_back() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let id = BackendId::parse("shop-1").unwrap();
    running.create_backend("shop-1", "a").await;
    let draining = backend::drain(app, &actor(), &id, None, Force::No, Mode::Commit).await.unwrap();
    assert_eq!(draining.value.state, BackendState::Draining);
    assert_eq!(backend::drain(app, &actor(), &id, None, Force::No, Mode::Commit).await.unwrap(), draining);
    let active = Patch::to(&Backend { state: BackendState::Active, ..draining.value.clone() });
    let back =
        backend::update(app, &actor(), &id, &active, Some(draining.revision), Force::No, Mode::Commit).await.unwrap();
    assert_eq!(*backend::get(app, &actor(), &id).unwrap(), back);
    backend::delete(app, &actor(), &id, None, Force::No, Mode::Commit).await.unwrap();
    assert!(matches!(
        backend::drain(app, &actor(), &id, None, Force::No, Mode::Commit).await,
        Err(AppError::NotFound(_))
    ));
}

#[tokio::test]
async fn internal_certificates_are_replaced_at_two_thirds_of_their_life_and_one_that_fails_holds_up_no_other() {
    let running = Running::sqlite().await;
    let app = &running.app;
    running.create_domain(domain("shop.example", CertificateSource::Internal)).await;
    let id = Certificate::internal_id(&host("shop.example"));
    let first = certificate::get(app, &actor(), &id).unwrap();
    // It is for no name, so that none can be issued in its place.
    let mut transaction = app.store.begin(&actor(), NOW).await.unwrap();
    let mut nameless = Certificate { id: Certificate::internal_id(&host("a.example")), ..first.value.clone() };
    nameless.chain.dns_names.clear();
    transaction.put(None, nameless).await.unwrap();
    let revision = transaction.commit().await.unwrap();
    app.feed.reached(revision, HOUR).await.unwrap();

    let two_thirds = NOW.plus(INTERNAL_LIFETIME * 2 / 3);
    running.hand.0.store(NOW.plus(INTERNAL_LIFETIME / 2).0, Ordering::Relaxed);
    assert_eq!(certificate::renew_internal(app).await.unwrap(), Renewals::default());
    running.hand.0.store(two_thirds.0, Ordering::Relaxed);
    assert_eq!(certificate::renew_internal(app).await.unwrap(), Renewals { renewed: 1, failed: 1 });
    let second = certificate::get(app, &actor(), &id).unwrap();
    assert_eq!(second.value.chain.not_after, two_thirds.plus(INTERNAL_LIFETIME));
    assert_eq!((second.created_at, second.updated_at), (first.created_at, two_thirds));
    assert_ne!(second.value.private_key, first.value.private_key);
}

#[tokio::test]
async fn a_seed_is_loaded_whole_into_a_database_in_which_nothing_was_declared_and_never_again() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let broken = Seed {
        lets_encrypt: None,
        domains: vec![domain("shop.example", CertificateSource::Uploaded); 2],
        backends: vec![backend("shop-1", "a")],
        notes: vec![],
    };
    assert!(matches!(seed::load(app, &broken).await, Err(AppError::AlreadyExists(_))));
    assert_eq!(app.store.changes_after(Revision::ZERO).await.unwrap().head, FIRST);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed.toml");
    std::fs::write(&path, include_str!("../../testdata/example-config.toml")).unwrap();
    let seed = seed::read(&path).unwrap();
    assert_eq!(seed::load(app, &seed).await.unwrap(), Outcome::Loaded { domains: 2, backends: 3 });
    assert_eq!(domain::get(app, &actor(), &host("api.example.com")).unwrap().value.active_tag, tag("b"));
    assert_eq!(running.head(), Revision(FIRST.0 + 1));

    domain::delete(app, &actor(), &host("example.com"), None, Mode::Commit).await.unwrap();
    assert_eq!(seed::load(app, &seed).await.unwrap(), Outcome::NotEmpty);
    assert!(domain::get(app, &actor(), &host("example.com")).is_err());
}

#[tokio::test]
async fn reads_go_on_and_changes_are_refused_while_the_database_is_gone() {
    let running = Running::on(Fixture::postgres().await).await;
    let app = &running.app;
    running.create_domain(domain("shop.example", CertificateSource::Internal)).await;
    running.fixture.destroy().await;
    let refused = domain::delete(app, &actor(), &host("shop.example"), None, Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::Store(error)) if error.is_unavailable()));
    assert!(domain::get(app, &actor(), &host("shop.example")).is_ok());
    assert_eq!(
        domain::list(app, &actor(), &PageRequest::parse(&running.app.page_tokens, 0, "").unwrap()).unwrap().items.len(),
        1
    );
    running.hand.0.store(NOW.plus(INTERNAL_LIFETIME).0, Ordering::Relaxed);
    assert!(certificate::renew_internal(app).await.is_err());
}

/// Somebody who has to do with `shop.example`, its subdomains and the service `shop` alone.
fn shopkeeper() -> Actor {
    let scope =
        Scope::new(Patterns::parse(&["shop.example", "*.shop.example"]).unwrap(), Patterns::parse(&["shop"]).unwrap());
    Actor { name: "shopkeeper".into(), access: Access { role: Role::Operator, scope }, ..actor() }
}

#[tokio::test]
async fn nobody_sees_or_changes_what_is_out_of_their_scope() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let (keeper, all) = (shopkeeper(), PageRequest::parse(&running.app.page_tokens, 0, "").unwrap());
    let shop = ServiceId::parse("shop").unwrap();
    service::create(app, &keeper, Service::new(shop.clone()), Mode::Commit).await.unwrap();
    running.create_backend("foreign", "a").await;
    running.create_domain(domain("other.example", CertificateSource::Uploaded)).await;
    let own = Domain { service: shop, ..domain("www.shop.example", CertificateSource::Uploaded) };
    domain::create(app, &keeper, own.clone(), Source::Given, Mode::Commit).await.unwrap();

    let head = running.head();
    let out = |result: Result<(), AppError>| assert!(matches!(result, Err(AppError::OutOfScope(_))), "{result:?}");
    let (other, foreign) = (host("other.example"), BackendId::parse("foreign").unwrap());
    out(domain::get(app, &keeper, &other).map(drop));
    out(domain::create(app, &keeper, domain("new.example", CertificateSource::Uploaded), Source::Given, Mode::Commit)
        .await
        .map(drop));
    out(domain::create(
        app,
        &keeper,
        domain("new.shop.example", CertificateSource::Uploaded),
        Source::Given,
        Mode::Commit,
    )
    .await
    .map(drop));
    let moved = Patch::to(&Domain { service: ServiceId::default_service(), ..own.clone() });
    out(domain::update(app, &keeper, &own.host, &moved, None, Mode::Commit).await.map(drop));
    out(domain::delete(app, &keeper, &other, None, Mode::Commit).await.map(drop));
    let tag = Tag::parse("b").unwrap();
    out(domain::switch(app, &keeper, &other, tag, Force::Yes, None, Mode::Commit).await.map(drop));
    out(backend::get(app, &keeper, &foreign).map(drop));
    out(backend::drain(app, &keeper, &foreign, None, Force::No, Mode::Commit).await.map(drop));
    out(backend::delete(app, &keeper, &foreign, None, Force::No, Mode::Commit).await.map(drop));
    out(service::get(app, &keeper, &ServiceId::default_service()).map(drop));
    let id = CertificateId::parse("theirs").unwrap();
    out(certificate::create(app, &keeper, id.clone(), &upload("other.example"), Mode::Commit).await.map(drop));
    certificate::create(app, &actor(), id.clone(), &upload("other.example"), Mode::Commit).await.unwrap();
    out(certificate::update(app, &keeper, &id, &upload("shop.example"), None, Force::No, Mode::Commit).await.map(drop));
    out(certificate::delete(app, &keeper, &id, None, Force::No, Mode::Commit).await.map(drop));
    assert_eq!(running.head(), Revision(head.0 + 1), "only the certificate was created");

    let domains = domain::list(app, &keeper, &all).unwrap().items;
    assert_eq!(domains.iter().map(|stored| stored.value.host.as_str()).collect::<Vec<_>>(), ["www.shop.example"]);
    assert_eq!(service::list(app, &keeper, &all).unwrap().items.len(), 1);
    assert!(backend::list(app, &keeper, &all).unwrap().items.is_empty());
    assert!(certificate::list(app, &keeper, &all).unwrap().items.is_empty());
}

#[tokio::test]
async fn a_token_is_known_by_its_secret_until_it_is_revoked() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let viewer = Access { role: Role::Viewer, scope: Scope::Everything };
    let (id, end) = (TokenId::parse("ci").unwrap(), NOW.plus(HOUR));
    let past = token::create(app, &actor(), id.clone(), viewer.clone(), Some(NOW), Mode::Commit).await;
    assert!(matches!(past, Err(AppError::Invalid(_))));
    let (stored, secret) =
        token::create(app, &actor(), id.clone(), viewer.clone(), Some(end), Mode::Commit).await.unwrap();
    let again = token::create(app, &actor(), id.clone(), viewer.clone(), None, Mode::Commit).await;
    assert!(matches!(again, Err(AppError::AlreadyExists(_))));
    assert_eq!(**app.feed.state().token_of(&secret.hash()).unwrap(), stored);
    assert!(stored.value.is_expired(end) && !stored.value.is_expired(NOW));
    token::delete(app, &actor(), &id, None, Mode::Commit).await.unwrap();
    assert!(app.feed.state().token_of(&secret.hash()).is_none());
}

#[tokio::test]
async fn the_last_token_that_can_do_everything_stays() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let first = TokenId::parse("admin").unwrap();
    let refused = token::delete(app, &actor(), &first, None, Mode::Commit).await;
    assert!(matches!(refused, Err(AppError::Rule(BrokenRule::LastFullToken))));
    for (id, access, expires_at) in [
        ("scoped", Access { scope: shopkeeper().access.scope, ..Access::EVERYTHING }, None),
        ("ends", Access::EVERYTHING, Some(NOW.plus(HOUR))),
    ] {
        let id = TokenId::parse(id).unwrap();
        token::create(app, &actor(), id, access, expires_at, Mode::Commit).await.unwrap();
        assert!(token::delete(app, &actor(), &first, None, Mode::Commit).await.is_err());
    }
    let second = TokenId::parse("second").unwrap();
    token::create(app, &actor(), second.clone(), Access::EVERYTHING, None, Mode::Commit).await.unwrap();
    token::delete(app, &actor(), &first, None, Mode::Commit).await.unwrap();
    assert!(token::delete(app, &actor(), &second, None, Mode::Commit).await.is_err());
}

#[tokio::test]
async fn a_name_on_demand_that_becomes_a_domain_is_that_domains() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let on_demand = OnDemand { hook: HookUrl::parse("http://127.0.0.1:9000/ask").unwrap() };
    let acme = AcmeSettings::new(None, vec![], Some(on_demand)).unwrap();
    let sites = host("*.sites.example");
    running.create_domain(Domain { acme, ..domain("*.sites.example", CertificateSource::Acme) }).await;
    assert_eq!(app.store.issuance(&sites).await.unwrap(), None, "it has no certificate itself");
    let [a, b] = ["a.sites.example", "b.sites.example"].map(host);
    for name in [&a, &a, &b] {
        issuance::begin_on_demand(app, &sites, name).await.unwrap();
    }
    assert_eq!(app.store.issuance(&a).await.unwrap().unwrap().on_demand.as_ref(), Some(&sites));

    running.create_domain(domain("a.sites.example", CertificateSource::Acme)).await;
    assert_eq!(app.store.issuance(&a).await.unwrap().unwrap().on_demand, None);
    running.create_domain(domain("b.sites.example", CertificateSource::Internal)).await;
    assert_eq!(app.store.issuance(&b).await.unwrap(), None, "nothing was ordered for it yet");
    assert!(issuance::begin_on_demand(app, &sites, &b).await.is_err());

    let provider = DnsProvider {
        id: DnsProviderId::parse("home").unwrap(),
        zones: Zones::parse(&["sites.example".to_owned()]).unwrap(),
        settings: DnsSettings::exec("set-txt", HookMode::Default).unwrap(),
    };
    dns_provider::create(app, &Actor::system(), provider, Mode::Commit).await.unwrap();
    running.update_domain(&sites, |domain| domain.acme.on_demand = None).await;
    assert!(app.store.issuance(&sites).await.unwrap().is_some(), "it has a certificate itself");
    assert!(issuance::begin_on_demand(app, &sites, &host("c.sites.example")).await.is_err());
    assert!(app.store.issuance(&a).await.unwrap().is_some(), "another domain's");
}

#[tokio::test]
async fn a_service_has_so_many_backends_and_no_more() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let backends = (0..=SERVICE_BACKENDS_MAX).map(|number| backend(&format!("shop-{number}"), "a")).collect();
    let refused = seed::load(app, &Seed { lets_encrypt: None, backends, domains: vec![], notes: vec![] }).await;
    let Err(AppError::Rule(rule)) = refused else { panic!("{refused:?}") };
    assert_eq!(rule, BrokenRule::TooMany { what: "backends of one service", max: SERVICE_BACKENDS_MAX });
    assert!(app.feed.state().backends().is_empty(), "all of it, or nothing");
}
