use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use aws_lc_rs::digest::{Context, SHA256};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use switchyard_proto::resource::{self, BackendTrust, ClientCertificate};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How TLS is spoken to the backends of a service, in the form that connecting takes it.
///
/// Pingora has more options for it. Those that have no effect with rustls are not used: of several names it verifies one (so a
/// backend is asked again for the other), and the curves are the library's.
#[derive(Clone)]
pub struct BackendTls {
    identity: [u8; 32],
    trust: Trust,
    server_name: Option<String>,
    alternative_name: Option<String>,
    client: Option<Arc<CertKey>>,
}

#[derive(Clone)]
enum Trust {
    System,
    Authorities(Arc<[WrappedX509]>),
    Anybody,
}

/// Which of its names a backend is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendName {
    /// The service's, or that of its address.
    #[default]
    First,
    /// The alternative.
    Alternative,
}

impl BackendName {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Alternative,
            Self::Alternative => Self::First,
        }
    }
}

impl BackendTls {
    /// Checks that all of it can be used, so that no connection fails for it.
    pub fn new(settings: &resource::BackendTls) -> Result<Self, InvalidBackendTls> {
        let identity = identity(settings);
        let resource::BackendTls { trust, server_name, alternative_name, client_certificate } = settings;
        let trust = match trust {
            BackendTrust::System => Trust::System,
            BackendTrust::Authorities(bundle) => Trust::Authorities(anchors(bundle.certificates())?),
            BackendTrust::Anybody => Trust::Anybody,
        };
        let [server_name, alternative_name] =
            [server_name, alternative_name].map(|name| name.as_ref().map(ToString::to_string));
        let client = client_certificate.as_ref().map(client_key).transpose()?.map(Arc::new);
        Ok(Self { identity, trust, server_name, alternative_name, client })
    }

    /// The name that a backend of this host is asked for, and that its certificate must be for.
    pub(crate) fn name<'a>(&'a self, host: &'a str, which: BackendName) -> &'a str {
        match (which, &self.alternative_name) {
            (BackendName::Alternative, Some(name)) => name,
            _ => self.server_name.as_deref().unwrap_or(host),
        }
    }

    /// Whether a backend that fails by one name is asked for another.
    pub(crate) fn has_alternative_name(&self) -> bool {
        self.alternative_name.is_some()
    }

    /// Whether backends must prove themselves.
    pub fn is_verified(&self) -> bool {
        !matches!(self.trust, Trust::Anybody)
    }

    /// The CAs of which one must have issued the certificate of a backend; `None`: those of the system.
    pub(crate) fn authorities(&self) -> Option<Arc<[WrappedX509]>> {
        /// Nobody's: Pingora asks for a CA also when it verifies nothing, and a system may have none.
        static NOBODY: LazyLock<Option<Arc<[WrappedX509]>>> = LazyLock::new(|| {
            let key = rcgen::KeyPair::generate().ok()?;
            let certificate = rcgen::CertificateParams::default().self_signed(&key).ok()?;
            anchors(&[certificate.der().to_vec()]).ok()
        });
        match &self.trust {
            Trust::System => None,
            Trust::Authorities(authorities) => Some(authorities.clone()),
            Trust::Anybody => NOBODY.clone(),
        }
    }

    pub(crate) fn client_certificate(&self) -> Option<Arc<CertKey>> {
        self.client.clone()
    }

    /// A number that is different for what is different: connections are kept apart by it.
    pub(crate) fn group(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.identity;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// How many CAs the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` change which). Pingora ends the process where they cannot
/// be read.
pub fn system_authorities() -> Result<usize, UnreadableAuthorities> {
    let mut store = RootCertStore::empty();
    let loaded = pingora_core::tls::load_platform_certs_incl_env_into_store(&mut store);
    loaded.map_err(|error| UnreadableAuthorities(error.to_string()))?;
    Ok(store.len())
}

/// The CAs that the system trusts cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CAs that the system trusts cannot be read (SSL_CERT_FILE, SSL_CERT_DIR): {0}")]
pub struct UnreadableAuthorities(String);

/// A digest over everything, each part with its length.
fn identity(settings: &resource::BackendTls) -> [u8; 32] {
    let resource::BackendTls { trust, server_name, alternative_name, client_certificate } = settings;
    let mut digest = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    let authorities = match trust {
        BackendTrust::Authorities(bundle) => bundle.certificates(),
        BackendTrust::System | BackendTrust::Anybody => &[],
    };
    part(trust.as_str().as_bytes());
    part(&(authorities.len() as u64).to_le_bytes());
    authorities.iter().for_each(|der| part(der));
    for name in [server_name, alternative_name] {
        part(name.as_ref().map(ToString::to_string).unwrap_or_default().as_bytes());
    }
    if let Some(ClientCertificate { chain, private_key }) = client_certificate {
        chain.iter().for_each(|der| part(der));
        part(private_key.expose_pkcs8());
    }
    digest.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

fn anchors(authorities: &[Vec<u8>]) -> Result<Arc<[WrappedX509]>, InvalidBackendTls> {
    for der in authorities {
        RootCertStore::empty().add(CertificateDer::from(der.as_slice())).map_err(|_| InvalidBackendTls::Authority)?;
    }
    authorities.iter().map(|der| wrap(der.clone()).ok_or(InvalidBackendTls::Authority)).collect()
}

fn client_key(certificate: &ClientCertificate) -> Result<CertKey, InvalidBackendTls> {
    let ClientCertificate { chain, private_key } = certificate;
    let private_key = private_key.expose_pkcs8();
    let signer = any_supported_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(private_key)))
        .map_err(|_| InvalidBackendTls::ClientKey)?;
    let certified = CertifiedKey::new(chain.iter().map(|der| CertificateDer::from(der.clone())).collect(), signer);
    match certified.keys_match() {
        Ok(()) => {}
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            return Err(InvalidBackendTls::KeyMismatch);
        }
        Err(_) => return Err(InvalidBackendTls::ClientChain),
    }
    // Pingora panics on what it cannot read.
    if chain.is_empty() || !chain.iter().all(|der| is_certificate(der)) {
        return Err(InvalidBackendTls::ClientChain);
    }
    Ok(CertKey::new(chain.clone(), private_key.to_vec()))
}

