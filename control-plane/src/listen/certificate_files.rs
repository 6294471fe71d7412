use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use switchyard_process::{chain, files, key_file};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zeroize::Zeroizing;

/// Bytes of a file with a chain or a key.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// How often the files are read again.
const READ_INTERVAL: Duration = Duration::from_secs(60);

/// A certificate in files that somebody else takes care of; replaced when they are.
pub struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<Read>,
}

/// What was read.
struct Read {
    /// The texts of both files.
    chain: String,
    key_pem: Zeroizing<String>,
    key: Arc<CertifiedKey>,
}

impl CertificateFiles {
    /// Reads a chain and its key: PEM.
    ///
    /// # Errors
    ///
    /// A file cannot be read, others than its owner may read the key, or they do not fit together.
    pub fn read(chain: PathBuf, key: PathBuf) -> Result<Self, CertificateFilesError> {
        let current = Read::files(&chain, &key)?;
        Ok(Self { chain, key, current: ArcSwap::from_pointee(current) })
    }

    /// The TLS settings of a listener with this certificate.
    ///
    /// # Errors
    ///
    /// The provider of cryptography lacks TLS 1.2 and 1.3.
    pub fn server_config(self: Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self);
        // HTTP/1.1 for who asks for metrics.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Reads the files again by a timer and whenever `reloads` changes, until `ending` is cancelled. What cannot be used is
    /// logged, and the old one stays.
    pub async fn follow(self: Arc<Self>, mut reloads: watch::Receiver<()>, ending: CancellationToken) {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(READ_INTERVAL) => {}
                // The sender lives as long as the program.
                Ok(()) = reloads.changed() => {}
            }
            match Read::files(&self.chain, &self.key) {
                Ok(read) if read.is_text_of(&self.current.load()) => {}
                Ok(read) => {
                    self.current.store(Arc::new(read));
                    info!(file = %self.chain.display(), "the certificate of the API was replaced");
                }
                Err(error) => warn!(error = chain(&error), "the certificate of the API stays as it was"),
            }
        }
    }
}

impl Read {
    fn is_text_of(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key_pem == other.key_pem
    }

    fn files(chain: &PathBuf, key: &PathBuf) -> Result<Self, CertificateFilesError> {
        let unreadable = |path: &PathBuf| {
            let path = path.clone();
            move |error| CertificateFilesError::Unreadable { path, error }
        };
        let chain_text = files::read_text(chain, FILE_BYTES_MAX).map_err(unreadable(chain))?;
        let key_text = key_file::read(key, FILE_BYTES_MAX).map_err(unreadable(key))?;
        let invalid = |path: &PathBuf| CertificateFilesError::Invalid { path: path.clone() };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| invalid(chain))?;
        if certificates.is_empty() {
            return Err(invalid(chain));
        }
        let private_key = PrivateKeyDer::from_pem_slice(key_text.as_bytes()).map_err(|_| invalid(key))?;
        let certified = CertifiedKey::from_der(certificates, private_key, &aws_lc_rs::default_provider())?;
        Ok(Self { chain: chain_text, key_pem: key_text, key: Arc::new(certified) })
    }
}

impl ResolvesServerCert for CertificateFiles {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().key.clone())
    }
}

impl fmt::Debug for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateFiles").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Why there is no certificate in some files.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFilesError {
    /// One cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// One does not hold what it should.
    #[error("{}: PEM is required: a certificate chain in one file, its private key in the other", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
    },
    /// They do not fit together.
    #[error("the certificate and the key of the API: {0}")]
    Tls(#[from] rustls::Error),
}
