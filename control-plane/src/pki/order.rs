//! What is ordered from a CA, and what comes of it.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use switchyard_proto::{
    resource::{InvalidCertificate, certificates_of_pem, chain_of_pem, check_match, parse_certificate},
    vocab::HostPattern,
};

use super::{
    IssueError,
    chain::{check_order, inspect},
};
use crate::model::{CertificateChain, PrivateKey, Timestamp};

/// Makes the key of a certificate that is to be ordered: ECDSA with P-256.
///
/// # Errors
///
/// The system has no randomness to give.
pub fn new_key() -> Result<PrivateKey, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok(PrivateKey::from_pkcs8(key.serialize_der()))
}

/// The request for a certificate of a name (PKCS #10, RFC 2986), DER. It asks for nothing but the name.
///
/// # Errors
///
/// The key is not one of [`new_key`].
pub fn order_request(key: &PrivateKey, host: &HostPattern) -> Result<Vec<u8>, IssueError> {
    let der = PrivatePkcs8KeyDer::from(key.expose_pkcs8());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new([host.as_str().to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key)?.der().to_vec())
}

/// Takes what a CA has issued, and checks that edges can serve it: it is for the name and the key, and valid now.
///
/// # Errors
///
/// What is wrong.
pub fn issued(
    chain_pem: &str,
    key: &PrivateKey,
    host: &HostPattern,
    now: Timestamp,
) -> Result<CertificateChain, InvalidCertificate> {
    let chain = inspect(chain_of_pem(chain_pem)?)?;
    check_order(&chain.certificates, now)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose_pkcs8()));
    check_match(&chain.certificates[0], &key)?;
    if !chain.dns_names.iter().any(|name| name.covers(host)) {
        return Err(InvalidCertificate::OtherNames);
    }
    Ok(chain)
}

/// Whether the last certificate of a chain was issued by somebody of this common name.
pub fn ends_at(chain_pem: &str, common_name: &str) -> bool {
    let Ok(certificates) = certificates_of_pem(chain_pem) else { return false };
    let Some(Ok(last)) = certificates.last().map(|der| parse_certificate(der, certificates.len())) else {
        return false;
    };
    last.issuer().iter_common_name().any(|name| name.as_str() == Ok(common_name))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pki::{Authority, AuthorityKind, certificates_pem};

    #[test]
    fn what_was_issued_is_for_the_name_and_the_key() {
        let now = Timestamp(1_800_000_000_000);
        let authority = Authority::generate(AuthorityKind::Internal, now).unwrap();
        let issued_here = authority.issue_server(&["shop.example"], now, Duration::from_secs(86_400)).unwrap();
        let chain = certificates_pem(&[issued_here.certificate, authority.certificate().to_vec()]);
        let host = HostPattern::parse("shop.example").unwrap();
        assert!(issued(&chain, &issued_here.private_key, &host, now).is_ok());
        let other = HostPattern::parse("other.example").unwrap();
        assert_eq!(issued(&chain, &issued_here.private_key, &other, now), Err(InvalidCertificate::OtherNames));
        let key = new_key().unwrap();
        assert_eq!(issued(&chain, &key, &host, now), Err(InvalidCertificate::KeyMismatch));
        assert!(issued("<html>", &key, &host, now).is_err());
        assert!(ends_at(&chain, "Switchyard internal CA") && !ends_at(&chain, "Another"));
    }

    #[test]
    fn a_request_names_the_host_and_is_signed_with_the_key() {
        let key = new_key().unwrap();
        let der = order_request(&key, &HostPattern::parse("*.shop.example").unwrap()).unwrap();
        assert!(crate::pki::CertificateRequest::parse(&der).is_ok());
        assert!(der.windows(14).any(|window| window == b"*.shop.example"));
        assert!(
            order_request(&PrivateKey::from_pkcs8(b"none".to_vec()), &HostPattern::parse("a.example").unwrap())
                .is_err()
        );
    }
}
