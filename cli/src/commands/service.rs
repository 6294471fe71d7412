use std::time::{Duration, Instant, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use switchyard_proto::v1::{
    BackendProtocol, BackendTls, BalancingPolicy, CreateServiceRequest, DeleteServiceRequest, GetServiceRequest,
    ListServicesResponse, Service, ServiceTimeouts, UpdateServiceRequest,
};

use super::{
    Change, Session,
    backend_tls::{self, TlsArgs},
};
use crate::{
    args::{EtagArg, WriteArgs, duration},
    assignments::{Flags, SetArgs},
    failure::Failure,
    fields::Sets,
    names,
    output::{Show, age, word},
    selection::ListArgs,
    wait::Outcome,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a service
    #[command(after_help = "Example:\n  switchyard service create shop --idle-timeout 2m")]
    Create {
        /// The id of the service
        #[arg(value_name = "SERVICE")]
        name: String,
        #[command(flatten)]
        policy: Policy,
        #[command(flatten)]
        assignments: SetArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// List all services
    #[command(after_help = "Example:\n  switchyard service list --filter protocol=http2")]
    List(ListArgs),
    /// Show one service
    #[command(after_help = "Example:\n  switchyard service get shop")]
    Get {
        /// The id of the service
        #[arg(value_name = "SERVICE")]
        name: String,
    },
    /// Update the given fields
    Update(UpdateArgs),
    /// Delete a service that no domain and no backend refers to
    #[command(after_help = "Example:\n  switchyard service delete shop")]
    Delete {
        /// The id of the service
        #[arg(value_name = "SERVICE")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        write: WriteArgs,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true)
    .args(["balancing", "protocol", "connect_timeout", "first_byte_timeout", "idle_timeout", "tls", "no_tls", "tls_ca_file",
        "tls_system_ca", "tls_insecure_skip_verify", "tls_server_name", "tls_alternative_name", "tls_client_chain", "no_tls_client", "set", "unset"]))]
#[command(
    after_help = "Example:\n  switchyard service update shop --set timeouts.connect=1s --unset timeouts.idle \\\n    \
                        --set tls.ca_bundle_pem=@ca.pem"
)]
pub(crate) struct UpdateArgs {
    /// The id of the service
    #[arg(value_name = "SERVICE")]
    name: String,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    write: WriteArgs,
}

/// How the backends of a service are chosen and reached.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// How a backend is chosen
    #[arg(long, value_enum, add = Sets(&["balancing"]))]
    balancing: Option<Balancing>,
    /// What is spoken to the backends
    #[arg(long, value_enum, add = Sets(&["protocol"]))]
    protocol: Option<Protocol>,
    /// How long it may take to establish a connection: `3s`, or `default`
    #[arg(long, value_name = "DURATION", value_parser = Timeout::parse, add = Sets(&["timeouts.connect"]))]
    connect_timeout: Option<Timeout>,
    /// How long the first byte of the answer may take: `60s`, or `default`
    #[arg(long, value_name = "DURATION", value_parser = Timeout::parse, add = Sets(&["timeouts.first_byte"]))]
    first_byte_timeout: Option<Timeout>,
    /// How long nothing may come between two pieces of a body: `5m`, or `default`
    #[arg(long, value_name = "DURATION", value_parser = Timeout::parse, add = Sets(&["timeouts.idle"]))]
    idle_timeout: Option<Timeout>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// How a backend is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Balancing {
    /// One after the other.
    RoundRobin,
}

/// What is spoken to the backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// HTTP/2 for gRPC requests, HTTP/1.1 for all others.
    Automatic,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: with prior knowledge, over TLS by ALPN.
    Http2,
}

/// A timeout as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timeout {
    Default,
    After(Duration),
}

impl Timeout {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "default" { Ok(Self::Default) } else { duration(text).map(Self::After) }
    }

    fn to_message(self) -> Option<pbjson_types::Duration> {
        match self {
            Self::Default => None,
            // Saturates where the message cannot hold it; the control plane refuses that as it does all that is too long.
            Self::After(duration) => Some(pbjson_types::Duration {
                seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(duration.subsec_nanos()).expect("less than 10^9"),
            }),
        }
    }
}

impl Policy {
    /// Writes what is given into the service.
    fn apply(self, flags: &mut Flags<Service>) -> Result<(), Failure> {
        let Self { balancing, protocol, connect_timeout, first_byte_timeout, idle_timeout, tls } = self;
        if let Some(balancing) = balancing {
            flags.name("--balancing", "balancing");
            flags.message.set_balancing(match balancing {
                Balancing::RoundRobin => BalancingPolicy::RoundRobin,
            });
        }
        if let Some(protocol) = protocol {
            flags.name("--protocol", "protocol");
            flags.message.set_protocol(match protocol {
                Protocol::Automatic => BackendProtocol::Automatic,
                Protocol::Http1 => BackendProtocol::Http1,
                Protocol::Http2 => BackendProtocol::Http2,
            });
        }
        let mut timeouts = ServiceTimeouts::default();
        for (timeout, field, flag, path) in [
            (connect_timeout, &mut timeouts.connect, "--connect-timeout", "timeouts.connect"),
            (first_byte_timeout, &mut timeouts.first_byte, "--first-byte-timeout", "timeouts.first_byte"),
            (idle_timeout, &mut timeouts.idle, "--idle-timeout", "timeouts.idle"),
        ] {
            if let Some(timeout) = timeout {
                flags.name(flag, path);
                *field = timeout.to_message();
            }
        }
        flags.message.timeouts = (timeouts != ServiceTimeouts::default()).then_some(timeouts);
        tls.apply(flags)
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Create { name, policy, assignments, write } => {
            return create(session, &name, policy, &assignments, write).await;
        }
        Command::Update(args) => return update(session, args).await,
        Command::Delete { name, etag, write } => return delete(session, &name, etag, write).await,
        Command::List(args) => {
            let services = args.select(session.client.all_services().await?)?;
            let response = ListServicesResponse { services, next_page_token: String::new() };
            session.output.list(&response, &response.services)?;
        }
        Command::Get { name } => {
            let request = GetServiceRequest { name: names::service(&name) };
            let service = session.client.services().get_service(request).await?.into_inner();
            session.output.item_with(&service, |_| backend_tls::warning(service.tls.as_ref()).into_iter().collect())?;
        }
    }
    Ok(Outcome::Done)
}

