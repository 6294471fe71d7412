use std::{fmt, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use switchyard_proto::vocab::{EDGE_URI_PREFIX, EdgeId};
use time::OffsetDateTime;

use super::CertificateRequest;
use crate::model::{PrivateKey, Timestamp};

/// How long an authority's own certificate lives: longer than any fleet goes without a new one.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How far back certificates begin, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// Bytes of a serial number: the first bit is cleared, so that it is positive (RFC 5280, section 4.1.2.2: at most 20).
const SERIAL_BYTES: usize = 16;
/// Bytes of a common name (RFC 5280, appendix A.1: ub-common-name).
const COMMON_NAME_BYTES_MAX: usize = 64;

/// What an authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityKind {
    /// The control plane's own certificate, for edges.
    Fleet,
    /// Certificates for domains that need no public CA.
    Internal,
}

impl AuthorityKind {
    /// The word that it is stored under.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Internal => "internal",
        }
    }

    fn common_name(self) -> &'static str {
        match self {
            Self::Fleet => "Switchyard fleet CA",
            Self::Internal => "Switchyard internal CA",
        }
    }
}

/// A certificate authority: ECDSA with P-256.
pub struct Authority {
    certificate: Vec<u8>,
    private_key: PrivateKey,
    issuer: Issuer<'static, KeyPair>,
}

/// A new certificate and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// Its key.
    pub private_key: PrivateKey,
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn generate(kind: AuthorityKind, now: Timestamp) -> Result<Self, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(kind.common_name(), now, AUTHORITY_LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Self::from_parts(certificate.der().to_vec(), PrivateKey::from_pkcs8(key.serialize_der()))
    }

    /// Takes an authority as it was kept.
    ///
    /// # Errors
    ///
    /// The certificate or the key cannot be read.
    pub fn from_parts(certificate: Vec<u8>, private_key: PrivateKey) -> Result<Self, IssueError> {
        let key = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(private_key.expose_pkcs8()),
            &PKCS_ECDSA_P256_SHA256,
        )?;
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(certificate.as_slice()), key)?;
        Ok(Self { certificate, private_key, issuer })
    }

    /// Its own certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its key, to be kept.
    pub fn private_key(&self) -> &PrivateKey {
        &self.private_key
    }

    /// Issues a certificate for a server of these names, valid for `lifetime` from `now`.
    ///
    /// # Errors
    ///
    /// A name has no place in a certificate, or the system has no randomness to give.
    pub fn issue_server(&self, names: &[&str], now: Timestamp, lifetime: Duration) -> Result<Issued, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let common_name = names.first().copied().filter(|name| name.len() <= COMMON_NAME_BYTES_MAX);
        let mut params = params(common_name.unwrap_or("Switchyard"), now, lifetime)?;
        params.subject_alt_names =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.der().to_vec(), private_key: PrivateKey::from_pkcs8(key.serialize_der()) })
    }
}

impl Authority {
    /// Issues a certificate for an edge to show to the control plane, valid for `lifetime` from `now`: DER.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn issue_edge(
        &self,
        edge: &EdgeId,
        request: &CertificateRequest,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Vec<u8>, IssueError> {
        let mut params = params(edge.as_str(), now, lifetime)?;
        params.subject_alt_names = vec![SanType::URI(format!("{EDGE_URI_PREFIX}{edge}").try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&request.public_key, &self.issuer)?.der().to_vec())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What every certificate has: a name, a random serial number and dates.
fn params(common_name: &str, now: Timestamp, lifetime: Duration) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let mut serial = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| IssueError::NoRandomness)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now = OffsetDateTime::from_unix_timestamp(now.0.div_euclid(1_000)).map_err(|_| IssueError::Dates)?;
    params.not_before = now.checked_sub(duration(BACKDATED)?).ok_or(IssueError::Dates)?;
    params.not_after = now.checked_add(duration(lifetime)?).ok_or(IssueError::Dates)?;
    Ok(params)
}

fn duration(duration: Duration) -> Result<time::Duration, IssueError> {
    time::Duration::try_from(duration).map_err(|_| IssueError::Dates)
}

/// Why an authority could not be made or read, or did not issue.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A name, a key or a certificate that cannot be used.
    #[error("issue a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The system has no randomness to give.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// A date that the calendar does not have.
    #[error("the clock is out of any calendar")]
    Dates,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        pki_types::{ServerName, UnixTime},
    };

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn verify(authority: &Authority, issued: &Issued, name: &str, at: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.certificate().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_millis(at.0.unsigned_abs()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&CertificateDer::from(issued.certificate.as_slice()), &[], &name, &[], at).is_ok()
    }

    #[test]
    fn what_an_authority_issues_is_trusted_for_its_names_and_its_time() {
        let authority = Authority::generate(AuthorityKind::Internal, NOW).unwrap();
        let kept = Authority::from_parts(authority.certificate().to_vec(), authority.private_key().clone()).unwrap();
        let issued = kept.issue_server(&["*.shop.example"], NOW, 90 * DAY).unwrap();
        assert!(verify(&authority, &issued, "a.shop.example", NOW));
        assert!(!verify(&authority, &issued, "shop.example", NOW));
        assert!(verify(&authority, &issued, "a.shop.example", NOW.plus(89 * DAY)));
        assert!(!verify(&authority, &issued, "a.shop.example", NOW.plus(91 * DAY)));
        let other = Authority::generate(AuthorityKind::Fleet, NOW).unwrap();
        assert!(!verify(&other, &issued, "a.shop.example", NOW));
    }

    #[test]
    fn a_name_longer_than_a_common_name_is_issued_for() {
        let authority = Authority::generate(AuthorityKind::Internal, NOW).unwrap();
        let name = format!("{}.example", "a.".repeat(60).trim_end_matches('.'));
        let issued = authority.issue_server(&[&name], NOW, DAY).unwrap();
        assert!(verify(&authority, &issued, &name, NOW));
    }
}
