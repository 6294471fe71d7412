use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    state::keyed::HashMapStateStore,
};
use switchyard_proto::vocab::{TokenId, limits::TOKENS_MAX};

/// How often each token is used; clones share it. A second's calls may come at once.
#[derive(Clone)]
pub(super) struct Rates {
    clock: MonotonicClock,
    limiter: Arc<RateLimiter<TokenId, HashMapStateStore<TokenId>, MonotonicClock>>,
    calls_per_second: NonZeroU32,
}

impl Rates {
    pub(super) fn new(calls_per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(calls_per_second);
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock);
        Self { clock: MonotonicClock, limiter: Arc::new(limiter), calls_per_second }
    }

    /// Counts a call of a token, unless it comes too soon.
    pub(super) fn count(&self, token: &TokenId) -> Result<(), RateExceeded> {
        // More than there are: some were revoked since.
        if self.limiter.len() > TOKENS_MAX {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(token).map_err(|early| RateExceeded {
            calls_per_second: self.calls_per_second,
            retry_after: early.wait_time_from(self.clock.now()),
        })
    }
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").field("calls_per_second", &self.calls_per_second).finish_non_exhaustive()
    }
}

/// A token calls too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this token makes more than {calls_per_second} calls a second: wait, and go on")]
pub struct RateExceeded {
    /// How often it may.
    pub calls_per_second: NonZeroU32,
    /// When its next call may come.
    pub retry_after: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_calls_too_often_is_told_when_to_go_on_and_others_are_not_disturbed() {
        // Slow enough that no test is: the second call of this second comes long before the next.
        let rates = Rates::new(NonZeroU32::MIN);
        let [one, other] = ["one", "other"].map(|id| TokenId::parse(id).unwrap());
        assert!(rates.count(&one).is_ok());
        let RateExceeded { retry_after, .. } = rates.count(&one).unwrap_err();
        assert!(!retry_after.is_zero() && retry_after.as_secs() <= 1, "{retry_after:?}");
        assert!(rates.count(&other).is_ok());
    }
}
