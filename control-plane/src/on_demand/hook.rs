use std::{sync::Arc, time::Duration};

use reqwest::{Client, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore, crypto};
use switchyard_proto::vocab::HostPattern;

use crate::model::HookUrl;

/// How long a hook may take to answer.
const HOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// What a hook says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// It is to have a certificate.
    Approved,
    /// It is to have none.
    Refused,
    /// Nothing: why.
    Unreachable(String),
}

/// Asks hooks. Cheap to clone: clones share connections.
#[derive(Clone, Debug)]
pub struct Hooks {
    client: Client,
}

impl Hooks {
    /// Hooks are asked directly; those with `https` are trusted by the CAs of the system.
    ///
    /// # Errors
    ///
    /// They cannot be asked over TLS.
    pub fn new() -> Result<Self, HooksError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mut tls = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(HOOK_TIMEOUT)
            .build()?;
        Ok(Self { client })
    }

    /// Asks a hook for a name. Of the answer, only its status counts.
    pub async fn ask(&self, hook: &HookUrl, name: &HostPattern) -> Approval {
        match self.client.get(hook.asking_for(name)).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => Approval::Approved,
            Ok(answer) if answer.status().is_server_error() => {
                Approval::Unreachable(format!("the hook answers with status {}", answer.status().as_u16()))
            }
            Ok(_) => Approval::Refused,
            Err(error) => {
                // The URL may say more than is for everybody's eyes.
                let error = error.without_url();
                Approval::Unreachable(format!("the hook does not answer: {}", switchyard_process::chain(&error)))
            }
        }
    }
}

/// No hook can be asked.
#[derive(Debug, thiserror::Error)]
pub enum HooksError {
    /// The protocol versions and the cryptography do not fit together.
    #[error("the TLS configuration toward hooks: {0}")]
    Tls(#[from] rustls::Error),
    /// There is no HTTP client.
    #[error("the HTTP client toward hooks: {0}")]
    Client(#[from] reqwest::Error),
}
