//! Reconcilers: activated by a signal or by a timer, they look at the state, do the next step, and can be killed anywhere. One
//! [`Driver`] runs them all.
//!
//! What always holds: an activation carries no input, so that one that is lost or comes twice does no harm. What only one control
//! plane may do is done under a lease, which a [`LeaseKeeper`] acquires and renews; the rest several may do at the same time, since what
//! is decided is decided again inside the transaction.

pub mod acme;
mod certificates;
mod driver;
mod edge_records;
mod edges;
mod expiry;
mod lease;
pub mod tickets;

pub use certificates::{InternalCertificates, OwnCertificate};
pub use driver::{Driver, Step, StepError, Task, Timing};
pub use edge_records::EdgeRecords;
pub use expiry::Expiry;
pub use lease::{Leadership, LeaseKeeper, NoRandomness, holder};
