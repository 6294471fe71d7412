//! Files and directories of a program: credentials of the service manager, where state is kept, and what only its owner may read.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Looks up a variable of the process.
pub fn environment(variable: &str) -> Option<OsString> {
    std::env::var_os(variable)
}

/// The file of a credential that the service manager provides, if it does (systemd.exec(5), LoadCredential=).
pub fn credential(environment: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(environment("CREDENTIALS_DIRECTORY")?).join(name);
    path.exists().then_some(path)
}

/// Where a program keeps its state unless a setting says so: below `/var/lib` as root, else below the user's state directory
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>); `None` if there is neither.
pub fn state_dir(environment: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    // The files of a process below /proc belong to its effective user.
    if fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0) {
        return Some(Path::new("/var/lib").join(name));
    }
    user_state_dir(environment, name)
}

/// Where the program of this name keeps its state when it is run by this user, who is not root.
pub fn user_state_dir(environment: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    let absolute = |variable| environment(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join(name))
}

/// Reads a text file of at most `bytes_max` bytes.
///
/// # Errors
///
/// It cannot be read, is longer, or is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(text)
}

/// Creates a directory that only its owner may enter, if it is not there.
///
/// # Errors
///
/// It cannot be created.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only its owner may read: durably, and whole or not at all.
///
/// # Errors
///
/// It cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    sync_parent(path)
}

/// Writes a file that only its owner may read, if there is none of this name: durably.
///
/// # Errors
///
/// There is one, or it cannot be written.
pub fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    sync_parent(path)
}

/// The name of a new file is durable only with its directory.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn private_files_are_readable_by_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let inner = directory.path().join("a/b");
        create_private_dir(&inner).unwrap();
        assert_eq!(mode(&inner), 0o700);
        let file = inner.join("token");
        for content in ["one", "two"] {
            write_private(&file, content.as_bytes()).unwrap();
            assert_eq!((mode(&file), read_text(&file, 3).unwrap().as_str()), (0o600, content));
        }
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
        assert_eq!(create_private(&file, b"three").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(read_text(&file, 2).is_err());
    }

    #[test]
    fn credentials_are_found_only_where_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let environment = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| directory.path().into());
        assert_eq!(credential(environment, "key"), None);
        fs::write(directory.path().join("key"), "x").unwrap();
        assert_eq!(credential(environment, "key"), Some(directory.path().join("key")));
        assert_eq!(credential(|_| None, "key"), None);
    }

    #[test]
    fn state_of_a_user_is_below_the_state_directory() {
        let state = |variable: &'static str, value: &'static str| {
            user_state_dir(move |name| (name == variable).then(|| value.into()), "switchyard")
        };
        assert_eq!(state("XDG_STATE_HOME", "/s"), Some("/s/switchyard".into()));
        assert_eq!(state("HOME", "/h"), Some("/h/.local/state/switchyard".into()));
        assert_eq!(state("HOME", "relative"), None);
    }
}
