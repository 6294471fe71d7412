//! What a shell is told when it completes a command: also the names of resources, which the control plane is asked for.
//!
//! The engine is clap_complete's: the script that a shell loads runs this program again for each completion.

use std::{collections::BTreeSet, env, ffi::OsStr, time::Duration};

use clap::{Arg, ArgMatches, Command};
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCompleter, CompletionCandidate},
};
use switchyard_process::Origin;

use crate::{
    client::Client,
    contexts::Contexts,
    failure::Failure,
    login::{Login, Wish},
    names,
};

/// The variable by which the script asks for completions.
pub(crate) const VARIABLE: &str = "SWITCHYARD_COMPLETE";
/// How long a shell is kept waiting for names.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Names that a shell is given; with more, one goes on typing.
const NAMES_MAX: usize = 200;

/// Makes the whole command.
type Whole = fn() -> Command;

/// What is completed with the names of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Domains,
    Services,
    Backends,
    Certificates,
    Issuers,
    DnsProviders,
    Edges,
    Invites,
    Tokens,
    Unreadable,
    /// The tags of backends.
    Tags,
    /// Of the control planes that were logged in to.
    Contexts,
}

/// Answers a shell that asks for completions. Returns whether one did.
pub(crate) fn answer(command: Whole) -> Result<bool, clap::Error> {
    let current_dir = env::current_dir().ok();
    CompleteEnv::with_factory(command).var(VARIABLE).try_complete(env::args_os(), current_dir.as_deref())
}

/// A command whose arguments are completed with the names of what they are about; `whole` is what it belongs to.
pub(crate) fn with_names(command: Command, whole: Whole) -> Command {
    // What is created has a name that is not there yet.
    let is_new = matches!(command.get_name(), "create" | "upload" | "login");
    let is_context = command.get_name() == "context";
    let named = move |argument: Arg| match Names::of(&argument).filter(|_| !is_new || argument.get_long().is_some()) {
        Some(names) => argument.add(completer(names, whole)),
        None => argument,
    };
    let contexts = |verb: Command| match verb.get_positionals().count() {
        0 => verb,
        _ => verb.mut_arg("name", |argument| argument.add(completer(Names::Contexts, whole))),
    };
    let command = command.mut_args(named).mut_subcommands(|below| with_names(below, whole));
    if is_context { command.mut_subcommands(contexts) } else { command }
}

fn completer(names: Names, whole: Whole) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| candidates(names, whole, current))
}

impl Names {
    /// What an argument takes, by what its value is called.
    fn of(argument: &Arg) -> Option<Self> {
        let called = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        Some(match called.unwrap_or_else(|| argument.get_id().as_str().to_uppercase()).as_str() {
            "DOMAIN" => Self::Domains,
            "SERVICE" => Self::Services,
            "BACKEND" => Self::Backends,
            "CERTIFICATE" => Self::Certificates,
            "ISSUER" => Self::Issuers,
            "PROVIDER" => Self::DnsProviders,
            "EDGE" => Self::Edges,
            "INVITE" => Self::Invites,
            "TOKEN" => Self::Tokens,
            "KIND/ID" => Self::Unreadable,
            "TAG" => Self::Tags,
            "NAME" if argument.get_id() == "context" => Self::Contexts,
            _ => return None,
        })
    }
}

fn candidates(names: Names, whole: Whole, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    // Whatever is wrong, a shell has no place to say it in.
    let found = found(names, whole).unwrap_or_default();
    let matching = found.into_iter().filter(|name| name.starts_with(current)).take(NAMES_MAX);
    matching.map(CompletionCandidate::new).collect()
}

fn found(names: Names, whole: Whole) -> Result<BTreeSet<String>, Failure> {
    if names == Names::Contexts {
        return Ok(Contexts::load()?.contexts.into_keys().collect());
    }
    let login = Login::find(wish(whole))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(async {
        let asked = async { fetch(&Client::connect(&login).await?, names).await };
        tokio::time::timeout(TIMEOUT, asked).await.unwrap_or_else(|_| Ok(BTreeSet::new()))
    })
}

/// Which control plane the command that is being completed speaks to: by its global options, or by their variables.
fn wish(whole: Whole) -> Wish {
    let given = env::args_os().skip_while(|argument| argument != "--").skip(1);
    let Ok(matches) = whole().ignore_errors(true).try_get_matches_from(given) else { return Wish::default() };
    fn of<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
        matches.try_get_one(id).ok().flatten().cloned()
    }
    let origin = || Origin::Flag("the command that is completed".to_owned());
    Wish {
        control_plane: of(&matches, "control_plane").map(|address| (address, origin())),
        context: of(&matches, "context"),
        token_file: of(&matches, "token_file").map(|path| (path, origin())),
        data_dir: of(&matches, "control_plane_data_dir").map(|path| (path, origin())),
    }
}

async fn fetch(client: &Client, names: Names) -> Result<BTreeSet<String>, Failure> {
    let id = |name: &String| names::id(name).to_owned();
    Ok(match names {
        Names::Domains => client.all_domains().await?.iter().map(|it| id(&it.name)).collect(),
        Names::Services => client.all_services().await?.iter().map(|it| id(&it.name)).collect(),
        Names::Backends => client.all_backends().await?.iter().map(|it| id(&it.name)).collect(),
        Names::Certificates => client.all_certificates().await?.iter().map(|it| id(&it.name)).collect(),
        Names::Issuers => client.all_issuers().await?.iter().map(|it| id(&it.name)).collect(),
        Names::DnsProviders => client.all_dns_providers().await?.iter().map(|it| id(&it.name)).collect(),
        Names::Edges => client.all_edges().await?.0.iter().map(|it| id(&it.name)).collect(),
        Names::Invites => client.all_invites().await?.iter().map(|it| id(&it.name)).collect(),
        Names::Tokens => client.all_tokens().await?.iter().map(|it| id(&it.name)).collect(),
        Names::Unreadable => client.all_unreadable().await?.into_iter().map(|it| it.resource).collect(),
        Names::Tags => client.all_backends().await?.into_iter().flat_map(|it| it.tags).collect(),
        Names::Contexts => BTreeSet::new(),
    })
}
