use std::time::Duration;

use crate::{
    acme::RenewalWindow,
    app::issuance,
    model::{CertificateChain, Renewal, Timestamp},
};

/// How often a CA is asked when it wants certificates to be replaced: the bounds of what it may say (RFC 9773, section 4.3.2).
const ASK_INTERVAL_MIN: Duration = Duration::from_secs(60);
const ASK_INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a certificate is to be replaced of which its CA has said `window`; `planned` is what was planned before.
///
/// The moment is chosen once for each window, so that asking again does not put it off (RFC 9773, section 4.2).
pub(super) fn plan(
    chain: &CertificateChain,
    planned: Option<Renewal>,
    window: Option<RenewalWindow>,
    now: Timestamp,
    chance: f64,
) -> Renewal {
    let Some(RenewalWindow { start, end, ask_again_after }) = window else {
        let by_lifetime = planned.filter(|planned| planned.window.is_none());
        let planned = by_lifetime.unwrap_or_else(|| issuance::renewal(chain.not_before, chain.not_after, chance));
        return Renewal { ask_at: None, ..planned };
    };
    let ask_at = Some(now.plus(ask_again_after.clamp(ASK_INTERVAL_MIN, ASK_INTERVAL_MAX)));
    match planned.filter(|planned| planned.window == Some((start, end))) {
        Some(planned) => Renewal { ask_at, ..planned },
        None => {
            #[expect(clippy::cast_possible_truncation, reason = "a part of a window is not longer than the window")]
            let at = Timestamp(start.0 + ((end.0 - start.0) as f64 * chance.clamp(0.0, 1.0)) as i64);
            Renewal { at, window: Some((start, end)), ask_at }
        }
    }
}

/// How long to wait after so many failures in a row: twice as long each time, up to a day, and not all at the same moment.
pub(super) fn backoff(first: Duration, failures: u32, chance: f64) -> Duration {
    const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
    let doubled = first.saturating_mul(1_u32 << failures.saturating_sub(1).min(20)).min(PAUSE_MAX);
    doubled.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1_000;
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn chain(days: i64) -> CertificateChain {
        CertificateChain {
            certificates: vec![vec![0]],
            dns_names: vec![],
            issuer: String::new(),
            fingerprint_sha256: String::new(),
            not_before: NOW,
            not_after: Timestamp(NOW.0 + days * DAY),
        }
    }

    #[test]
    fn without_a_word_of_the_ca_it_is_at_two_thirds_of_any_lifetime() {
        for days in [90, 45, 6] {
            let [first, last] = [0.0, 1.0].map(|chance| plan(&chain(days), None, None, NOW, chance));
            assert_eq!(first.at.0 - NOW.0, days * DAY / 3 * 2);
            assert_eq!(first.at.0 - last.at.0, days * DAY / 20);
            assert!(!chain(days).is_ending(Timestamp(first.at.0 - 1)));
            let again = plan(&chain(days), Some(first), None, NOW, 1.0);
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
        let planned = plan(&chain(90), None, Some(window), NOW, 0.5);
        assert_eq!((planned.at.0 - NOW.0, planned.next_at().0 - NOW.0), (2 * DAY, DAY / 4));
        let again = plan(&chain(90), Some(planned), Some(window), NOW, 0.0);
        assert_eq!(again.at, planned.at);
        let moved = RenewalWindow { start: NOW, end: NOW, ask_again_after: Duration::ZERO };
        let moved = plan(&chain(90), Some(planned), Some(moved), NOW, 0.7);
        assert_eq!((moved.at, moved.ask_at), (NOW, Some(NOW.plus(ASK_INTERVAL_MIN))));
    }

    #[test]
    fn pauses_grow_from_minutes_to_a_day() {
        let first = Duration::from_secs(60);
        let pauses: Vec<u64> = (1..40).map(|failures| backoff(first, failures, 0.5).as_secs()).collect();
        assert_eq!(pauses[..4], [60, 120, 240, 480]);
        assert_eq!(pauses.last(), Some(&86_400));
        assert!(pauses.is_sorted());
        assert!(backoff(first, 1, 0.0) < backoff(first, 1, 1.0));
        assert_eq!(backoff(first, u32::MAX, 1.0).as_secs(), 86_400);
    }
}
