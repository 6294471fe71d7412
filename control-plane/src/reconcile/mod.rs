//! Reconcilers: activated by a timer, they look at the state, do the next step, and can be killed anywhere.
//!
//! What always holds: an activation carries no input, so that one that is lost or comes twice does no harm. Several control
//! planes may run the same one at the same time; what is decided is decided again inside the transaction.

mod certificates;

pub use certificates::Certificates;
