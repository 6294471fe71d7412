use std::{
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use serde_json::json;
use switchyard_process::Origin;
use switchyard_proto::v1::{GetCurrentTokenRequest, Token};

use crate::{
    address::Address,
    client::Client,
    contexts::{Context, Contexts},
    failure::Failure,
    login::{self, Login},
    names,
    output::{Output, columns, word},
    wait::Outcome,
};

/// Bytes of a token that is typed or piped in.
const TOKEN_BYTES_MAX: u64 = 4_096;

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Where the control plane's API is: https://HOST:PORT
    #[arg(value_name = "URL", value_parser = Address::parse)]
    address: Address,
    /// What the context is called [default: the host]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The CA that the control plane's certificate is verified by: a PEM file [default: those of this system]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the control planes that were logged in to
    #[command(after_help = "Example:\n  switchyard context list")]
    List,
    /// Use a context from now on
    #[command(after_help = "Example:\n  switchyard context use control-plane.example")]
    Use {
        /// The name of the context
        name: String,
    },
    /// Delete a context with its token
    #[command(after_help = "Example:\n  switchyard context delete control-plane.example")]
    Delete {
        /// The name of the context
        name: String,
    },
}

/// Tries a token, and keeps it. It comes from `token_file`, the environment, a prompt or the standard input.
pub(super) async fn login(
    output: &Output,
    args: LoginArgs,
    token_file: Option<(PathBuf, Origin)>,
) -> Result<Outcome, Failure> {
    let LoginArgs { address, name, ca_file } = args;
    let token = match login::given(token_file)? {
        Some(token) => token,
        None => login::Token { secret: ask()?, found: "the standard input".to_owned() },
    };
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(|error| Failure::File { path, reason: error.to_string() })
    };
    let ca_pem = ca_file.map(read).transpose()?;
    let context = Context { control_plane: address.to_string(), token: token.secret.clone(), ca_pem: ca_pem.clone() };
    let name = name.unwrap_or_else(|| address.host().to_owned());
    let client = Client::connect(&Login::new(address.clone(), Some(token), ca_pem)).await?;
    let current: Token = client.tokens().get_current_token(GetCurrentTokenRequest {}).await?.into_inner();
    Contexts::change(|contexts| {
        contexts.contexts.insert(name.clone(), context);
        contexts.current = Some(name.clone());
        Ok(())
    })?;
    if !output.is_for_people() {
        output.document(&current)?;
    } else {
        let role = word(current.role().as_str_name(), "ROLE_");
        let who = names::id(&current.name);
        output.text(&format!("logged in to {address} as {who} ({role}); the context {name} is used from now on"))?;
    }
    Ok(Outcome::Done)
}

fn ask() -> Result<String, Failure> {
    let unreadable = |error: io::Error| Failure::Usage(format!("the token cannot be read: {error}"));
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password("Token: ").map_err(unreadable)?
    } else {
        let mut text = String::new();
        io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        text
    };
    match text.trim() {
        "" => Err(Failure::Usage("a token is needed: give it with --token-file, or type it".to_owned())),
        token => Ok(token.to_owned()),
    }
}

pub(super) fn run(output: &Output, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List => list(output)?,
        Command::Use { name } => {
            Contexts::change(|contexts| {
                contexts.named(&name)?;
                contexts.current = Some(name.clone());
                Ok(())
            })?;
            output.text(&format!("the context {name} is used from now on"))?;
        }
        Command::Delete { name } => {
            Contexts::change(|contexts| forget(contexts, &name))?;
            output.text(&format!("the context {name} is forgotten; its token is still good until it is revoked"))?;
        }
    }
    Ok(Outcome::Done)
}

/// Takes a context away.
pub(crate) fn forget(contexts: &mut Contexts, name: &str) -> Result<(), Failure> {
    contexts.named(name)?;
    contexts.contexts.remove(name);
    contexts.current.take_if(|current| current == name);
    Ok(())
}

fn list(output: &Output) -> Result<(), Failure> {
    let Contexts { current, contexts } = Contexts::load()?;
    let is_current = |name: &String| current.as_ref() == Some(name);
    if !output.is_for_people() {
        let contexts: Vec<_> = contexts
            .iter()
            .map(|(name, its)| json!({"name": name, "controlPlane": its.control_plane, "current": is_current(name)}))
            .collect();
        return output.document(&json!({ "contexts": contexts }));
    }
    let rows = contexts.iter().map(|(name, its)| {
        let mark = if is_current(name) { "*" } else { "" };
        vec![mark.to_owned(), name.clone(), its.control_plane.clone()]
    });
    if contexts.is_empty() {
        return output.text("none: `switchyard login URL` makes one");
    }
    output.text(&columns(Some(&["", "NAME", "CONTROL PLANE"]), rows.collect()))
}
