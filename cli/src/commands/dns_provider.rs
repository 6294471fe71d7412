use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

use clap::{Args, Subcommand};
use pbjson_types::FieldMask;
use switchyard_proto::v1::{
    AcmeDns, Cloudflare, CreateDnsProviderRequest, DeleteDnsProviderRequest, DnsProvider, Exec, GetDnsProviderRequest,
    Httpreq, ListDnsProvidersResponse, Rfc2136, UpdateDnsProviderRequest, dns_provider::Settings,
};

use super::{Change, Session};
use crate::{
    args::{EtagArg, WriteArgs},
    assignments::{Flags, SetArgs, paths_of_oneof},
    failure::Failure,
    fields::Sets,
    files, names,
    output::{Show, age, or_dash},
    selection::ListArgs,
    wait::Outcome,
};

/// The path of its zones.
const ZONES: &str = "zones";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a DNS provider
    #[command(
        after_help = "Example:\n  switchyard dns-provider create home --zone shop.example cloudflare --api-token-file token"
    )]
    Create(SetupArgs),
    /// List all DNS providers
    #[command(after_help = "Example:\n  switchyard dns-provider list --filter zones=shop.example")]
    List(ListArgs),
    /// Show one DNS provider, without what is secret
    #[command(after_help = "Example:\n  switchyard dns-provider get home")]
    Get {
        /// The name of the DNS provider
        #[arg(value_name = "PROVIDER")]
        name: String,
    },
    /// Replace the zones and the settings of a DNS provider
    #[command(
        after_help = "Example:\n  switchyard dns-provider replace home --zone shop.example rfc2136 --server 192.0.2.1"
    )]
    Replace(SetupArgs),
    /// Update the given fields
    Update(UpdateArgs),
    /// Delete a DNS provider
    #[command(after_help = "Example:\n  switchyard dns-provider delete home")]
    Delete {
        /// The name of the DNS provider
        #[arg(value_name = "PROVIDER")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        write: WriteArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// The name of the DNS provider
    #[arg(value_name = "PROVIDER")]
    name: String,
    /// A zone that it sets records in, with everything below; may be given again
    #[arg(long = "zone", value_name = "ZONE", required_unless_present = "set", add = Sets(&["zones"]))]
    zones: Vec<String>,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(subcommand)]
    settings: Option<SettingArgs>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true).args(["zones", "set", "unset"]))]
#[command(
    after_help = "Example:\n  switchyard dns-provider update home --set rfc2136.server=192.0.2.2 --set rfc2136.key_secret=@key"
)]
pub(crate) struct UpdateArgs {
    /// The name of the DNS provider
    #[arg(value_name = "PROVIDER")]
    name: String,
    /// A zone that it sets records in, in place of those before; may be given again
    #[arg(long = "zone", value_name = "ZONE", add = Sets(&["zones"]))]
    zones: Vec<String>,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    write: WriteArgs,
}

/// How a DNS provider is told. What is secret comes from files, so that it is in no list of processes.
#[derive(Debug, Subcommand)]
pub(crate) enum SettingArgs {
    /// A name server that takes dynamic updates (RFC 2136): BIND, Knot, PowerDNS
    Rfc2136 {
        /// The address of the zone's primary server
        #[arg(long, value_name = "ADDRESS[:PORT]", add = Sets(&["rfc2136.server"]))]
        server: String,
        /// The name of the key that updates are signed with (TSIG)
        #[arg(long, value_name = "NAME", requires = "key_secret_file", add = Sets(&["rfc2136.key_name"]))]
        key_name: Option<String>,
        /// How it signs [default: hmac-sha256]
        #[arg(long, value_name = "ALGORITHM", requires = "key_name", add = Sets(&["rfc2136.key_algorithm"]))]
        key_algorithm: Option<String>,
        /// A file with the key, in base64
        #[arg(long, value_name = "FILE", requires = "key_name", add = Sets(&["rfc2136.key_secret"]))]
        key_secret_file: Option<PathBuf>,
    },
    /// Cloudflare
    Cloudflare {
        /// A file with a token that may read the zone and edit its records
        #[arg(long, value_name = "FILE", add = Sets(&["cloudflare.api_token"]))]
        api_token_file: PathBuf,
        /// Where the API is [default: https://api.cloudflare.com/client/v4]
        #[arg(long, value_name = "URL", add = Sets(&["cloudflare.api"]))]
        api: Option<String>,
    },
    /// An acme-dns server, to which `_acme-challenge` names are delegated by CNAME
    AcmeDns {
        /// Where its API is
        #[arg(long, value_name = "URL", add = Sets(&["acme_dns.server"]))]
        server: String,
        /// What its registration gave
        #[arg(long, add = Sets(&["acme_dns.username"]))]
        username: String,
        /// A file with the password that its registration gave
        #[arg(long, value_name = "FILE", add = Sets(&["acme_dns.password"]))]
        password_file: PathBuf,
        /// What its registration gave
        #[arg(long, add = Sets(&["acme_dns.subdomain"]))]
        subdomain: String,
    },
    /// An HTTP endpoint, by the conventions of lego's provider httpreq
    Httpreq {
        /// What /present and /cleanup are under
        #[arg(long, value_name = "URL", add = Sets(&["httpreq.endpoint"]))]
        endpoint: String,
        /// Tell it domain, token and key authorization in place of name and value
        #[arg(long, add = Sets(&["httpreq.raw"]))]
        raw: bool,
        /// Of basic authentication
        #[arg(long, requires = "password_file", add = Sets(&["httpreq.username"]))]
        username: Option<String>,
        /// A file with the password of basic authentication
        #[arg(long, value_name = "FILE", requires = "username", add = Sets(&["httpreq.password"]))]
        password_file: Option<PathBuf>,
    },
    /// A program in the control plane's directory of hooks, by the conventions of lego's provider exec
    Exec {
        /// Its file name
        #[arg(long, value_name = "NAME", add = Sets(&["exec.program"]))]
        program: String,
        /// Tell it domain, token and key authorization in place of name and value
        #[arg(long, add = Sets(&["exec.raw"]))]
        raw: bool,
    },
}

