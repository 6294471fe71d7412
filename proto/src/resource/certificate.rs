//! Certificates and keys in PEM and DER.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer,
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    },
};
use bytes::Bytes;
use pem::{EncodeConfig, LineEnding, Pem};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::vocab::limits::{
    CA_BUNDLE_BYTES_MAX, CA_BUNDLE_CERTIFICATES_MAX, CERTIFICATE_CHAIN_BYTES_MAX, CERTIFICATE_CHAIN_MAX,
    CERTIFICATE_NAMES_MAX, PRIVATE_KEY_BYTES_MAX,
};

use super::enumeration::enumeration;

enumeration! {
    /// Who takes care of a certificate.
    pub enum CertificateSource of CertificateSource {
        /// It is ordered from a CA by ACME.
        Acme = "acme",
        /// People upload it.
        Uploaded = "uploaded",
        /// The internal CA issues it.
        Internal = "internal",
    }
}

/// CAs that somebody trusts: DER, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle(Vec<Vec<u8>>);

impl CaBundle {
    /// Takes CAs that people trust, PEM.
    ///
    /// # Errors
    ///
    /// There is none, there are too many, or one is none.
    pub fn parse(pem: &str) -> Result<Self, InvalidCaBundle> {
        if pem.len() > CA_BUNDLE_BYTES_MAX {
            return Err(InvalidCaBundle::TooLarge);
        }
        Self::of_der(certificates_of_pem(pem).map_err(InvalidCaBundle::Pem)?)
    }

    /// Takes CAs that people trust, DER.
    ///
    /// # Errors
    ///
    /// There is none, there are too many, or one is none.
    pub fn of_der(certificates: Vec<Vec<u8>>) -> Result<Self, InvalidCaBundle> {
        if certificates.is_empty() || certificates.len() > CA_BUNDLE_CERTIFICATES_MAX {
            return Err(InvalidCaBundle::Count);
        }
        for (index, der) in certificates.iter().enumerate() {
            let taken = RootCertStore::empty().add(CertificateDer::from(der.as_slice()));
            taken.map_err(|_| InvalidCaBundle::Unusable { position: index + 1 })?;
        }
        let bundle = Self(certificates);
        // As it is written, which may take more than what was given.
        if bundle.pem().len() > CA_BUNDLE_BYTES_MAX { Err(InvalidCaBundle::TooLarge) } else { Ok(bundle) }
    }

    /// The certificates: DER.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The certificates: PEM.
    pub fn pem(&self) -> String {
        certificates_pem(&self.0)
    }
}

/// Lower-case hexadecimal SHA-256 of a certificate.
pub fn fingerprint_sha256(der: &[u8]) -> String {
    digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A private key: DER, PKCS #8. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Bytes);

impl PrivateKey {
    /// Takes a PKCS #8 document, which is overwritten once the last clone is dropped.
    pub fn from_pkcs8(der: Vec<u8>) -> Self {
        Self(Bytes::from_owner(Zeroizing::new(der)))
    }

    /// Takes a PKCS #8 document that is part of something larger, and stays there.
    pub fn within(der: Bytes) -> Self {
        Self(der)
    }

    /// The PKCS #8 document, to be sealed or sent to an edge.
    pub fn expose_pkcs8(&self) -> &[u8] {
        &self.0
    }

    /// The PKCS #8 document as PEM, to be sealed or sent to an edge.
    pub fn expose_pem(&self) -> String {
        encode_pem("PRIVATE KEY", &self.0)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// The certificates of a PEM text, as DER.
///
/// # Errors
///
/// It is no PEM: what is wrong with it.
pub fn certificates_of_pem(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|der| der.to_vec()).map_err(|error| error.to_string()))
        .collect()
}

/// A chain of certificates in PEM, as DER: at least one.
///
/// # Errors
///
/// There is none, there are too many, or it is no PEM.
pub fn chain_of_pem(pem: &str) -> Result<Vec<Vec<u8>>, InvalidCertificate> {
    if pem.trim().is_empty() {
        return Err(InvalidCertificate::NoChain);
    }
    if pem.len() > CERTIFICATE_CHAIN_BYTES_MAX {
        return Err(InvalidCertificate::ChainTooLarge);
    }
    let chain = certificates_of_pem(pem).map_err(InvalidCertificate::ChainPem)?;
    match chain.len() {
        0 => Err(InvalidCertificate::NoChain),
        // As it is written, which may take more than what was given.
        1..=CERTIFICATE_CHAIN_MAX if certificates_pem(&chain).len() > CERTIFICATE_CHAIN_BYTES_MAX => {
            Err(InvalidCertificate::ChainTooLarge)
        }
        1..=CERTIFICATE_CHAIN_MAX => Ok(chain),
        _ => Err(InvalidCertificate::ChainTooLong),
    }
}

/// A private key in PEM.
///
/// # Errors
///
/// There is none, it is too large, or it is no PEM.
pub fn key_of_pem(pem: &str) -> Result<PrivateKeyDer<'static>, InvalidCertificate> {
    if pem.trim().is_empty() {
        return Err(InvalidCertificate::NoKey);
    }
    if pem.len() > PRIVATE_KEY_BYTES_MAX {
        return Err(InvalidCertificate::KeyTooLarge);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidCertificate::KeyPem)
}

