use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

use super::{join, wire::Fields};

/// What an encoded message says as far as it can be decoded, for people who repair it.
#[derive(Clone, Debug)]
pub struct Partial {
    /// The fields that are known and can be decoded.
    pub message: DynamicMessage,
    /// The paths of fields that are not known, each with its number: `tls.9999`.
    pub unknown: Vec<String>,
    /// What is not in the message, encoded: fields that are not known or cannot be decoded, and all that follows a field without an end.
    pub rest: Vec<u8>,
}

impl Partial {
    /// Decodes what can be decoded, and names at most `unknown_max` fields that are not known.
    pub fn decode(descriptor: &MessageDescriptor, encoded: &[u8], unknown_max: usize) -> Self {
        let mut message = DynamicMessage::new(descriptor.clone());
        let (mut rest, mut end) = (Vec::new(), 0);
        for field in Fields::of(encoded) {
            let Ok(field) = field else {
                rest.extend_from_slice(&encoded[end..]);
                break;
            };
            end += field.encoded.len();
            // On its own first: merging a field that cannot be decoded would leave a part of it.
            let decodes = DynamicMessage::decode(descriptor.clone(), field.encoded).is_ok();
            if !decodes || message.merge(field.encoded).is_err() {
                rest.extend_from_slice(field.encoded);
            }
        }
        let mut decoded = Self { message: DynamicMessage::new(descriptor.clone()), unknown: Vec::new(), rest };
        decoded.take_unknown(&mut message, "", unknown_max);
        decoded.message = message;
        decoded
    }

    /// Moves what a message at a path has of unknown fields to the rest.
    fn take_unknown(&mut self, message: &mut DynamicMessage, path: &str, max: usize) {
        for field in message.take_unknown_fields() {
            if self.unknown.len() < max {
                self.unknown.push(join(path, &field.number().to_string()));
            }
            field.encode(&mut self.rest);
        }
        for (field, value) in message.fields_mut() {
            let path = join(path, field.name());
            match value {
                Value::Message(inner) => self.take_unknown(inner, &path, max),
                Value::List(values) => self.take_unknown_of_each(values.iter_mut(), &path, max),
                Value::Map(values) => self.take_unknown_of_each(values.values_mut(), &path, max),
                _ => {}
            }
        }
    }

    fn take_unknown_of_each<'a>(&mut self, values: impl Iterator<Item = &'a mut Value>, path: &str, max: usize) {
        for value in values {
            if let Value::Message(inner) = value {
                self.take_unknown(inner, path, max);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{schema, v1};

    fn domain() -> v1::Domain {
        let tls = v1::DomainTls { minimum_version: v1::TlsVersion::V13.into(), ..v1::DomainTls::default() };
        v1::Domain { name: "domains/shop.example".into(), tls: Some(tls), ..v1::Domain::default() }
    }

    fn decode(encoded: &[u8]) -> Partial {
        Partial::decode(&schema::descriptor::<v1::Domain>(), encoded, 2)
    }

    #[test]
    fn a_message_that_is_known_decodes_whole() {
        let Partial { message, unknown, rest } = decode(&domain().encode_to_vec());
        assert_eq!(schema::typed::<v1::Domain>(&message), domain());
        assert!(unknown.is_empty() && rest.is_empty());
    }

    #[test]
    fn unknown_fields_are_named_wherever_they_are() {
        // Field 9999, a varint: at the top, and in `tls`.
        let unknown = [0xf8, 0xf0, 0x04, 1];
        let mut encoded = domain().encode_to_vec();
        encoded.extend(unknown);
        let tls = schema::descriptor::<v1::Domain>().get_field_by_name("tls").unwrap().number();
        encoded.extend([u8::try_from(tls << 3 | 2).unwrap(), 4]);
        encoded.extend(unknown);
        let partial = decode(&encoded);
        assert_eq!(schema::typed::<v1::Domain>(&partial.message), domain());
        assert_eq!(partial.unknown, ["9999", "tls.9999"]);
        assert_eq!(partial.rest, [unknown, unknown].concat());
        // No more are named than asked for.
        encoded.extend(unknown);
        assert_eq!(decode(&[encoded, domain().encode_to_vec()].concat()).unknown.len(), 2);
    }

    #[test]
    fn what_cannot_be_decoded_is_left_and_the_rest_is_not() {
        let whole = domain().encode_to_vec();
        let mut broken = vec![0x0a, 2, 0xff, 0xfe];
        broken.extend(&whole);
        let partial = decode(&broken);
        assert_eq!(schema::typed::<v1::Domain>(&partial.message), domain());
        assert_eq!(partial.rest, broken[..4], "a name that is no UTF-8");
        let truncated = [whole.as_slice(), &[0x12, 200, b'x']].concat();
        let partial = decode(&truncated);
        assert_eq!(schema::typed::<v1::Domain>(&partial.message), domain());
        assert_eq!(partial.rest, [0x12, 200, b'x']);
        let partial = decode(b"no message");
        assert_eq!((partial.message.fields().count(), partial.rest.as_slice()), (0, &b"no message"[..]));
    }
}
