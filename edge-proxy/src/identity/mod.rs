//! Who this edge is: its id, the key that it proves itself by, and the certificate that says so.
//!
//! What always holds: the key never leaves the state directory, and the secret of an invitation is sent only to a control plane that
//! proved itself by the fingerprint in the token. How certificates are asked for is left to `sync`.

mod stored;
mod token;
mod verifier;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::{
    ClientConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use switchyard_proto::vocab::{EdgeId, limits::ID_BYTES_MAX};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::{Zeroize, Zeroizing};

use self::stored::Stored;
pub use self::token::{Fingerprint, InvalidJoinToken, JoinToken};

/// Where the kernel tells the machine's name.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

/// Who this edge is.
pub struct Identity {
    id: EdgeId,
    /// Of the CA that control planes prove themselves by.
    fingerprint: Fingerprint,
    key: KeyPair,
    credential: Option<Credential>,
    path: PathBuf,
}

/// What the fleet's CA says of this edge.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Credential {
    /// The certificate, then the CA.
    chain: Vec<CertificateDer<'static>>,
    renew_at: SystemTime,
}

impl Identity {
    /// The identity in a state directory, if it has one.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is damaged.
    pub fn load(state_dir: &Path) -> io::Result<Option<Self>> {
        let path = stored::path(state_dir);
        let Some(Stored { edge, ca_sha256, private_key_pem, chain_pem, renew_at_ms }) = stored::read(&path)? else {
            return Ok(None);
        };
        let private_key_pem = Zeroizing::new(private_key_pem);
        let damaged = |what: &str| invalid(format!("{}: {what}", path.display()));
        let chain = stored::chain(&chain_pem).ok_or_else(|| damaged("chain_pem is no chain of certificates"))?;
        let renew_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(renew_at_ms));
        let credential = (!chain.is_empty())
            .then(|| Some(Credential { chain, renew_at: renew_at? }))
            .map(|it| it.ok_or_else(|| damaged("renew_at_ms is out of any calendar")))
            .transpose()?;
        Ok(Some(Self {
            id: EdgeId::parse(&edge).map_err(|error| damaged(&format!("edge: {error}")))?,
            fingerprint: ca_sha256.parse().map_err(|_| damaged("ca_sha256 is no fingerprint"))?,
            key: KeyPair::from_pem(&private_key_pem).map_err(|_| damaged("private_key_pem is no key"))?,
            credential,
            path,
        }))
    }

    /// Makes an identity and keeps it: a new key, which the control planes of this CA are yet to hear of.
    ///
    /// # Errors
    ///
    /// It cannot be kept, or there is no randomness.
    pub fn create(state_dir: &Path, id: EdgeId, fingerprint: Fingerprint) -> io::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        let identity = Self { id, fingerprint, key, credential: None, path: stored::path(state_dir) };
        identity.store()?;
        Ok(identity)
    }

    /// The edge's id.
    pub fn id(&self) -> &EdgeId {
        &self.id
    }

    /// Whether the fleet has accepted this edge.
    pub fn has_joined(&self) -> bool {
        self.credential.is_some()
    }

    /// Whether it is for the control planes of this CA.
    pub fn expects(&self, fingerprint: Fingerprint) -> bool {
        self.fingerprint == fingerprint
    }

    /// How long from now until another certificate is to be asked for.
    pub fn due_in(&self, now: SystemTime) -> Duration {
        let renew_at = self.credential.as_ref().map(|credential| credential.renew_at);
        renew_at.and_then(|at| at.duration_since(now).ok()).unwrap_or_default()
    }

    /// What proves that this edge has its key: PKCS #10, DER.
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub fn certificate_request(&self) -> io::Result<Vec<u8>> {
        let request = CertificateParams::default().serialize_request(&self.key).map_err(io::Error::other)?;
        Ok(request.der().to_vec())
    }

    /// Takes a certificate, and keeps it.
    ///
    /// # Errors
    ///
    /// It is not for this edge's key, not under the CA of its token, or cannot be kept.
    pub fn accept(&mut self, chain: Vec<Vec<u8>>, renew_after: Duration, now: SystemTime) -> io::Result<()> {
        let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(CertificateDer::from).collect();
        let [own, ca] = &chain[..] else { return Err(invalid("a certificate and its CA are expected".to_owned())) };
        let (_, own) =
            X509Certificate::from_der(own).map_err(|_| invalid("the certificate cannot be read".to_owned()))?;
        if own.public_key().raw != self.key.subject_public_key_info() || !self.fingerprint.is_of(ca) {
            return Err(invalid("the certificate is for another key, or of another CA".to_owned()));
        }
        let renew_at = now.checked_add(renew_after).ok_or_else(|| invalid("it would never be renewed".to_owned()))?;
        let before = self.credential.replace(Credential { chain, renew_at });
        self.store().inspect_err(|_| self.credential = before)
    }

    /// TLS toward control planes that shows no certificate: to ask for one.
    ///
    /// # Errors
    ///
    /// The provider does not know the protocol versions.
    pub fn anonymous(&self, provider: Arc<CryptoProvider>) -> Result<ClientConfig, rustls::Error> {
        verifier::client_config(self.fingerprint, provider, None)
    }

    /// TLS toward control planes that shows this edge's certificate; none before it has one.
    ///
    /// # Errors
    ///
    /// The provider does not know the protocol versions, or the kind of key.
    pub fn authenticated(&self, provider: Arc<CryptoProvider>) -> Result<Option<ClientConfig>, rustls::Error> {
        let Some(Credential { chain, .. }) = &self.credential else { return Ok(None) };
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        verifier::client_config(self.fingerprint, provider, Some((chain.clone(), key.into()))).map(Some)
    }

    fn store(&self) -> io::Result<()> {
        let (chain, renew_at) = match &self.credential {
            Some(Credential { chain, renew_at }) => (&chain[..], *renew_at),
            None => (&[][..], SystemTime::UNIX_EPOCH),
        };
        let renew_at = renew_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut stored = Stored {
            edge: self.id.to_string(),
            ca_sha256: self.fingerprint.to_string(),
            private_key_pem: self.key.serialize_pem(),
            chain_pem: stored::chain_pem(chain),
            renew_at_ms: u64::try_from(renew_at.as_millis()).unwrap_or(u64::MAX),
        };
        let written = stored::write(&self.path, &stored);
        stored.private_key_pem.zeroize();
        written
    }
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).field("credential", &self.credential).finish_non_exhaustive()
    }
}

