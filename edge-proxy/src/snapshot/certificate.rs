use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rustls::{
    InconsistentKeys, crypto,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use switchyard_proto::vocab::{CertificateId, HostPattern};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate chain and its private key.
pub struct Certificate {
    id: CertificateId,
    names: Vec<HostPattern>,
    material: Material,
}

enum Material {
    Parsed(Parsed),
    Unparsed {
        chain: Vec<CertificateDer<'static>>,
        private_key: PrivateKeyDer<'static>,
        parsed: OnceLock<Result<Parsed, InvalidCertificate>>,
    },
}

struct Parsed {
    key: Arc<CertifiedKey>,
    validity: Validity,
}

/// From when and until when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl Certificate {
    /// Parses a chain (the certificate, then its intermediates) and its key, and checks that they belong together.
    pub fn parse(
        id: CertificateId,
        names: Vec<HostPattern>,
        chain: Vec<CertificateDer<'static>>,
        private_key: PrivateKeyDer<'static>,
    ) -> Result<Self, InvalidCertificate> {
        let material = Material::Parsed(Parsed::parse(chain, &private_key)?);
        Ok(Self { id, names, material })
    }

    /// One that was parsed before it was stored: it is parsed again when first asked for, so that a start does not
    /// take time for certificates that nobody asks for.
    pub fn trusted(
        id: CertificateId,
        names: Vec<HostPattern>,
        chain: Vec<CertificateDer<'static>>,
        private_key: PrivateKeyDer<'static>,
    ) -> Self {
        Self { id, names, material: Material::Unparsed { chain, private_key, parsed: OnceLock::new() } }
    }

    /// Its id.
    pub fn id(&self) -> &CertificateId {
        &self.id
    }

    /// The names it is for.
    pub fn names(&self) -> &[HostPattern] {
        &self.names
    }

    /// What a handshake needs.
    pub fn key(&self) -> Result<&Arc<CertifiedKey>, &InvalidCertificate> {
        Ok(&self.parsed()?.key)
    }

    /// When it is valid.
    pub fn validity(&self) -> Result<Validity, &InvalidCertificate> {
        Ok(self.parsed()?.validity)
    }

    fn parsed(&self) -> Result<&Parsed, &InvalidCertificate> {
        match &self.material {
            Material::Parsed(parsed) => Ok(parsed),
            Material::Unparsed { chain, private_key, parsed } => {
                parsed.get_or_init(|| Parsed::parse(chain.clone(), private_key)).as_ref()
            }
        }
    }

    fn chain(&self) -> &[CertificateDer<'static>] {
        match &self.material {
            Material::Parsed(parsed) => &parsed.key.cert,
            Material::Unparsed { chain, .. } => chain,
        }
    }
}

/// Whether they are the same certificates for the same names. The key follows from the first of the chain.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.names == other.names && self.chain() == other.chain()
    }
}

impl Eq for Certificate {}

/// Without the private key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("id", &self.id).field("names", &self.names).finish_non_exhaustive()
    }
}

impl Parsed {
    fn parse(
        chain: Vec<CertificateDer<'static>>,
        private_key: &PrivateKeyDer<'static>,
    ) -> Result<Self, InvalidCertificate> {
        let leaf = chain.first().ok_or(InvalidCertificate::Empty)?;
        let validity = {
            let (rest, leaf) = X509Certificate::from_der(leaf).map_err(|_| InvalidCertificate::Encoding)?;
            if !rest.is_empty() {
                return Err(InvalidCertificate::Encoding);
            }
            let validity = leaf.validity();
            Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() }
        };
        let signer =
            crypto::aws_lc_rs::sign::any_supported_type(private_key).map_err(|_| InvalidCertificate::PrivateKey)?;
        let key = CertifiedKey::new(chain, signer);
        match key.keys_match() {
            Ok(()) => Ok(Self { key: Arc::new(key), validity }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(InvalidCertificate::KeyMismatch),
            Err(_) => Err(InvalidCertificate::Encoding),
        }
    }
}

/// Why a chain and a key are not a [`Certificate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// The chain has no certificate.
    #[error("the chain is empty")]
    Empty,
    /// The first of the chain is not an X.509 certificate in DER.
    #[error("the certificate cannot be read: DER of X.509 is required")]
    Encoding,
    /// The private key is not one that TLS can use.
    #[error("the private key cannot be read: PKCS #8 of RSA, ECDSA or Ed25519 is required")]
    PrivateKey,
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
}
