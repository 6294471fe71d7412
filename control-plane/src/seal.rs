//! Secrets at rest: AES-256-GCM, a fresh data key for each record, sealed under the master key.
//!
//! A sealed record is bound to its identity (`certificate/shop`): moved to another record, it does not open.
//!
//! Form: version (1 byte), nonce (12), data key (32) and its tag (16), nonce (12), secret and its tag (16).

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    rand,
};
use switchyard_process::key_file::{self, KEY_BYTES, KEY_FILE_BYTES_MAX};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Bytes that GCM adds.
const TAG_BYTES: usize = 16;
const VERSION: u8 = 1;
const DATA_KEY_END: usize = 1 + NONCE_LEN + KEY_BYTES + TAG_BYTES;
const SECRET_START: usize = DATA_KEY_END + NONCE_LEN;

/// The key that all others are sealed under.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

impl ZeroizeOnDrop for MasterKey {}

impl MasterKey {
    /// A new random key.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, InvalidMasterKey> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *key).map_err(|Unspecified| InvalidMasterKey::NoRandomness)?;
        Ok(Self(key))
    }

    /// Parses 64 hexadecimal digits; white space around them is ignored.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKey> {
        key_file::parse(text).map(Self).ok_or(InvalidMasterKey::Form)
    }

    /// Reads the key from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, others than its owner may, or it holds something else.
    pub fn load(path: &Path) -> Result<Self, MasterKeyError> {
        let text = key_file::read(path, KEY_FILE_BYTES_MAX)
            .map_err(|error| MasterKeyError::File { path: path.into(), error })?;
        Self::parse(&text).map_err(|error| MasterKeyError::Invalid { path: path.into(), error })
    }

    /// Reads the key from a file; if there is none, makes one that only its owner may read.
    ///
    /// # Errors
    ///
    /// As for [`MasterKey::load`], or the file cannot be written.
    pub fn load_or_create(path: &Path) -> Result<Self, MasterKeyError> {
        match Self::load(path) {
            Err(MasterKeyError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let key = Self::generate().map_err(|error| MasterKeyError::Invalid { path: path.into(), error })?;
        key_file::create(path, &key.0).map_err(|error| MasterKeyError::File { path: path.into(), error })?;
        Ok(key)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a text is no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMasterKey {
    /// Not 64 hexadecimal digits.
    #[error("a master key is 64 hexadecimal digits, as `openssl rand -hex 32` prints")]
    Form,
    /// The system has no randomness to give.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Why the master key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or written.
    #[error("master key file {}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("master key file {}: {error}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: InvalidMasterKey,
    },
}

/// Seals secrets under one master key, and opens what was sealed under that or one before.
pub struct Sealer {
    master: LessSafeKey,
    previous: Vec<LessSafeKey>,
}

impl Sealer {
    /// Seals under `master`.
    pub fn new(master: &MasterKey) -> Self {
        Self { master: key(&master.0), previous: Vec::new() }
    }

    /// Also opens what was sealed under these.
    #[must_use]
    pub fn with_previous(self, previous: &[MasterKey]) -> Self {
        Self { previous: previous.iter().map(|previous| key(&previous.0)).collect(), ..self }
    }

    /// Seals a secret of the record `identity`.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn seal(&self, identity: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let data_key = MasterKey::generate().map_err(|_| SealError)?;
        let mut sealed = Vec::with_capacity(SECRET_START + secret.len() + TAG_BYTES);
        sealed.push(VERSION);
        append(&self.master, identity, &*data_key.0, &mut sealed)?;
        append(&key(&data_key.0), identity, secret, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what was sealed for the record `identity`.
    ///
    /// # Errors
    ///
    /// It was sealed under another master key or for another record, or is damaged.
    pub fn open(&self, identity: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (data_key, secret) = parts(sealed)?;
        let masters = std::iter::once(&self.master).chain(&self.previous);
        let data_key = masters.map(|master| read(master, identity, data_key)).find_map(Result::ok).ok_or(OpenError)?;
        let data_key: Zeroizing<[u8; KEY_BYTES]> =
            Zeroizing::new(data_key.as_slice().try_into().map_err(|_| OpenError)?);
        // What is left is the secret itself: it is for the caller to keep.
        Ok(std::mem::take(&mut *read(&key(&data_key), identity, secret)?))
    }

    /// What was sealed under a key before, sealed under the master key; none if it is already. The secret itself is not touched.
    ///
    /// # Errors
    ///
    /// It does not open, or the system has no randomness to give.
    pub fn reseal(&self, identity: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, ResealError> {
        let (data_key, secret) = parts(sealed)?;
        if read(&self.master, identity, data_key).is_ok() {
            return Ok(None);
        }
        let opened = self.previous.iter().map(|master| read(master, identity, data_key)).find_map(Result::ok);
        let mut resealed = Vec::with_capacity(sealed.len());
        resealed.push(VERSION);
        append(&self.master, identity, &opened.ok_or(OpenError)?, &mut resealed)?;
        resealed.extend_from_slice(secret);
        Ok(Some(resealed))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// The sealed data key, and the secret that is sealed under it.
fn parts(sealed: &[u8]) -> Result<(&[u8], &[u8]), OpenError> {
    let (data_key, secret) = sealed.split_at_checked(DATA_KEY_END).ok_or(OpenError)?;
    let (version, data_key) = data_key.split_first().ok_or(OpenError)?;
    if *version == VERSION { Ok((data_key, secret)) } else { Err(OpenError) }
}

fn key(bytes: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("an AES-256 key has 32 bytes"))
}

fn append(key: &LessSafeKey, identity: &str, secret: &[u8], sealed: &mut Vec<u8>) -> Result<(), SealError> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|Unspecified| SealError)?;
    let mut text = secret.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(identity), &mut text)
        .map_err(|Unspecified| SealError)?;
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&text);
    Ok(())
}

fn read(key: &LessSafeKey, identity: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(OpenError)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|Unspecified| OpenError)?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = key.open_in_place(nonce, Aad::from(identity), &mut text).map_err(|Unspecified| OpenError)?.len();
    text.truncate(length);
    Ok(text)
}

