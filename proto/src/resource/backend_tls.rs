use crate::{
    v1 as wire,
    vocab::{BackendHost, InvalidBackendAddress},
};

use super::{
    CaBundle, InvalidCertificate, InvalidResource, PrivateKey, UploadField,
    certificate::{certificates_pem, chain_of_pem, check_match, key_of_pem, to_pkcs8},
    invalid::Violations,
};

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

impl BackendTls {
    pub(super) fn parse(message: wire::BackendTls) -> Result<Self, InvalidResource> {
        let wire::BackendTls { ca_bundle_pem, server_name, client_certificate, insecure_skip_verify, alternative_name } =
            message;
        let mut violations = Violations::default();
        let authorities = match ca_bundle_pem.as_str() {
            "" => Some(None),
            pem => violations.check("ca_bundle_pem", CaBundle::parse(pem)).map(Some),
        };
        let server_name = violations.check("server_name", host(&server_name));
        let alternative_name = violations.check("alternative_name", host(&alternative_name));
        let client_certificate = match client_certificate {
            None => Some(None),
            Some(message) => violations.nested("client_certificate", ClientCertificate::parse(message)).map(Some),
        };
        if insecure_skip_verify && authorities.as_ref().is_some_and(Option::is_some) {
            violations.invalid(
                "insecure_skip_verify",
                "CAs have no effect when nothing is verified: give one of them, and unset the other",
            );
        }
        if insecure_skip_verify && alternative_name.as_ref().is_some_and(Option::is_some) {
            violations
                .invalid("alternative_name", "a second name has no effect when nothing is verified: unset one of them");
        }
        let tls = || {
            let trust = match (authorities?, insecure_skip_verify) {
                (_, true) => BackendTrust::Anybody,
                (None, false) => BackendTrust::System,
                (Some(bundle), false) => BackendTrust::Authorities(bundle),
            };
            Some(Self {
                trust,
                server_name: server_name?,
                alternative_name: alternative_name?,
                client_certificate: client_certificate?,
            })
        };
        let tls = tls();
        violations.finish(tls)
    }

    pub(super) fn message(&self) -> wire::BackendTls {
        let Self { trust, server_name, alternative_name, client_certificate } = self;
        let (ca_bundle_pem, insecure_skip_verify) = match trust {
            BackendTrust::System => (String::new(), false),
            BackendTrust::Authorities(bundle) => (bundle.pem(), false),
            BackendTrust::Anybody => (String::new(), true),
        };
        let name = |name: &Option<BackendHost>| name.as_ref().map(ToString::to_string).unwrap_or_default();
        wire::BackendTls {
            ca_bundle_pem,
            server_name: name(server_name),
            client_certificate: client_certificate.as_ref().map(ClientCertificate::message),
            insecure_skip_verify,
            alternative_name: name(alternative_name),
        }
    }
}

fn host(name: &str) -> Result<Option<BackendHost>, InvalidBackendAddress> {
    if name.is_empty() { Ok(None) } else { BackendHost::parse(name).map(Some) }
}

/// A certificate chain that the edge proves itself with, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// DER: the certificate, then the intermediates in order. Never empty.
    pub chain: Vec<Vec<u8>>,
    /// The private key of the first certificate of the chain.
    pub private_key: PrivateKey,
}

impl ClientCertificate {
    /// Takes a chain and its key, both PEM, and checks that the key is the first certificate's. Whether the certificates are valid now,
    /// it does not know.
    ///
    /// # Errors
    ///
    /// What is wrong; see [`InvalidCertificate::field`] for where.
    pub fn of_pem(chain_pem: &str, private_key_pem: &str) -> Result<Self, InvalidCertificate> {
        let chain = chain_of_pem(chain_pem)?;
        let key = key_of_pem(private_key_pem)?;
        check_match(&chain[0], &key)?;
        Ok(Self { chain, private_key: to_pkcs8(&key)? })
    }

    fn parse(message: wire::BackendClientCertificate) -> Result<Self, InvalidResource> {
        let wire::BackendClientCertificate { chain_pem, private_key_pem, fingerprint_sha256: _, not_after_time: _ } =
            message;
        Self::of_pem(&chain_pem, &private_key_pem).map_err(|error| {
            let path = match error.field() {
                UploadField::Chain => "chain_pem",
                UploadField::PrivateKey => "private_key_pem",
            };
            InvalidResource::field(path, error)
        })
    }

    fn message(&self) -> wire::BackendClientCertificate {
        let Self { chain, private_key } = self;
        wire::BackendClientCertificate {
            chain_pem: certificates_pem(chain),
            private_key_pem: private_key.expose_pem(),
            fingerprint_sha256: String::new(),
            not_after_time: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["edge.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn with_client(chain_pem: &str, private_key_pem: &str) -> wire::BackendTls {
        let client_certificate = Some(wire::BackendClientCertificate {
            chain_pem: chain_pem.to_owned(),
            private_key_pem: private_key_pem.to_owned(),
            ..Default::default()
        });
        wire::BackendTls { client_certificate, ..Default::default() }
    }

    #[test]
    fn it_survives_the_way_into_a_message_and_back() {
        let (chain, key) = pem();
        let message = wire::BackendTls {
            ca_bundle_pem: chain.clone(),
            server_name: "shop.internal".into(),
            alternative_name: "192.0.2.7".into(),
            ..with_client(&chain, &key)
        };
        let tls = BackendTls::parse(message).unwrap();
        assert_eq!(BackendTls::parse(tls.message()).unwrap(), tls);
        assert!(!format!("{tls:?}").contains("BEGIN"), "a key is never shown");
    }

    #[test]
    fn what_has_no_effect_or_does_not_fit_is_refused_by_its_path() {
        let (chain, key) = pem();
        let (_, other_key) = pem();
        let path = |message| BackendTls::parse(message).unwrap_err().violations()[0].path.clone();
        let insecure = wire::BackendTls { insecure_skip_verify: true, ..Default::default() };
        assert_eq!(path(wire::BackendTls { ca_bundle_pem: chain.clone(), ..insecure.clone() }), "insecure_skip_verify");
        assert_eq!(path(wire::BackendTls { alternative_name: "b.example".into(), ..insecure }), "alternative_name");
        assert_eq!(path(with_client(&chain, &other_key)), "client_certificate.private_key_pem");
        assert_eq!(path(with_client(&chain, "")), "client_certificate.private_key_pem");
        assert_eq!(path(with_client("", &key)), "client_certificate.chain_pem");
        assert_eq!(path(wire::BackendTls { ca_bundle_pem: "x".into(), ..Default::default() }), "ca_bundle_pem");
        assert_eq!(path(wire::BackendTls { server_name: "a b".into(), ..Default::default() }), "server_name");
    }
}
