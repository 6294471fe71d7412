use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{Pool, PooledBackend};
use crate::peer_auth::BackendName;

/// Positions that one worker keeps. Pools whose numbers are this far apart share one, which is harmless.
const POSITIONS: usize = 1024;
/// Addresses that one request tries at most.
pub(crate) const ATTEMPTS_MAX: u32 = 6;

/// Whose turn it is, for the requests of one worker.
#[derive(Debug)]
pub struct Rotation {
    /// Per pool: a common one would send every second pool's requests always to the same backend.
    positions: Box<[AtomicU32]>,
}

impl Rotation {
    /// For the worker of this number; different workers begin at different backends.
    pub fn new(worker: usize) -> Self {
        let first = worker as u32;
        Self { positions: (0..POSITIONS).map(|_| AtomicU32::new(first)).collect() }
    }

    /// What one request tries.
    pub fn begin(&self, pool_index: u32) -> Attempts {
        let position = &self.positions[pool_index as usize % POSITIONS];
        Attempts { first: position.fetch_add(1, Ordering::Relaxed), step: 0, made: 0 }
    }
}

/// The addresses that one request tries, in turn: one of every backend, then further ones of those that have several.
#[derive(Clone, Debug)]
pub struct Attempts {
    first: u32,
    /// Backends looked at, over all rounds.
    step: u32,
    made: u32,
}

/// An address to try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whose it is.
    pub backend: Arc<PooledBackend>,
    /// Where it is.
    pub address: SocketAddr,
    /// By which of its names it is asked for, over TLS.
    pub name: BackendName,
    /// Whether the other name was tried before.
    pub both_names: bool,
}

impl Attempts {
    /// The next one in `pool`; `None` when everything was tried, or enough.
    pub fn next(&mut self, pool: &Pool) -> Option<Attempt> {
        let backends = pool.backends();
        let count = u32::try_from(backends.len()).ok().filter(|count| *count > 0)?;
        let mut skipped = 0;
        // A whole round without an address: there are no further ones.
        while self.made < ATTEMPTS_MAX && skipped < count {
            let round = self.step / count;
            let backend = &backends[(self.first.wrapping_add(self.step) % count) as usize];
            self.step += 1;
            // The name's addresses take turns as well: by how often the backends all had theirs.
            let index = (self.first / count).wrapping_add(round);
            match backend.handle.address(index as usize) {
                Some((address, addresses)) if (round as usize) < addresses => {
                    self.made += 1;
                    return Some(Attempt {
                        backend: backend.clone(),
                        address,
                        name: backend.name(),
                        both_names: false,
                    });
                }
                _ => skipped += 1,
            }
        }
        None
    }

    /// Whether the one that was tried last may be tried once more; it counts as another attempt.
    pub fn repeat(&mut self) -> bool {
        let allowed = self.made < ATTEMPTS_MAX;
        self.made += u32::from(allowed);
        allowed
    }

    /// Attempts made so far.
    pub fn made(&self) -> u32 {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::{
        resource::{Backend, Tags},
        vocab::{BackendAddress, BackendId, ServiceId, Tag},
    };

    use super::*;
    use crate::balance::Backends;

    /// A pool with a backend at each address.
    fn pool(known: &Arc<Backends>, addresses: &[&str]) -> Pool {
        let mut pool = Pool::default();
        for (number, address) in addresses.iter().enumerate() {
            let id = BackendId::parse(&number.to_string()).unwrap();
            let address = BackendAddress::parse(address).unwrap();
            let tags = Tags::new(vec![Tag::parse("a").unwrap()]).unwrap();
            let handle = known.handle(&address);
            let backend = Backend::new(id, ServiceId::parse("shop").unwrap(), address, tags);
            pool.insert(Arc::new(PooledBackend::new(backend, String::new(), handle)));
        }
        pool
    }

    fn tried(pool: &Pool, rotation: &Rotation) -> Vec<String> {
        let mut attempts = rotation.begin(0);
        std::iter::from_fn(|| attempts.next(pool)).map(|attempt| attempt.address.to_string()).collect()
    }

    #[test]
    fn each_request_begins_at_the_next_backend_and_tries_each_once() {
        let pool = pool(&Backends::new(), &["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        let rotation = Rotation::new(1);
        assert_eq!(tried(&pool, &rotation), ["10.0.0.2:80", "10.0.0.3:80", "10.0.0.1:80"]);
        assert_eq!(tried(&pool, &rotation), ["10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(tried(&pool, &rotation), ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    }

    #[test]
    fn all_addresses_of_a_name_are_tried_after_one_of_each_backend() {
        let known = Backends::new();
        let pool = pool(&known, &["shop.internal:80", "10.0.0.9:80", "other.internal:80"]);
        let named = &pool.backends()[0].handle;
        named.resolved(["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| ip.parse().unwrap()));
        let expected = ["10.0.0.1:80", "10.0.0.9:80", "10.0.0.2:80", "10.0.0.3:80"];
        assert_eq!(tried(&pool, &Rotation::new(0)), expected);
    }

    #[test]
    fn attempts_are_bounded_with_those_that_are_repeated() {
        let addresses: Vec<_> = (1..=20).map(|number| format!("10.0.0.{number}:80")).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        let pool = pool(&Backends::new(), &addresses);
        assert_eq!(tried(&pool, &Rotation::new(0)).len(), ATTEMPTS_MAX as usize);
        let mut attempts = Rotation::new(0).begin(0);
        assert!(attempts.next(&pool).is_some());
        assert_eq!(std::iter::repeat_with(|| attempts.repeat()).take_while(|again| *again).count(), 5);
        assert!(attempts.next(&pool).is_none());
        assert_eq!(attempts.made(), ATTEMPTS_MAX);
    }
}
