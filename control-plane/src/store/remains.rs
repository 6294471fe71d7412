//! What can be said of an object that cannot be read, for whoever repairs or deletes it.

use bytes::Bytes;
use prost_reflect::{DynamicMessage, Value as Field};
use serde_json::{Map, Value};
use switchyard_proto::{
    schema::{self, Partial},
    store::v1 as wire,
    vocab::Revision,
};

use super::{document::message_name, history};
use crate::model::Timestamp;

/// Bytes of a document that is decoded; of a larger one only the beginning is shown.
const DECODED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of what cannot be decoded that are shown.
const UNDECODED_BYTES_MAX: usize = 4 * 1024;
/// Fields that are not known and are named.
const UNKNOWN_FIELDS_MAX: usize = 100;

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Remains {
    /// The revision that changed it last.
    pub revision: Revision,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Why it cannot be read.
    pub reason: String,
    /// What its document says.
    pub document: RemainingDocument,
}

/// What a document says, as far as it can be decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemainingDocument {
    /// Its size in bytes.
    pub bytes: usize,
    /// The format of its envelope; 0 if it has none.
    pub format: u32,
    /// The fields by their path, as the history shows them.
    pub fields: Map<String, Value>,
    /// The paths of fields that are not known, with their numbers.
    pub unknown_fields: Vec<String>,
    /// The beginning of what is not among the fields.
    pub undecoded: Vec<u8>,
    /// All of that, in bytes.
    pub undecoded_bytes: usize,
}

impl RemainingDocument {
    /// Decodes what can be decoded of the document of an object of this kind.
    pub(super) fn decode(kind: &str, document: &Bytes) -> Self {
        let mut remaining = Self { bytes: document.len(), ..Self::default() };
        let descriptor = schema::descriptor::<wire::Document>();
        if document.len() > DECODED_BYTES_MAX {
            remaining.leave(document);
            return remaining;
        }
        let envelope = Partial::decode(&descriptor, document, UNKNOWN_FIELDS_MAX);
        let wire::Document { format, message, secrets } = schema::typed(&envelope.message);
        if format == 0 {
            remaining.leave(document);
            return remaining;
        }
        remaining.format = format;
        remaining.unknown_fields = envelope.unknown;
        remaining.leave(&envelope.rest);
        remaining.decode_message(kind, &message);
        let secrets = secrets.into_iter().map(|(path, reference)| (path, history::secret(&reference)));
        remaining.fields.extend(secrets);
        remaining
    }

    fn decode_message(&mut self, kind: &str, message: &Bytes) {
        let descriptor = message_name(kind).and_then(|name| schema::pool().get_message_by_name(name));
        let Some(descriptor) = descriptor else { return self.leave(message) };
        let unknown_max = UNKNOWN_FIELDS_MAX.saturating_sub(self.unknown_fields.len());
        let Partial { message, unknown, rest } = Partial::decode(&descriptor, message, unknown_max);
        self.unknown_fields.extend(unknown);
        self.leave(&rest);
        // Each on its own: one that has no form in JSON, such as a moment that no calendar has, hides no other.
        for (field, value) in message.fields() {
            let alone = alone(&message, &field, value);
            match history::shown(&alone) {
                Ok(fields) => self.fields.extend(fields),
                Err(_) => self.leave(&prost::Message::encode_to_vec(&alone)),
            }
        }
    }

    /// Leaves bytes undecoded.
    fn leave(&mut self, bytes: &[u8]) {
        let room = UNDECODED_BYTES_MAX.saturating_sub(self.undecoded.len());
        self.undecoded.extend_from_slice(&bytes[..room.min(bytes.len())]);
        self.undecoded_bytes += bytes.len();
    }
}

/// A message with one field of another.
fn alone(message: &DynamicMessage, field: &prost_reflect::FieldDescriptor, value: &Field) -> DynamicMessage {
    let mut alone = DynamicMessage::new(prost_reflect::ReflectMessage::descriptor(message));
    alone.set_field(field, value.clone());
    alone
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serde_json::json;
    use switchyard_proto::v1;

    use super::*;

    /// Field 9999, a varint.
    const UNKNOWN: [u8; 4] = [0xf8, 0xf0, 0x04, 1];

    fn document(format: u32, message: Vec<u8>) -> Bytes {
        let secrets = [("cloudflare.api_token".to_owned(), "0123".to_owned())].into();
        wire::Document { format, message: message.into(), secrets }.encode_to_vec().into()
    }

    fn provider() -> v1::DnsProvider {
        let settings = v1::dns_provider::Settings::Cloudflare(v1::Cloudflare {
            api_token: "never shown".into(),
            ..v1::Cloudflare::default()
        });
        v1::DnsProvider { name: "dnsProviders/home".into(), settings: Some(settings), ..v1::DnsProvider::default() }
    }

    #[test]
    fn a_document_of_a_newer_version_is_shown_without_what_is_not_known() {
        let message = [provider().encode_to_vec(), UNKNOWN.to_vec()].concat();
        let whole = [document(2, message), UNKNOWN.to_vec().into()].concat();
        let remaining = RemainingDocument::decode("dnsProviders", &whole.clone().into());
        let expected = RemainingDocument {
            bytes: whole.len(),
            format: 2,
            fields: json!({
                "name": "dnsProviders/home",
                "cloudflare": {},
                "cloudflare.api_token": "secret 0123",
            })
            .as_object()
            .unwrap()
            .clone(),
            unknown_fields: vec!["9999".into(), "9999".into()],
            undecoded: [UNKNOWN, UNKNOWN].concat(),
            undecoded_bytes: 8,
        };
        assert_eq!(remaining, expected);
        // Of a kind that is not known, the message is left as it is.
        let remaining = RemainingDocument::decode("gadgets", &document(1, b"anything".to_vec()));
        assert_eq!((remaining.format, remaining.undecoded.as_slice()), (1, &b"anything"[..]));
    }

    #[test]
    fn a_damaged_document_is_shown_in_part_and_bounded() {
        let remaining = RemainingDocument::decode("domains", &Bytes::from_static(b"no document"));
        let expected = RemainingDocument {
            bytes: 11,
            undecoded: b"no document".to_vec(),
            undecoded_bytes: 11,
            ..RemainingDocument::default()
        };
        assert_eq!(remaining, expected);
        let size = DECODED_BYTES_MAX + 1;
        let remaining = RemainingDocument::decode("domains", &document(1, vec![0xff; size]));
        assert!(remaining.bytes > size && remaining.undecoded_bytes == remaining.bytes);
        assert_eq!(remaining.undecoded.len(), UNDECODED_BYTES_MAX);
    }

    #[test]
    fn a_field_without_a_form_hides_no_other() {
        let never = pbjson_types::Timestamp { seconds: i64::MAX, nanos: -1 };
        let token = wire::Token { name: "tokens/ci".into(), expire_time: Some(never), ..wire::Token::default() };
        let remaining = RemainingDocument::decode("tokens", &document(1, token.encode_to_vec()));
        assert_eq!(remaining.fields["name"], "tokens/ci");
        assert!(!remaining.fields.contains_key("expire_time") && remaining.undecoded_bytes > 0, "{remaining:?}");
    }
}
