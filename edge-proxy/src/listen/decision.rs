use rustls::server::ClientHello;

use crate::{snapshot::LiveSnapshot, tls};

/// What becomes of a connection that began with a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is terminated here.
    Terminate,
    /// The client is told that its name is unknown.
    RefuseName,
}

/// A fatal `unrecognized_name` alert (RFC 6066, section 3), as a TLS record.
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The one place that decides over TLS connections.
pub(super) fn decide(hello: &ClientHello<'_>, live: &LiveSnapshot) -> Decision {
    match tls::certificate(live, hello.server_name()) {
        Some(_) => Decision::Terminate,
        None => Decision::RefuseName,
    }
}