impl SettingArgs {
    fn to_message(&self) -> Result<Settings, Failure> {
        let secret = |path: &PathBuf| Ok::<_, Failure>(files::read_text(path)?.trim().to_owned());
        let optional = |path: &Option<PathBuf>| path.as_ref().map_or_else(|| Ok(String::new()), secret);
        Ok(match self {
            Self::Rfc2136 { server, key_name, key_algorithm, key_secret_file } => Settings::Rfc2136(Rfc2136 {
                server: server.clone(),
                key_name: key_name.clone().unwrap_or_default(),
                key_algorithm: key_algorithm.clone().unwrap_or_default(),
                key_secret: optional(key_secret_file)?,
            }),
            Self::Cloudflare { api_token_file, api } => Settings::Cloudflare(Cloudflare {
                api_token: secret(api_token_file)?,
                api: api.clone().unwrap_or_default(),
            }),
            Self::AcmeDns { server, username, password_file, subdomain } => Settings::AcmeDns(AcmeDns {
                server: server.clone(),
                username: username.clone(),
                password: secret(password_file)?,
                subdomain: subdomain.clone(),
            }),
            Self::Httpreq { endpoint, raw, username, password_file } => Settings::Httpreq(Httpreq {
                endpoint: endpoint.clone(),
                raw: *raw,
                username: username.clone().unwrap_or_default(),
                password: optional(password_file)?,
            }),
            Self::Exec { program, raw } => Settings::Exec(Exec { program: program.clone(), raw: *raw }),
        })
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Create(args) => return create(session, args).await,
        Command::Replace(args) => return replace(session, args).await,
        Command::Update(args) => return update(session, args).await,
        Command::Delete { name, etag, write } => return delete(session, &name, etag, write).await,
        Command::List(args) => {
            let dns_providers = args.select(session.client.all_dns_providers().await?)?;
            let response = ListDnsProvidersResponse { dns_providers, next_page_token: String::new() };
            session.output.list(&response, &response.dns_providers)?;
        }
        Command::Get { name } => {
            let request = GetDnsProviderRequest { name: names::dns_provider(&name) };
            session.output.item(&session.client.dns_providers().get_dns_provider(request).await?.into_inner())?;
        }
    }
    Ok(Outcome::Done)
}

/// What the flags of a new provider, and its settings, say.
fn flags(name: &str, zones: Vec<String>, settings: Option<&SettingArgs>) -> Result<Flags<DnsProvider>, Failure> {
    let mut flags = Flags::new(DnsProvider { name: names::dns_provider(name), ..DnsProvider::default() });
    if let Some(settings) = settings {
        flags.message.settings = Some(settings.to_message()?);
        flags.name_given("an argument");
    }
    if !zones.is_empty() {
        flags.name("--zone", ZONES);
        flags.message.zones = zones;
    }
    Ok(flags)
}

