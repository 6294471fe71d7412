//! Who this edge is: its id, and what it joins the fleet with.
//!
//! What always holds: the secret is never shown, and is sent only to a control plane that proved itself by the fingerprint
//! in the token.

mod token;
mod verifier;

use std::{fs, io, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use switchyard_proto::vocab::{EdgeId, limits::ID_BYTES_MAX};

pub use token::{Fingerprint, InvalidJoinToken, JoinToken};
pub use verifier::client_config;

/// The file's name in the state directory.
const ID_FILE_NAME: &str = "edge-id";
/// Where the kernel tells the machine's name.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

/// The edge's id: the one given, else the one it had before, else the machine's name. It is remembered.
///
/// # Errors
///
/// The state directory cannot be read or written, or no id can be made of the machine's name.
pub fn edge_id(given: Option<EdgeId>, state_dir: &Path) -> io::Result<EdgeId> {
    let path = state_dir.join(ID_FILE_NAME);
    let remembered = match fs::read_to_string(&path) {
        Ok(text) => Some(EdgeId::parse(text.trim()).map_err(|error| invalid(format!("{}: {error}", path.display())))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let id = match given.or_else(|| remembered.clone()) {
        Some(id) => id,
        None => from_host_name(&fs::read_to_string(HOSTNAME_FILE)?)
            .ok_or_else(|| invalid("no id can be made of the machine's name: give one with --name".into()))?,
    };
    if remembered.as_ref() != Some(&id) {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&path)?;
        writeln!(file, "{id}")?;
        file.sync_all()?;
    }
    Ok(id)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// An id like a machine's name: in lower case, with hyphens for what an id does not have.
fn from_host_name(name: &str) -> Option<EdgeId> {
    let clean: String = name
        .trim()
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .take(ID_BYTES_MAX)
        .collect();
    EdgeId::parse(clean.trim_matches(['-', '.'])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_remembered_until_another_is_given() {
        let directory = tempfile::tempdir().unwrap();
        let given = EdgeId::parse("edge-1").unwrap();
        assert_eq!(edge_id(Some(given.clone()), directory.path()).unwrap(), given);
        assert_eq!(edge_id(None, directory.path()).unwrap(), given);
        let other = EdgeId::parse("edge-2").unwrap();
        assert_eq!(edge_id(Some(other.clone()), directory.path()).unwrap(), other);
        fs::write(directory.path().join(ID_FILE_NAME), "not an id").unwrap();
        assert!(edge_id(None, directory.path()).is_err());
    }

    #[test]
    fn a_machines_name_becomes_an_id() {
        assert_eq!(from_host_name("Edge_1.Example.\n").unwrap().as_str(), "edge-1.example");
        assert_eq!(from_host_name("(none)").unwrap().as_str(), "none");
        assert!(from_host_name("---").is_none());
    }
}
