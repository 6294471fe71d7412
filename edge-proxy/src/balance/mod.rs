//! Which backend is next, and what this process knows of each.
//!
//! What is known of a backend (requests in flight, the addresses of its name) belongs to its identity and not to a
//! snapshot: [`Backends`] hands out one [`BackendHandle`] for each identity, so that an unrelated change resets
//! nothing. The round robin position is kept per worker, so that workers share no cache line for it.
//!
//! Nothing here waits or locks while a request is served. Resolving names is left to `resolve`, connecting to `proxy`.

mod backend;
mod pool;
mod rotation;

pub use backend::{BackendHandle, Backends, InFlight};
pub use pool::{Pool, PooledBackend};
pub(crate) use rotation::ATTEMPTS_MAX;
pub use rotation::{Attempt, Attempts, Rotation};
