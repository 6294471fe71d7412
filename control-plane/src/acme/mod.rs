//! Speaks with CAs (ACME, RFC 8555).
//!
//! What always holds: every exchange with a CA is bounded in time and in bytes, and whatever a CA answers becomes a value of this
//! folder or an [`AcmeError`] that says whose turn it is. Nothing here knows the database or decides what is ordered: that is left
//! to `reconcile`.

mod connection;
mod error;
mod order;
mod session;
mod transport;

pub use connection::Connection;
pub use error::{AcmeError, AcmeErrorKind};
pub use order::{Offer, OpenOrder, Pending, Progress};
pub use session::{RenewalWindow, Session};
