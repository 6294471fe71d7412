use std::{
    collections::HashSet,
    fmt::Display,
    fs::File,
    hash::Hash,
    io,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;
use serde_path_to_error::Segment;
use switchyard_proto::vocab::{BackendAddress, BackendId, HostPattern, IssuerId, ServiceId, Tag};
use toml::Spanned;

use crate::model::{Backend, CertificateSource, Domain, Email, Tags};

/// Bytes of a seed file: about a hundred thousand domains.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The sections of a seed file.
pub const SECTIONS: [&str; 7] =
    ["proxy", "lets_encrypt", "logging", "metrics", "health_check", "virtual_hosts", "backends"];

/// What a seed file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Let's Encrypt, if it is to issue the certificates of the domains; else people take care of them.
    pub lets_encrypt: Option<LetsEncrypt>,
    /// On the default service.
    pub domains: Vec<Domain>,
    /// Of the default service.
    pub backends: Vec<Backend>,
    /// Settings in it that are not the fleet's.
    pub notes: Vec<SettingNote>,
}

/// How Let's Encrypt is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetsEncrypt {
    /// Its name among the issuers.
    pub issuer: IssuerId,
    /// Where it may write to.
    pub email: Option<Email>,
}

/// A setting that is accepted and has no effect here, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingNote {
    /// `proxy.listen_addr`
    pub setting: &'static str,
    /// What to do instead.
    pub note: String,
}

/// The file as it is written. Sections other than the last two hold settings of programs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedFile {
    proxy: Option<ProxySection>,
    lets_encrypt: Option<LetsEncryptSection>,
    logging: Option<LoggingSection>,
    metrics: Option<MetricsSection>,
    health_check: Option<HealthCheckSection>,
    #[serde(default)]
    virtual_hosts: Vec<VirtualHostSection>,
    #[serde(default)]
    backends: Vec<BackendSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxySection {
    listen_addr: Option<String>,
    listen_addr_http: Option<String>,
    management_api_addr: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LetsEncryptSection {
    email: Option<Spanned<String>>,
    staging: Option<bool>,
    cache_dir: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoggingSection {
    level: Option<String>,
    format: Option<String>,
    output: Option<String>,
    file_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricsSection {
    enabled: Option<bool>,
    listen_addr: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthCheckSection {
    interval_secs: Option<u64>,
    timeout_secs: Option<u64>,
    unhealthy_threshold: Option<u32>,
    healthy_threshold: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VirtualHostSection {
    domain: Spanned<String>,
    enabled_backends_tag: Spanned<String>,
    #[serde(default)]
    http_to_https: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendSection {
    id: Spanned<String>,
    address: Spanned<String>,
    tags: Spanned<Vec<Spanned<String>>>,
}

pub(super) fn read(path: &Path) -> Result<Seed, InvalidSeed> {
    let unreadable = |error| InvalidSeed::Unreadable { path: path.into(), error };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other(format!("a seed file has at most {FILE_BYTES_MAX} bytes"))));
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable(io::Error::other("it is not UTF-8 text")))?;
    text.parse().map_err(|error| InvalidSeed::Content { path: path.into(), error })
}

impl FromStr for Seed {
    type Err = InvalidContent;

    fn from_str(text: &str) -> Result<Self, InvalidContent> {
        parse(text).map_err(|Fault { span, path: key, reason }| {
            let (line, column) = position(text, span.start);
            let reason = if key.is_empty() { reason } else { format!("{key}: {reason}") };
            InvalidContent { line, column, reason }
        })
    }
}

/// What is wrong, and where in the text.
struct Fault {
    span: Range<usize>,
    /// `virtual_hosts[0].domain`; empty when the text is no TOML.
    path: String,
    reason: String,
}

impl Fault {
    fn of_toml(error: &toml::de::Error, path: String) -> Self {
        Self { span: error.span().unwrap_or(0..0), path, reason: error.message().to_owned() }
    }

    fn of_value<T>(value: &Spanned<T>, path: &str, reason: impl ToString) -> Self {
        Self { span: value.span(), path: path.to_owned(), reason: reason.to_string() }
    }
}

fn parse(text: &str) -> Result<Seed, Fault> {
    let document = toml::Deserializer::parse(text).map_err(|error| Fault::of_toml(&error, String::new()))?;
    let file: SeedFile = serde_path_to_error::deserialize(document)
        .map_err(|error| Fault::of_toml(error.inner(), dotted(error.path())))?;
    let SeedFile { proxy, lets_encrypt, logging, metrics, health_check, virtual_hosts, backends } = file;
    let mut notes = Vec::new();
    proxy.into_iter().for_each(|section| section.note(&mut notes));
    let lets_encrypt = lets_encrypt.map(|section| section.issuer(&mut notes)).transpose()?;
    logging.into_iter().for_each(|section| section.note(&mut notes));
    metrics.into_iter().for_each(|section| section.note(&mut notes));
    health_check.into_iter().for_each(|section| section.note(&mut notes));
    let source = if lets_encrypt.is_some() { CertificateSource::Acme } else { CertificateSource::Uploaded };
    Ok(Seed { lets_encrypt, domains: domains(virtual_hosts, source)?, backends: self::backends(backends)?, notes })
}

/// A path as people write it: without the steps that [`Spanned`] takes.
fn dotted(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } if key.starts_with("$__") => {}
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Segment::Unknown => text.push('?'),
        }
    }
    text
}

