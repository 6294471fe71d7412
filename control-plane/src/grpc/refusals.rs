use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::sleep;
use tonic::Status;

/// How long a wrong secret is thought about.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);
/// Wrong secrets of one address that are thought about at a time; during that, nothing more is taken from there.
const REFUSALS_PER_ADDRESS_MAX: usize = 16;
/// Addresses of which some are thought about at a time.
const REFUSALS_MAX: usize = 4_096;

/// The wrong secrets that are being thought about, by address; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<HashMap<Option<IpAddr>, usize>>>);

impl Refusals {
    /// Whether an address is listened to.
    pub(super) fn check(&self, address: Option<IpAddr>) -> Result<(), Status> {
        let refusals = self.0.lock().expect("nobody panics with it");
        if refusals.get(&address).is_some_and(|count| *count >= REFUSALS_PER_ADDRESS_MAX) {
            return Err(Status::resource_exhausted("too many wrong secrets came from this address: try again later"));
        }
        if refusals.len() >= REFUSALS_MAX && !refusals.contains_key(&address) {
            return Err(Status::resource_exhausted("too many wrong secrets came: try again later"));
        }
        Ok(())
    }

    /// Thinks about a wrong one, so that guessing is slow.
    pub(super) async fn think(&self, address: Option<IpAddr>) {
        let _refusal = self.begin(address);
        sleep(REFUSAL_DELAY).await;
    }

    /// Takes one up, until what is returned is dropped.
    fn begin(&self, address: Option<IpAddr>) -> Refusal {
        *self.0.lock().expect("nobody panics with it").entry(address).or_default() += 1;
        Refusal { refusals: self.clone(), address }
    }
}

struct Refusal {
    refusals: Refusals,
    address: Option<IpAddr>,
}

impl Drop for Refusal {
    fn drop(&mut self) {
        let mut refusals = self.refusals.0.lock().expect("nobody panics with it");
        if let Some(count) = refusals.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                refusals.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tonic::Code;

    use super::*;

    #[test]
    fn an_address_that_guesses_is_not_listened_to_meanwhile() {
        let refusals = Refusals::default();
        let [one, other] = [1, 2].map(|last| Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))));
        let held: Vec<_> = (0..REFUSALS_PER_ADDRESS_MAX).map(|_| refusals.begin(one)).collect();
        assert_eq!(refusals.check(one).unwrap_err().code(), Code::ResourceExhausted);
        assert!(refusals.check(other).is_ok());
        drop(held);
        assert!(refusals.check(one).is_ok());
        assert!(refusals.0.lock().unwrap().is_empty(), "nothing is left of it");
    }
}
