//! Everything between a socket and HTTP.
//!
//! [`bind`] opens the sockets, one for each worker, before anything runs. An [`EdgeService`] is one worker: it accepts
//! connections, reads the ClientHello, decides what becomes of the connection, terminates TLS, and hands the stream to
//! its own HTTP proxy. Connections are capped, and everything before HTTP and every request header has a deadline.
//! [`Drain`] ends all workers without ending what is under way.
//!
//! What a request gets is left to `proxy`.

mod bind;
mod decision;
mod drain;
mod http1;
mod missing;
mod service;
mod stream;
mod write_buffer;

pub use bind::{BindError, bind};
pub use drain::Drain;
pub use missing::MissingCertificates;
pub use service::{EdgeService, Handshakes, Sockets};
