use switchyard_proto::vocab::HostPattern;

use super::Thumbprint;

/// What edges answer a CA that asks for the names of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The domain.
    pub host: HostPattern,
    /// HTTP-01 (RFC 8555, section 8.3): any token is answered with this thumbprint, so that nothing has to reach the edges before an
    /// order is made.
    pub http_01: Option<Thumbprint>,
    /// TLS-ALPN-01 (RFC 8737): what is asked for now.
    pub tls_alpn_01: Option<KeyAuthorizationDigest>,
}

impl Challenge {
    /// One that answers nothing.
    pub fn none(host: HostPattern) -> Self {
        Self { host, http_01: None, tls_alpn_01: None }
    }
}

/// The SHA-256 of a key authorization (RFC 8555, section 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAuthorizationDigest([u8; 32]);

impl KeyAuthorizationDigest {
    /// Takes a digest, if it is one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How a name proves itself to a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By an answer over plain HTTP.
    Http01,
    /// By a certificate over TLS.
    TlsAlpn01,
    /// By a record of its zone.
    Dns01,
}

impl ChallengeKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Http01, Self::TlsAlpn01, Self::Dns01];

    /// The one word for it, as in ACME.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }
}
