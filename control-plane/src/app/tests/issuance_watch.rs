use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::*;
use crate::app::issuance_watch::IssuanceWatches;

const LONG: Duration = Duration::from_secs(30);
const WATCHERS: usize = 1_000;

#[tokio::test]
async fn a_thousand_watchers_of_one_issuance_cost_one_poller() {
    let running = Running::sqlite().await;
    let shop = host("shop.example");
    running.create_domain(domain("shop.example", CertificateSource::Acme)).await;
    running.create_domain(domain("other.example", CertificateSource::Acme)).await;
    let watches = IssuanceWatches::new(running.app.clone());
    let (first, _) = watches.watch(actor(), shop.clone()).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..WATCHERS {
        all.push(watches.watch(actor(), shop.clone()).await.unwrap().1);
    }
    let mut other = watches.watch(actor(), host("other.example")).await.unwrap().1;
    assert_eq!(watches.pollers(), 2);

    running.hand.0.store(NOW.plus(HOUR).0, Ordering::Relaxed);
    issuance::renew(&running.app, &actor(), &shop).await.unwrap();
    let next = timeout(LONG, join_all(all.iter_mut().map(|watch| watch.next()))).await.unwrap();
    for standing in next {
        assert!(standing.unwrap().issuance.version > first.issuance.version);
    }
    assert!(futures::poll!(Box::pin(other.next())).is_pending(), "nothing is new of another");

    drop(all);
    let ended = async {
        while watches.pollers() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, ended).await.expect("what nobody watches is not asked for");

    domain::delete(&running.app, &actor(), &host("other.example"), None, Mode::Commit).await.unwrap();
    let ended = timeout(LONG, other.next()).await.unwrap();
    assert!(matches!(ended, Err(AppError::NotFound(_))), "{ended:?}");
}

#[tokio::test]
async fn nobody_watches_what_is_out_of_their_scope() {
    let running = Running::sqlite().await;
    running.create_domain(domain("other.example", CertificateSource::Acme)).await;
    let watches = IssuanceWatches::new(running.app.clone());
    let refused = watches.watch(shopkeeper(), host("other.example")).await.map(drop);
    assert!(matches!(refused, Err(AppError::OutOfScope(_))), "{refused:?}");
    assert_eq!(watches.pollers(), 0);
}
