//! Messages as people read them: every field with its path, as `--set` takes it.
//!
//! Nothing here names a field: what a message has is shown by its descriptor, in the order of its fields, and what is secret is not.

use std::time::{Duration, SystemTime};

use pbjson_types::Timestamp;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};
use switchyard_proto::schema::{self, FieldOptions, Output, word};

use crate::text::{moment, or_dash};

/// What stands for a field that is not set.
const UNSET: &str = "-";
/// What stands for a message that is set, and has nothing to show.
const EMPTY: &str = "{}";

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// The path and the text of each field; what the control plane adds to a resource last.
pub(crate) fn of<M: prost::Name>(message: &M, now: SystemTime) -> Vec<(String, String)> {
    let message = schema::dynamic(message);
    let mut listing = Listing { now, rows: Vec::new() };
    let (added, own): (Vec<_>, Vec<_>) =
        message.descriptor().fields().partition(|field| FieldOptions::of(field).output == Some(Output::Computed));
    for field in own.iter().chain(&added) {
        listing.field(&message, field, "");
    }
    listing.rows
}

/// A value as text that can be compared: as it is shown, but a moment without its age.
pub(crate) fn plain(field: &FieldDescriptor, value: &Value) -> String {
    let shown = Listing { now: SystemTime::UNIX_EPOCH, rows: Vec::new() }.text(field, value);
    match value {
        Value::Message(message) if message.descriptor().full_name() == TIMESTAMP => {
            shown.split_once(' ').map_or(String::new(), |(moment, _)| moment.to_owned())
        }
        _ => shown,
    }
}

struct Listing {
    now: SystemTime,
    rows: Vec<(String, String)>,
}

impl Listing {
    fn field(&mut self, message: &DynamicMessage, field: &FieldDescriptor, path: &str) {
        if FieldOptions::of(field).secret || self.is_arm_elsewhere(message, field, path) {
            return;
        }
        let path = join(path, field.name());
        match &*message.get_field(field) {
            _ if field.supports_presence() && !message.has_field(field) => self.row(path, UNSET),
            Value::List(values) if of_messages(&field.kind()) => {
                self.row(path.clone(), &values.len().to_string());
                for (index, value) in values.iter().enumerate() {
                    self.value(field, value, format!("{path}[{index}]"));
                }
            }
            Value::Map(values) if map_value(field).is_some_and(|value| of_messages(&value.kind())) => {
                self.row(path.clone(), &values.len().to_string());
                let mut values: Vec<_> = values.iter().map(|(key, value)| (key_text(key), value)).collect();
                values.sort_by(|(key, _), (other, _)| key.cmp(other));
                for (key, value) in values {
                    self.value(field, value, format!("{path}[{key}]"));
                }
            }
            value => self.value(field, value, path),
        }
    }

    /// Whether another arm of its oneof is set; where none is, the first stands for all.
    fn is_arm_elsewhere(&mut self, message: &DynamicMessage, field: &FieldDescriptor, path: &str) -> bool {
        let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) else { return false };
        let is_unset = oneof.fields().all(|arm| !message.has_field(&arm));
        if is_unset && oneof.fields().next().as_ref() == Some(field) {
            self.row(join(path, oneof.name()), UNSET);
        }
        !message.has_field(field)
    }

    fn value(&mut self, field: &FieldDescriptor, value: &Value, path: String) {
        match value {
            Value::Message(inner) if !schema::is_well_known(&inner.descriptor()) => {
                let before = self.rows.len();
                for field in inner.descriptor().fields() {
                    self.field(inner, &field, &path);
                }
                if self.rows.len() == before {
                    self.row(path, EMPTY);
                }
            }
            value => {
                let text = self.text(field, value);
                self.row(path, &text);
            }
        }
    }

    fn row(&mut self, path: String, text: &str) {
        self.rows.push((path, or_dash(text)));
    }

    /// A value in a cell.
    fn text(&self, field: &FieldDescriptor, value: &Value) -> String {
        match value {
            Value::String(text) => summary(text),
            Value::Bytes(bytes) => size(bytes.len()),
            Value::EnumNumber(0) => String::new(),
            Value::EnumNumber(number) => enum_word(field, *number),
            Value::List(values) => values.iter().map(|value| self.text(field, value)).collect::<Vec<_>>().join(","),
            Value::Map(values) => {
                let element = map_value(field);
                let element = element.as_ref().unwrap_or(field);
                let pair = |(key, value)| format!("{}={}", key_text(key), self.text(element, value));
                let mut pairs: Vec<String> = values.iter().map(pair).collect();
                pairs.sort();
                pairs.join(",")
            }
            Value::Message(message) => self.well_known(message),
            number => number.to_string(),
        }
    }

    fn well_known(&self, message: &DynamicMessage) -> String {
        let number = |name: &str| message.get_field_by_name(name).map(std::borrow::Cow::into_owned);
        let seconds = number("seconds").and_then(|value| value.as_i64()).unwrap_or_default();
        let nanos = number("nanos").and_then(|value| value.as_i32()).unwrap_or_default();
        match message.descriptor().full_name() {
            TIMESTAMP => moment(Some(&Timestamp { seconds, nanos }), self.now),
            "google.protobuf.Duration" => match (u64::try_from(seconds), u32::try_from(nanos)) {
                (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
                    humantime::format_duration(Duration::new(seconds, nanos)).to_string()
                }
                _ => String::new(),
            },
            _ => serde_json::to_string(message).unwrap_or_default(),
        }
    }
}

