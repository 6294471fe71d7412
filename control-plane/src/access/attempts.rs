use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::sleep;

use crate::model::Network;

/// How long the answer to a wrong credential is delayed.
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// Failures of one network that are delayed at a time; further ones are refused at once.
const FAILURES_PER_NETWORK_MAX: usize = 16;
/// Networks that are counted apart.
const NETWORKS_MAX: usize = 4_096;
/// Failures of all other networks together that are delayed at a time.
const OTHER_FAILURES_MAX: usize = 256;

/// The wrong credentials whose answers are being delayed, by network; clones share it. Right ones never come here.
#[derive(Clone, Debug, Default)]
pub struct FailedAttempts(Arc<Mutex<HashMap<Origin, usize>>>);

/// What failures are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// One network.
    Network(Network),
    /// All that there is no room for.
    Others,
}

impl FailedAttempts {
    /// Counts a failure, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// There are too many from the same network: this one is to be answered at once, without a further look at it.
    pub fn begin(&self, address: Option<IpAddr>) -> Result<FailedAttempt, TooManyFailures> {
        let mut attempts = self.0.lock().expect("no panic while it is locked");
        let network = address.map(|address| Origin::Network(Network::of(address)));
        let origin = network.filter(|network| attempts.len() < NETWORKS_MAX || attempts.contains_key(network));
        let (origin, max) = match origin {
            Some(network) => (network, FAILURES_PER_NETWORK_MAX),
            None => (Origin::Others, OTHER_FAILURES_MAX),
        };
        let count = attempts.entry(origin).or_default();
        if *count >= max {
            return Err(TooManyFailures { retry_after: FAILURE_DELAY });
        }
        *count += 1;
        Ok(FailedAttempt { attempts: self.clone(), origin })
    }
}

/// A failure that is counted until this is dropped.
#[derive(Debug)]
pub struct FailedAttempt {
    attempts: FailedAttempts,
    origin: Origin,
}

impl FailedAttempt {
    /// Delays the answer, so that guessing is slow.
    pub async fn delay(self) {
        sleep(FAILURE_DELAY).await;
    }
}

impl Drop for FailedAttempt {
    fn drop(&mut self) {
        let mut attempts = self.attempts.0.lock().expect("no panic while it is locked");
        if let Some(count) = attempts.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                attempts.remove(&self.origin);
            }
        }
    }
}

/// Too many wrong credentials come from one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong credentials come from this address: try again later")]
pub struct TooManyFailures {
    /// When it may be tried again.
    pub retry_after: Duration,
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn v4(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from(number).into())
    }

    #[test]
    fn an_address_that_guesses_is_refused_meanwhile_and_others_are_not() {
        let attempts = FailedAttempts::default();
        let begun: Vec<_> = (0..FAILURES_PER_NETWORK_MAX).map(|_| attempts.begin(v4(1)).unwrap()).collect();
        assert!(attempts.begin(v4(1)).is_err());
        assert!(attempts.begin(v4(2)).is_ok());
        drop(begun);
        assert!(attempts.begin(v4(1)).is_ok());
        assert!(attempts.0.lock().unwrap().is_empty(), "nothing is left of it");
    }

    #[test]
    fn addresses_of_one_64_count_together() {
        let attempts = FailedAttempts::default();
        let v6 = |host: u128| Some(IpAddr::from(Ipv6Addr::from((0x2001_0db8_u128 << 96) | host)));
        let begun: Vec<_> = (0..FAILURES_PER_NETWORK_MAX as u128).map(|host| attempts.begin(v6(host))).collect();
        assert!(begun.iter().all(Result::is_ok));
        assert!(attempts.begin(v6(u128::from(u64::MAX))).is_err());
        assert!(attempts.begin(v6(1 << 64)).is_ok(), "the next /64");
    }

    #[test]
    fn a_full_table_refuses_nobody_else() {
        let attempts = FailedAttempts::default();
        let begun: Vec<_> = (0..NETWORKS_MAX as u32).map(|number| attempts.begin(v4(number)).unwrap()).collect();
        let others: Vec<_> =
            (0..OTHER_FAILURES_MAX as u32).map(|number| attempts.begin(v4(1 << 24 | number))).collect();
        assert!(others.iter().all(Result::is_ok));
        assert!(attempts.begin(v4(2 << 24)).is_err());
        assert!(attempts.begin(v4(1)).is_ok(), "one that is counted apart goes on");
        drop(others);
        assert!(attempts.begin(v4(2 << 24)).is_ok());
        drop(begun);
    }
}
