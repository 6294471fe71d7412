use std::time::Duration;

/// How often the steps of a task are done.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The shortest pause between two steps: changes that come together cause one.
    pub rest: Duration,
    /// The longest pause between two steps, up to a tenth shorter by jitter: something may be due of which the task got no signal.
    pub interval: Duration,
    /// The pause after the first failure; after each further one it is twice as long.
    pub retry: Duration,
    /// The longest pause after a failure.
    pub retry_max: Duration,
}

impl Timing {
    /// The pause after a step without a failure after which something is due in `due`. Jitter is from 0 to 1.
    pub(super) fn after_success(&self, due: Option<Duration>, jitter: f64) -> Duration {
        let interval = self.interval.mul_f64(1.0 - 0.1 * jitter.clamp(0.0, 1.0));
        // What is due at a certain time is not done before.
        due.map_or(interval, |due| due.min(interval)).max(self.rest)
    }

    /// The pause after so many failures in a row. Jitter is from 0 to 1.
    pub(super) fn after_failures(&self, failures: u32, jitter: f64) -> Duration {
        backoff(self.retry, self.retry_max, failures, jitter)
    }
}

/// How long to wait after so many failures in a row: twice as long each time, up to a bound, and not all at the same moment. Jitter is from
/// 0 to 1.
pub(in crate::reconcile) fn backoff(first: Duration, max: Duration, failures: u32, jitter: f64) -> Duration {
    let doubled = first.saturating_mul(1_u32 << failures.saturating_sub(1).min(20)).min(max);
    doubled.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_after_failures_grow_to_a_bound() {
        let (first, day) = (seconds(60), seconds(86_400));
        let pauses: Vec<u64> = (1..40).map(|failures| backoff(first, day, failures, 0.5).as_secs()).collect();
        assert_eq!(pauses[..4], [60, 120, 240, 480]);
        assert_eq!(pauses.last(), Some(&86_400));
        assert!(pauses.is_sorted());
        assert!(backoff(first, day, 1, 0.0) < backoff(first, day, 1, 1.0));
        assert_eq!(backoff(first, day, u32::MAX, 1.0), day);
    }

    #[test]
    fn what_is_due_is_done_at_its_time_and_all_else_within_the_interval() {
        let timing = Timing { rest: seconds(1), interval: seconds(100), retry: seconds(1), retry_max: seconds(8) };
        assert_eq!(timing.after_success(None, 0.0), seconds(100));
        assert_eq!(timing.after_success(None, 1.0), seconds(90));
        assert_eq!(timing.after_success(Some(seconds(50)), 1.0), seconds(50));
        assert_eq!(timing.after_success(Some(seconds(500)), 0.0), seconds(100));
        assert_eq!(timing.after_success(Some(Duration::ZERO), 0.0), seconds(1), "not without a rest");
    }
}