/// Text as it is; of PEM, which is long, what it holds.
fn summary(text: &str) -> String {
    const BLOCK: &str = "-----BEGIN ";
    let blocks = text.matches(BLOCK).count();
    match text.matches("-----BEGIN CERTIFICATE-----").count() {
        _ if blocks == 0 => text.to_owned(),
        1 if blocks == 1 => "1 certificate".to_owned(),
        certificates if certificates == blocks => format!("{certificates} certificates"),
        _ => format!("PEM, {}", size(text.len())),
    }
}

/// `1,234 bytes`
fn size(bytes: usize) -> String {
    let digits = bytes.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    match bytes {
        0 => String::new(),
        1 => "1 byte".to_owned(),
        _ => format!("{} bytes", groups.join(",")),
    }
}

fn enum_word(field: &FieldDescriptor, number: i32) -> String {
    match field.kind() {
        Kind::Enum(kind) => word(&kind, number),
        _ => number.to_string(),
    }
}

/// Whether values of this kind have fields of their own.
fn of_messages(kind: &Kind) -> bool {
    kind.as_message().is_some_and(|message| !message.is_map_entry() && !schema::is_well_known(message))
}

/// The values of a map.
fn map_value(field: &FieldDescriptor) -> Option<FieldDescriptor> {
    field.is_map().then(|| field.kind().as_message().map(|entry| entry.map_entry_value_field())).flatten()
}

