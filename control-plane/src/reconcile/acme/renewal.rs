use std::time::Duration;

use crate::{
    acme::RenewalWindow,
    app::issuance,
    model::{CertificateChain, Renewal, Timestamp},
};

/// How long a certificate is served at least, whatever its CA says; less of one that lives shortly.
const REPLACED_AFTER_MIN: Duration = Duration::from_secs(60 * 60);
/// How often a CA is asked when it wants certificates to be replaced: the bounds of what it may say (RFC 9773, section 4.3.2).
const ASK_INTERVAL_MIN: Duration = Duration::from_secs(60);
const ASK_INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a certificate is to be replaced of which its CA has said `window`, and which is served since `since`; `planned` is what was
/// planned before.
///
/// The moment is chosen once for each window, so that asking again does not put it off (RFC 9773, section 4.2). It is never right after
/// the certificate came: of a CA whose every certificate is overdue, one would be ordered after the other.
pub(super) fn plan(
    chain: &CertificateChain,
    since: Timestamp,
    planned: Option<Renewal>,
    window: Option<RenewalWindow>,
    now: Timestamp,
    jitter: f64,
) -> Renewal {
    let lifetime = Duration::from_millis(u64::try_from(chain.not_after.0 - chain.not_before.0).unwrap_or(0));
    let first = since.plus(REPLACED_AFTER_MIN.min(lifetime / 10));
    let renewal = suggested(chain, planned, window, now, jitter);
    Renewal { at: renewal.at.max(first), ..renewal }
}

fn suggested(
    chain: &CertificateChain,
    planned: Option<Renewal>,
    window: Option<RenewalWindow>,
    now: Timestamp,
    jitter: f64,
) -> Renewal {
    let Some(RenewalWindow { start, end, ask_again_after }) = window else {
        let by_lifetime = planned.filter(|planned| planned.window.is_none());
        let planned = by_lifetime.unwrap_or_else(|| issuance::renewal(chain.not_before, chain.not_after, jitter));
        return Renewal { ask_at: None, ..planned };
    };
    let ask_at = Some(now.plus(ask_again_after.clamp(ASK_INTERVAL_MIN, ASK_INTERVAL_MAX)));
    match planned.filter(|planned| planned.window == Some((start, end))) {
        Some(planned) => Renewal { ask_at, ..planned },
        None => {
            #[expect(clippy::cast_possible_truncation, reason = "a part of a window is not longer than the window")]
            let at = Timestamp(start.0 + ((end.0 - start.0) as f64 * jitter.clamp(0.0, 1.0)) as i64);
            Renewal { at, window: Some((start, end)), ask_at }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use switchyard_proto::vocab::{HostPattern, IssuerId};

    use super::*;
    use crate::{
        model::{Exhausted, IssuerUse, Rate, RateLimits, UseKind},
        store::fixture::Fixture,
    };

    const DAY: i64 = 24 * 60 * 60 * 1_000;
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn chain(days: i64) -> CertificateChain {
        CertificateChain {
            certificates: vec![vec![0].into()],
            dns_names: vec![],
            issuer: String::new(),
            not_before: NOW,
            not_after: Timestamp(NOW.0 + days * DAY),
        }
    }

    #[test]
    fn without_a_word_of_the_ca_it_is_at_two_thirds_of_any_lifetime() {
        for days in [90, 45, 6] {
            let [first, last] = [0.0, 1.0].map(|jitter| plan(&chain(days), NOW, None, None, NOW, jitter));
            assert_eq!(first.at.0 - NOW.0, days * DAY / 3 * 2);
            assert_eq!(first.at.0 - last.at.0, days * DAY / 20);
            assert!(!chain(days).is_ending(Timestamp(first.at.0 - 1)));
            let again = plan(&chain(days), NOW, Some(first), None, NOW, 1.0);
            assert_eq!((again, again.next_at()), (first, first.at));
        }
    }

    #[test]
    fn in_a_window_it_is_chosen_once() {
        let window = RenewalWindow {
            start: Timestamp(NOW.0 + DAY),
            end: Timestamp(NOW.0 + 3 * DAY),
            ask_again_after: Duration::from_secs(6 * 60 * 60),
        };
        let planned = plan(&chain(90), NOW, None, Some(window), NOW, 0.5);
        assert_eq!((planned.at.0 - NOW.0, planned.next_at().0 - NOW.0), (2 * DAY, DAY / 4));
        let again = plan(&chain(90), NOW, Some(planned), Some(window), NOW, 0.0);
        assert_eq!(again.at, planned.at);
        let moved = RenewalWindow { start: NOW, end: NOW, ask_again_after: Duration::ZERO };
        let moved = plan(&chain(90), NOW, Some(planned), Some(moved), NOW, 0.7);
        assert_eq!((moved.at, moved.ask_at), (NOW.plus(REPLACED_AFTER_MIN), Some(NOW.plus(ASK_INTERVAL_MIN))));
    }

    /// Names that are due at the same moment go by turns of what the CA allows, and each before its certificate ends.
    #[tokio::test]
    async fn a_thousand_names_of_one_hour_are_spread_within_what_the_ca_allows() {
        const NAMES: u32 = 1_000;
        let database = Fixture::sqlite().await;
        let store = database.open().await;
        let lease = store.take_lease("acme", "test", Duration::from_secs(3_600)).await.unwrap().unwrap();
        let issuer = IssuerId::parse("ca").unwrap();
        let rate = Rate { count: 26, window: Duration::from_secs(3 * 60 * 60) };
        let limits = RateLimits { orders: Some(rate), ..RateLimits::default() };
        let hour = |number: u32| Timestamp(NOW.0 + i64::from(number) * 3_600);
        let mut waiting: BTreeMap<HostPattern, Timestamp> = (0..NAMES)
            .map(|number| {
                let begin = hour(number);
                // By turns, so that the test says the same every time.
                let jitter = f64::from(number % 97) / 97.0;
                let at = issuance::renewal(begin, Timestamp(begin.0 + 90 * DAY), jitter).at;
                (HostPattern::parse(&format!("name-{number}.shop.example")).unwrap(), at)
            })
            .collect();
        let (mut now, mut ordered) = (NOW, Vec::new());
        while let Some(next) = waiting.values().min() {
            now = now.max(*next);
            assert!(now.0 < NOW.0 + 90 * DAY, "{} are left when the first certificate ends", waiting.len());
            let due: Vec<HostPattern> =
                waiting.iter().filter(|(_, at)| **at <= now).map(|(host, _)| host.clone()).collect();
            for host in due {
                let it = IssuerUse { issuer: issuer.clone(), kind: UseKind::Order, host: host.clone(), at: now };
                match store.spend(&lease, &it, &limits).await.unwrap() {
                    None => {
                        ordered.push(now);
                        waiting.remove(&host);
                    }
                    Some(Exhausted { until, .. }) => {
                        assert!(until > now, "it says when there is room again");
                        waiting.insert(host, until);
                    }
                }
            }
        }
        assert_eq!(ordered.len(), NAMES as usize);
        for (index, at) in ordered.iter().enumerate() {
            let count = ordered[index..].iter().take_while(|later| later.0 < at.plus(rate.window).0).count();
            assert!(count <= rate.count as usize, "{count} orders within one window");
        }
        let (first, last) = (ordered.first().unwrap().0, ordered.last().unwrap().0);
        assert!(last - first > 4 * DAY, "they are spread over {} days", (last - first) / DAY);
    }
}