/// The id of a machine that was given none: made of its name.
///
/// # Errors
///
/// No id can be made of it.
pub fn machine_id() -> io::Result<EdgeId> {
    from_host_name(&fs::read_to_string(HOSTNAME_FILE)?)
        .ok_or_else(|| invalid("no id can be made of the machine's name: give one with --name".into()))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// An id like a machine's name: in lower case, with hyphens for what an id does not have.
fn from_host_name(name: &str) -> Option<EdgeId> {
    let clean: String = name
        .trim()
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .take(ID_BYTES_MAX)
        .collect();
    EdgeId::parse(clean.trim_matches(['-', '.'])).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use aws_lc_rs::digest::{SHA256, digest};
    use rcgen::{BasicConstraints, CertificateSigningRequestParams, CertifiedIssuer, IsCa};
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn fingerprint(authority: &CertifiedIssuer<'static, KeyPair>) -> Fingerprint {
        let hash = digest(&SHA256, authority.der());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().parse().unwrap()
    }

    fn signed(identity: &Identity, authority: &CertifiedIssuer<'static, KeyPair>) -> Vec<Vec<u8>> {
        let request = identity.certificate_request().unwrap().into();
        let request = CertificateSigningRequestParams::from_der(&request).unwrap();
        vec![request.signed_by(authority).unwrap().der().to_vec(), authority.der().to_vec()]
    }

    #[test]
    fn an_identity_is_kept_for_its_owner_alone_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Identity::load(directory.path()).unwrap().is_none());
        let (authority, now) = (authority(), SystemTime::now());
        let id = EdgeId::parse("edge-1").unwrap();
        let mut identity = Identity::create(directory.path(), id.clone(), fingerprint(&authority)).unwrap();
        let found = Identity::load(directory.path()).unwrap().unwrap();
        assert!(!found.has_joined() && found.authenticated(Arc::new(default_provider())).unwrap().is_none());
        assert_eq!(found.due_in(now), Duration::ZERO);
        identity.accept(signed(&identity, &authority), HOUR, now).unwrap();
        let found = Identity::load(directory.path()).unwrap().unwrap();
        assert_eq!((found.id(), found.has_joined()), (&id, true));
        assert!(found.due_in(now) > HOUR / 2 && found.due_in(now + 2 * HOUR) == Duration::ZERO);
        assert!(found.authenticated(Arc::new(default_provider())).unwrap().is_some());
        let mode = fs::metadata(stored::path(directory.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{found:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_certificate_of_another_key_or_authority_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (authority, foreign) = (authority(), authority());
        let id = EdgeId::parse("edge-1").unwrap();
        let mut identity = Identity::create(one.path(), id.clone(), fingerprint(&authority)).unwrap();
        let another = Identity::create(other.path(), id, fingerprint(&authority)).unwrap();
        let now = SystemTime::now();
        assert!(identity.accept(signed(&another, &authority), HOUR, now).is_err());
        assert!(identity.accept(signed(&identity, &foreign), HOUR, now).is_err());
        assert!(identity.accept(vec![], HOUR, now).is_err());
        assert!(!identity.has_joined());
    }

    #[test]
    fn a_damaged_identity_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(stored::path(directory.path()), "{}").unwrap();
        assert_eq!(Identity::load(directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_machines_name_becomes_an_id() {
        assert_eq!(from_host_name("Edge_1.Example.\n").unwrap().as_str(), "edge-1.example");
        assert_eq!(from_host_name("(none)").unwrap().as_str(), "none");
        assert!(from_host_name("---").is_none());
    }
}
