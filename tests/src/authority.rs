//! A certificate authority of the tests.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Issues certificates under a root that nothing but a test trusts.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes a root with a key of its own.
    pub fn generate() -> Result<Self> {
        let mut params = CertificateParams::new([])?;
        params.distinguished_name.push(DnType::CommonName, "Root of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// The root's certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    /// The root's certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for the key of a request, and for whatever else it asks.
    pub fn sign(&self, request: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
        let request = CertificateSigningRequestParams::from_der(&request.into())?;
        Ok(vec![request.signed_by(&self.0)?.der().clone(), self.der().clone()])
    }

    /// Issues a certificate for a server or a client.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        self.issue_with(names, |_| {})
    }

    /// As [`Authority::issue`], with something else in it.
    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "A server of the tests");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Issued {
            chain_pem: certificate.pem() + &self.pem(),
            chain: vec![certificate.der().clone(), self.der().clone()],
            key_pem: key.serialize_pem(),
            key_pkcs8: key.serialize_der(),
        })
    }
}

/// A certificate and its key.
pub struct Issued {
    /// The certificate, then the root.
    pub chain_pem: String,
    /// The certificate, then the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key_pem: String,
    /// The private key.
    pub key_pkcs8: Vec<u8>,
}

impl Issued {
    /// What a server that shows this certificate begins with; with `clients`, only who has a certificate of that authority is
    /// let in.
    pub fn server_config(&self, clients: Option<&Authority>) -> Result<ServerConfig> {
        let builder = ServerConfig::builder();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der().clone())?;
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
            }
        };
        let mut config = builder.with_single_cert(self.chain.clone(), self.key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The private key as rustls takes it.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key_pkcs8.clone()).into()
    }
}
