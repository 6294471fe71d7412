//! Files with keys that people or other programs provide.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
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

/// Bytes of a key of AES-256.
pub const KEY_BYTES: usize = 32;
/// Bytes of a file with such a key: 64 hexadecimal digits and some white space.
pub const KEY_FILE_BYTES_MAX: u64 = 128;

/// Parses a key of 64 hexadecimal digits, as `openssl rand -hex 32` prints; white space around them is ignored.
pub fn parse(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let text = text.trim();
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

/// Writes a key into a new file that only its owner may read. It is durable afterwards: things may be sealed under it.
///
/// # Errors
///
/// The file is there already, or cannot be written.
pub fn create(path: &Path, key: &[u8; KEY_BYTES]) -> io::Result<()> {
    // Room for all of it, so that no part is left behind when it grows.
    let mut line = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
    for byte in key {
        for digit in [byte >> 4, byte & 0xf] {
            line.push(char::from_digit(digit.into(), 16).expect("four bits are a digit"));
        }
    }
    line.push('\n');
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
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

    #[test]
    fn a_key_is_read_as_it_was_created_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = std::array::from_fn(|place| u8::try_from(place * 7).unwrap());
        create(&path, &key).unwrap();
        assert_eq!(*parse(&read(&path, KEY_FILE_BYTES_MAX).unwrap()).unwrap(), key);
        assert_eq!(create(&path, &key).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let digits = "0f".repeat(KEY_BYTES);
        assert_eq!(*parse(&format!(" {}\n", digits.to_uppercase())).unwrap(), [0x0f; KEY_BYTES]);
        for wrong in ["", "0f", &digits[1..], &format!("{digits}0"), &digits.replace('f', "g"), &"é".repeat(KEY_BYTES)]
        {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
