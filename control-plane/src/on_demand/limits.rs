use std::num::NonZeroU32;

use governor::{
    Quota, RateLimiter,
    clock::MonotonicClock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed, keyed::HashMapStateStore},
};
use switchyard_proto::vocab::HostPattern;

/// Domains whose use is remembered. Those that were not used for a while are forgotten first.
const DOMAINS_REMEMBERED_MAX: usize = 10_000;

type Middleware = NoOpMiddleware<std::time::Instant>;

/// How often something may be done: for one domain, and for all together.
pub(super) struct Limit {
    each: RateLimiter<HostPattern, HashMapStateStore<HostPattern>, MonotonicClock, Middleware>,
    all: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, Middleware>,
}

impl Limit {
    pub(super) fn new(each: Quota, all: Quota) -> Self {
        Self {
            each: RateLimiter::new(each, HashMapStateStore::default(), MonotonicClock),
            all: RateLimiter::new(all, InMemoryState::default(), MonotonicClock),
        }
    }

    /// Whether it may be done now, for this domain. If so, it counts.
    pub(super) fn allows(&self, domain: &HostPattern) -> bool {
        if self.each.len() > DOMAINS_REMEMBERED_MAX {
            self.each.retain_recent();
        }
        self.each.check_key(domain).is_ok() && self.all.check().is_ok()
    }
}

impl std::fmt::Debug for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limit").finish_non_exhaustive()
    }
}

/// So many a second, which may come at once.
pub(super) fn a_second(count: NonZeroU32) -> Quota {
    Quota::per_second(count)
}

/// So many a minute, which may come at once.
pub(super) fn a_minute(count: NonZeroU32) -> Quota {
    Quota::per_minute(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_domain_leaves_something_for_the_others_and_all_together_have_a_bound() {
        let number = |count| NonZeroU32::new(count).unwrap();
        // Slow enough that no test is.
        let limit = Limit::new(Quota::per_hour(number(2)), Quota::per_hour(number(3)));
        let [a, b] = ["*.a.example", "*.b.example"].map(|host| HostPattern::parse(host).unwrap());
        let allowed = [&a, &a, &a, &b, &b].map(|domain| limit.allows(domain));
        assert_eq!(allowed, [true, true, false, true, false]);
    }
}
