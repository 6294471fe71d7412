//! Who connects: TLS, or loopback without, bounded in number (in all, and by address) and time. A connection on which nobody shows in time that they
//! belong is broken off.
//!
//! What is said on a connection is left to `grpc`.

mod certificate_files;
mod connection;
mod listener;
mod quota;

pub use certificate_files::{CertificateFiles, CertificateFilesError};
pub use connection::{Admission, Connection};
pub use listener::Listener;
