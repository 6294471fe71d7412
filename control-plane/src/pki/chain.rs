use bytes::Bytes;
use switchyard_proto::{
    resource::{InvalidCertificate, PrivateKey, chain_of_pem, check_match, key_of_pem, parse_certificate, to_pkcs8},
    vocab::{
        HostPattern,
        limits::{CERTIFICATE_CHAIN_MAX, CERTIFICATE_NAMES_MAX},
    },
};
use x509_parser::{
    error::X509Error,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS,
    prelude::X509Certificate,
};

use crate::model::{CertificateChain, Timestamp};

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

/// Until when a certificate is valid.
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    Some(timestamp(parse_certificate(der, 1).ok()?.validity().not_after))
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
    let leaf = parse_certificate(first, 1)?;
    let dns_names = dns_names(&leaf)?;
    let issuer = leaf.issuer().to_string();
    let validity = leaf.validity();
    let (not_before, not_after) = (timestamp(validity.not_before), timestamp(validity.not_after));
    let certificates = certificates.into_iter().map(Bytes::from).collect();
    Ok(CertificateChain { certificates, dns_names, issuer, not_before, not_after })
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

/// Checks that each certificate of a chain is valid now and signed by the next, and that no intermediate is known to be missing.
///
/// # Errors
///
/// Which certificate is not, and why.
pub fn check_order(chain: &[impl AsRef<[u8]>], now: Timestamp) -> Result<(), InvalidCertificate> {
    let certificates = chain
        .iter()
        .enumerate()
        .map(|(index, der)| parse_certificate(der.as_ref(), index + 1))
        .collect::<Result<Vec<_>, _>>()?;
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

fn timestamp(time: x509_parser::time::ASN1Time) -> Timestamp {
    Timestamp(time.timestamp().saturating_mul(1_000))
}

#[cfg(test)]
mod tests;
