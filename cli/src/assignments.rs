//! `--set` and `--unset`: every field of a resource by its path, beside the flags for what is done daily.
//!
//! Nothing here names a field: paths and values are read by the descriptor of the message, so that a new field can be set without code of its
//! own. What flags say and what assignments say make one message and one mask.

use clap::Args;
use pbjson_types::FieldMask;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage};
use switchyard_proto::schema::{self, Behavior, FieldOptions};

use crate::{failure::Failure, files, headings::CHANGE};

/// Fields by their paths.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct SetArgs {
    /// Set a field by its path, which `get` shows; @FILE and @- (the standard input) are read for the value; may be given again
    ///
    /// Secrets are only read so. Of a list write `a,b`, of a map `key=value,other=value`, of a message, a list or a map JSON; for a value that
    /// begins with `@` write `@@`.
    #[arg(long, help_heading = CHANGE, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Unset a field by its path; may be given again
    #[arg(long, help_heading = CHANGE, value_name = "PATH")]
    unset: Vec<String>,
}

/// What the flags of a command say of a resource.
#[derive(Debug)]
pub(crate) struct Flags<M> {
    /// The fields that they set.
    pub(crate) message: M,
    /// Each path that one of them names, and which one.
    named: Vec<(&'static str, String)>,
}

impl<M> Flags<M> {
    /// None yet: `message` holds what is no flag's, the name and the etag.
    pub(crate) fn new(message: M) -> Self {
        Self { message, named: Vec::new() }
    }

    /// Notes that a flag sets a path to what the message holds there, or clears it.
    pub(crate) fn name(&mut self, flag: &'static str, path: &str) {
        self.named.push((flag, path.to_owned()));
    }

    /// Notes that the flags set every field that the message has, down to those that hold no message.
    pub(crate) fn name_given(&mut self, flag: &'static str)
    where
        M: prost::Name,
    {
        let message = schema::dynamic(&self.message);
        let given = leaves(&message.descriptor()).into_iter().filter(|path| has(&message, path));
        let input = given.filter(|path| !is_identifier(&message.descriptor(), path));
        self.named.extend(input.map(|path| (flag, path)));
    }

    /// Whether a flag sets or clears this path.
    pub(crate) fn is_named(&self, path: &str) -> bool {
        self.named.iter().any(|(_, named)| named == path)
    }
}

impl SetArgs {
    /// Whether there are any.
    fn is_given(&self) -> bool {
        !self.set.is_empty() || !self.unset.is_empty()
    }

