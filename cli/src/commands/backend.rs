use std::time::{Instant, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use switchyard_proto::v1::{
    Backend, BackendState, CreateBackendRequest, DeleteBackendRequest, DrainBackendRequest, GetBackendRequest,
    ListBackendsResponse, UpdateBackendRequest,
};

use super::{Change, Session};
use crate::{
    args::{EtagArg, WriteArgs},
    assignments::{Flags, SetArgs},
    failure::Failure,
    fields::Sets,
    force::ForceArgs,
    names,
    output::{Show, age, word},
    selection::ListArgs,
    wait::Outcome,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a backend
    #[command(
        after_help = "Example:\n  switchyard backend create shop-1 --service shop --address 10.0.0.5:3000 --tag a"
    )]
    Create(CreateArgs),
    /// List all backends
    #[command(after_help = "Example:\n  switchyard backend list --filter service=shop --filter tags=a")]
    List(ListArgs),
    /// Show one backend
    #[command(after_help = "Example:\n  switchyard backend get shop-1")]
    Get {
        /// The id of the backend
        #[arg(value_name = "BACKEND")]
        name: String,
    },
    /// Update the given fields
    Update(UpdateArgs),
    /// Delete a backend; requests in flight finish
    #[command(after_help = "Example:\n  switchyard backend delete shop-1 --wait")]
    Delete(TargetArgs),
    /// Drain a backend: no new requests, those in flight finish
    ///
    /// `switchyard backend update BACKEND --state active` ends it.
    #[command(after_help = "Example:\n  switchyard backend drain shop-1 --wait")]
    Drain(TargetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The id of the backend
    #[arg(value_name = "BACKEND")]
    name: String,
    /// The service that it belongs to [default: default]
    #[arg(long, add = Sets(&["service"]))]
    service: Option<String>,
    /// `host:port`; the host is an IPv4 address, an IPv6 address in brackets, or a name that each edge resolves
    #[arg(long, required_unless_present = "set", add = Sets(&["address"]))]
    address: Option<String>,
    /// A tag that it carries; may be given several times
    #[arg(long = "tag", value_name = "TAG", required_unless_present = "set", add = Sets(&["tags"]))]
    tags: Vec<String>,
    /// Whether it takes requests [default: active]
    #[arg(long, value_enum, add = Sets(&["state"]))]
    state: Option<State>,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  switchyard backend update shop-1 --set address=10.0.0.6:3000 --set tags=a,b")]
pub(crate) struct UpdateArgs {
    /// The id of the backend
    #[arg(value_name = "BACKEND")]
    name: String,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true)
    .args(["service", "address", "tags", "state", "set", "unset"]))]
#[group(skip)]
struct Changes {
    /// The service that it belongs to
    #[arg(long, add = Sets(&["service"]))]
    service: Option<String>,
    /// `host:port`
    #[arg(long, add = Sets(&["address"]))]
    address: Option<String>,
    /// A tag that it carries from now on, instead of those it has; may be given several times
    #[arg(long = "tag", value_name = "TAG", add = Sets(&["tags"]))]
    tags: Vec<String>,
    /// Whether it takes requests
    #[arg(long, value_enum, add = Sets(&["state"]))]
    state: Option<State>,
}

/// Which backend, and how to do it.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The id of the backend
    #[arg(value_name = "BACKEND")]
    name: String,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    write: WriteArgs,
}

/// Whether a backend takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// It takes requests.
    Active,
    /// It gets no new requests; those in flight finish.
    Draining,
    /// It is out of use.
    Disabled,
}

impl State {
    fn to_message(self) -> BackendState {
        match self {
            Self::Active => BackendState::Active,
            Self::Draining => BackendState::Draining,
            Self::Disabled => BackendState::Disabled,
        }
    }
}

