//! Who calls, what their role and scope allow, and how often: for every way in.
//!
//! What always holds: a credential is looked up before anything else, so that a right one passes whatever others do from the same
//! address; only failures are delayed, counted and bounded. A method that has no entry in the table of permissions is not reached.
//! A stream ends when the token that opened it does.
//!
//! It knows no transport: `grpc` maps calls to [`Call`] and refusals to statuses. Which resources a scope has is checked by the use
//! cases (`app/scope.rs`).

mod attempts;
mod authenticator;
mod permissions;
mod rates;
mod streams;
mod token_uses;

pub use attempts::{FailedAttempt, FailedAttempts, TooManyFailures};
pub use authenticator::{Authenticator, Call, Grant, Refusal};
pub use permissions::{HEALTHZ, METRICS, NotPermitted, Permission, READYZ};
pub use rates::RateExceeded;
pub use streams::{StreamPermit, TooManyStreams};
pub use token_uses::TokenUses;