    /// What the flags and these say together, and the mask of it.
    pub(crate) fn join<M: prost::Name + Default>(&self, flags: Flags<M>) -> Result<(M, FieldMask), Failure> {
        let Flags { message, named } = flags;
        let mut paths: Vec<String> = named.iter().map(|(_, path)| path.clone()).collect();
        if !self.is_given() {
            return Ok((message, FieldMask { paths }));
        }
        let descriptor = schema::descriptor::<M>();
        let (set, unset) = (self.set.iter().map(String::as_str), self.unset.iter().map(String::as_str));
        let assigned = schema::assign(&descriptor, set, unset, &files::reader())?;
        let mut whole = schema::dynamic(&message);
        for path in &assigned.paths {
            if is_identifier(&descriptor, path) {
                return Err(Failure::Usage(format!("{path} says which resource it is, and cannot be set")));
            }
            if let Some((flag, flag_path)) = named.iter().find(|(_, flag_path)| is_both(&whole, flag_path, path)) {
                let of = if flag_path == path { String::new() } else { format!(", which names {flag_path}") };
                return Err(Failure::Usage(format!("{path} is named by --set or --unset, and by {flag}{of}")));
            }
        }
        let given: Vec<_> = named.iter().filter(|(_, path)| has(&whole, path)).collect();
        whole.merge(assigned.message.encode_to_vec().as_slice()).expect("what was just encoded is in the wire format");
        if let Some((flag, path)) = given.into_iter().find(|(_, path)| !has(&whole, path)) {
            return Err(Failure::Usage(format!("{path} of {flag} and what --set names exclude each other")));
        }
        paths.extend(assigned.paths);
        Ok((schema::typed(&whole), FieldMask { paths }))
    }
}

/// The paths of the fields of the arm that is set, each of which holds no message, of a oneof.
pub(crate) fn paths_of_oneof<M: prost::Name>(message: &M, oneof: &str) -> Vec<String> {
    let message = schema::dynamic(message);
    let descriptor = message.descriptor();
    let arms = descriptor.oneofs().filter(|it| it.name() == oneof).flat_map(|it| it.fields().collect::<Vec<_>>());
    let Some(arm) = arms.into_iter().find(|arm| message.has_field(arm)) else { return Vec::new() };
    leaves(&descriptor).into_iter().filter(|path| is_within(path, arm.name())).collect()
}

/// The paths that can be set and lead no further.
fn leaves(descriptor: &MessageDescriptor) -> Vec<String> {
    let paths = schema::paths(descriptor);
    // Each comes before those within it.
    let next = paths.iter().skip(1).map(Some).chain([None]);
    let is_leaf = |(path, next): &(&String, Option<&String>)| !next.is_some_and(|next| is_within(next, path));
    paths.iter().zip(next).filter(is_leaf).map(|(path, _)| path.clone()).collect()
}

/// Whether a path is that of the name of the resource.
fn is_identifier(descriptor: &MessageDescriptor, path: &str) -> bool {
    descriptor.get_field_by_name(path).is_some_and(|field| FieldOptions::of(&field).is(Behavior::Identifier))
}

/// Whether a flag and an assignment speak of the same: a flag that sets a whole message leaves to assignments what it does not set of it.
fn is_both(flags: &DynamicMessage, flag_path: &str, path: &str) -> bool {
    if is_within(flag_path, path) {
        return true;
    }
    is_within(path, flag_path) && (!has(flags, flag_path) || has(flags, path))
}

/// Whether a path is another one, or leads on from there.
fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether the field at a path is set.
fn has(message: &DynamicMessage, path: &str) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some(field) = message.descriptor().get_field_by_name(name).filter(|field| message.has_field(field)) else {
        return false;
    };
    match rest {
        None => true,
        Some(rest) => message.get_field(&field).as_message().is_some_and(|inner| has(inner, rest)),
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::v1::{DnsProvider, Domain, DomainTls, Rfc2136, Service, TlsVersion, dns_provider::Settings};

    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn join<M: prost::Name + Default>(
        flags: Flags<M>,
        set: &[&str],
        unset: &[&str],
    ) -> Result<(M, Vec<String>), String> {
        let joined = SetArgs { set: texts(set), unset: texts(unset) }.join(flags);
        joined.map(|(message, mask)| (message, mask.paths)).map_err(|failure| {
            assert_eq!(failure.exit_code(), 2);
            failure.to_string()
        })
    }

    /// `--tag b --minimum-tls 1.3`
    fn domain() -> Flags<Domain> {
        let mut flags = Flags::new(Domain { name: "domains/shop.example".into(), ..Domain::default() });
        flags.name("--tag", "active_tag");
        flags.message.active_tag = "b".into();
        flags.name("--minimum-tls", "tls.minimum_version");
        flags.message.tls = Some(DomainTls { minimum_version: TlsVersion::V13.into(), ..DomainTls::default() });
        flags
    }

    #[test]
    fn flags_and_assignments_make_one_message_and_one_mask() {
        let (joined, mask) = join(domain(), &["tls.certificate_source=acme"], &["tls.acme.on_demand"]).unwrap();
        let tls = joined.tls.unwrap();
        assert_eq!((joined.active_tag.as_str(), tls.minimum_version()), ("b", TlsVersion::V13));
        assert_eq!(tls.certificate_source(), switchyard_proto::v1::CertificateSource::Acme);
        assert_eq!(tls.acme, None);
        assert_eq!(mask, ["active_tag", "tls.minimum_version", "tls.certificate_source", "tls.acme.on_demand"]);
        assert_eq!(join(domain(), &[], &[]).unwrap(), (domain().message, mask[..2].to_vec()));
    }

    #[test]
    fn what_a_flag_names_no_assignment_names() {
        let error = |set: &[&str], unset: &[&str]| join(domain(), set, unset).unwrap_err();
        assert_eq!(error(&["active_tag=a"], &[]), "active_tag is named by --set or --unset, and by --tag");
        assert_eq!(error(&[], &["active_tag"]), "active_tag is named by --set or --unset, and by --tag");
        let whole = "tls is named by --set or --unset, and by --minimum-tls, which names tls.minimum_version";
        assert_eq!(error(&["tls={}"], &[]), whole);
        assert_eq!(error(&[], &["tls"]), whole);
        assert_eq!(error(&["name=domains/x.example"], &[]), "name says which resource it is, and cannot be set");
        assert_eq!(
            error(&[], &["acme.on_demand"]),
            "\"acme.on_demand\" is no field; the nearest are tls.acme.on_demand"
        );
    }

    #[test]
    fn a_flag_of_a_whole_message_is_refined_where_it_says_nothing() {
        let mut on = Flags::new(Service::default());
        on.name("--tls", "tls");
        on.message.tls.get_or_insert_default().server_name = "a.example".into();
        let mut off = Flags::new(Service::default());
        off.name("--no-tls", "tls");
        assert!(
            join(off, &["tls.alternative_name=b.example"], &[]).unwrap_err().contains("by --no-tls, which names tls")
        );
        let refined = join(on, &["tls.alternative_name=b.example"], &[]).unwrap();
        let tls = refined.0.tls.unwrap();
        assert_eq!((tls.server_name.as_str(), tls.alternative_name.as_str()), ("a.example", "b.example"));
        assert_eq!(refined.1, ["tls", "tls.alternative_name"]);
    }

    #[test]
    fn only_one_arm_is_set() {
        let flags = || {
            let mut flags = Flags::new(DnsProvider { name: "dnsProviders/home".into(), ..DnsProvider::default() });
            let rfc2136 = Rfc2136 { server: "192.0.2.1".into(), ..Rfc2136::default() };
            flags.message.settings = Some(Settings::Rfc2136(rfc2136));
            flags.name_given("an argument");
            flags
        };
        let error = join(flags(), &["exec.program=x"], &[]).unwrap_err();
        assert_eq!(error, "rfc2136.server of an argument and what --set names exclude each other");
        let (joined, mask) = join(flags(), &["rfc2136.key_name=k"], &[]).unwrap();
        assert_eq!(mask, ["rfc2136.server", "rfc2136.key_name"]);
        assert_eq!(
            paths_of_oneof(&joined, "settings"),
            ["rfc2136.server", "rfc2136.key_name", "rfc2136.key_algorithm", "rfc2136.key_secret"]
        );
        assert_eq!(paths_of_oneof(&DnsProvider::default(), "settings"), [""; 0]);
    }

    #[test]
    fn secrets_come_from_files() {
        let provider = || Flags::new(DnsProvider::default());
        assert!(
            join(provider(), &["cloudflare.api_token=hunter2"], &[]).unwrap_err().contains("is secret: name a file")
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "hunter2\n").unwrap();
        let (joined, _) =
            join(provider(), &[&format!("cloudflare.api_token=@{}", file.path().display())], &[]).unwrap();
        let Some(Settings::Cloudflare(cloudflare)) = joined.settings else { panic!("{joined:?}") };
        assert_eq!(cloudflare.api_token, "hunter2");
        let missing = SetArgs { set: texts(&["cloudflare.api_token=@/nowhere/token"]), unset: Vec::new() };
        let failure = missing.join(provider()).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(
            failure.to_string().starts_with("cloudflare.api_token: read /nowhere/token: No such file"),
            "{failure}"
        );
    }
}
