//! The module `dns` against real name servers and small HTTP servers, all on loopback.
//!
//! BIND, dig and nsupdate must be installed: `apt-get install bind9 bind9-dnsutils`.

#![expect(clippy::unwrap_used, reason = "what is taken for granted here fails the test")]

mod bind;
mod cloudflare;
mod http;
mod providers;
mod tls;
mod updates;

use switchyard_control_plane::dns::Record;

/// A value as a challenge's is: 43 characters of base64url.
pub(crate) const VALUE: &str = "-aZ09_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Another.
pub(crate) const ANOTHER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

pub(crate) fn record<'a>(domain: &'a str, value: &'a str) -> Record<'a> {
    Record { domain, token: "the-token", key_authorization: "the-token.thumbprint", value }
}
