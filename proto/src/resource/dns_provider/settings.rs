//! What providers are told with: values that were checked when they were made, so that nothing checks them again.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use url::Url;
use zeroize::Zeroizing;

use crate::{
    resource::Defaults,
    v1::{self as wire, dns_provider::Settings},
};

use super::{
    invalid::{InvalidDnsSettings, shown},
    tsig::{TsigAlgorithm, TsigKey},
};

/// Where Cloudflare's API is, unless settings say otherwise.
pub const CLOUDFLARE_API: &str = "https://api.cloudflare.com/client/v4";

/// The longest token, user name or password.
const CREDENTIAL_BYTES_MAX: usize = 4096;
/// The longest base URL.
const URL_BYTES_MAX: usize = 2048;
/// The longest file name of a program.
const PROGRAM_BYTES_MAX: usize = 255;
/// The port of DNS.
const DNS_PORT: u16 = 53;

/// How TXT records are set for a zone: which provider does it, and what proves to it that it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsSettings {
    /// A name server that takes dynamic updates ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136)): BIND, Knot, PowerDNS.
    Rfc2136 {
        /// The zone's primary server.
        server: SocketAddr,
        /// What updates are signed with; `None` where the server goes by the sender's address.
        tsig: Option<TsigKey>,
    },
    /// Cloudflare, by its API of version 4.
    Cloudflare {
        /// A token that may read the zone and edit its records.
        api_token: Secret,
        /// Where the API is; [`CLOUDFLARE_API`] but in tests.
        api: BaseUrl,
    },
    /// An [acme-dns](https://github.com/joohoi/acme-dns) server, to which `_acme-challenge` names are delegated by CNAME.
    AcmeDns {
        /// Where its API is.
        server: BaseUrl,
        /// The user name that its registration gave.
        username: String,
        /// The password that its registration gave.
        password: Secret,
        /// The first label of the name that its registration gave.
        subdomain: String,
    },
    /// An HTTP endpoint that sets records by the conventions of lego's provider `httpreq`.
    HttpRequest {
        /// What `/present` and `/cleanup` are under.
        endpoint: BaseUrl,
        /// What it is told.
        mode: HookMode,
        /// The user of basic authentication; there is a password if and only if there is a user.
        username: Option<String>,
        /// The password of basic authentication.
        password: Option<Secret>,
    },
    /// A program in this machine's directory of hooks that sets records by the conventions of lego's provider `exec`.
    Exec {
        /// Its file name.
        program: String,
        /// What it is told.
        mode: HookMode,
    },
}

/// What a program or an endpoint is told about a challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookMode {
    /// The record's name, CNAMEs followed, and the value it gets.
    #[default]
    Default,
    /// What the CA said: domain, token and key authorization. Name and value are worked out by the one who is told.
    Raw,
}

/// Something that is shown to nobody but the provider it is for. Its `Debug` does not say it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// The URL that an API's paths are under: http or https, without user, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// As it was given: what is stored is what was said, so that saying it again changes nothing.
    text: String,
    url: Url,
}

impl DnsSettings {
    /// Dynamic updates. `server` is an address, with a port unless that is 53.
    ///
    /// # Errors
    ///
    /// `server` is no address.
    pub fn rfc2136(server: &str, tsig: Option<TsigKey>) -> Result<Self, InvalidDnsSettings> {
        let text = server.trim();
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let server = match text.parse() {
            Ok(server) => server,
            Err(_) => {
                SocketAddr::new(bare.parse::<IpAddr>().map_err(|_| InvalidDnsSettings::Server(shown(text)))?, DNS_PORT)
            }
        };
        if server.port() == 0 {
            return Err(InvalidDnsSettings::Server(shown(text)));
        }
        Ok(Self::Rfc2136 { server, tsig })
    }

    /// Cloudflare; `api` is for tests, and else [`CLOUDFLARE_API`].
    ///
    /// # Errors
    ///
    /// The token cannot be one, or `api` cannot be used.
    pub fn cloudflare(api_token: &str, api: Option<&str>) -> Result<Self, InvalidDnsSettings> {
        let api_token = Secret::parse("api_token", api_token)?;
        Ok(Self::Cloudflare { api_token, api: BaseUrl::parse("api", api.unwrap_or(CLOUDFLARE_API))? })
    }

    /// An acme-dns server, with what its registration gave.
    ///
    /// # Errors
    ///
    /// Names the value that cannot be used.
    pub fn acme_dns(server: &str, username: &str, password: &str, subdomain: &str) -> Result<Self, InvalidDnsSettings> {
        let subdomain = subdomain.trim();
        let label = (1..=63).contains(&subdomain.len())
            && subdomain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !label {
            return Err(InvalidDnsSettings::Subdomain(shown(subdomain)));
        }
        Ok(Self::AcmeDns {
            server: BaseUrl::parse("server", server)?,
            username: credential("username", username)?,
            password: Secret::parse("password", password)?,
            subdomain: subdomain.to_owned(),
        })
    }

