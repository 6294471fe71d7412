use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use rustls::{
    RootCertStore, ServerConfig, crypto,
    pki_types::CertificateDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use switchyard_proto::{
    resource::{self, ClientCertificateMode},
    vocab::HostPattern,
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// How clients prove themselves to a domain.
pub struct ClientAuthentication {
    identity: [u8; 32],
    mode: ClientCertificateMode,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Made for the first connection.
    config: OnceLock<Arc<ServerConfig>>,
}

impl ClientAuthentication {
    /// For the domain of this host pattern.
    pub fn new(
        host: &HostPattern,
        settings: &resource::ClientAuthentication,
    ) -> Result<Self, InvalidClientAuthentication> {
        let resource::ClientAuthentication { authorities, mode } = settings;
        let mode = *mode;
        let mut roots = RootCertStore::empty();
        let mut identity = Context::new(&SHA256);
        identity.update(host.as_str().as_bytes());
        // No part of a host, nor the beginning of a certificate.
        identity.update(&[0, u8::from(mode == ClientCertificateMode::Required)]);
        for der in authorities.certificates() {
            identity.update(&(der.len() as u64).to_le_bytes());
            identity.update(der);
            let added = roots.add(CertificateDer::from(der.as_slice()));
            added.map_err(|_| InvalidClientAuthentication::Authority)?;
        }
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if mode == ClientCertificateMode::Optional {
            verifier = verifier.allow_unauthenticated();
        }
        Ok(Self {
            identity: identity.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes"),
            mode,
            verifier: verifier.build().map_err(|_| InvalidClientAuthentication::Authority)?,
            config: OnceLock::new(),
        })
    }

    /// Whether clients must have a certificate.
    pub fn mode(&self) -> ClientCertificateMode {
        self.mode
    }

    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }

    pub(crate) fn config(&self) -> &OnceLock<Arc<ServerConfig>> {
        &self.config
    }

    /// What becomes of a connection that was opened for `server_name` under this, with the certificate that was verified.
    pub(crate) fn authenticated(&self, server_name: &str, certificate: Option<&[u8]>) -> Authenticated {
        Authenticated {
            identity: self.identity,
            server_name: server_name.into(),
            certificate: certificate.map(VerifiedCertificate::of),
        }
    }

    /// Whether a request for `host` may use a connection: it was opened for this very host, under what holds now.
    pub(crate) fn admits(&self, connection: &Authenticated, host: &str) -> bool {
        connection.identity == self.identity && *connection.server_name == *host
    }
}

impl PartialEq for ClientAuthentication {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for ClientAuthentication {}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthentication").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// A connection to a domain that asked for a client certificate.
#[derive(Debug)]
pub struct Authenticated {
    identity: [u8; 32],
    server_name: Box<str>,
    certificate: Option<VerifiedCertificate>,
}

impl Authenticated {
    /// The client's certificate, if it has one.
    pub(crate) fn certificate(&self) -> Option<&VerifiedCertificate> {
        self.certificate.as_ref()
    }
}

/// A client certificate that was verified, as backends are told of it: written once for all requests of a connection.
#[derive(Debug)]
pub(crate) struct VerifiedCertificate {
    /// The value of `Client-Cert`: RFC 9440, section 2.2.
    pub(crate) client_cert: HeaderValue,
    /// The value of `X-Forwarded-Client-Cert`, of which Envoy's documentation has the form.
    pub(crate) forwarded: HeaderValue,
}

impl VerifiedCertificate {
    fn of(der: &[u8]) -> Self {
        let client_cert = format!(":{}:", STANDARD.encode(der));
        let hash: String = digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forwarded = format!("Hash={hash}");
        if let Ok((_, certificate)) = X509Certificate::from_der(der) {
            let mut pair = |key: &str, value: &str| forwarded.push_str(&format!(";{key}=\"{}\"", escaped(value)));
            pair("Subject", &certificate.subject().to_string());
            let names = certificate.subject_alternative_name().ok().flatten();
            for name in names.iter().flat_map(|names| &names.value.general_names) {
                match name {
                    GeneralName::URI(uri) => pair("URI", uri),
                    GeneralName::DNSName(name) => pair("DNS", name),
                    _ => {}
                }
            }
        }
        let value = |text: String| HeaderValue::try_from(text).expect("visible ASCII is a header's value");
        Self { client_cert: value(client_cert), forwarded: value(forwarded) }
    }
}

/// Text that ends neither the quotes it is in nor the header; what is not visible ASCII is a question mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            ' '..='~' => escaped.push(c),
            _ => escaped.push('?'),
        }
    }
    escaped
}

/// Why clients cannot prove themselves so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientAuthentication {
    /// A CA that is none, or no CA at all.
    #[error("a certificate of the authorities cannot be read as that of a CA")]
    Authority,
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(subject: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["pump.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.subject_alt_names.push(SanType::URI("spiffe://example/pump".try_into().unwrap()));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn backends_are_told_the_certificate_and_who_it_is_for() {
        let der = certificate("Pump");
        let verified = VerifiedCertificate::of(&der);
        let text = verified.client_cert.to_str().unwrap();
        let encoded = text.strip_prefix(':').and_then(|text| text.strip_suffix(':')).unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), der);
        let text = verified.forwarded.to_str().unwrap();
        assert!(text.starts_with("Hash="), "{text}");
        assert!(text.ends_with(";URI=\"spiffe://example/pump\""), "{text}");
        assert!(text.contains("CN=Pump\"") && text.contains(";DNS=\"pump.example\""), "{text}");
    }

    #[test]
    fn no_name_of_a_certificate_can_say_more_than_itself() {
        let verified = VerifiedCertificate::of(&certificate("x\";Subject=\"CN=admin\\\r\nX-Admin: 1 ü"));
        let text = verified.forwarded.to_str().unwrap();
        assert!(!text.contains(";Subject=\"CN=admin"), "{text}");
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    }

    #[test]
    fn a_connection_is_for_one_host_and_for_what_held_when_it_was_opened() {
        let (host, other) = (HostPattern::parse("*.shop.example").unwrap(), HostPattern::parse("b.example").unwrap());
        let (one, two) = (certificate("one"), certificate("two"));
        let with = |host, mode, der: &Vec<u8>| {
            let authorities = resource::CaBundle::of_der(vec![der.clone()]).unwrap();
            ClientAuthentication::new(host, &resource::ClientAuthentication { authorities, mode }).unwrap()
        };
        let domain = with(&host, ClientCertificateMode::Required, &one);
        let connection = domain.authenticated("a.shop.example", Some(&one));
        assert!(with(&host, ClientCertificateMode::Required, &one).admits(&connection, "a.shop.example"));
        assert!(!domain.admits(&connection, "b.shop.example"));
        assert!(!with(&host, ClientCertificateMode::Required, &two).admits(&connection, "a.shop.example"));
        assert!(!with(&host, ClientCertificateMode::Optional, &one).admits(&connection, "a.shop.example"));
        assert!(!with(&other, ClientCertificateMode::Required, &one).admits(&connection, "a.shop.example"));
    }
}