async fn create(
    session: &Session,
    name: &str,
    policy: Policy,
    assignments: &SetArgs,
    write: WriteArgs,
) -> Result<Outcome, Failure> {
    let mut flags = Flags::new(Service { name: names::service(name), ..Service::default() });
    policy.apply(&mut flags)?;
    let (service, _) = assignments.join(flags)?;
    let look = look(&service.name);
    let request = CreateServiceRequest { service: Some(service), validate_only: write.dry_run };
    let began = Instant::now();
    let service = session.client.services().create_service(request).await;
    let service = service.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    session.finish(change(&service, "created", began), &write).await
}

async fn update(session: &Session, args: UpdateArgs) -> Result<Outcome, Failure> {
    let UpdateArgs { name, policy, assignments, etag, write } = args;
    let mut flags = Flags::new(Service { name: names::service(&name), etag: etag.etag, ..Service::default() });
    policy.apply(&mut flags)?;
    turn_tls_on(session, &mut flags).await?;
    let (service, mask) = assignments.join(flags)?;
    let look = look(&service.name);
    let request =
        UpdateServiceRequest { service: Some(service), update_mask: Some(mask), validate_only: write.dry_run };
    let began = Instant::now();
    let service = session.client.services().update_service(request).await;
    let service = service.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    session.finish(change(&service, "updated", began), &write).await
}

/// Has TLS turned on where the flags say nothing of it but defaults: a path to a default would leave a service without TLS as it is.
async fn turn_tls_on(session: &Session, flags: &mut Flags<Service>) -> Result<(), Failure> {
    if flags.message.tls != Some(BackendTls::default()) || flags.is_named("tls") {
        return Ok(());
    }
    let request = GetServiceRequest { name: flags.message.name.clone() };
    let stored = session.client.services().get_service(request).await?.into_inner();
    if stored.tls.is_none() {
        flags.name("a flag of TLS", "tls");
        if flags.message.etag.is_empty() {
            // What somebody else says of TLS meanwhile is not replaced.
            flags.message.etag = stored.etag;
        }
    }
    Ok(())
}

async fn delete(session: &Session, name: &str, etag: EtagArg, write: WriteArgs) -> Result<Outcome, Failure> {
    let name = names::service(name);
    let request = DeleteServiceRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run };
    let began = Instant::now();
    let response = session.client.services().delete_service(request).await;
    let response = response.map_err(|status| Failure::of_write(status, &look(&name)))?.into_inner();
    let (subject, revision) = (subject(&name), response.revision);
    session.finish(Change { message: &response, subject, done: "deleted", revision, began }, &write).await
}

fn change<'a>(service: &'a Service, done: &'a str, began: Instant) -> Change<'a, Service> {
    Change { message: service, subject: subject(&service.name), done, revision: service.revision, began }
}

fn look(name: &str) -> String {
    format!("switchyard service get {}", names::id(name))
}

fn subject(name: &str) -> String {
    format!("service {}", names::id(name))
}

fn timeout_text(timeout: Option<&pbjson_types::Duration>) -> String {
    let known = timeout.and_then(|timeout| {
        Some(Duration::new(u64::try_from(timeout.seconds).ok()?, u32::try_from(timeout.nanos).ok()?.min(999_999_999)))
    });
    known.map_or_else(|| "-".to_owned(), |timeout| humantime::format_duration(timeout).to_string())
}

impl Show for Service {
    const PLURAL: &'static str = "services";
    const COLUMNS: &'static [&'static str] =
        &["SERVICE", "BALANCING", "PROTOCOL", "TLS", "CONNECT", "FIRST BYTE", "IDLE", "REVISION", "CHANGED"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        let ServiceTimeouts { connect, first_byte, idle } = self.timeouts.unwrap_or_default();
        vec![
            names::id(&self.name).to_owned(),
            word(self.balancing().as_str_name(), "BALANCING_POLICY_"),
            word(self.protocol().as_str_name(), "BACKEND_PROTOCOL_"),
            backend_tls::short(self.tls.as_ref()).to_owned(),
            timeout_text(connect.as_ref()),
            timeout_text(first_byte.as_ref()),
            timeout_text(idle.as_ref()),
            self.revision.to_string(),
            age(self.update_time.as_ref(), now),
        ]
    }
}
