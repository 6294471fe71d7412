use aws_lc_rs::{
    encoding::AsDer,
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    },
};
use bytes::Bytes;
use pem::{EncodeConfig, LineEnding, Pem};
use rustls::{RootCertStore, crypto::aws_lc_rs::sign::any_supported_type};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use switchyard_proto::vocab::{
    HostPattern,
    limits::{
        CA_BUNDLE_BYTES_MAX, CA_BUNDLE_CERTIFICATES_MAX, CERTIFICATE_CHAIN_BYTES_MAX, CERTIFICATE_CHAIN_MAX,
        CERTIFICATE_NAMES_MAX, PRIVATE_KEY_BYTES_MAX,
    },
};
use x509_parser::{
    error::X509Error,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS,
    prelude::{FromDer, X509Certificate},
};

use crate::model::{CaBundle, CertificateChain, ClientCertificate, PrivateKey, Timestamp};

/// Takes a chain and a key as people upload them, both PEM, and checks that edges can serve them: the key is the first
/// certificate's, each certificate is signed by the next, none is expired, and no intermediate is known to be missing.
///
/// # Errors
///
/// What is wrong; see [`InvalidCertificate::field`] for where.
pub fn upload(
    chain_pem: &str,
    private_key_pem: &str,
    now: Timestamp,
) -> Result<(CertificateChain, PrivateKey), InvalidCertificate> {
    let certificates = chain_of_pem(chain_pem)?;
    let key = key_of_pem(private_key_pem)?;
    let chain = inspect(certificates)?;
    check_order(&chain.certificates, now)?;
    check_match(&chain.certificates[0], &key)?;
    Ok((chain, to_pkcs8(&key)?))
}

/// Takes what an edge is to prove itself with to backends, as people upload it. It is checked like what is served, but it need not
/// be for a host.
///
/// # Errors
///
/// As in [`upload`].
pub fn client_certificate(
    chain_pem: &str,
    private_key_pem: &str,
    now: Timestamp,
) -> Result<ClientCertificate, InvalidCertificate> {
    let chain = chain_of_pem(chain_pem)?;
    let key = key_of_pem(private_key_pem)?;
    check_order(&chain, now)?;
    check_match(&chain[0], &key)?;
    Ok(ClientCertificate { chain, private_key: to_pkcs8(&key)? })
}

/// Takes another chain for the key of `old`.
///
/// # Errors
///
/// As in [`upload`]: it may be for another key.
pub fn client_certificate_again(
    chain_pem: &str,
    old: &ClientCertificate,
    now: Timestamp,
) -> Result<ClientCertificate, InvalidCertificate> {
    let chain = chain_of_pem(chain_pem)?;
    check_order(&chain, now)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(old.private_key.expose_pkcs8()));
    check_match(&chain[0], &key).map_err(|_| InvalidCertificate::NoKey)?;
    Ok(ClientCertificate { chain, private_key: old.private_key.clone() })
}

/// Takes CAs that people trust, PEM.
///
/// # Errors
///
/// There is none, there are too many, or one is none.
pub fn ca_bundle(pem: &str) -> Result<CaBundle, InvalidCaBundle> {
    if pem.len() > CA_BUNDLE_BYTES_MAX {
        return Err(InvalidCaBundle::TooLarge);
    }
    let certificates = certificates_of_pem(pem).map_err(InvalidCaBundle::Pem)?;
    if certificates.is_empty() || certificates.len() > CA_BUNDLE_CERTIFICATES_MAX {
        return Err(InvalidCaBundle::Count);
    }
    for (index, der) in certificates.iter().enumerate() {
        let taken = RootCertStore::empty().add(CertificateDer::from(der.as_slice()));
        taken.map_err(|_| InvalidCaBundle::Unusable { position: index + 1 })?;
    }
    Ok(CaBundle(certificates))
}

/// Until when a certificate is valid.
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    Some(timestamp(parse(der, 1).ok()?.validity().not_after))
}

pub(super) fn chain_of_pem(pem: &str) -> Result<Vec<Vec<u8>>, InvalidCertificate> {
    if pem.trim().is_empty() {
        return Err(InvalidCertificate::NoChain);
    }
    if pem.len() > CERTIFICATE_CHAIN_BYTES_MAX {
        return Err(InvalidCertificate::ChainTooLarge);
    }
    let chain = certificates_of_pem(pem).map_err(InvalidCertificate::ChainPem)?;
    match chain.len() {
        0 => Err(InvalidCertificate::NoChain),
        1..=CERTIFICATE_CHAIN_MAX => Ok(chain),
        _ => Err(InvalidCertificate::ChainTooLong),
    }
}

pub(super) fn certificates_of_pem(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|der| der.to_vec()).map_err(|error| error.to_string()))
        .collect()
}

fn key_of_pem(pem: &str) -> Result<PrivateKeyDer<'static>, InvalidCertificate> {
    if pem.trim().is_empty() {
        return Err(InvalidCertificate::NoKey);
    }
    if pem.len() > PRIVATE_KEY_BYTES_MAX {
        return Err(InvalidCertificate::KeyTooLarge);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidCertificate::KeyPem)
}