/// One certificate as PEM.
pub fn certificate_pem(der: &[u8]) -> String {
    encode_pem("CERTIFICATE", der)
}

/// Certificates as PEM, in their order.
pub fn certificates_pem(certificates: &[impl AsRef<[u8]>]) -> String {
    certificates.iter().map(|der| certificate_pem(der.as_ref())).collect()
}

fn encode_pem(tag: &str, der: &[u8]) -> String {
    pem::encode_config(&Pem::new(tag, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// Reads a certificate of a chain; `position` is counted from 1.
///
/// # Errors
///
/// It is no certificate.
pub fn parse_certificate(der: &[u8], position: usize) -> Result<X509Certificate<'_>, InvalidCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(InvalidCertificate::Unreadable { position }),
    }
}

/// Checks that a key belongs to a certificate.
///
/// # Errors
///
/// It does not, or is of a kind that TLS cannot use.
pub fn check_match(leaf: &[u8], key: &PrivateKeyDer<'_>) -> Result<(), InvalidCertificate> {
    let signing = any_supported_type(key).map_err(|_| InvalidCertificate::KeyKind)?;
    let public = signing.public_key().ok_or(InvalidCertificate::KeyKind)?;
    let leaf = parse_certificate(leaf, 1)?;
    if leaf.public_key().raw == public.as_ref() { Ok(()) } else { Err(InvalidCertificate::KeyMismatch) }
}

/// The key in the one form that is kept and sent to edges.
///
/// # Errors
///
/// It is of a kind that TLS cannot use.
pub fn to_pkcs8(key: &PrivateKeyDer<'_>) -> Result<PrivateKey, InvalidCertificate> {
    let pkcs8 = match key {
        PrivateKeyDer::Pkcs8(der) => der.secret_pkcs8_der().to_vec(),
        PrivateKeyDer::Pkcs1(der) => {
            let pair = rsa::KeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| InvalidCertificate::KeyKind)?;
            let pkcs8 = pair.as_der().map_err(|_| InvalidCertificate::KeyKind)?;
            pkcs8.as_ref().to_vec()
        }
        PrivateKeyDer::Sec1(der) => {
            let pair =
                [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING]
                    .into_iter()
                    .find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()).ok())
                    .ok_or(InvalidCertificate::KeyKind)?;
            let pkcs8 = pair.to_pkcs8v1().map_err(|_| InvalidCertificate::KeyKind)?;
            pkcs8.as_ref().to_vec()
        }
        _ => return Err(InvalidCertificate::KeyKind),
    };
    let key = PrivateKey::from_pkcs8(pkcs8);
    // As it is written, which may take more than what was given.
    if key.expose_pem().len() > PRIVATE_KEY_BYTES_MAX { Err(InvalidCertificate::KeyTooLarge) } else { Ok(key) }
}

/// Which part of an upload is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadField {
    /// The chain.
    Chain,
    /// The private key.
    PrivateKey,
}

