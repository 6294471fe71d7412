//! Files with keys that people or other programs provide.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use zeroize::Zeroizing;

use crate::files::environment;

/// What only the owner of a file should be allowed: others need nothing.
const OTHERS: u32 = 0o077;

/// Reads a file with a key, of at most `bytes_max` bytes. What was read is overwritten once it is dropped.
///
/// Files that the service manager provides (systemd.exec(5), LoadCredential=) are in a directory of the service's own, whatever their
/// mode.
///
/// # Errors
///
/// It cannot be read, is longer, is not UTF-8, or others than its owner may read or write it.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<String>> {
    read_beside(path, bytes_max, environment("CREDENTIALS_DIRECTORY").as_deref().map(Path::new))
}

fn read_beside(path: &Path, bytes_max: u64, credentials: Option<&Path>) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    let is_credential = credentials.is_some_and(|directory| path.starts_with(directory));
    if metadata.is_file() && mode & OTHERS != 0 && !is_credential {
        let problem = "others than its owner may use this key";
        let error = format!("{problem} (mode {mode:04o}): run `chmod 600 {}`", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
    }
    if metadata.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {bytes_max} bytes")));
    }
    // Room for all of it, so that no part is left behind when it grows.
    let capacity = usize::try_from(bytes_max).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "secret").unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660, 0o601] {
            set(mode);
            let error = read(&path, 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            let expected = format!("(mode {mode:04o}): run `chmod 600 {}`", path.display());
            assert!(error.to_string().contains(&expected) && !error.to_string().contains("secret"), "{error}");
            let credential = read_beside(&path, 100, Some(directory.path())).unwrap();
            assert_eq!(*credential, "secret", "the service manager's");
        }
        for mode in [0o600, 0o400] {
            set(mode);
            assert_eq!(*read(&path, 6).unwrap(), "secret");
        }
        assert_eq!(read(&path, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&directory.path().join("none"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
