//! The identity as it is in its file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The file's name in the state directory.
const FILE_NAME: &str = "identity.json";
/// Bytes of the file with an edge's identity.
const FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) edge: String,
    pub(super) ca_sha256: String,
    pub(super) private_key_pem: String,
    /// Empty until the fleet has accepted this edge.
    pub(super) chain_pem: String,
    /// Milliseconds since 1970.
    pub(super) renew_at_ms: u64,
}

pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE_NAME)
}

/// What is in a file; none if there is no file.
pub(super) fn read(path: &Path) -> io::Result<Option<Stored>> {
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(io::ErrorKind::FileTooLarge.into()),
        _ => Zeroizing::new(fs::read_to_string(path)?),
    };
    // Its own text would repeat what is there, and with it perhaps the key.
    let damaged = |error: serde_json::Error| {
        let place = format!("{}, line {}: not an identity", path.display(), error.line());
        io::Error::new(io::ErrorKind::InvalidData, format!("{place}; remove it, and let this edge join anew"))
    };
    serde_json::from_str(&text).map(Some).map_err(damaged)
}

/// Writes the file whole, or not at all; only its owner may read it.
pub(super) fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(Zeroizing::new(serde_json::to_string_pretty(stored)?).as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)?;
    // The token is used up when it is sent: the key must be there after a crash.
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

pub(super) fn chain(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()
}

pub(super) fn chain_pem(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec()))).collect()
}
