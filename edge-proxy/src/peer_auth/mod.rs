//! Who the other side of a connection must prove to be: backends, as their service says, and clients, as their domain does.
//!
//! What always holds: a value that exists can be used, so that no connection fails for what is configured. What is served
//! refers to these; which connection is verified by what is left to `listen` and `proxy`.

mod backend;
mod client;

pub use backend::{BackendName, BackendTls, InvalidBackendTls, UnreadableAuthorities, system_authorities};
pub(crate) use client::VerifiedCertificate;
pub use client::{Authenticated, ClientAuthentication, InvalidClientAuthentication};
