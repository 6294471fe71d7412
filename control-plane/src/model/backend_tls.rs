use switchyard_proto::vocab::BackendHost;

use super::{CaBundle, PrivateKey};

/// How TLS is spoken to the backends of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// Whose certificates are accepted.
    pub trust: BackendTrust,
    /// What backends are asked for and their certificates must be for; `None`: the host of the backend's address.
    pub server_name: Option<BackendHost>,
    /// What backends are asked for that have no certificate for the first name; never where anybody is trusted.
    pub alternative_name: Option<BackendHost>,
    /// What the edge proves itself with.
    pub client_certificate: Option<ClientCertificate>,
}

/// Whose certificates are accepted from backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendTrust {
    /// Those of the CAs that the edge's system trusts.
    System,
    /// Those of these CAs.
    Authorities(CaBundle),
    /// Anybody's: whoever can come between can read and change everything.
    Anybody,
}

impl BackendTrust {
    /// The one word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Authorities(_) => "authorities",
            Self::Anybody => "anybody",
        }
    }
}

/// The system's trust, and the names of the addresses.
impl Default for BackendTls {
    fn default() -> Self {
        Self { trust: BackendTrust::System, server_name: None, alternative_name: None, client_certificate: None }
    }
}

/// A chain that was checked by [`crate::pki`], and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// DER: the certificate, then the intermediates in order. Never empty.
    pub chain: Vec<Vec<u8>>,
    /// The private key of the first certificate of the chain.
    pub private_key: PrivateKey,
}