fn domains(sections: Vec<VirtualHostSection>, certificate_source: CertificateSource) -> Result<Vec<Domain>, Fault> {
    let mut seen = HashSet::new();
    let mut domains = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        let VirtualHostSection { domain, enabled_backends_tag, http_to_https } = section;
        let path = |key: &str| format!("virtual_hosts[{index}].{key}");
        let host = value(&domain, &path("domain"), HostPattern::parse)?;
        once(&mut seen, &host, &domain, &path("domain"))?;
        let tag = value(&enabled_backends_tag, &path("enabled_backends_tag"), Tag::parse)?;
        let domain = Domain::new(host, ServiceId::default_service(), tag);
        domains.push(Domain { certificate_source, http_to_https, ..domain });
    }
    Ok(domains)
}

fn backends(sections: Vec<BackendSection>) -> Result<Vec<Backend>, Fault> {
    let mut seen = HashSet::new();
    let mut backends = Vec::new();
    for (index, BackendSection { id, address, tags }) in sections.into_iter().enumerate() {
        let path = |key: &str| format!("backends[{index}].{key}");
        let backend = value(&id, &path("id"), BackendId::parse)?;
        once(&mut seen, &backend, &id, &path("id"))?;
        let words = tags.get_ref().iter().enumerate();
        let words = words.map(|(position, tag)| value(tag, &path(&format!("tags[{position}]")), Tag::parse));
        let words = words.collect::<Result<_, _>>()?;
        let address = value(&address, &path("address"), BackendAddress::parse)?;
        let tags = Tags::new(words).map_err(|error| Fault::of_value(&tags, &path("tags"), error))?;
        backends.push(Backend::new(backend, ServiceId::default_service(), address, tags));
    }
    Ok(backends)
}

fn value<T, E: Display>(text: &Spanned<String>, path: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Fault> {
    parse(text.get_ref()).map_err(|error| Fault::of_value(text, path, format_args!("{:?}: {error}", text.get_ref())))
}

fn once<T: Clone + Eq + Hash>(
    seen: &mut HashSet<T>,
    value: &T,
    text: &Spanned<String>,
    path: &str,
) -> Result<(), Fault> {
    if seen.insert(value.clone()) {
        return Ok(());
    }
    Err(Fault::of_value(text, path, format_args!("{:?} is in this file twice", text.get_ref())))
}

/// Line and column of a byte, counted from 1; columns are characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Collects notes about the settings that are there.
fn note<T>(notes: &mut Vec<SettingNote>, setting: &'static str, value: Option<T>, text: impl FnOnce(T) -> String) {
    notes.extend(value.map(|value| SettingNote { setting, note: text(value) }));
}

impl ProxySection {
    fn note(self, notes: &mut Vec<SettingNote>) {
        let Self { listen_addr, listen_addr_http, management_api_addr } = self;
        note(notes, "proxy.listen_addr", listen_addr, |address| {
            format!("a setting of each edge: switchyard-edge-proxy --https {address}")
        });
        note(notes, "proxy.listen_addr_http", listen_addr_http, |address| {
            format!("a setting of each edge: switchyard-edge-proxy --http {address}")
        });
        note(notes, "proxy.management_api_addr", management_api_addr, |address| {
            format!("a setting of this program: --admin {address}")
        });
    }
}

impl LetsEncryptSection {
    fn issuer(self, notes: &mut Vec<SettingNote>) -> Result<LetsEncrypt, Fault> {
        let Self { email, staging, cache_dir } = self;
        let id = if staging.unwrap_or_default() { "letsencrypt-staging" } else { "letsencrypt" };
        note(notes, "lets_encrypt.cache_dir", cache_dir, |_| {
            "not applicable: certificates are kept in the database".to_owned()
        });
        Ok(LetsEncrypt {
            issuer: IssuerId::parse(id).expect("it is an id"),
            email: email.map(|email| value(&email, "lets_encrypt.email", Email::parse)).transpose()?,
        })
    }
}

impl LoggingSection {
    fn note(self, notes: &mut Vec<SettingNote>) {
        let Self { level, format, output, file_path } = self;
        note(notes, "logging.level", level, |level| format!("a setting of each program: --log-level {level}"));
        note(notes, "logging.format", format, |format| format!("a setting of each program: --log-format {format}"));
        const STDERR: &str = "not applied: programs log to the standard error, for the service manager to keep";
        note(notes, "logging.output", output, |_| STDERR.to_owned());
        note(notes, "logging.file_path", file_path, |_| STDERR.to_owned());
    }
}

impl MetricsSection {
    fn note(self, notes: &mut Vec<SettingNote>) {
        const METRICS: &str = "not applied: each edge always serves its metrics on its --admin address";
        let Self { enabled, listen_addr } = self;
        note(notes, "metrics.enabled", enabled, |_| METRICS.to_owned());
        note(notes, "metrics.listen_addr", listen_addr, |_| METRICS.to_owned());
    }
}

impl HealthCheckSection {
    fn note(self, notes: &mut Vec<SettingNote>) {
        const NO_CHECKS: &str = "not applied: this version probes no backends";
        let Self { interval_secs, timeout_secs, unhealthy_threshold, healthy_threshold } = self;
        note(notes, "health_check.interval_secs", interval_secs, |_| NO_CHECKS.to_owned());
        note(notes, "health_check.timeout_secs", timeout_secs, |_| NO_CHECKS.to_owned());
        note(notes, "health_check.unhealthy_threshold", unhealthy_threshold, |_| NO_CHECKS.to_owned());
        note(notes, "health_check.healthy_threshold", healthy_threshold, |_| NO_CHECKS.to_owned());
    }
}

/// Why a seed file is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSeed {
    /// It cannot be read.
    #[error("seed file {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It says something that cannot be.
    #[error("seed file {}, {error}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// Where, and what.
        error: InvalidContent,
    },
}

