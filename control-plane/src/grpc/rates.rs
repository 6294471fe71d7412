use std::{num::NonZeroU32, sync::Arc};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    state::keyed::HashMapStateStore,
};
use switchyard_proto::vocab::{TokenId, limits::TOKENS_MAX};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

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
    pub(super) fn count(&self, token: &TokenId) -> Result<(), Status> {
        // More than there are: some were revoked since.
        if self.limiter.len() > TOKENS_MAX {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(token).map_err(|early| {
            let wait = early.wait_time_from(self.clock.now());
            let text = format!("this token makes more than {} calls a second: wait, and go on", self.calls_per_second);
            Status::with_error_details(Code::ResourceExhausted, text, ErrorDetails::with_retry_info(Some(wait)))
        })
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rates").field("calls_per_second", &self.calls_per_second).finish_non_exhaustive()
    }
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
        let refused = rates.count(&one).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(!wait.is_zero() && wait.as_secs() <= 1, "{wait:?}");
        assert!(rates.count(&other).is_ok());
    }
}
