use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicI64, Ordering},
};

use switchyard_proto::vocab::TokenId;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::*;
use crate::{
    feed::Follower,
    model::{Access, Patterns, Role, Scope, Secret, Timestamp},
    store::{Store, fixture::Fixture},
};

const LONG: Duration = Duration::from_secs(20);
const NOW: Timestamp = Timestamp(1_800_000_000_000);
const LIST: &str = "switchyard.v1.DomainService/ListDomains";
const WATCH: &str = "switchyard.v1.EdgeService/WatchRevision";
const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

/// A clock that a test sets.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// An authenticator on a database that is followed.
struct Running {
    authenticator: Arc<Authenticator>,
    store: Arc<dyn Store>,
    feed: Feed,
    hand: Arc<Hand>,
    _fixture: Fixture,
    _tasks: DropGuard,
}

impl Running {
    async fn start(calls_per_second: u32) -> Self {
        let fixture = Fixture::sqlite().await;
        let store = fixture.open().await;
        let (feed, ending) = (Feed::new(), CancellationToken::new());
        tokio::spawn(Follower::new(feed.clone(), store.clone()).run(ending.clone()));
        let hand = Arc::new(Hand(AtomicI64::new(NOW.0)));
        let uses = TokenUses::load(store.clone()).await.unwrap();
        let rate = NonZeroU32::new(calls_per_second).unwrap();
        let authenticator = Arc::new(Authenticator::new(feed.clone(), hand.clone(), uses, rate));
        tokio::spawn(authenticator.clone().run(ending.clone()));
        Self { authenticator, store, feed, hand, _fixture: fixture, _tasks: ending.drop_guard() }
    }

    /// A token for reading; its secret.
    async fn token(&self, id: &str, expires_at: Option<Timestamp>) -> (Stored<Token>, Secret) {
        let secret = Secret::generate().unwrap();
        let access = Access { role: Role::Viewer, scope: Scope::Everything };
        let token = Token { id: TokenId::parse(id).unwrap(), hash: secret.hash(), access, expires_at };
        let mut transaction = self.store.begin(&Actor::system(), NOW).await.unwrap();
        let stored = transaction.put(None, token).await.unwrap();
        let revision = transaction.commit().await.unwrap();
        self.feed.reached(revision, LONG).await.unwrap();
        (stored, secret)
    }

    async fn revoke(&self, token: &Stored<Token>) {
        let mut transaction = self.store.begin(&Actor::system(), NOW).await.unwrap();
        transaction.delete(token).await.unwrap();
        let revision = transaction.commit().await.unwrap();
        self.feed.reached(revision, LONG).await.unwrap();
    }

    async fn call(&self, method: &str, secret: Option<&str>) -> Result<Grant, Refusal> {
        self.authenticator.authorize(Call { method, secret, address: ADDRESS, origin: Origin::Grpc }).await
    }
}

#[tokio::test]
async fn a_call_needs_a_token_that_is_valid_and_suffices() {
    let running = Running::start(1_000).await;
    let (stored, secret) = running.token("ci", Some(NOW.plus(LONG))).await;
    let secret = secret.expose();
    assert_eq!(running.call(LIST, None).await.unwrap_err(), Refusal::NoToken);
    assert_eq!(running.call(LIST, Some("sy_guess")).await.unwrap_err(), Refusal::UnknownToken);
    assert_eq!(running.call("nothing", Some(secret)).await.unwrap_err(), Refusal::NoSuchMethod);
    assert_eq!(running.authenticator.uses().last(&stored.value.id), None);
    let grant = running.call(LIST, Some(secret)).await.unwrap();
    let actor = grant.actor.unwrap();
    assert_eq!((actor.name.as_str(), actor.method, actor.address), ("ci", Some("ListDomains"), ADDRESS));
    assert_eq!(running.authenticator.uses().last(&stored.value.id), Some(NOW));
    let switch = running.call("switchyard.v1.DomainService/SwitchDomain", Some(secret)).await.unwrap_err();
    assert!(matches!(switch, Refusal::NotPermitted(_)) && switch.is_of_valid_token(), "{switch:?}");
    for public in ["healthz", "readyz", "grpc.health.v1.Health/Check"] {
        assert!(running.call(public, None).await.unwrap().actor.is_none());
    }
    running.hand.0.store(NOW.plus(LONG).0, Ordering::Relaxed);
    assert_eq!(running.call(LIST, Some(secret)).await.unwrap_err(), Refusal::UnknownToken);
    running.hand.0.store(NOW.0, Ordering::Relaxed);
    running.revoke(&stored).await;
    assert_eq!(running.call(LIST, Some(secret)).await.unwrap_err(), Refusal::UnknownToken);
}