/// Why a text is no [`Seed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct InvalidContent {
    /// Counted from 1.
    line: usize,
    /// In characters, counted from 1.
    column: usize,
    /// Where in the document, and what is wrong: `virtual_hosts[0].domain: ...`
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../testdata/example-config.toml");

    #[test]
    fn the_example_is_accepted_as_it_stands() {
        let seed = parse(EXAMPLE).map_err(|fault| fault.reason).unwrap();
        let hosts: Vec<_> =
            seed.domains.iter().map(|domain| (domain.host.as_str(), domain.active_tag.as_str())).collect();
        assert_eq!(hosts, [("example.com", "a"), ("api.example.com", "b")]);
        assert!(seed.domains.iter().all(|domain| domain.http_to_https));
        let backends: Vec<_> = seed.backends.iter().map(|backend| backend.address.to_string()).collect();
        assert_eq!(backends, ["localhost:3001", "localhost:3002", "192.168.1.100:8080"]);
        // Every other setting in it is spoken of.
        assert_eq!(seed.notes.len(), 14);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_its_path() {
        let [host, backend] = [
            "[[virtual_hosts]]\ndomain = \"a.example\"\nenabled_backends_tag = \"a\"\n",
            "[[backends]]\nid = \"b\"\naddress = \"10.0.0.1:80\"\ntags = [\"a\"]\n",
        ];
        for (text, line, column, path, reason) in [
            (format!("{host}colour = 1\n"), 4, 1, "virtual_hosts[0].colour", "unknown field `colour`"),
            ("[proxies]\n".to_owned(), 1, 2, "proxies", "unknown field `proxies`"),
            (
                host.replace("\"a\"", "\"A\""),
                3,
                24,
                "virtual_hosts[0].enabled_backends_tag",
                "\"A\": a tag consists of",
            ),
            (host.replace("\"a\"", "1"), 3, 24, "virtual_hosts[0].enabled_backends_tag", "invalid type"),
            (format!("{host}{host}"), 5, 10, "virtual_hosts[1].domain", "twice"),
            (format!("{backend}{backend}"), 6, 6, "backends[1].id", "twice"),
            (backend.replace(":80", ""), 3, 11, "backends[0].address", "port"),
            (backend.replace("\"a\"", "\"a\", \"-\""), 4, 14, "backends[0].tags[1]", "\"-\": a tag consists of"),
            (backend.replace("\"a\"", "\"a\", 1"), 4, 14, "backends[0].tags[1]", "invalid type"),
            (backend.replace("\"a\"", ""), 4, 8, "backends[0].tags", "at least one tag"),
            ("[[backends]]\nid = \"b\"\n".to_owned(), 1, 1, "backends[0]", "missing field `address`"),
            ("x = \n".to_owned(), 1, 5, "", "value"),
        ] {
            let Err(fault) = parse(&text) else { panic!("accepted: {text}") };
            assert_eq!(position(&text, fault.span.start), (line, column), "{text}: {}", fault.reason);
            assert_eq!(fault.path, path, "{text}: {}", fault.reason);
            assert!(fault.reason.contains(reason), "{}", fault.reason);
        }
    }

    #[test]
    fn a_file_is_refused_with_its_name_and_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.toml");
        assert!(matches!(read(&path), Err(InvalidSeed::Unreadable { .. })));
        std::fs::write(&path, "[[virtual_hosts]]\ndomain = \"a..b\"\nenabled_backends_tag = \"a\"\n").unwrap();
        let text = read(&path).unwrap_err().to_string();
        let place = format!("seed file {}, line 2, column 10: virtual_hosts[0].domain: ", path.display());
        assert!(text.starts_with(&place), "{text}");
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("it is not UTF-8 text"));
    }
}