    /// An HTTP endpoint; basic authentication is used when there are a user and a password.
    ///
    /// # Errors
    ///
    /// Names the value that cannot be used.
    pub fn http_request(
        endpoint: &str,
        mode: HookMode,
        username: Option<&str>,
        password: Option<&str>,
    ) -> Result<Self, InvalidDnsSettings> {
        let endpoint = BaseUrl::parse("endpoint", endpoint)?;
        let (username, password) = match (username, password) {
            (None, None) => (None, None),
            (Some(username), Some(_)) if username.contains(':') => return Err(InvalidDnsSettings::Colon),
            (Some(username), Some(password)) => {
                (Some(credential("username", username)?), Some(Secret::parse("password", password)?))
            }
            (Some(_), None) => return Err(InvalidDnsSettings::Missing("password", "username")),
            (None, Some(_)) => return Err(InvalidDnsSettings::Missing("username", "password")),
        };
        Ok(Self::HttpRequest { endpoint, mode, username, password })
    }

    /// A program. Whether it is there shows when it is run.
    ///
    /// # Errors
    ///
    /// It is not a file name.
    pub fn exec(program: &str, mode: HookMode) -> Result<Self, InvalidDnsSettings> {
        let is_name = (1..=PROGRAM_BYTES_MAX).contains(&program.len())
            && !program.starts_with('.')
            && !program.contains(|char: char| char == '/' || char.is_control());
        if !is_name {
            return Err(InvalidDnsSettings::Program(shown(program)));
        }
        Ok(Self::Exec { program: program.to_owned(), mode })
    }

    /// The provider's name, for people.
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Rfc2136 { .. } => "rfc2136",
            Self::Cloudflare { .. } => "cloudflare",
            Self::AcmeDns { .. } => "acme-dns",
            Self::HttpRequest { .. } => "httpreq",
            Self::Exec { .. } => "exec",
        }
    }

    pub(super) fn parse(message: Settings) -> Result<Self, InvalidDnsSettings> {
        let optional = |text: &String| (!text.is_empty()).then(|| text.clone());
        match message {
            Settings::Rfc2136(wire::Rfc2136 { server, key_name, key_algorithm, key_secret }) => {
                let has_key = !(key_name.is_empty() && key_secret.is_empty());
                let algorithm = if key_algorithm.is_empty() {
                    Ok(TsigAlgorithm::DEFAULT)
                } else {
                    TsigAlgorithm::parse(&key_algorithm)
                };
                let key = has_key.then(|| TsigKey::parse(&key_name, algorithm?, &key_secret)).transpose()?;
                Self::rfc2136(&server, key)
            }
            Settings::Cloudflare(wire::Cloudflare { api_token, api }) => {
                Self::cloudflare(&api_token, optional(&api).as_deref())
            }
            Settings::AcmeDns(wire::AcmeDns { server, username, password, subdomain }) => {
                Self::acme_dns(&server, &username, &password, &subdomain)
            }
            Settings::Httpreq(wire::Httpreq { endpoint, raw, username, password }) => {
                let (username, password) = (optional(&username), optional(&password));
                Self::http_request(&endpoint, HookMode::of_raw(raw), username.as_deref(), password.as_deref())
            }
            Settings::Exec(wire::Exec { program, raw }) => Self::exec(&program, HookMode::of_raw(raw)),
        }
    }

    pub(super) fn message(&self, defaults: Defaults) -> Settings {
        match self {
            Self::Rfc2136 { server, tsig } => Settings::Rfc2136(wire::Rfc2136 {
                server: address(server),
                key_name: tsig.as_ref().map(|key| key.name().to_owned()).unwrap_or_default(),
                key_algorithm: tsig
                    .as_ref()
                    .and_then(|key| defaults.keep(key.algorithm(), &TsigAlgorithm::DEFAULT))
                    .map(|algorithm| algorithm.as_str().to_owned())
                    .unwrap_or_default(),
                key_secret: tsig.as_ref().map(TsigKey::expose_secret).unwrap_or_default(),
            }),
            Self::Cloudflare { api_token, api } => Settings::Cloudflare(wire::Cloudflare {
                api_token: api_token.expose().to_owned(),
                api: defaults.keep(api.as_str(), &CLOUDFLARE_API).map(str::to_owned).unwrap_or_default(),
            }),
            Self::AcmeDns { server, username, password, subdomain } => Settings::AcmeDns(wire::AcmeDns {
                server: server.to_string(),
                username: username.clone(),
                password: password.expose().to_owned(),
                subdomain: subdomain.clone(),
            }),
            Self::HttpRequest { endpoint, mode, username, password } => Settings::Httpreq(wire::Httpreq {
                endpoint: endpoint.to_string(),
                raw: *mode == HookMode::Raw,
                username: username.clone().unwrap_or_default(),
                password: password.as_ref().map(|password| password.expose().to_owned()).unwrap_or_default(),
            }),
            Self::Exec { program, mode } => {
                Settings::Exec(wire::Exec { program: program.clone(), raw: *mode == HookMode::Raw })
            }
        }
    }
}