/// The key of an entry of a map.
pub(crate) fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use pbjson_types::Duration;
    use switchyard_proto::{
        schema::{Material, variants},
        v1::{
            AcmeSettings, Backend, BackendClientCertificate, BackendTls, Certificate, ClientAuthentication,
            ClientCertificateMode, DnsProvider, Domain, DomainTls, Edge, Issuer, Rejection, Service, ServiceTimeouts,
            TlsVersion,
        },
    };

    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)
    }

    fn rows<M: prost::Name>(message: &M) -> Vec<(String, String)> {
        of(message, now())
    }

    fn row<M: prost::Name>(message: &M, path: &str) -> Option<String> {
        rows(message).into_iter().find(|(other, _)| other == path).map(|(_, text)| text)
    }

    /// Every field of a message that has all of them is shown, at every level and in every arm, but no secret.
    fn shows_everything<M: prost::Name + Default>() {
        let secret = "-----BEGIN PRIVATE KEY-----";
        let material =
            Material { ca_pem: CERTIFICATE.into(), chain_pem: CERTIFICATE.repeat(2), private_key_pem: secret.into() };
        for message in variants::<M>(&material) {
            let rows = rows(&message);
            let dynamic = schema::dynamic(&message);
            let (mut shown, mut secrets) = (Vec::new(), Vec::new());
            leaves(&dynamic, "", &mut shown, &mut secrets);
            assert!(shown.len() > 5, "{shown:?}");
            for path in shown {
                let text = rows.iter().find(|(row, _)| *row == path).map(|(_, text)| text.as_str());
                assert!(text.is_some_and(|text| !text.is_empty() && text != UNSET), "{path}: {rows:?}");
            }
            for (path, secret) in secrets {
                assert!(rows.iter().all(|(row, text)| *row != path && !text.contains(&secret)), "{path}: {rows:?}");
            }
        }
    }

    fn leaves(message: &DynamicMessage, path: &str, shown: &mut Vec<String>, secrets: &mut Vec<(String, String)>) {
        for (field, value) in message.fields() {
            let path = join(path, field.name());
            match value {
                Value::Message(inner) if !schema::is_well_known(&inner.descriptor()) => {
                    leaves(inner, &path, shown, secrets);
                }
                Value::String(text) if FieldOptions::of(&field).secret => secrets.push((path, text.clone())),
                _ if FieldOptions::of(&field).secret => {}
                _ => shown.push(path),
            }
        }
    }

    #[test]
    fn every_field_is_shown_and_no_secret() {
        shows_everything::<Domain>();
        shows_everything::<Service>();
        shows_everything::<Backend>();
        shows_everything::<Issuer>();
        shows_everything::<DnsProvider>();
        shows_everything::<Certificate>();
        shows_everything::<Edge>();
    }

    #[test]
    fn a_domain_is_listed_in_the_order_of_its_fields_and_what_is_added_last() {
        let tls = DomainTls {
            client_authentication: Some(ClientAuthentication {
                ca_bundle_pem: CERTIFICATE.repeat(2),
                mode: ClientCertificateMode::Optional.into(),
            }),
            minimum_version: TlsVersion::V13.into(),
            acme: Some(AcmeSettings {
                issuers: vec!["issuers/a".into(), "issuers/b".into()],
                ..AcmeSettings::default()
            }),
            ..DomainTls::default()
        };
        let domain = Domain {
            name: "domains/shop.example".into(),
            active_tag: "a".into(),
            tls: Some(tls),
            revision: 7,
            etag: "7".into(),
            update_time: Some(Timestamp { seconds: 999_990, nanos: 0 }),
            edge_selector: [("tier", "front"), ("region", "eu")].map(|(k, v)| (k.into(), v.into())).into(),
            ..Domain::default()
        };
        let rows = rows(&domain);
        let rows: Vec<_> = rows.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let expected = [
            ("name", "domains/shop.example"),
            ("service", "-"),
            ("active_tag", "a"),
            ("previous_tag", "-"),
            ("tls.certificate_source", "-"),
            ("tls.client_authentication.ca_bundle_pem", "2 certificates"),
            ("tls.client_authentication.mode", "optional"),
            ("tls.minimum_version", "1.3"),
            ("tls.acme.challenge", "-"),
            ("tls.acme.issuers", "issuers/a,issuers/b"),
            ("tls.acme.on_demand", "-"),
            ("http_to_https", "false"),
            ("edge_selector", "region=eu,tier=front"),
            ("revision", "7"),
            ("etag", "7"),
            ("create_time", "-"),
            ("update_time", "1970-01-12T13:46:30Z (10s ago)"),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn values_are_what_can_be_set() {
        let timeouts = ServiceTimeouts {
            connect: Some(Duration { seconds: 30, nanos: 0 }),
            first_byte: Some(Duration { seconds: 1, nanos: 500_000_000 }),
            idle: Some(Duration { seconds: -1, nanos: 0 }),
        };
        let service = Service { timeouts: Some(timeouts), protocol: 99, ..Service::default() };
        assert_eq!(row(&service, "timeouts.connect").as_deref(), Some("30s"));
        assert_eq!(row(&service, "timeouts.first_byte").as_deref(), Some("1s 500ms"));
        assert_eq!(row(&service, "timeouts.idle").as_deref(), Some("-"));
        assert_eq!(row(&service, "protocol").as_deref(), Some("99"), "what this version does not know is itself");
        let issuer = Issuer { rank: Some(0), ..Issuer::default() };
        assert_eq!(row(&issuer, "rank").as_deref(), Some("0"));
        assert_eq!(row(&Issuer::default(), "rank").as_deref(), Some("-"));
    }

    #[test]
    fn messages_and_arms_that_are_not_there_are_a_dash() {
        assert_eq!(row(&Service::default(), "tls").as_deref(), Some("-"));
        let certificate = BackendClientCertificate { private_key_pem: "hunter2".into(), ..Default::default() };
        let tls = BackendTls { client_certificate: Some(certificate), ..BackendTls::default() };
        let service = Service { tls: Some(tls), ..Service::default() };
        assert_eq!(row(&service, "tls.client_certificate.chain_pem").as_deref(), Some("-"));
        assert_eq!(row(&service, "tls.client_certificate.private_key_pem"), None);
        assert_eq!(row(&DnsProvider::default(), "settings").as_deref(), Some("-"));
        assert_eq!(row(&DnsProvider::default(), "exec"), None);
        let exec = switchyard_proto::v1::dns_provider::Settings::Exec(Default::default());
        let provider = DnsProvider { settings: Some(exec), ..DnsProvider::default() };
        assert_eq!(row(&provider, "exec.raw").as_deref(), Some("false"));
        assert!(row(&provider, "settings").is_none() && row(&provider, "rfc2136").is_none());
    }

    #[test]
    fn lists_of_messages_have_rows_for_each() {
        let rejection = |resource: &str| Rejection { resource: resource.into(), ..Rejection::default() };
        let edge = Edge { rejections: vec![rejection("domains/a"), rejection("domains/b")], ..Edge::default() };
        assert_eq!(row(&edge, "rejections").as_deref(), Some("2"));
        assert_eq!(row(&edge, "rejections[1].resource").as_deref(), Some("domains/b"));
    }

    #[test]
    fn pem_is_summed_up() {
        assert_eq!(summary(CERTIFICATE), "1 certificate");
        let key = format!("-----BEGIN PRIVATE KEY-----\n{}", "x".repeat(1_234 - 28));
        assert_eq!(summary(&key), "PEM, 1,234 bytes");
        assert!(summary(&format!("{CERTIFICATE}{key}")).starts_with("PEM, "));
        assert_eq!(summary("plain"), "plain");
        assert_eq!([size(0), size(1), size(999), size(1_000_001)], ["", "1 byte", "999 bytes", "1,000,001 bytes"]);
    }
}
