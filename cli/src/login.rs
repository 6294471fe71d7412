//! Which control plane a command speaks to, and what it shows there.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{
    client::Address,
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
    pub(crate) control_plane: Option<Address>,
    /// A context.
    pub(crate) context: Option<String>,
    /// A file with a token.
    pub(crate) token_file: Option<PathBuf>,
}

/// Where to connect to, and what to show.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) address: Address,
    pub(crate) token: Option<Token>,
    pub(crate) ca_pem: Option<String>,
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
    /// Finds out what is meant: what is named first of all; then the context for that control plane; then, for one of this
    /// machine, the file that it keeps its first token in.
    pub(crate) fn find(wish: Wish) -> Result<Self, Failure> {
        let contexts = Contexts::load()?;
        let Wish { control_plane, context, token_file } = wish;
        let context = match (&control_plane, context.or_else(|| contexts.current.clone())) {
            (Some(address), _) => contexts.of(address),
            (None, Some(name)) => {
                let context = contexts.named(&name)?;
                contexts.contexts.get_key_value(&name).filter(|(_, its)| *its == context)
            }
            (None, None) => contexts.of(&Address::local()),
        };
        let address = match (control_plane, context) {
            (Some(address), _) => address,
            (None, Some((_, context))) => context.address()?,
            (None, None) => Address::local(),
        };
        let ca_pem = context.and_then(|(_, context)| context.ca_pem.clone());
        let token = match given(token_file)? {
            Some(token) => Some(token),
            None => match context {
                Some((name, Context { token, .. })) => {
                    Some(Token { secret: token.clone(), found: format!("the context {name}") })
                }
                None if address.is_loopback() => first_token(),
                None => None,
            },
        };
        Ok(Self { address, token, ca_pem })
    }
}

/// The token that is named: by a file, or else by the environment.
pub(crate) fn given(file: Option<PathBuf>) -> Result<Option<Token>, Failure> {
    match file {
        Some(path) => read(&path).map(Some).map_err(|reason| Failure::File { path, reason }),
        None => Ok(env::var(TOKEN_VARIABLE)
            .ok()
            .map(|secret| Token { secret: secret.trim().to_owned(), found: TOKEN_VARIABLE.to_owned() })),
    }
}

/// The first token of a control plane of this machine, if this user may read it.
fn first_token() -> Option<Token> {
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let directories =
        [absolute("SWITCHYARD_DATA_DIR"), Some("/var/lib/switchyard".into()), state.map(|it| it.join("switchyard"))];
    directories.into_iter().flatten().find_map(|directory| read(&directory.join(FIRST_TOKEN_FILE)).ok())
}

fn read(path: &Path) -> Result<Token, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > TOKEN_FILE_BYTES_MAX {
        return Err("it is too long for a token".to_owned());
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(Token { secret: text.trim().to_owned(), found: path.display().to_string() })
}