impl HookMode {
    fn of_raw(raw: bool) -> Self {
        if raw { Self::Raw } else { Self::Default }
    }
}

impl Secret {
    /// Takes a secret; `field` is what an error names.
    ///
    /// # Errors
    ///
    /// It is empty, too long, or holds what no HTTP header can.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, InvalidDnsSettings> {
        credential(field, text).map(|secret| Self(Zeroizing::new(secret)))
    }

    /// What it is, for the provider it is for and for storage.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(redacted)")
    }
}

impl BaseUrl {
    /// Takes a URL; `field` is what an error names.
    ///
    /// # Errors
    ///
    /// It cannot be a base for paths. The error never repeats a URL that holds a password.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, InvalidDnsSettings> {
        let problem = |problem| InvalidDnsSettings::Url { field, problem };
        if text.len() > URL_BYTES_MAX {
            return Err(problem("is too long"));
        }
        let text = text.trim();
        let url = Url::parse(text).map_err(|_| problem("is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(problem("is neither http:// nor https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(problem("holds a user or a password, which have their own fields"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(problem("has a query or a fragment, after which no path can follow"));
        }
        Ok(Self { text: text.to_owned(), url })
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL of a path under this one. Segments are encoded, and cannot leave it.
    pub fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        // Only a URL that cannot be a base is refused, and http and https always can.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The address of a name server, with its port unless that is the usual one.
fn address(server: &SocketAddr) -> String {
    if server.port() == DNS_PORT { server.ip().to_string() } else { server.to_string() }
}

fn credential(field: &'static str, text: &str) -> Result<String, InvalidDnsSettings> {
    match text.len() {
        0 => return Err(InvalidDnsSettings::Empty(field)),
        1..=CREDENTIAL_BYTES_MAX => {}
        _ => return Err(InvalidDnsSettings::Credential(field)),
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidDnsSettings::Credential(field));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_an_address_and_its_port_is_53_unless_it_says_so() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54", "[2001:db8::1]:54"),
        ] {
            let DnsSettings::Rfc2136 { server, .. } = DnsSettings::rfc2136(text, None).unwrap() else {
                panic!("another provider");
            };
            assert_eq!(server, address.parse().unwrap());
        }
        for text in ["ns1.example.net", "192.0.2.1:0", ""] {
            assert_eq!(DnsSettings::rfc2136(text, None).unwrap_err().field(), "server");
        }
    }

    #[test]
    fn a_secret_is_shown_to_nobody() {
        let settings = DnsSettings::cloudflare("hunter2hunter2", None).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let error = DnsSettings::http_request("https://me:hunter2@example.net", HookMode::Raw, None, None).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
        assert_eq!(error.field(), "endpoint");
    }

    #[test]
    fn a_path_stays_under_its_base() {
        let base = BaseUrl::parse("api", "https://dns.example.net/v4/").unwrap();
        assert_eq!(base.at(&["zones", "a/b", ".."]).as_str(), "https://dns.example.net/v4/zones/a%2Fb");
        let base = BaseUrl::parse("api", "https://dns.example.net").unwrap();
        assert_eq!(base.at(&["update"]).as_str(), "https://dns.example.net/update");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let field = |settings: Result<DnsSettings, InvalidDnsSettings>| settings.unwrap_err().field();
        assert_eq!(field(DnsSettings::cloudflare("", None)), "api_token");
        assert_eq!(field(DnsSettings::cloudflare("a\nb", None)), "api_token");
        assert_eq!(field(DnsSettings::cloudflare("a", Some("ftp://example.net"))), "api");
        assert_eq!(field(DnsSettings::acme_dns("https://a.example", "u", "p", "d.auth.example")), "subdomain");
        let endpoint = "https://a.example";
        assert_eq!(field(DnsSettings::http_request(endpoint, HookMode::Raw, Some("u"), None)), "password");
        assert_eq!(field(DnsSettings::http_request(endpoint, HookMode::Raw, Some("u:v"), Some("p"))), "username");
        assert_eq!(field(DnsSettings::exec("../set-txt", HookMode::Default)), "program");
    }
}
