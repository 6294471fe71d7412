//! What this edge keeps, sealed: there are private keys in it. AES-256-GCM, each record bound to its name.
//!
//! Form: nonce (12 bytes), record and its tag (16). Keys are for one file each, and far fewer records are written than a random
//! nonce of 12 bytes is good for (NIST SP 800-38D, section 8.3: 2^32).

use std::{fmt, io, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use switchyard_process::key_file::{self, KEY_BYTES, KEY_FILE_BYTES_MAX};
use zeroize::Zeroizing;

/// The file's name in the state directory.
const FILE_NAME: &str = "store-key";

/// The key that an edge's store is sealed under.
pub struct StoreKey(LessSafeKey);

impl StoreKey {
    /// Reads the key from a file that is given; else from the state directory, where one is made if there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or holds something else.
    pub fn load(given: Option<&Path>, state_dir: &Path) -> io::Result<Self> {
        match given {
            Some(path) => Self::read(path),
            None => {
                let path = state_dir.join(FILE_NAME);
                match Self::read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(&path),
                    read => read,
                }
            }
        }
    }

    fn read(path: &Path) -> io::Result<Self> {
        let text = key_file::read(path, KEY_FILE_BYTES_MAX)?;
        let key = key_file::parse(&text).ok_or_else(|| {
            let what = format!("{}: a key is 64 hexadecimal digits, as `openssl rand -hex 32` prints", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        Ok(Self::of(&*key))
    }

    fn create(path: &Path) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *key).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        key_file::create(path, &key)?;
        Ok(Self::of(&*key))
    }

    fn of(key: &[u8]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes")))
    }

    /// Seals the record of this name.
    pub(super) fn seal(&self, name: &str, record: &[u8]) -> io::Result<Vec<u8>> {
        let failed = |_| io::Error::other("the system gives no random bytes");
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(failed)?;
        let mut text = record.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name), &mut text)
            .map_err(failed)?;
        Ok([&nonce, text.as_slice()].concat())
    }

    /// Opens the record of this name; none if it was sealed under another key or name, or is damaged.
    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(name), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_record_opens_under_its_key_and_name_alone() {
        let directory = tempfile::tempdir().unwrap();
        let key = StoreKey::load(None, directory.path()).unwrap();
        let sealed = key.seal("domain/a.example", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let again = StoreKey::load(None, directory.path()).unwrap();
        assert_eq!(again.open("domain/a.example", &sealed).unwrap(), b"secret");
        assert_eq!(again.open("domain/b.example", &sealed), None);
        assert_eq!(again.open("domain/a.example", &sealed[..10]), None);
        let other = tempfile::tempdir().unwrap();
        assert_eq!(StoreKey::load(None, other.path()).unwrap().open("domain/a.example", &sealed), None);
    }

    #[test]
    fn the_key_is_for_its_owner_alone_or_given() {
        let directory = tempfile::tempdir().unwrap();
        StoreKey::load(None, directory.path()).unwrap();
        let path = directory.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let given = directory.path().join("given");
        assert_eq!(StoreKey::load(Some(&given), directory.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&given, "short").unwrap();
        let set = |mode| fs::set_permissions(&given, fs::Permissions::from_mode(mode)).unwrap();
        set(0o640);
        assert_eq!(StoreKey::load(Some(&given), directory.path()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        set(0o600);
        assert_eq!(StoreKey::load(Some(&given), directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(&given, "0f".repeat(32)).unwrap();
        assert!(StoreKey::load(Some(&given), directory.path()).is_ok());
    }
}
