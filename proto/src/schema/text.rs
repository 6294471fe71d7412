//! Values as text, by the descriptor of their field.

use std::{collections::HashMap, io, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// Reads what a text names instead of being it: the `ca.pem` of `@ca.pem`.
pub(super) type Read<'a> = &'a dyn Fn(&str) -> io::Result<String>;

const DURATION: &str = "google.protobuf.Duration";
const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// Why a text is no value of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// It is something else.
    #[error("{0} is expected")]
    Expected(String),
    /// It is JSON, and not of this field.
    #[error("{0}; {1} is expected")]
    Json(String, String),
    /// What it names cannot be read.
    #[error("read {0}: {1}")]
    Read(String, String),
}

/// What a text stands for: `@name` for what `name` is read to be, `@@` for an `@`.
pub(super) fn read(text: &str, read: Read<'_>) -> Result<String, InvalidText> {
    match text.strip_prefix('@') {
        Some(rest) if rest.starts_with('@') => Ok(rest.to_owned()),
        Some(name) => read(name).map_err(|error| InvalidText::Read(name.to_owned(), error.to_string())),
        None => Ok(text.to_owned()),
    }
}

/// The value of a field: of a list `a,b`, of a map `key=value,other=value`, or JSON of the whole.
pub(super) fn value(field: &FieldDescriptor, text: &str) -> Result<Value, InvalidText> {
    let value = if field.is_map() {
        if text.trim_start().starts_with('{') { Some(json(field, text)?) } else { map(field, text)?.map(Value::Map) }
    } else if field.is_list() {
        if text.trim_start().starts_with('[') { Some(json(field, text)?) } else { list(field, text)?.map(Value::List) }
    } else {
        single(field, &field.kind(), text)?
    };
    value.ok_or_else(|| InvalidText::Expected(expected(field)))
}

fn list(field: &FieldDescriptor, text: &str) -> Result<Option<Vec<Value>>, InvalidText> {
    let parts = text.split(',').filter(|_| !text.is_empty());
    parts.map(|part| single(field, &field.kind(), part)).collect()
}

fn map(field: &FieldDescriptor, text: &str) -> Result<Option<HashMap<MapKey, Value>>, InvalidText> {
    let Kind::Message(entry) = field.kind() else { return Ok(None) };
    let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let mut map = HashMap::new();
    for pair in text.split(',').filter(|_| !text.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else { return Ok(None) };
        let key = single(field, &key_kind, key)?.and_then(Value::into_map_key);
        let (Some(key), Some(value)) = (key, single(field, &value_kind, value)?) else { return Ok(None) };
        if map.insert(key, value).is_some() {
            return Ok(None);
        }
    }
    Ok(Some(map))
}

/// `None`: the text is no value of this kind.
fn single(field: &FieldDescriptor, kind: &Kind, text: &str) -> Result<Option<Value>, InvalidText> {
    Ok(match kind {
        Kind::Bool => text.parse().ok().map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => text.parse().ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => text.parse().ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => text.parse().ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => text.parse().ok().map(Value::U64),
        Kind::Float => text.parse().ok().map(Value::F32),
        Kind::Double => text.parse().ok().map(Value::F64),
        Kind::String => Some(Value::String(text.to_owned())),
        Kind::Bytes => STANDARD.decode(text.trim()).ok().map(|bytes| Value::Bytes(bytes.into())),
        Kind::Enum(kind) => number(kind, text).map(Value::EnumNumber),
        Kind::Message(message) => match message.full_name() {
            DURATION => humantime::parse_duration(text)
                .ok()
                .and_then(|duration| prost_types::Duration::try_from(duration).ok())
                .and_then(|duration| transcode(message, &duration)),
            TIMESTAMP => prost_types::Timestamp::from_str(text).ok().and_then(|time| transcode(message, &time)),
            _ => Some(json(field, text)?),
        },
    })
}

fn transcode(message: &MessageDescriptor, value: &impl prost::Message) -> Option<Value> {
    DynamicMessage::decode(message.clone(), value.encode_to_vec().as_slice()).ok().map(Value::Message)
}

