use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use switchyard_proto::vocab::{CertificateId, HostPattern};

use super::Timestamp;

/// A certificate chain and its private key, for some names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its id.
    pub id: CertificateId,
    /// Who takes care of it.
    pub source: CertificateSource,
    /// The certificate and its intermediates.
    pub chain: CertificateChain,
    /// The private key of the first certificate of the chain.
    pub private_key: PrivateKey,
}

impl Certificate {
    /// What the ids of the internal CA's certificates begin with.
    pub const INTERNAL_PREFIX: &str = "internal-";

    /// What the ids of ordered certificates begin with.
    pub const ACME_PREFIX: &str = "acme-";

    /// The id of the ordered certificate for a domain.
    pub fn acme_id(host: &HostPattern) -> CertificateId {
        CertificateId::parse(&format!("{}{host}", Self::ACME_PREFIX))
            .expect("a certificate id has room for the prefix and any host pattern")
    }

    /// The id of the internal CA's certificate for a domain.
    pub fn internal_id(host: &HostPattern) -> CertificateId {
        CertificateId::parse(&format!("{}{host}", Self::INTERNAL_PREFIX))
            .expect("a certificate id has room for the prefix and any host pattern")
    }
}

/// Who takes care of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// People upload it.
    Uploaded,
    /// The internal CA issues it.
    Internal,
    /// It is ordered from a CA by ACME.
    Acme,
}

impl CertificateSource {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploaded => "uploaded",
            Self::Internal => "internal",
            Self::Acme => "acme",
        }
    }
}

/// A chain that was checked by [`crate::pki`], and what its first certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateChain {
    /// DER: the certificate, then the intermediates in order. Never empty.
    pub certificates: Vec<Bytes>,
    /// The names it is for; at least one.
    pub dns_names: Vec<HostPattern>,
    /// The issuer's distinguished name (RFC 4514).
    pub issuer: String,
    /// Valid from then.
    pub not_before: Timestamp,
    /// Valid until then.
    pub not_after: Timestamp,
}

/// The longest time before its end from which a certificate is warned about.
const WARNING_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

impl CertificateChain {
    /// Lower-case hexadecimal SHA-256 of the first certificate.
    pub fn fingerprint_sha256(&self) -> String {
        self.certificates.first().map(|leaf| fingerprint_sha256(leaf)).unwrap_or_default()
    }

    /// Whether it should have been replaced by now: it ends in 30 days, or in a third of a shorter lifetime.
    pub fn is_ending(&self, now: Timestamp) -> bool {
        let lifetime = self.not_after.0 - self.not_before.0;
        now.0 >= self.not_after.0 - WARNING_MS.min(lifetime / 3)
    }
}

/// CAs that somebody trusts, checked by [`crate::pki`]: DER, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle(pub Vec<Vec<u8>>);

/// Lower-case hexadecimal SHA-256 of a certificate.
pub fn fingerprint_sha256(der: &[u8]) -> String {
    digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A private key: DER, PKCS #8. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Bytes);

impl PrivateKey {
    /// Takes a PKCS #8 document.
    pub fn from_pkcs8(der: impl Into<Bytes>) -> Self {
        Self(der.into())
    }

    /// The PKCS #8 document, to be sealed or sent to an edge.
    pub fn expose_pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_about_before_its_end() {
        const DAY: i64 = 24 * 60 * 60 * 1_000;
        let chain = |days: i64| CertificateChain {
            certificates: vec![],
            dns_names: vec![],
            issuer: String::new(),
            not_before: Timestamp(0),
            not_after: Timestamp(days * DAY),
        };
        for (days, from) in [(398, 368), (90, 60), (45, 30), (6, 4)] {
            assert!(!chain(days).is_ending(Timestamp(from * DAY - 1)), "{days} days");
            assert!(chain(days).is_ending(Timestamp(from * DAY)), "{days} days");
        }
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let key = PrivateKey::from_pkcs8(b"secret".to_vec());
        assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
    }
}
