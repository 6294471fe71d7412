//! What would be left without something that it is served by.

use switchyard_proto::{
    resource::Patch,
    vocab::{BackendId, CertificateId, IssuerId, Revision},
};

use super::{Running, actor, backend as new_backend, domain as new_domain, host, tag, upload};
use crate::{
    app::{AppError, Force, Mode, backend, certificate, domain, issuer, service},
    model::{
        Access, AcmeSettings, Actor, Backend, BackendState, CertificateSource, Domain, Issuer, Patterns, Place, Role,
        Scope, Service, rules::BrokenRule,
    },
};

/// Who has to do with this domain and with all services.
fn keeper(domain: &str) -> Actor {
    let scope = Scope::new(Patterns::parse(&[domain]).unwrap(), Patterns::parse(&["*"]).unwrap());
    Actor { access: Access { role: Role::Operator, scope }, ..actor() }
}

fn rule<T: std::fmt::Debug>(result: Result<T, AppError>) -> BrokenRule {
    match result {
        Err(AppError::Rule(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_last_active_backend_of_a_tag_stays_while_domains_are_on_it() {
    let running = Running::sqlite().await;
    let app = &running.app;
    running.create_backend("a-1", "a").await;
    running.create_backend("a-2", "a").await;
    running.create_domain(new_domain("one.example", CertificateSource::Uploaded)).await;
    running.create_domain(new_domain("two.example", CertificateSource::Uploaded)).await;
    let [first, last] = ["a-1", "a-2"].map(|id| BackendId::parse(id).unwrap());
    let who = actor();
    let drain = async |id, force| backend::drain(app, &who, id, None, force, Mode::Commit).await;
    drain(&first, Force::No).await.unwrap();

    let refused = rule(drain(&last, Force::No).await);
    assert!(refused.can_be_forced());
    let text = "backends/a-2 is the last active backend of services/default with the tag a, used by \
                domains/one.example, domains/two.example";
    assert_eq!(refused.to_string(), text);
    assert_eq!(rule(backend::delete(app, &actor(), &last, None, Force::No, Mode::Commit).await), refused);
    let old = backend::get(app, &actor(), &last).unwrap();
    for new in [
        Backend { state: BackendState::Disabled, ..old.value.clone() },
        Backend { tags: new_backend("x", "b").tags, ..old.value.clone() },
    ] {
        let updated =
            backend::update(app, &actor(), &last, &Patch::to(&new), None, Force::No, Mode::ValidateOnly).await;
        assert_eq!(rule(updated), refused);
    }
    // Whoever has to do with one of them is told how many there are.
    let scoped = backend::drain(app, &keeper("one.example"), &last, None, Force::No, Mode::Commit).await;
    let scoped = rule(scoped).to_string();
    assert!(scoped.ends_with("used by domains/one.example and 1 more"), "{scoped}");
    let stranger = rule(backend::drain(app, &keeper("x.example"), &last, None, Force::No, Mode::Commit).await);
    assert!(stranger.to_string().ends_with("used by 2 out of this token's scope"), "{stranger}");
    assert!(stranger.dependents().is_empty());

    // What is draining already takes nothing away, and another tag is nobody's.
    backend::delete(app, &actor(), &first, None, Force::No, Mode::Commit).await.unwrap();
    running.create_backend("b-1", "b").await;
    let other = BackendId::parse("b-1").unwrap();
    backend::delete(app, &actor(), &other, None, Force::No, Mode::Commit).await.unwrap();
    assert_eq!(drain(&last, Force::Yes).await.unwrap().value.state, BackendState::Draining);
}

#[tokio::test]
async fn the_only_certificate_for_a_domain_stays() {
    let running = Running::sqlite().await;
    let app = &running.app;
    running.create_domain(new_domain("shop.example", CertificateSource::Uploaded)).await;
    running.create_domain(new_domain("*.wild.example", CertificateSource::Uploaded)).await;
    let [one, other] = ["one", "other"].map(|id| CertificateId::parse(id).unwrap());
    let put = async |id: &CertificateId, name| {
        certificate::create(app, &actor(), id.clone(), &upload(name), Mode::Commit).await.unwrap()
    };
    let delete =
        async |id: &CertificateId, force| certificate::delete(app, &actor(), id, None, force, Mode::Commit).await;
    put(&one, "shop.example").await;
    let refused = rule(delete(&one, Force::No).await);
    assert_eq!(refused.to_string(), "certificates/one is the only valid certificate for domains/shop.example");
    let without = certificate::update(app, &actor(), &one, &upload("x.example"), None, Force::No, Mode::Commit).await;
    assert_eq!(rule(without), refused, "one that is not for it is as bad as none");
    let renewed =
        certificate::update(app, &actor(), &one, &upload("shop.example"), None, Force::No, Mode::Commit).await;
    renewed.unwrap();
    put(&other, "*.example").await;
    delete(&one, Force::No).await.unwrap();
    assert!(matches!(rule(delete(&other, Force::No).await), BrokenRule::CertificateInUse { .. }));
    delete(&other, Force::Yes).await.unwrap();
    // One for a single name is not for the wildcard.
    put(&one, "a.wild.example").await;
    delete(&one, Force::No).await.unwrap();
}

#[tokio::test]
async fn the_last_issuer_stays_while_domains_depend_on_it() {
    let running = Running::sqlite().await;
    let app = &running.app;
    running.create_domain(new_domain("shop.example", CertificateSource::Acme)).await;
    let id = IssuerId::parse("letsencrypt").unwrap();
    let delete = async |force| issuer::delete(app, &actor(), &id, None, force, Mode::Commit).await;
    let refused = rule(delete(Force::No).await);
    assert_eq!(refused.to_string(), "issuers/letsencrypt is the only issuer with a rank, used by domains/shop.example");
    let known = issuer::get(app, &id).unwrap().value.clone();
    let named = Patch::to(&Issuer { place: Place::OnlyWhereNamed, ..known });
    let update = issuer::update(app, &actor(), &id, &named, None, Force::No, Mode::Commit).await;
    assert_eq!(rule(update), refused);

    let staging = Issuer::well_known(IssuerId::parse("letsencrypt-staging").unwrap()).unwrap();
    issuer::create(app, &actor(), Issuer { place: Place::Last, ..staging }, Mode::Commit).await.unwrap();
    // Named, it stays whatever is forced: the domain refers to it.
    let acme = AcmeSettings::new(None, vec![id.clone()], None).unwrap();
    running.update_domain(&host("shop.example"), |domain| domain.acme = acme).await;
    let refused = rule(delete(Force::Yes).await);
    assert_eq!(refused.to_string(), "issuers/letsencrypt is named by domains/shop.example: change what names it first");
    assert!(!refused.can_be_forced());
    running.update_domain(&host("shop.example"), |domain| domain.acme = AcmeSettings::default()).await;
    assert_ne!(delete(Force::No).await.unwrap(), Revision::ZERO);
}

#[tokio::test]
async fn a_service_in_use_names_what_uses_it_in_scope() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let shop = Service::new(switchyard_proto::vocab::ServiceId::parse("shop").unwrap());
    let id = shop.id.clone();
    service::create(app, &actor(), shop, Mode::Commit).await.unwrap();
    let of_shop = |name: &str| Domain { service: id.clone(), ..new_domain(name, CertificateSource::Uploaded) };
    running.create_domain(of_shop("one.example")).await;
    running.create_domain(of_shop("two.example")).await;
    let refused = rule(service::delete(app, &keeper("two.example"), &id, None, Mode::Commit).await);
    let text = "services/shop is used by domains/two.example and 1 more: delete or move what uses it first";
    assert_eq!(refused.to_string(), text);
    assert!(!refused.can_be_forced());
}

#[tokio::test]
async fn a_tag_that_no_active_backend_carries_is_warned_of() {
    let running = Running::sqlite().await;
    let app = &running.app;
    let of = |tag_text: &str| Domain {
        active_tag: tag(tag_text),
        ..new_domain("shop.example", CertificateSource::Uploaded)
    };
    running.create_backend("a-1", "a").await;
    assert_eq!(domain::warning(app, &of("a")), None);
    let warning = domain::warning(app, &of("b")).unwrap();
    assert!(warning.starts_with("no active backend of services/default carries the tag b"), "{warning}");
}
