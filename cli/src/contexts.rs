//! Control planes that were logged in to, in a file of the user's own.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{address::Address, failure::Failure};

/// The file below the user's configuration directory.
const FILE: &str = "switchyard/contexts.toml";
/// Bytes of that file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// All contexts, and the one that is used when none is named.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A control plane, and what lets in there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Where its API is.
    pub(crate) control_plane: String,
    /// The token.
    pub(crate) token: String,
    /// The certificates that its own is verified by, if those of the system are not: PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_pem: Option<String>,
}

impl Context {
    /// Where its API is.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        Address::parse(&self.control_plane).map_err(Failure::Usage)
    }
}

/// Without the token.
impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("control_plane", &self.control_plane).finish_non_exhaustive()
    }
}

impl Contexts {
    /// Reads the user's contexts: none if there is no file.
    pub(crate) fn load() -> Result<Self, Failure> {
        path().map_or_else(|| Ok(Self::default()), |path| Self::read(&path))
    }

    /// Changes the user's contexts.
    pub(crate) fn change(change: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let path = path().ok_or_else(|| {
            Failure::Usage("neither XDG_CONFIG_HOME nor HOME is set: there is no place to keep contexts".to_owned())
        })?;
        let mut contexts = Self::read(&path)?;
        change(&mut contexts)?;
        contexts.write(&path).map_err(|error| Failure::File { path, reason: error.to_string() })
    }

    /// The context of this name.
    pub(crate) fn named(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            Failure::Usage(format!("there is no context {name}: `switchyard context list` shows those there are"))
        })
    }

    /// A context for a control plane, if there is one.
    pub(crate) fn of(&self, address: &Address) -> Option<(&String, &Context)> {
        self.contexts.iter().find(|(_, context)| context.address().is_ok_and(|its| its == *address))
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let file = |reason: String| Failure::File { path: path.to_owned(), reason };
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                return Err(file(format!("more than {FILE_BYTES_MAX} bytes: it is not a file of this program")));
            }
            _ => {}
        }
        let text = fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
        // The parser's own text would repeat the line, and with it perhaps a token.
        toml::from_str(&text)
            .map_err(|error| file(format!("{}: fix it, or remove it and log in again", error.message())))
    }

    /// Writes the file whole, or not at all; only its owner may read it.
    fn write(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(toml::to_string_pretty(self).map_err(io::Error::other)?.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

/// <https://specifications.freedesktop.org/basedir-spec/latest/>
fn path() -> Option<PathBuf> {
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(directory.join(FILE))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn contexts_are_kept_for_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join("contexts.toml");
        assert_eq!(Contexts::read(&path).unwrap(), Contexts::default());
        let context =
            Context { control_plane: "https://a:7080".to_owned(), token: "sy_secret".to_owned(), ca_pem: None };
        let contexts = Contexts { current: Some("prod".to_owned()), contexts: [("prod".to_owned(), context)].into() };
        contexts.write(&path).unwrap();
        assert_eq!(Contexts::read(&path).unwrap(), contexts);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{contexts:?}").contains("sy_secret"));
        assert_eq!(contexts.of(&Address::parse("https://a:7080").unwrap()).unwrap().0, "prod");
        assert!(contexts.named("test").is_err());
    }

    #[test]
    fn a_damaged_file_is_told_of_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("contexts.toml");
        fs::write(&path, "[contexts.prod]\ntokn = \"sy_secret\"\n").unwrap();
        let error = Contexts::read(&path).unwrap_err().to_string();
        assert!(error.contains("tokn") && !error.contains("sy_secret"), "{error}");
    }
}
