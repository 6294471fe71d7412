//! How the edge learns what to serve: the change feed's client, what was received, and the disk.
//!
//! What always holds: a batch is applied whole or not at all, off to the side, and goes live with one swap. What cannot
//! be served keeps its last good version and holds up nothing else. What was received is on disk before it is
//! acknowledged, unless the disk refuses. How traffic is served is left to `proxy`; it never waits for anything here.

mod advice;
mod apply;
mod batch;
mod channel;
mod client;
mod convert;
#[doc(hidden)]
pub mod fuzzing;
mod membership;
mod metrics;
mod resources;
mod seal;
mod store;

pub use apply::{Applier, Configuration, Link, Status};
pub use batch::BatchKind;
pub use client::{Client, ClientSettings};
pub use membership::{Membership, Standing};
pub use metrics::SyncMetrics;
pub use resources::Rejection;
pub use seal::StoreKey;
pub use store::StoreError;
