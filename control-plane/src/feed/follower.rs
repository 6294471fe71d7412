use std::{sync::Arc, time::Duration};

use switchyard_process::chain;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Feed, State};
use crate::store::{Changes, Store, StoreError, Withheld};

/// How often the database is read when nobody says that there is something new.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pauses between attempts when the database does not answer: the first, and the longest.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Brings the feed to what the database says, again and again.
#[derive(Debug)]
pub struct Follower {
    feed: Feed,
    store: Arc<dyn Store>,
}

impl Follower {
    /// A follower that fills `feed` from `store`.
    pub fn new(feed: Feed, store: Arc<dyn Store>) -> Self {
        Self { feed, store }
    }

    /// Reads everything that is past the feed's revision, and publishes it at once.
    ///
    /// # Errors
    ///
    /// The database does not answer, or holds what cannot be read. The feed stays as it was.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let caught_up = self.read().await;
        self.feed.shared.read_at.send_replace(caught_up.is_ok().then(Instant::now));
        caught_up
    }

    async fn read(&self) -> Result<(), StoreError> {
        // What is asked from here on may come too late for this reading.
        let question = *self.feed.shared.asked.borrow();
        let before = self.feed.state();
        let mut state = State::clone(&before);
        let (mut head, mut is_new) = (before.revision(), false);
        let mut apply = |part: Changes| {
            head = part.head;
            part.withheld.iter().for_each(|withheld| warn_of(withheld, &before));
            is_new |= state.apply(part);
        };
        self.store.read_changes(before.revision(), &mut apply).await?;
        if head < before.revision() {
            warn!(
                revision = before.revision().0,
                database = head.0,
                "the database is behind what was read from it, as after a restore; everything is read anew"
            );
        }
        if is_new {
            debug!(revision = state.revision().0, "published");
            self.feed.shared.state.send_replace(Arc::new(state));
        }
        self.feed.shared.answered.send_replace(question);
        Ok(())
    }

    /// Follows until `ending` is cancelled.
    pub async fn run(self, ending: CancellationToken) {
        let follow = async {
            let mut asked = self.feed.shared.asked.subscribe();
            let mut wakeups = self.store.wakeups();
            let mut retry_pause = None;
            loop {
                asked.borrow_and_update();
                wakeups.borrow_and_update();
                match self.catch_up().await {
                    Ok(()) => {
                        if retry_pause.take().is_some() {
                            info!("the database answers again");
                        }
                    }
                    Err(error) => {
                        let pause = match retry_pause {
                            None => {
                                warn!(
                                    error = chain(&error),
                                    "the database cannot be followed; reads go on from memory"
                                );
                                RETRY_PAUSE_MIN
                            }
                            Some(pause) => RETRY_PAUSE_MAX.min(pause * 2),
                        };
                        retry_pause = Some(pause);
                        sleep(pause).await;
                        continue;
                    }
                }
                tokio::select! {
                    // Neither sender goes away: the feed and the store are held here.
                    _ = asked.changed() => {}
                    _ = wakeups.changed() => {}
                    () = sleep(POLL_INTERVAL) => {}
                }
            }
        };
        tokio::select! {
            () = ending.cancelled() => {}
            () = follow => {}
        }
    }
}