async fn create(session: &Session, args: SetupArgs) -> Result<Outcome, Failure> {
    let SetupArgs { name, zones, assignments, write, settings } = args;
    let (provider, _) = assignments.join(flags(&name, zones, settings.as_ref())?)?;
    check_settings(&provider)?;
    let look = look(&provider.name);
    let request = CreateDnsProviderRequest { dns_provider: Some(provider), validate_only: write.dry_run };
    let began = Instant::now();
    let provider = session.client.dns_providers().create_dns_provider(request).await;
    let provider = provider.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    session.finish(change(&provider, "created", began), &write).await
}

async fn replace(session: &Session, args: SetupArgs) -> Result<Outcome, Failure> {
    let SetupArgs { name, zones, assignments, write, settings } = args;
    let (provider, mut mask) = assignments.join(flags(&name, zones, settings.as_ref())?)?;
    check_settings(&provider)?;
    // All of them are named one by one, so that a secret that is not given goes as well.
    for path in [ZONES.to_owned()].into_iter().chain(paths_of_oneof(&provider, "settings")) {
        if !mask.paths.contains(&path) {
            mask.paths.push(path);
        }
    }
    send_update(session, provider, mask, "replaced", &write).await
}

async fn update(session: &Session, args: UpdateArgs) -> Result<Outcome, Failure> {
    let UpdateArgs { name, zones, assignments, etag, write } = args;
    let mut flags = flags(&name, zones, None)?;
    flags.message.etag = etag.etag;
    let (provider, mask) = assignments.join(flags)?;
    send_update(session, provider, mask, "updated", &write).await
}

async fn send_update(
    session: &Session,
    provider: DnsProvider,
    mask: FieldMask,
    done: &str,
    write: &WriteArgs,
) -> Result<Outcome, Failure> {
    let look = look(&provider.name);
    let request = UpdateDnsProviderRequest {
        dns_provider: Some(provider),
        update_mask: Some(mask),
        validate_only: write.dry_run,
    };
    let began = Instant::now();
    let provider = session.client.dns_providers().update_dns_provider(request).await;
    let provider = provider.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    session.finish(change(&provider, done, began), write).await
}

/// Says what is missing in the words of the command.
fn check_settings(provider: &DnsProvider) -> Result<(), Failure> {
    match provider.settings {
        Some(_) => Ok(()),
        None => Err(Failure::Usage(
            "say how it is told: by rfc2136, cloudflare, acme-dns, httpreq or exec (see --help), or by --set"
                .to_owned(),
        )),
    }
}

async fn delete(session: &Session, name: &str, etag: EtagArg, write: WriteArgs) -> Result<Outcome, Failure> {
    let name = names::dns_provider(name);
    let request = DeleteDnsProviderRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run };
    let began = Instant::now();
    let response = session.client.dns_providers().delete_dns_provider(request).await;
    let response = response.map_err(|status| Failure::of_write(status, &look(&name)))?.into_inner();
    let (subject, revision) = (subject(&name), response.revision);
    session.finish(Change { message: &response, subject, done: "deleted", revision, began }, &write).await
}

fn change<'a>(provider: &'a DnsProvider, done: &'a str, began: Instant) -> Change<'a, DnsProvider> {
    Change { message: provider, subject: subject(&provider.name), done, revision: provider.revision, began }
}

fn look(name: &str) -> String {
    format!("switchyard dns-provider get {}", names::id(name))
}

fn subject(name: &str) -> String {
    format!("DNS provider {}", names::id(name))
}

/// What kind it is, and where it is reached.
fn kind(provider: &DnsProvider) -> (&'static str, String) {
    match &provider.settings {
        None => ("-", String::new()),
        Some(Settings::Rfc2136(it)) => ("rfc2136", it.server.clone()),
        Some(Settings::Cloudflare(it)) => ("cloudflare", it.api.clone()),
        Some(Settings::AcmeDns(it)) => ("acme-dns", it.server.clone()),
        Some(Settings::Httpreq(it)) => ("httpreq", it.endpoint.clone()),
        Some(Settings::Exec(it)) => ("exec", it.program.clone()),
    }
}

impl Show for DnsProvider {
    const PLURAL: &'static str = "dnsProviders";
    const COLUMNS: &'static [&'static str] = &["PROVIDER", "KIND", "AT", "ZONES", "REVISION", "CHANGED"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        let (kind, at) = kind(self);
        vec![
            names::id(&self.name).to_owned(),
            kind.to_owned(),
            or_dash(&at),
            self.zones.join(","),
            self.revision.to_string(),
            age(self.update_time.as_ref(), now),
        ]
    }
}