/// A secret could not be sealed: the system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct SealError;

/// A secret does not open: sealed under another master key, for another record, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed secret does not open: it was sealed under another master key, or is damaged")]
pub struct OpenError;

/// Why a secret was not sealed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResealError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It does not seal.
    #[error(transparent)]
    Seal(#[from] SealError),
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_opens_only_under_its_key_and_for_its_record() {
        let sealer = Sealer::new(&MasterKey::generate().unwrap());
        let sealed = sealer.seal("certificate/a", b"secret").unwrap();
        assert_eq!(sealer.open("certificate/a", &sealed).unwrap(), b"secret");
        assert_eq!(sealer.open("certificate/b", &sealed), Err(OpenError));
        let other = Sealer::new(&MasterKey::generate().unwrap());
        assert_eq!(other.open("certificate/a", &sealed), Err(OpenError));
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn a_damaged_secret_does_not_open() {
        let sealer = Sealer::new(&MasterKey::generate().unwrap());
        let sealed = sealer.seal("a", b"secret").unwrap();
        for length in 0..sealed.len() {
            assert_eq!(sealer.open("a", &sealed[..length]), Err(OpenError));
        }
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert_eq!(sealer.open("a", &damaged), Err(OpenError), "byte {position}");
        }
    }

    #[test]
    fn a_master_key_is_made_once_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        assert!(matches!(MasterKey::load(&path), Err(MasterKeyError::File { .. })));
        let made = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(*MasterKey::load_or_create(&path).unwrap().0, *made.0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert!(matches!(MasterKey::load_or_create(&path), Err(MasterKeyError::Invalid { .. })));
    }

    #[test]
    fn a_master_key_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        MasterKey::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        for refused in [MasterKey::load(&path), MasterKey::load_or_create(&path)] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("mode 0640") && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn keys_are_overwritten_when_they_are_dropped() {
        fn is_zeroized<T: ZeroizeOnDrop>() {}
        is_zeroized::<MasterKey>();
        is_zeroized::<crate::model::Secret>();
        is_zeroized::<crate::model::TicketSecret>();
    }

    #[test]
    fn a_master_key_is_never_shown() {
        let key = MasterKey::parse(&"ab".repeat(32)).unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey(redacted)");
        assert!(MasterKey::parse("+b").is_err());
        assert!(MasterKey::parse(&"g".repeat(64)).is_err());
    }

    #[test]
    fn what_was_sealed_before_is_sealed_anew_and_then_no_more() {
        let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let before = Sealer::new(&old).seal("certificate/shop", b"secret").unwrap();
        let both = Sealer::new(&new).with_previous(std::slice::from_ref(&old));
        assert_eq!(both.open("certificate/shop", &before).unwrap(), b"secret");
        let after = both.reseal("certificate/shop", &before).unwrap().unwrap();
        assert_eq!(both.reseal("certificate/shop", &after), Ok(None));
        assert_eq!(Sealer::new(&new).open("certificate/shop", &after).unwrap(), b"secret");
        assert!(Sealer::new(&old).open("certificate/shop", &after).is_err());
        assert!(Sealer::new(&new).reseal("certificate/shop", &before).is_err(), "the old key is needed");
        assert!(both.reseal("certificate/other", &before).is_err());
    }
}