/// Why a chain and key cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// There is no certificate.
    #[error("a PEM certificate is required (-----BEGIN CERTIFICATE-----)")]
    NoChain,
    /// More bytes than allowed.
    #[error("a chain has at most {CERTIFICATE_CHAIN_BYTES_MAX} bytes")]
    ChainTooLarge,
    /// More certificates than allowed.
    #[error("a chain has at most {CERTIFICATE_CHAIN_MAX} certificates")]
    ChainTooLong,
    /// Not PEM.
    #[error("the chain is not PEM: {0}")]
    ChainPem(String),
    /// A certificate that is not one.
    #[error("certificate {position} of the chain cannot be read")]
    Unreadable {
        /// Counted from 1.
        position: usize,
    },
    /// The first certificate is for no host name.
    #[error("the first certificate of the chain names no host (subject alternative name)")]
    NoNames,
    /// The first certificate is for too many names.
    #[error("a certificate is for at most {CERTIFICATE_NAMES_MAX} names")]
    TooManyNames,
    /// A name that no domain can have.
    #[error("the certificate's name {name:?}: {reason}")]
    Name {
        /// As in the certificate.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate that is expired.
    #[error("certificate {position} of the chain is expired")]
    Expired {
        /// Counted from 1.
        position: usize,
    },
    /// A certificate that is not valid yet.
    #[error("certificate {position} of the chain is not valid yet")]
    NotYetValid {
        /// Counted from 1.
        position: usize,
    },
    /// A certificate that is not signed by the next.
    #[error(
        "certificate {position} of the chain is not signed by the one after it: put the host's certificate first, then \
         each issuer in order"
    )]
    Order {
        /// Counted from 1.
        position: usize,
    },
    /// An intermediate is missing.
    #[error("the chain is incomplete: add the issuer's intermediate certificate after the first one")]
    Incomplete,
    /// There is no key.
    #[error("the certificate's PEM private key is required")]
    NoKey,
    /// More bytes than allowed.
    #[error("a private key has at most {PRIVATE_KEY_BYTES_MAX} bytes")]
    KeyTooLarge,
    /// Not PEM, or encrypted.
    #[error("the private key is not unencrypted PEM (PKCS #8, PKCS #1 or SEC 1)")]
    KeyPem,
    /// A kind of key that edges cannot use.
    #[error(
        "the private key is of a kind that cannot be used: take RSA of 2048 to 8192 bits, ECDSA with P-256, P-384 or P-521, or Ed25519"
    )]
    KeyKind,
    /// It is for other names than were ordered.
    #[error("the certificate is for other names than it was ordered for")]
    OtherNames,
    /// The key is another certificate's.
    #[error("the private key does not belong to the first certificate of the chain")]
    KeyMismatch,
}

/// Why a text is no bundle of CAs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCaBundle {
    /// None, or too many.
    #[error("1 to {CA_BUNDLE_CERTIFICATES_MAX} PEM certificates (-----BEGIN CERTIFICATE-----) are required")]
    Count,
    /// More bytes than allowed.
    #[error("a bundle of CAs has at most {CA_BUNDLE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not PEM.
    #[error("not PEM: {0}")]
    Pem(String),
    /// One that cannot be trusted.
    #[error("certificate {position} of the bundle cannot be read as the certificate of a CA")]
    Unusable {
        /// Counted from 1.
        position: usize,
    },
}

impl InvalidCertificate {
    /// Which part of an upload is wrong.
    pub fn field(&self) -> UploadField {
        match self {
            Self::NoKey | Self::KeyTooLarge | Self::KeyPem | Self::KeyKind | Self::KeyMismatch => {
                UploadField::PrivateKey
            }
            _ => UploadField::Chain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_still_within_its_bounds_when_it_is_written() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |length: usize| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "x".repeat(length));
            params.self_signed(&key).unwrap().pem()
        };
        let in_a_single_line = |pem: &str| {
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        // Twice it is below the bound as it is given, and above it as it is written.
        let (given, written) = (5_000..6_500)
            .step_by(25)
            .map(certificate)
            .map(|written| (in_a_single_line(&written).repeat(2), written.repeat(2)))
            .find(|(given, written)| given.len() <= CA_BUNDLE_BYTES_MAX && written.len() > CA_BUNDLE_BYTES_MAX)
            .expect("lines take one byte in 64");
        assert_eq!(CaBundle::parse(&given), Err(InvalidCaBundle::TooLarge));
        assert_eq!(CaBundle::parse(&written), Err(InvalidCaBundle::TooLarge));
        let (half, _) = written.split_at(written.len() / 2);
        assert_eq!(CaBundle::parse(half).unwrap().pem(), half);
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let key = PrivateKey::from_pkcs8(b"secret".to_vec());
        assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
    }
}