/// The JSON of a whole field, as it is in the JSON of its message.
fn json(field: &FieldDescriptor, text: &str) -> Result<Value, InvalidText> {
    let invalid = |error: serde_json::Error| InvalidText::Json(error.to_string(), expected(field));
    let value: serde_json::Value = serde_json::from_str(text).map_err(invalid)?;
    let whole = serde_json::Value::Object([(field.json_name().to_owned(), value)].into_iter().collect());
    let mut whole = DynamicMessage::deserialize(field.parent_message().clone(), whole).map_err(invalid)?;
    whole.take_field(field).ok_or_else(|| InvalidText::Expected(expected(field)))
}

/// The number of a value of an enum: `TLS_VERSION_V1_3`, `v1-3`, `V1_3` and `1.3` are the same.
fn number(kind: &EnumDescriptor, text: &str) -> Option<i32> {
    let text = plain(text);
    let is_named = |name: &str| {
        let word = plain(name);
        word == text || word.strip_prefix(&prefix(kind)).is_some_and(|word| word == text || is_version(word, &text))
    };
    kind.values().find(|value| is_named(value.name())).map(|value| value.number())
}

/// Whether a word is that of a version, `v1_3`, which identifiers cannot begin without a letter.
fn is_version(word: &str, text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit()) && word.strip_prefix('v') == Some(text)
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
}

/// What the names of an enum's values begin with: `tls_version_` of `TlsVersion`.
fn prefix(kind: &EnumDescriptor) -> String {
    let unspecified = kind.default_value();
    plain(unspecified.name().strip_suffix("UNSPECIFIED").unwrap_or_default())
}

/// The words of an enum: `1.2`, `1.3`.
fn words(kind: &EnumDescriptor) -> Vec<String> {
    let numbers = kind.values().map(|value| value.number());
    numbers.filter(|number| *number != 0).map(|number| word(kind, number)).collect()
}

/// The value of an enum as people write it: `1.3` of `TLS_VERSION_V1_3`, `http-01` of `ACME_CHALLENGE_HTTP_01`; a number that has no name is
/// itself.
pub fn word(kind: &EnumDescriptor, number: i32) -> String {
    let Some(value) = kind.get_value(number) else { return number.to_string() };
    let name = plain(value.name());
    let word = name.strip_prefix(&prefix(kind)).unwrap_or(&name);
    match word.strip_prefix('v') {
        Some(version) if is_version(word, version) => version.replace('_', "."),
        _ => word.replace('_', "-"),
    }
}

/// What a field takes, for people.
pub(super) fn expected(field: &FieldDescriptor) -> String {
    let kind = |kind: &Kind| match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            "a whole number".to_owned()
        }
        Kind::Uint32 | Kind::Fixed32 | Kind::Uint64 | Kind::Fixed64 => "a whole number from 0 on".to_owned(),
        Kind::Float | Kind::Double => "a number".to_owned(),
        Kind::String => "text".to_owned(),
        Kind::Bytes => "base64".to_owned(),
        Kind::Enum(kind) => format!("one of {}", words(kind).join(", ")),
        Kind::Message(message) => match message.full_name() {
            DURATION => "a duration such as 30s or 250ms".to_owned(),
            TIMESTAMP => "a time such as 2030-01-02T03:04:05Z".to_owned(),
            _ => format!("a JSON object of {}", message.name()),
        },
    };
    match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => {
            let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
            format!("KEY=VALUE,KEY=VALUE, or JSON, where KEY is {} and VALUE {}", kind(&key), kind(&value))
        }
        element if field.is_list() => format!("VALUE,VALUE, or JSON, where VALUE is {}", kind(&element)),
        single => kind(&single),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::pool;

    #[test]
    fn every_value_of_an_enum_has_a_word_that_is_read_as_the_value() {
        for kind in pool().all_enums().filter(|kind| kind.package_name() == "switchyard.v1") {
            for value in kind.values() {
                let word = word(&kind, value.number());
                assert_eq!(number(&kind, &word), Some(value.number()), "{}: {word}", value.full_name());
            }
        }
        let version = pool().get_enum_by_name("switchyard.v1.TlsVersion").unwrap();
        assert_eq!([word(&version, 1), word(&version, 2), word(&version, 9)], ["1.2", "1.3", "9"]);
    }
}
