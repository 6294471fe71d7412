//! Real clients and real backends on both sides of real workers.

#![expect(clippy::unwrap_used, reason = "what is taken for granted here fails the test")]

mod failure;
mod protocols;
mod routing;
mod streaming;
mod support;
mod syntax;
mod timeouts;