/// Reads what the first certificate of a chain says.
///
/// # Errors
///
/// The chain is empty or too long, a certificate cannot be read, or the first is for no host name.
pub fn inspect(certificates: Vec<Vec<u8>>) -> Result<CertificateChain, InvalidCertificate> {
    if certificates.len() > CERTIFICATE_CHAIN_MAX {
        return Err(InvalidCertificate::ChainTooLong);
    }
    let first = certificates.first().ok_or(InvalidCertificate::NoChain)?;
    let leaf = parse(first, 1)?;
    let dns_names = dns_names(&leaf)?;
    let issuer = leaf.issuer().to_string();
    let validity = leaf.validity();
    let (not_before, not_after) = (timestamp(validity.not_before), timestamp(validity.not_after));
    let certificates = certificates.into_iter().map(Bytes::from).collect();
    Ok(CertificateChain { certificates, dns_names, issuer, not_before, not_after })
}

/// One certificate as PEM.
pub fn certificate_pem(der: &[u8]) -> String {
    pem::encode_config(&Pem::new("CERTIFICATE", der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// Certificates as PEM, in their order.
pub fn certificates_pem(certificates: &[impl AsRef<[u8]>]) -> String {
    certificates.iter().map(|der| certificate_pem(der.as_ref())).collect()
}

pub(super) fn parse(der: &[u8], position: usize) -> Result<X509Certificate<'_>, InvalidCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(InvalidCertificate::Unreadable { position }),
    }
}

fn dns_names(leaf: &X509Certificate<'_>) -> Result<Vec<HostPattern>, InvalidCertificate> {
    let names = leaf.subject_alternative_name().map_err(|_| InvalidCertificate::Unreadable { position: 1 })?;
    let mut patterns = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        if let GeneralName::DNSName(text) = name {
            let pattern = HostPattern::parse(text)
                .map_err(|error| InvalidCertificate::Name { name: (*text).to_owned(), reason: error.to_string() })?;
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
            if patterns.len() > CERTIFICATE_NAMES_MAX {
                return Err(InvalidCertificate::TooManyNames);
            }
        }
    }
    if patterns.is_empty() { Err(InvalidCertificate::NoNames) } else { Ok(patterns) }
}

pub(super) fn check_order(chain: &[impl AsRef<[u8]>], now: Timestamp) -> Result<(), InvalidCertificate> {
    let certificates =
        chain.iter().enumerate().map(|(index, der)| parse(der.as_ref(), index + 1)).collect::<Result<Vec<_>, _>>()?;
    for (index, certificate) in certificates.iter().enumerate() {
        let position = index + 1;
        if now > timestamp(certificate.validity().not_after) {
            return Err(InvalidCertificate::Expired { position });
        }
        if now < timestamp(certificate.validity().not_before) {
            return Err(InvalidCertificate::NotYetValid { position });
        }
    }
    for (index, pair) in certificates.windows(2).enumerate() {
        let [certificate, next] = pair else { continue };
        let signed = certificate.issuer().as_raw() == next.subject().as_raw()
            && match certificate.verify_signature(Some(next.public_key())) {
                // An algorithm that cannot be checked here may still be one that clients know.
                Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => true,
                Err(_) => false,
            };
        if !signed {
            return Err(InvalidCertificate::Order { position: index + 1 });
        }
    }
    // A lone certificate may come straight from a root. If it says where to fetch its issuer, it does not: roots are not
    // fetched.
    if let [leaf] = certificates.as_slice()
        && leaf.issuer().as_raw() != leaf.subject().as_raw()
        && names_its_issuers_address(leaf)
    {
        return Err(InvalidCertificate::Incomplete);
    }
    Ok(())
}

/// Whether a certificate has an "authority information access" for its issuer (RFC 5280, section 4.2.2.1).
fn names_its_issuers_address(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => access
            .accessdescs
            .iter()
            .any(|description| description.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS),
        _ => false,
    })
}

pub(super) fn check_match(leaf: &[u8], key: &PrivateKeyDer<'_>) -> Result<(), InvalidCertificate> {
    let signing = any_supported_type(key).map_err(|_| InvalidCertificate::KeyKind)?;
    let public = signing.public_key().ok_or(InvalidCertificate::KeyKind)?;
    let leaf = parse(leaf, 1)?;
    if leaf.public_key().raw == public.as_ref() { Ok(()) } else { Err(InvalidCertificate::KeyMismatch) }
}

/// The key in the one form that is kept and sent to edges.
fn to_pkcs8(key: &PrivateKeyDer<'_>) -> Result<PrivateKey, InvalidCertificate> {
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
    Ok(PrivateKey::from_pkcs8(pkcs8))
}

fn timestamp(time: x509_parser::time::ASN1Time) -> Timestamp {
    Timestamp(time.timestamp().saturating_mul(1_000))
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
mod tests;
