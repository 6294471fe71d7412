//! What a newer version may say: messages with fields and numbers that nobody knows, found by walking the descriptors.

use anyhow::{Context, Result};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};
use switchyard_proto::DESCRIPTORS;

/// A field that no message has: number 9999, of value 1.
pub const UNKNOWN_FIELD: &[u8] = b"\xf8\xf0\x04\x01";
/// A number that no enum has.
pub const UNKNOWN_NUMBER: i32 = 9_999;

/// A message in a variant that nobody knows.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Where it differs: a path of fields, which ends in the one that nobody knows, or whose number nobody knows.
    pub path: String,
    /// It, encoded.
    pub encoded: Vec<u8>,
}

/// A message with an unknown field, once for each level at which it may be.
pub fn unknown_fields(message: &str, encoded: &[u8]) -> Result<Vec<Variant>> {
    variants(message, encoded, &|message, _| {
        let mut newer = message.clone();
        newer.merge(UNKNOWN_FIELD).context("a field")?;
        Ok(vec![("9999".to_owned(), newer)])
    })
}

/// A message with an unknown number in one of its enums, once for each.
pub fn unknown_numbers(message: &str, encoded: &[u8]) -> Result<Vec<Variant>> {
    variants(message, encoded, &|message, fields| {
        let enums = fields.iter().filter(|field| matches!(field.kind(), Kind::Enum(_)));
        let newer = |field: &FieldDescriptor| {
            let number = Value::EnumNumber(UNKNOWN_NUMBER);
            let mut newer = message.clone();
            newer.set_field(field, if field.is_list() { Value::List(vec![number]) } else { number });
            (field.name().to_owned(), newer)
        };
        Ok(enums.map(newer).collect())
    })
}

/// What is changed at one level: the paths of the changes below it, and the message with each.
type Change<'a> = &'a dyn Fn(&DynamicMessage, &[FieldDescriptor]) -> Result<Vec<(String, DynamicMessage)>>;

fn variants(message: &str, encoded: &[u8], change: Change<'_>) -> Result<Vec<Variant>> {
    let pool = DescriptorPool::decode(DESCRIPTORS)?;
    let descriptor = pool.get_message_by_name(message).with_context(|| format!("a message {message}"))?;
    let message = DynamicMessage::decode(descriptor, encoded)?;
    let variant = |(path, message): (String, DynamicMessage)| Variant { path, encoded: message.encode_to_vec() };
    Ok(changed(&message, change)?.into_iter().map(variant).collect())
}

/// A message with each change at its level and at those below it, whether they are there or not.
fn changed(message: &DynamicMessage, change: Change<'_>) -> Result<Vec<(String, DynamicMessage)>> {
    let fields: Vec<_> = message.descriptor().fields().collect();
    let mut all = change(message, &fields)?;
    for field in fields.iter().filter(|field| !field.is_map()) {
        let Kind::Message(descriptor) = field.kind() else { continue };
        let inner = match &*message.get_field(field) {
            Value::Message(inner) => inner.clone(),
            Value::List(list) => {
                let first = list.first().and_then(Value::as_message).cloned();
                first.unwrap_or_else(|| DynamicMessage::new(descriptor))
            }
            other => anyhow::bail!("{} is no message: {other:?}", field.full_name()),
        };
        for (path, inner) in changed(&inner, change)? {
            let inner = Value::Message(inner);
            let mut newer = message.clone();
            newer.set_field(field, if field.is_list() { Value::List(vec![inner]) } else { inner });
            all.push((format!("{}.{path}", field.name()), newer));
        }
    }
    Ok(all)
}
