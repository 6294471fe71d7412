use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::snapshot::{Pool, PooledBackend};

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
                    return Some(Attempt { backend: backend.clone(), address });
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
