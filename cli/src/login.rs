//! Which control plane a command speaks to, and what it shows there.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use switchyard_process::{Origin, files};

use crate::{
    address::Address,
    contexts::{Context, Contexts},
    failure::Failure,
};

/// The environment variable that holds a token. Not a flag: flags are there for everybody to see.
const TOKEN_VARIABLE: &str = "SWITCHYARD_TOKEN";
/// Where a control plane of this machine keeps its first token, if it was not told otherwise.
const FIRST_TOKEN_FILE: &str = "admin-token";
/// Bytes of a file that holds a token.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;

/// What the command line says of it.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// A control plane.
    pub(crate) control_plane: Option<(Address, Origin)>,
    /// A context.
    pub(crate) context: Option<String>,
    /// A file with a token.
    pub(crate) token_file: Option<(PathBuf, Origin)>,
    /// The data directory of a control plane on this machine.
    pub(crate) data_dir: Option<(PathBuf, Origin)>,
}

/// Where to connect to, and what to show.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) address: Address,
    /// What the address comes from.
    pub(crate) address_origin: String,
    pub(crate) token: Option<Token>,
    pub(crate) ca_pem: Option<String>,
    /// Where a token was looked for in vain: file, reason.
    missed: Vec<(PathBuf, String)>,
}

/// A token, and where it was found.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) secret: String,
    pub(crate) found: String,
}

/// Without the secret.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Login {
    /// With what was given.
    pub(crate) fn new(address: Address, token: Option<Token>, ca_pem: Option<String>) -> Self {
        Self { address, address_origin: "given".to_owned(), token, ca_pem, missed: Vec::new() }
    }

    /// Finds out what is meant: what is named first of all; then the context for that control plane; then, for one of this
    /// machine, the file that it keeps its first token in.
    pub(crate) fn find(wish: Wish) -> Result<Self, Failure> {
        let contexts = Contexts::load()?;
        let Wish { control_plane, context, token_file, data_dir } = wish;
        let context = match (&control_plane, context.or_else(|| contexts.current.clone())) {
            (Some((address, _)), _) => contexts.of(address),
            (None, Some(name)) => {
                let context = contexts.named(&name)?;
                contexts.contexts.get_key_value(&name).filter(|(_, its)| *its == context)
            }
            (None, None) => contexts.of(&Address::local()),
        };
        let (address, address_origin) = match (control_plane, context) {
            (Some((address, origin)), _) => (address, origin.to_string()),
            (None, Some((name, context))) => (context.address()?, format!("the context {name}")),
            (None, None) => (Address::local(), "the default".to_owned()),
        };
        let ca_pem = context.and_then(|(_, context)| context.ca_pem.clone());
        let mut missed = Vec::new();
        let token = match (given(token_file)?, data_dir, context) {
            (Some(token), _, _) => Some(token),
            (None, Some((directory, origin)), _) => Some(of_data_dir(&directory, &origin)?),
            (None, None, Some((name, Context { token, .. }))) => {
                Some(Token { secret: token.clone(), found: format!("the context {name}") })
            }
            (None, None, None) if address.is_loopback() => first_token(&mut missed),
            (None, None, None) => None,
        };
        Ok(Self { address, address_origin, token, ca_pem, missed })
    }

    /// What to do when the control plane does not accept the token, or asks for one.
    pub(crate) fn advice(&self) -> String {
        let Self { address, token, missed, .. } = self;
        match token {
            Some(Token { found, .. }) => format!(
                "the token of {found} is not one of the control plane at {address}, or was revoked or expired: name another \
                 with --token-file, or log in with `switchyard login {address}`"
            ),
            None if missed.is_empty() => {
                format!("log in with `switchyard login {address}`, or name a file with a token with --token-file")
            }
            None => {
                let missed: Vec<_> = missed.iter().map(|(path, why)| format!("{} ({why})", path.display())).collect();
                format!(
                    "there is no token in {}: name the control plane's data directory with --control-plane-data-dir, run this \
                     as the user that it runs as, or log in with `switchyard login {address}`",
                    missed.join(", ")
                )
            }
        }
    }
}

/// The token that is named: by a file, or else by the environment.
pub(crate) fn given(file: Option<(PathBuf, Origin)>) -> Result<Option<Token>, Failure> {
    match file {
        Some((path, origin)) => {
            let unreadable = |error| Failure::File { path: path.clone(), reason: format!("{error} ({origin})") };
            read(&path).map(Some).map_err(unreadable)
        }
        None => Ok(env::var(TOKEN_VARIABLE)
            .ok()
            .map(|secret| Token { secret: secret.trim().to_owned(), found: TOKEN_VARIABLE.to_owned() })),
    }
}

/// The token in a file.
pub(crate) fn in_file(path: &Path) -> Result<Token, Failure> {
    read(path).map_err(|error| Failure::File { path: path.to_owned(), reason: error.to_string() })
}

/// The first token of the control plane with this data directory.
fn of_data_dir(directory: &Path, origin: &Origin) -> Result<Token, Failure> {
    let path = directory.join(FIRST_TOKEN_FILE);
    read(&path).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "; is it the data directory of a control plane?",
            io::ErrorKind::PermissionDenied => "; run this as the user that the control plane runs as",
            _ => "",
        };
        Failure::File { path, reason: format!("{error} ({origin}){what}") }
    })
}

/// The first token of a control plane of this machine, if this user may read it. Where there is none is added to `missed`.
fn first_token(missed: &mut Vec<(PathBuf, String)>) -> Option<Token> {
    let of_user = files::user_state_dir(files::environment, "switchyard");
    [Some(PathBuf::from("/var/lib/switchyard")), of_user].into_iter().flatten().find_map(|directory| {
        let path = directory.join(FIRST_TOKEN_FILE);
        read(&path).map_err(|error| missed.push((path, error.to_string()))).ok()
    })
}

fn read(path: &Path) -> io::Result<Token> {
    let text = files::read_text(path, TOKEN_FILE_BYTES_MAX)?;
    Ok(Token { secret: text.trim().to_owned(), found: path.display().to_string() })
}
