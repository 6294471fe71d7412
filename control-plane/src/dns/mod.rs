//! The DNS side of ACME's challenge DNS-01 ([RFC 8555, section 8.4](https://www.rfc-editor.org/rfc/rfc8555#section-8.4)): a TXT
//! record at `_acme-challenge.<domain>`, set by a provider and taken away again.
//!
//! What always holds: CNAMEs from that name are followed, so that the zone itself may be out of reach; records of the same name
//! that others set stay, because a domain and its wildcard share it; a record counts as set when every authoritative name
//! server shows it; every wait is bounded. What the value is, and when a record is needed, is left to the caller.

mod acme_dns;
mod cloudflare;
mod exchange;
mod exec;
mod http_request;
mod outgoing;
mod propagation;
mod resolver;
mod rfc2136;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use hickory_proto::rr::Name;
use switchyard_process::resolver::ResolverError;

use crate::model::DnsSettings;

pub use self::{
    acme_dns::AcmeDnsError,
    cloudflare::CloudflareError,
    exchange::ExchangeError,
    exec::ExecError,
    outgoing::{HttpError, Outgoing, OutgoingError},
    propagation::NotShown,
    resolver::LookupError,
    rfc2136::UpdateError,
};

/// How long a record is waited for until all name servers show it.
pub const PROPAGATION_MAX: Duration = Duration::from_secs(120);
/// The port that authoritative name servers are asked at.
pub const AUTHORITATIVE_PORT: u16 = 53;

/// What a challenge's record is about.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The domain that is proved, without `*.`.
    pub domain: &'a str,
    /// The challenge's token.
    pub token: &'a str,
    /// The token and the account key's thumbprint (RFC 8555, section 8.1).
    pub key_authorization: &'a str,
    /// What the TXT record says: the key authorization's SHA-256 in base64url.
    pub value: &'a str,
}

/// Sets TXT records and takes them away.
#[derive(Clone)]
pub struct Dns {
    resolver: resolver::Resolver,
    http: Outgoing,
    hook_dir: Option<PathBuf>,
    propagation_max: Duration,
}

impl fmt::Debug for Dns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Dns").finish_non_exhaustive()
    }
}

/// What is done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Present,
    Remove,
}

impl Dns {
    /// Looks names up at `resolver`, or at those that the system is configured to ask. Authoritative name servers are asked at
    /// `authoritative_port`: [`AUTHORITATIVE_PORT`] but in tests. Programs are looked for in `hook_dir`.
    ///
    /// # Errors
    ///
    /// The system's DNS configuration cannot be used.
    pub fn new(
        resolver: Option<SocketAddr>,
        authoritative_port: u16,
        http: Outgoing,
        hook_dir: Option<PathBuf>,
    ) -> Result<Self, ResolverError> {
        let resolver = resolver::Resolver::new(resolver, authoritative_port)?;
        Ok(Self { resolver, http, hook_dir, propagation_max: PROPAGATION_MAX })
    }

    /// Waits for that long until all name servers show a record, instead of [`PROPAGATION_MAX`].
    #[must_use]
    pub fn with_propagation_max(self, propagation_max: Duration) -> Self {
        Self { propagation_max, ..self }
    }

    /// Sets the record, and waits until all name servers show it. It is no error if it is there already.
    ///
    /// # Errors
    ///
    /// It is not known where the record is to be set, the provider does not set it, or not all name servers show it in time.
    /// The record may be there after an error, too: [`Self::remove`] it.
    pub async fn present(&self, settings: &DnsSettings, record: &Record<'_>) -> Result<(), DnsError> {
        let challenge = challenge_name(record.domain)?;
        let name = self.resolver.follow(&challenge).await?;
        // Before anything is changed: a record that nobody can be asked for would be of no use.
        let zone = self.resolver.zone(&name).await?;
        self.change(settings, Change::Present, &challenge, &name, record).await?;
        propagation::wait(&self.resolver, zone, &name, record.value, self.propagation_max).await?;
        Ok(())
    }