impl Changes {
    /// Writes what is given into the backend.
    fn apply(self, flags: &mut Flags<Backend>) {
        let Self { service, address, tags, state } = self;
        if let Some(service) = service {
            flags.name("--service", "service");
            flags.message.service = names::service(&service);
        }
        if let Some(address) = address {
            flags.name("--address", "address");
            flags.message.address = address;
        }
        if !tags.is_empty() {
            flags.name("--tag", "tags");
            flags.message.tags = tags;
        }
        if let Some(state) = state {
            flags.name("--state", "state");
            flags.message.set_state(state.to_message());
        }
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Create(args) => return create(session, args).await,
        Command::Update(args) => return update(session, args).await,
        Command::Delete(args) => return delete(session, args).await,
        Command::Drain(args) => return drain(session, args).await,
        Command::List(args) => {
            let backends = args.select(session.client.all_backends().await?)?;
            let response = ListBackendsResponse { backends, next_page_token: String::new() };
            session.output.list(&response, &response.backends)?;
        }
        Command::Get { name } => {
            let request = GetBackendRequest { name: names::backend(&name) };
            session.output.item(&session.client.backends().get_backend(request).await?.into_inner())?;
        }
    }
    Ok(Outcome::Done)
}

async fn create(session: &Session, args: CreateArgs) -> Result<Outcome, Failure> {
    let CreateArgs { name, service, address, tags, state, assignments, write } = args;
    let mut flags = Flags::new(Backend { name: names::backend(&name), ..Backend::default() });
    Changes { service, address, tags, state }.apply(&mut flags);
    let (backend, _) = assignments.join(flags)?;
    let look = look(&backend.name);
    let request = CreateBackendRequest { backend: Some(backend), validate_only: write.dry_run };
    let began = Instant::now();
    let backend = session.client.backends().create_backend(request).await;
    let backend = backend.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    session.finish(change(&backend, "created", began), &write).await
}

async fn update(session: &Session, args: UpdateArgs) -> Result<Outcome, Failure> {
    let UpdateArgs { name, changes, assignments, etag, force, write } = args;
    let mut flags = Flags::new(Backend { name: names::backend(&name), etag: etag.etag, ..Backend::default() });
    changes.apply(&mut flags);
    let (backend, mask) = assignments.join(flags)?;
    let look = look(&backend.name);
    let request = UpdateBackendRequest {
        backend: Some(backend),
        update_mask: Some(mask),
        validate_only: write.dry_run,
        force: false,
    };
    let send =
        async |force| session.client.backends().update_backend(UpdateBackendRequest { force, ..request.clone() }).await;
    let (backend, began) = force.send(|status| Failure::of_write(status, &look), send).await?;
    session.finish(change(&backend, "updated", began), &write).await
}

async fn delete(session: &Session, args: TargetArgs) -> Result<Outcome, Failure> {
    let TargetArgs { name, etag, force, write } = args;
    let name = names::backend(&name);
    let request =
        DeleteBackendRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run, force: false };
    let send =
        async |force| session.client.backends().delete_backend(DeleteBackendRequest { force, ..request.clone() }).await;
    let (response, began) = force.send(|status| Failure::of_write(status, &look(&name)), send).await?;
    let (subject, revision) = (subject(&name), response.revision);
    session.finish(Change { message: &response, subject, done: "deleted", revision, began }, &write).await
}

async fn drain(session: &Session, args: TargetArgs) -> Result<Outcome, Failure> {
    let TargetArgs { name, etag, force, write } = args;
    let name = names::backend(&name);
    let request =
        DrainBackendRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run, force: false };
    let send =
        async |force| session.client.backends().drain_backend(DrainBackendRequest { force, ..request.clone() }).await;
    let (backend, began) = force.send(|status| Failure::of_write(status, &look(&name)), send).await?;
    session.finish(change(&backend, "taken out: it gets no new requests", began), &write).await
}

fn change<'a>(backend: &'a Backend, done: &'a str, began: Instant) -> Change<'a, Backend> {
    Change { message: backend, subject: subject(&backend.name), done, revision: backend.revision, began }
}

fn look(name: &str) -> String {
    format!("switchyard backend get {}", names::id(name))
}

fn subject(name: &str) -> String {
    format!("backend {}", names::id(name))
}

impl Show for Backend {
    const PLURAL: &'static str = "backends";
    const COLUMNS: &'static [&'static str] = &["BACKEND", "SERVICE", "ADDRESS", "TAGS", "STATE", "REVISION", "CHANGED"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.name).to_owned(),
            names::id(&self.service).to_owned(),
            self.address.clone(),
            self.tags.join(","),
            word(self.state().as_str_name(), "BACKEND_STATE_"),
            self.revision.to_string(),
            age(self.update_time.as_ref(), now),
        ]
    }
}
