//! What the history shows of documents: field by field, for every kind alike, by the descriptors of their messages.

use bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, SerializeOptions};
use serde_json::{Map, Value};
use switchyard_proto::schema::{self, FieldOptions, Output};

use super::{document::message_name, vault};

/// Hashes of secrets. They tell nobody anything.
const HASHES: [&str; 1] = ["secret_sha256"];

/// The fields of a document by their path (`tls.minimum_version`), those that are set; of a secret, which one it is. What cannot be read
/// is said under `document`.
pub(super) fn fields(kind: &str, document: Vec<u8>) -> Map<String, Value> {
    match read(kind, document.into()) {
        Ok(fields) => fields,
        Err(reason) => Map::from_iter([("document".to_owned(), format!("cannot be read: {reason}").into())]),
    }
}

fn read(kind: &str, document: Bytes) -> Result<Map<String, Value>, String> {
    let envelope = vault::envelope(document).map_err(|error| error.to_string())?;
    let descriptor = message_name(kind).and_then(|name| schema::pool().get_message_by_name(name));
    let descriptor = descriptor.ok_or("it is of a kind that this version does not know")?;
    let message = DynamicMessage::decode(descriptor, envelope.message).map_err(|error| error.to_string())?;
    let mut fields = shown(&message)?;
    fields.extend(envelope.secrets.into_iter().map(|(path, reference)| (path, secret(&reference))));
    Ok(fields)
}

/// What is shown of a secret: the ref that stands for it, which is another exactly if that is.
pub(super) fn secret(reference: &str) -> Value {
    format!("secret {reference}").into()
}

/// The fields of a message by their path, without secrets.
pub(super) fn shown(message: &DynamicMessage) -> Result<Map<String, Value>, String> {
    let options =
        SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false).stringify_64_bit_integers(false);
    let json = message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|it| it.to_string())?;
    let mut fields = Map::new();
    if let Value::Object(json) = json {
        flatten(&message.descriptor(), "", json, &mut fields);
    }
    Ok(fields)
}

/// Adds the fields of a message by their path.
fn flatten(descriptor: &MessageDescriptor, prefix: &str, json: Map<String, Value>, fields: &mut Map<String, Value>) {
    for (name, value) in json {
        let Some(field) = descriptor.get_field_by_name(&name) else { continue };
        let options = FieldOptions::of(&field);
        let is_hidden = options.secret || HASHES.contains(&&*name) || options.output == Some(Output::Computed);
        if is_hidden || is_unset(&field, &value) {
            continue;
        }
        let path = format!("{prefix}{name}");
        match (nested(&field), value) {
            (Some(nested), Value::Object(json)) => {
                let before = fields.len();
                flatten(&nested, &format!("{path}."), json, fields);
                // That it is there says something as well.
                if fields.len() == before {
                    fields.insert(path, Value::Object(Map::new()));
                }
            }
            (_, value) => drop(fields.insert(path, value)),
        }
    }
}

/// The message of a field that is shown field by field: no list, no map, and none that has a form of its own in JSON.
fn nested(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if field.cardinality() != prost_reflect::Cardinality::Repeated => {
            (message.package_name() != "google.protobuf").then_some(message)
        }
        _ => None,
    }
}

/// Whether a field is as if it had not been given. Flags and numbers always have a value.
fn is_unset(field: &FieldDescriptor, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => match field.kind() {
            Kind::Enum(words) => words.default_value().name() == text,
            _ => text.is_empty(),
        },
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty() && field.is_map(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serde_json::json;
    use switchyard_proto::{store::v1 as wire, v1};

    use super::*;
    use crate::store::document::{Encoded, Secrets};

    fn shown(kind: &str, message: &impl Message, secrets: &[(&str, &str)]) -> Value {
        let encoded = Encoded { message: message.encode_to_vec(), secrets: Secrets::default() };
        let refs = secrets.iter().map(|(path, reference)| ((*path).to_owned(), (*reference).to_owned()));
        fields(kind, vault::document(&encoded, refs)).into()
    }

    #[test]
    fn fields_are_shown_by_their_path() {
        let domain = v1::Domain {
            name: "domains/shop.example".into(),
            service: "services/shop".into(),
            active_tag: "a".into(),
            tls: Some(v1::DomainTls { minimum_version: v1::TlsVersion::V13.into(), ..Default::default() }),
            edge_selector: [("region".to_owned(), "eu".to_owned())].into(),
            ..v1::Domain::default()
        };
        let expected = json!({
            "name": "domains/shop.example",
            "service": "services/shop",
            "active_tag": "a",
            "tls.minimum_version": "TLS_VERSION_V1_3",
            "edge_selector": { "region": "eu" },
            "http_to_https": false,
        });
        assert_eq!(shown("domains", &domain, &[]), expected);
    }

    #[test]
    fn moments_and_durations_are_shown_as_in_the_api() {
        let second = pbjson_types::Duration { seconds: 1, nanos: 500_000_000 };
        let service = v1::Service {
            name: "services/shop".into(),
            timeouts: Some(v1::ServiceTimeouts { connect: Some(second), ..Default::default() }),
            ..v1::Service::default()
        };
        let expected = json!({ "name": "services/shop", "timeouts.connect": "1.500s" });
        assert_eq!(shown("services", &service, &[]), expected);
        let invite = wire::Invite {
            name: "invites/k7".into(),
            secret_sha256: vec![7; 32].into(),
            uses: 2,
            expire_time: Some(pbjson_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            ..wire::Invite::default()
        };
        let expected = json!({ "name": "invites/k7", "uses": 2, "expire_time": "2027-01-15T08:00:00Z" });
        assert_eq!(shown("invites", &invite, &[]), expected);
    }

    #[test]
    fn of_a_secret_is_shown_which_one_it_is() {
        let provider = v1::DnsProvider {
            name: "dnsProviders/home".into(),
            settings: Some(v1::dns_provider::Settings::Exec(v1::Exec { program: "set-txt".into(), raw: true })),
            ..v1::DnsProvider::default()
        };
        let expected = json!({
            "name": "dnsProviders/home",
            "exec.program": "set-txt",
            "exec.raw": true,
            "cloudflare.api_token": "secret 0123",
        });
        assert_eq!(shown("dnsProviders", &provider, &[("cloudflare.api_token", "0123")]), expected);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let message = v1::Exec::default();
        assert_eq!(
            shown("rollouts", &message, &[]),
            json!({ "document": "cannot be read: it is of a kind that this version does not know" })
        );
        let damaged = Value::from(fields("domains", b"no message".to_vec()));
        assert!(damaged["document"].as_str().unwrap().starts_with("cannot be read: "), "{damaged}");
    }

    #[test]
    fn every_kind_has_a_message() {
        for kind in crate::model::ObjectKind::ALL {
            let name = message_name(kind.collection()).unwrap_or_else(|| panic!("{kind:?}"));
            assert!(schema::pool().get_message_by_name(name).is_some(), "{name}");
        }
    }
}
