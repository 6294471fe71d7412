use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SubjectPublicKeyInfo};
use switchyard_proto::vocab::{EDGE_URI_PREFIX, EdgeId, limits::CERTIFICATE_REQUEST_BYTES_MAX};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::model::EdgeKey;

/// A key that somebody has proven to have, by signing a certificate request with it (PKCS #10, RFC 2986). What else the request
/// asks for is not even looked at.
#[derive(Debug)]
pub struct CertificateRequest {
    pub(super) public_key: SubjectPublicKeyInfo,
    key: EdgeKey,
}

impl CertificateRequest {
    /// Parses a request, DER, and checks its signature.
    ///
    /// # Errors
    ///
    /// It is none, its signature is not of its key, or its key is not ECDSA with P-256.
    pub fn parse(der: &[u8]) -> Result<Self, InvalidCertificateRequest> {
        if der.len() > CERTIFICATE_REQUEST_BYTES_MAX {
            return Err(InvalidCertificateRequest::Form);
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| InvalidCertificateRequest::Form)?;
        if !rest.is_empty() {
            return Err(InvalidCertificateRequest::Form);
        }
        let spki = request.certification_request_info.subject_pki.raw;
        let public_key = SubjectPublicKeyInfo::from_der(spki).map_err(|_| InvalidCertificateRequest::Key)?;
        if public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(InvalidCertificateRequest::Key);
        }
        request.verify_signature().map_err(|_| InvalidCertificateRequest::Signature)?;
        Ok(Self { key: EdgeKey::of(spki), public_key })
    }

    /// The key.
    pub fn key(&self) -> EdgeKey {
        self.key
    }
}

/// Which edge a certificate of the fleet's authority was issued for, and its key. That the authority issued it was verified by
/// whoever accepted it.
pub fn edge_of(certificate: &[u8]) -> Option<(EdgeId, EdgeKey)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = names.value.general_names[..] else { return None };
    let id = EdgeId::parse(uri.strip_prefix(EDGE_URI_PREFIX)?).ok()?;
    Some((id, EdgeKey::of(certificate.public_key().raw)))
}

/// Why bytes are no certificate request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificateRequest {
    /// They are not of the form.
    #[error("not a certificate request: PKCS #10, DER, at most {CERTIFICATE_REQUEST_BYTES_MAX} bytes")]
    Form,
    /// The key is of another kind.
    #[error("the key of the certificate request is not ECDSA with P-256")]
    Key,
    /// Whoever asks does not have the key.
    #[error("the certificate request is not signed with its key")]
    Signature,
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

    use super::*;
    use crate::{
        model::Timestamp,
        pki::{Authority, AuthorityKind},
    };

    #[test]
    fn a_request_proves_its_key() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let der = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        let request = CertificateRequest::parse(&der).unwrap();
        assert_eq!(request.key(), EdgeKey::of(&key.subject_public_key_info()));

        let other = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let other = CertificateParams::default().serialize_request(&other).unwrap();
        assert_eq!(CertificateRequest::parse(other.der()).unwrap_err(), InvalidCertificateRequest::Key);
        let mut forged = der.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(CertificateRequest::parse(&forged).unwrap_err(), InvalidCertificateRequest::Signature);
        let authority = Authority::generate(AuthorityKind::Fleet, Timestamp(1_800_000_000_000)).unwrap();
        let (edge, lifetime) = (EdgeId::parse("edge-1").unwrap(), std::time::Duration::from_secs(60));
        let issued = authority.issue_edge(&edge, &request, Timestamp(1_800_000_000_000), lifetime).unwrap();
        assert_eq!(edge_of(&issued), Some((edge, request.key())));
        assert_eq!(edge_of(authority.certificate()), None);

        for bad in [&der[1..], &der[..der.len() - 1], b"", &[der.as_slice(), b"x"].concat(), &[0; 5_000]] {
            assert_eq!(CertificateRequest::parse(bad).unwrap_err(), InvalidCertificateRequest::Form);
        }
    }
}