fn wrap(der: Vec<u8>) -> Option<WrappedX509> {
    // Pingora panics on what it cannot read.
    is_certificate(&der).then(|| WrappedX509::new(der, parse_x509))
}

fn is_certificate(der: &[u8]) -> bool {
    matches!(X509Certificate::from_der(der), Ok(([], _)))
}

impl PartialEq for BackendTls {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for BackendTls {}

/// Without the private key.
impl fmt::Debug for BackendTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendTls")
            .field("server_name", &self.server_name)
            .field("is_verified", &self.is_verified())
            .finish_non_exhaustive()
    }
}

/// Why TLS cannot be spoken so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackendTls {
    /// A CA that is none.
    #[error("a certificate of the authorities cannot be read as that of a CA")]
    Authority,
    /// A client certificate that is none.
    #[error("the client certificate cannot be read")]
    ClientChain,
    /// A key that TLS cannot use.
    #[error("the key of the client certificate cannot be read: PKCS #8 of RSA, ECDSA or Ed25519 is required")]
    ClientKey,
    /// The key of another certificate.
    #[error("the key does not belong to the client certificate")]
    KeyMismatch,
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use switchyard_proto::{
        resource::{CaBundle, PrivateKey},
        vocab::BackendHost,
    };

    use super::*;

    fn certificate() -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["edge.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.der().to_vec(), key.serialize_der())
    }

    fn settings(trust: BackendTrust, client: Option<(Vec<u8>, Vec<u8>)>) -> resource::BackendTls {
        let client_certificate =
            client.map(|(der, key)| ClientCertificate { chain: vec![der], private_key: PrivateKey::from_pkcs8(key) });
        resource::BackendTls { trust, client_certificate, ..Default::default() }
    }

    fn tls(trust: BackendTrust, client: Option<(Vec<u8>, Vec<u8>)>) -> Result<BackendTls, InvalidBackendTls> {
        BackendTls::new(&settings(trust, client))
    }

    fn name() -> Option<BackendHost> {
        Some(BackendHost::parse("a.example").unwrap())
    }

    #[test]
    fn connections_are_shared_only_by_those_who_ask_for_the_same() {
        let (one, two) = (certificate(), certificate());
        let bundle = |certificates: &[&(Vec<u8>, Vec<u8>)]| {
            let certificates = certificates.iter().map(|(der, _)| der.clone()).collect();
            BackendTrust::Authorities(CaBundle::of_der(certificates).unwrap())
        };
        let different = [
            tls(BackendTrust::System, None).unwrap(),
            tls(BackendTrust::Anybody, None).unwrap(),
            tls(bundle(&[&one]), None).unwrap(),
            tls(bundle(&[&two]), None).unwrap(),
            tls(bundle(&[&one, &two]), None).unwrap(),
            tls(bundle(&[&one]), Some(two.clone())).unwrap(),
            tls(BackendTrust::System, Some(one.clone())).unwrap(),
            BackendTls::new(&resource::BackendTls { server_name: name(), ..Default::default() }).unwrap(),
            BackendTls::new(&resource::BackendTls { alternative_name: name(), ..Default::default() }).unwrap(),
        ];
        for (index, left) in different.iter().enumerate() {
            for (other, right) in different.iter().enumerate() {
                assert_eq!(left.group() == right.group(), index == other, "{index} and {other}");
            }
        }
        assert_eq!(tls(bundle(&[&one]), None).unwrap().group(), tls(bundle(&[&one]), None).unwrap().group());
    }

    #[test]
    fn what_no_connection_could_use_is_refused() {
        let (one, two) = (certificate(), certificate());
        let mixed = Some((one.0.clone(), two.1));
        assert_eq!(tls(BackendTrust::System, mixed).unwrap_err(), InvalidBackendTls::KeyMismatch);
        assert_eq!(tls(BackendTrust::System, Some((one.0, vec![1]))).unwrap_err(), InvalidBackendTls::ClientKey);
        assert_eq!(tls(BackendTrust::System, Some((vec![1], one.1))).unwrap_err(), InvalidBackendTls::ClientChain);
    }
}