#[tokio::test]
async fn a_right_token_passes_while_its_address_guesses() {
    let running = Running::start(1_000).await;
    let (_, secret) = running.token("ci", None).await;
    let (mut refused, mut delayed) = (0, Vec::new());
    // None of them is answered before the last was made.
    for _ in 0..32 {
        let mut guess = Box::pin(running.call(LIST, Some("sy_guess")));
        match futures::poll!(&mut guess) {
            std::task::Poll::Ready(Err(Refusal::TooManyFailures(_))) => refused += 1,
            std::task::Poll::Ready(other) => panic!("{other:?}"),
            std::task::Poll::Pending => delayed.push(guess),
        }
    }
    assert_eq!((refused, delayed.len()), (16, 16));
    assert!(running.call(LIST, Some(secret.expose())).await.is_ok());
    for guess in delayed {
        assert_eq!(guess.await.unwrap_err(), Refusal::UnknownToken);
    }
}

#[tokio::test]
async fn a_token_that_calls_too_often_is_refused() {
    let running = Running::start(1).await;
    let (_, secret) = running.token("ci", None).await;
    assert!(running.call(LIST, Some(secret.expose())).await.is_ok());
    let refused = running.call(LIST, Some(secret.expose())).await.unwrap_err();
    assert!(matches!(refused, Refusal::RateExceeded(_)), "{refused:?}");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked_or_expires() {
    let running = Running::start(1_000).await;
    let (revoked, one) = running.token("revoked", None).await;
    let (_, two) = running.token("expires", Some(NOW.plus(LONG))).await;
    let (_, three) = running.token("stays", None).await;
    let open = async |secret: &Secret| running.call(WATCH, Some(secret.expose())).await.unwrap().stream.unwrap();
    let [of_revoked, of_expired, of_other] = [open(&one).await, open(&two).await, open(&three).await];
    running.revoke(&revoked).await;
    timeout(LONG, of_revoked.ended()).await.expect("it ends");
    running.hand.0.store(NOW.plus(LONG).0, Ordering::Relaxed);
    timeout(LONG, of_expired.ended()).await.expect("it ends");
    assert!(timeout(Duration::ZERO, of_other.ended()).await.is_err(), "another token's goes on");
}

#[tokio::test]
async fn a_scope_does_not_reach_what_is_everybodys() {
    let running = Running::start(1_000).await;
    let secret = Secret::generate().unwrap();
    let scope = Scope::new(Patterns::parse(&["*.example"]).unwrap(), Patterns::default());
    let access = Access { role: Role::Admin, scope };
    let token = Token { id: TokenId::parse("shop").unwrap(), hash: secret.hash(), access, expires_at: None };
    let mut transaction = running.store.begin(&Actor::system(), NOW).await.unwrap();
    transaction.put(None, token).await.unwrap();
    let revision = transaction.commit().await.unwrap();
    running.feed.reached(revision, LONG).await.unwrap();
    assert!(running.call(LIST, Some(secret.expose())).await.is_ok());
    let refused = running.call("switchyard.v1.AuditService/ListChanges", Some(secret.expose())).await.unwrap_err();
    assert!(matches!(refused, Refusal::NotPermitted(_)), "{refused:?}");
}
