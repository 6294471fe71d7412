//! Reconcilers: activated by a timer, they look at the state, do the next step, and can be killed anywhere.
//!
//! What always holds: an activation carries no input, so that one that is lost or comes twice does no harm. What only one control
//! plane may do is done under a [lease](Leader); the rest several may do at the same time, since what is decided is decided again
//! inside the transaction.

pub mod acme;
mod certificates;
mod edges;
mod expiry;
mod lease;
pub mod tickets;

pub use certificates::Certificates;
pub use expiry::Expiry;
pub use lease::Leader;