/// Reports what cannot be read, unless it was known before: reading everything anew is no news.
fn warn_of(withheld: &Withheld, before: &State) {
    let Withheld { kind, id, revision, reason } = withheld;
    if before.withheld_of(kind, id).is_none_or(|known| known.revision != *revision) {
        warn!(
            event = "row_unreadable",
            resource = format!("{kind}/{id}"),
            revision = revision.0,
            reason,
            "the database has what cannot be read: edges keep what they serve of it, and nobody is sent it"
        );
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::{Digest, EdgeId, HostPattern, Labels, ResourceKey, Revision, ServiceId, Tag};

    use super::*;
    use crate::{
        feed::BatchKind,
        model::{Actor, Domain, Service, Stored, Timestamp},
        store,
    };

    const LONG: Duration = Duration::from_secs(20);

    fn domain(service: &ServiceId) -> Domain {
        let host = HostPattern::parse(&format!("{service}.example")).unwrap();
        Domain::new(host, service.clone(), Tag::parse("a").unwrap())
    }

    struct Fixture {
        database: store::fixture::Fixture,
        store: Arc<dyn Store>,
        feed: Feed,
    }

    impl Fixture {
        async fn new() -> Self {
            let database = store::fixture::Fixture::sqlite().await;
            let store = database.open().await;
            store::fixture::enrol(&store, &EdgeId::parse("edge-1").unwrap()).await;
            Self { store, database, feed: Feed::new() }
        }

        fn follower(&self) -> Follower {
            Follower::new(self.feed.clone(), self.store.clone())
        }

        /// Puts a service, and a domain that edges see it for.
        async fn put(&self, id: &str) -> Stored<Service> {
            let mut transaction = self.store.begin(&Actor::system(), Timestamp(1)).await.unwrap();
            let stored = transaction.put(None, Service::new(ServiceId::parse(id).unwrap())).await.unwrap();
            transaction.put(None, domain(&stored.value.id)).await.unwrap();
            transaction.commit().await.unwrap();
            stored
        }

        async fn delete(&self, stored: &Stored<Service>) -> Revision {
            let mut transaction = self.store.begin(&Actor::system(), Timestamp(1)).await.unwrap();
            let host = domain(&stored.value.id).host;
            let domain = transaction.get::<Domain>(&host).await.unwrap().unwrap();
            transaction.delete(&domain).await.unwrap();
            transaction.delete(stored).await.unwrap();
            transaction.commit().await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_commit_reaches_the_feed() {
        let fixture = Fixture::new().await;
        let ending = CancellationToken::new();
        let follower = tokio::spawn(fixture.follower().run(ending.clone()));
        let stored = fixture.put("shop").await;
        let state = fixture.feed.reached(stored.revision, LONG).await.unwrap();
        assert_eq!(*state.services()[&stored.value.id], stored);
        let revision = fixture.delete(&stored).await;
        let state = fixture.feed.reached(revision, LONG).await.unwrap();
        assert!(state.services().is_empty());
        assert_eq!(state.visible(&Labels::default()).digest(), Digest::default());
        ending.cancel();
        follower.await.unwrap();
    }

    #[tokio::test]
    async fn a_read_that_is_asked_for_sees_what_was_committed_before() {
        let fixture = Fixture::new().await;
        let ending = CancellationToken::new();
        let follower = tokio::spawn(fixture.follower().run(ending.clone()));
        for id in ["a", "b", "c"] {
            let stored = fixture.put(id).await;
            assert!(fixture.feed.read(LONG).await.unwrap().revision() >= stored.revision);
        }
        ending.cancel();
        follower.await.unwrap();
        assert_eq!(fixture.feed.read(Duration::from_millis(1)).await.unwrap_err(), crate::feed::NotRead);
    }

    #[tokio::test]
    async fn a_state_is_whole_though_it_is_read_in_parts() {
        const SERVICES: usize = 1_500;
        let fixture = Fixture::new().await;
        let mut transaction = fixture.store.begin(&Actor::system(), Timestamp(1)).await.unwrap();
        for number in 0..SERVICES {
            let id = ServiceId::parse(&format!("s{number}")).unwrap();
            transaction.put(None, Service::new(id)).await.unwrap();
        }
        let revision = transaction.commit().await.unwrap();
        fixture.follower().catch_up().await.unwrap();
        let state = fixture.feed.state();
        assert_eq!((state.revision(), state.services().len()), (revision, SERVICES));
        // Everything anew, as after a restore.
        let (restored, feed) = (Fixture::new().await, fixture.feed.clone());
        restored.put("shop").await;
        fixture.put("later").await;
        fixture.follower().catch_up().await.unwrap();
        Follower::new(feed.clone(), restored.store.clone()).catch_up().await.unwrap();
        assert_eq!(feed.state().services().len(), 1);
    }

    #[tokio::test]
    async fn a_fresh_feed_knows_what_was_deleted_before_it() {
        let fixture = Fixture::new().await;
        let stored = fixture.put("shop").await;
        let other = fixture.put("other").await;
        fixture.delete(&stored).await;
        let follower = fixture.follower();
        follower.catch_up().await.unwrap();
        let state = fixture.feed.state();
        let mut batch = state.visible(&Labels::default()).batch(Some(other.revision), state.revision());
        assert_eq!(batch.kind(), BatchKind::Delta);
        let part = batch.next_part().unwrap();
        assert_eq!(
            part.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["services/shop", "domains/shop.example"]
        );
    }

    #[tokio::test]
    async fn following_and_reading_anew_give_the_same_digest() {
        let fixture = Fixture::new().await;
        let follower = fixture.follower();
        let mut stored = Vec::new();
        for id in ["a", "b", "c"] {
            stored.push(fixture.put(id).await);
            follower.catch_up().await.unwrap();
        }
        fixture.delete(&stored[1]).await;
        follower.catch_up().await.unwrap();
        let anew = Feed::new();
        Follower::new(anew.clone(), fixture.store.clone()).catch_up().await.unwrap();
        let digest = |feed: &Feed| feed.state().visible(&Labels::default()).digest();
        assert_eq!(digest(&fixture.feed), digest(&anew));
        assert_ne!(digest(&anew), Digest::default());
    }

    #[tokio::test]
    async fn a_database_that_went_back_is_read_anew() {
        let fixture = Fixture::new().await;
        fixture.put("a").await;
        fixture.put("b").await;
        fixture.follower().catch_up().await.unwrap();
        let restored = Fixture::new().await;
        let stored = restored.put("c").await;
        Follower::new(fixture.feed.clone(), restored.store.clone()).catch_up().await.unwrap();
        let state = fixture.feed.state();
        assert_eq!(state.revision(), stored.revision);
        assert_eq!(state.services().keys().map(ServiceId::as_str).collect::<Vec<_>>(), ["c"]);
    }

    /// The names in the first part of a batch: put, removed and withheld.
    fn named(state: &State, received: Option<Revision>) -> (usize, Vec<String>, Vec<String>) {
        let mut batch = state.visible(&Labels::default()).batch(received, state.revision());
        let part = batch.next_part().unwrap();
        let names = |keys: &[ResourceKey]| keys.iter().map(ToString::to_string).collect();
        (part.resources.len(), names(&part.removed), names(&part.withheld))
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_withheld_until_it_is_put_or_deleted() {
        let fixture = Fixture::new().await;
        let (shop, other) = (fixture.put("shop").await, fixture.put("other").await);
        let key = ResourceKey::domain(&domain(&shop.value.id).host);
        fixture.follower().catch_up().await.unwrap();
        let whole = fixture.feed.state().visible(&Labels::default()).digest();
        // A newer version wrote it, and this one cannot read it.
        let write = async |value: &'static str, revision: &'static str| {
            fixture.database.execute(value).await;
            fixture.database.execute(revision).await;
        };
        fixture.database.execute("CREATE TABLE whole AS SELECT id, document FROM object WHERE kind = 'domains'").await;
        write(
            "UPDATE object SET document = X'FF', revision = 4 WHERE kind = 'domains' AND id = 'shop.example'",
            "UPDATE revision SET current = 4",
        )
        .await;
        fixture.follower().catch_up().await.unwrap();
        let anew = Feed::new();
        Follower::new(anew.clone(), fixture.store.clone()).catch_up().await.unwrap();
        for (feed, in_sight) in [(&fixture.feed, 3), (&anew, 2)] {
            let state = feed.state();
            assert_eq!(state.revision(), Revision(4), "it stops nothing");
            assert!(state.is_withheld(&key) && state.domains().len() == 1);
            assert_eq!(named(&state, Some(other.revision)), (0, vec![], vec![key.to_string()]));
            assert_eq!(named(&state, Some(Revision(4))), (0, vec![], vec![]), "it was told of it");
            // What it uses is in sight as far as that is known.
            assert_eq!(named(&state, None), (in_sight, vec![], vec![key.to_string()]));
            assert_ne!(state.visible(&Labels::default()).digest(), whole);
        }
        // It is written again, so that this version can read it.
        write(
            "UPDATE object SET document = (SELECT document FROM whole WHERE whole.id = object.id), revision = 5 \
             WHERE kind = 'domains' AND id = 'shop.example'",
            "UPDATE revision SET current = 5",
        )
        .await;
        fixture.follower().catch_up().await.unwrap();
        let state = fixture.feed.state();
        assert_eq!((state.withheld().count(), state.domains().len()), (0, 2));
        assert_eq!(named(&state, Some(Revision(4))), (1, vec![], vec![]));

        fixture.database.execute("UPDATE object SET document = X'FF', revision = 5 WHERE kind = 'domains'").await;
        let anew = Feed::new();
        let follower = Follower::new(anew.clone(), fixture.store.clone());
        follower.catch_up().await.unwrap();
        assert_eq!(anew.state().withheld().count(), 2);
        fixture.database.execute("DELETE FROM reference WHERE from_id = 'shop.example'").await;
        fixture.database.execute("DELETE FROM object WHERE kind = 'domains' AND id = 'shop.example'").await;
        fixture.database.execute("INSERT INTO tombstone VALUES ('domains', 'shop.example', 6)").await;
        fixture.database.execute("UPDATE revision SET current = 6").await;
        follower.catch_up().await.unwrap();
        let state = anew.state();
        assert_eq!(state.withheld().map(|it| it.id.clone()).collect::<Vec<_>>(), ["other.example"]);
        assert_eq!(named(&state, Some(Revision(5))), (0, vec![key.to_string()], vec![]));
    }

    #[tokio::test]
    async fn a_feed_is_followed_as_long_as_the_last_reading_is_recent_and_good() {
        let fixture = Fixture::new().await;
        let (follower, feed, now) = (fixture.follower(), &fixture.feed, Instant::now());
        assert!(!feed.is_followed(now, LONG), "nothing was read yet");
        follower.catch_up().await.unwrap();
        assert!(feed.is_followed(now, LONG) && !feed.is_followed(now + 10 * LONG, LONG));
        fixture.database.execute("ALTER TABLE revision RENAME TO elsewhere").await;
        follower.catch_up().await.unwrap_err();
        assert!(!feed.is_followed(now, LONG));
    }

    #[tokio::test]
    async fn an_outage_of_the_database_leaves_the_feed_as_it_was_and_is_made_up_for() {
        let fixture = Fixture::new().await;
        let ending = CancellationToken::new();
        let follower = tokio::spawn(fixture.follower().run(ending.clone()));
        let before = fixture.put("a").await;
        fixture.feed.reached(before.revision, LONG).await.unwrap();
        fixture.database.execute("ALTER TABLE sealed RENAME TO elsewhere").await;
        let during = fixture.put("b").await;
        assert!(fixture.feed.reached(during.revision, Duration::from_millis(50)).await.is_err());
        assert_eq!(fixture.feed.state().revision(), before.revision);
        fixture.database.execute("ALTER TABLE elsewhere RENAME TO sealed").await;
        let state = fixture.feed.reached(during.revision, LONG).await.unwrap();
        assert_eq!(state.services().len(), 2);
        ending.cancel();
        follower.await.unwrap();
    }
}