    /// Takes the record away, and no other of the same name. It is no error if it is not there.
    ///
    /// # Errors
    ///
    /// It is not known where the record is, or the provider does not take it away.
    pub async fn remove(&self, settings: &DnsSettings, record: &Record<'_>) -> Result<(), DnsError> {
        let challenge = challenge_name(record.domain)?;
        let name = self.resolver.follow(&challenge).await?;
        self.change(settings, Change::Remove, &challenge, &name, record).await
    }

    async fn change(
        &self,
        settings: &DnsSettings,
        change: Change,
        challenge: &Name,
        name: &Name,
        record: &Record<'_>,
    ) -> Result<(), DnsError> {
        let http = &self.http;
        match settings {
            DnsSettings::Rfc2136 { server, tsig } => {
                let update = match change {
                    Change::Present => rfc2136::Update::Add,
                    Change::Remove => rfc2136::Update::Remove,
                };
                rfc2136::update(*server, tsig.as_ref(), update, name, record.value).await?;
            }
            DnsSettings::Cloudflare { api_token, api } => {
                let cloudflare = cloudflare::Cloudflare { http, api, token: api_token };
                match change {
                    Change::Present => cloudflare.present(name, record.value).await?,
                    Change::Remove => cloudflare.remove(name, record.value).await?,
                }
            }
            DnsSettings::AcmeDns { server, username, password, subdomain } => {
                let account = acme_dns::Account { server, username, password, subdomain };
                match change {
                    Change::Present => acme_dns::present(http, &account, challenge, name, record.value).await?,
                    // It forgets by itself.
                    Change::Remove => {}
                }
            }
            DnsSettings::HttpRequest { endpoint, mode, username, password } => {
                let user = username.as_deref().zip(password.as_ref());
                let endpoint = http_request::Endpoint { url: endpoint, mode: *mode, user };
                http_request::tell(http, &endpoint, change, name, record).await?;
            }
            DnsSettings::Exec { program, mode } => {
                let program = self.hook_dir.as_ref().ok_or(DnsError::NoHookDir)?.join(program);
                exec::run(&program, *mode, change, name, record).await?;
            }
        }
        Ok(())
    }
}

impl Change {
    /// What lego's conventions call it.
    fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Remove => "cleanup",
        }
    }
}

/// A name as people write it: without the dot at its end.
fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => text,
    }
}

/// The name that a CA asks for (RFC 8555, section 8.4).
fn challenge_name(domain: &str) -> Result<Name, DnsError> {
    let invalid = || DnsError::Domain(domain.chars().take(253).collect());
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain.is_empty() || domain.starts_with("*.") {
        return Err(invalid());
    }
    Name::from_ascii(format!("_acme-challenge.{domain}.")).map(|name| name.to_lowercase()).map_err(|_| invalid())
}

/// Why a record is not set, or not taken away.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The domain has no name for its challenge.
    #[error(
        "'{0}' is not a domain that a DNS challenge can be for; use a host name of at most 237 characters, without '*.'"
    )]
    Domain(String),
    /// It is not known where the record is to be set.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A dynamic update failed.
    #[error(transparent)]
    Rfc2136(#[from] UpdateError),
    /// Cloudflare did not do it.
    #[error(transparent)]
    Cloudflare(#[from] CloudflareError),
    /// acme-dns did not do it.
    #[error(transparent)]
    AcmeDns(#[from] AcmeDnsError),
    /// The HTTP endpoint did not do it.
    #[error(transparent)]
    HttpRequest(#[from] HttpError),
    /// There is no directory to look for the program in.
    #[error("programs are run only from a directory of hooks: start the control plane with --hook-dir")]
    NoHookDir,
    /// The program did not do it.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The provider did it, but not all name servers show it.
    #[error(transparent)]
    NotShown(#[from] NotShown),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_of_a_domain_has_its_own_name() {
        assert_eq!(challenge_name("WWW.example.test").unwrap().to_ascii(), "_acme-challenge.www.example.test.");
        assert_eq!(challenge_name("example.test.").unwrap().to_ascii(), "_acme-challenge.example.test.");
        for domain in ["", "*.example.test", "a..b", &"a.".repeat(130)] {
            assert!(matches!(challenge_name(domain), Err(DnsError::Domain(_))), "{domain}");
        }
    }
}
