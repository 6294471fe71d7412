use std::io;

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, OneofDescriptor, Value};

use super::{
    FieldOptions, InvalidPath, InvalidText,
    path::resolve,
    text::{self, Read},
};

/// What a command line says of a resource: values, and the mask of what it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The values that are set.
    pub message: DynamicMessage,
    /// The paths that are set or unset.
    pub paths: Vec<String>,
}

/// What `--set PATH=VALUE` and `--unset PATH` say of a resource.
///
/// A value is written as its field has it: `true`, `30s`, `1.3` of an enum, `a,b` of a list, `key=value,other=value` of a map, JSON of a
/// message, a list or a map. `@name` stands for what `read` makes of `name`, without a line break at its end, and `@@` for an `@`.
/// Secrets are read alone, so that none is left in a shell's history.
///
/// # Errors
///
/// Names the path that is wrong, and what is expected there.
pub fn assign<'a>(
    message: &MessageDescriptor,
    set: impl IntoIterator<Item = &'a str>,
    unset: impl IntoIterator<Item = &'a str>,
    read: &dyn Fn(&str) -> io::Result<String>,
) -> Result<Assignment, InvalidAssignment> {
    let mut assignment = Assignment { message: DynamicMessage::new(message.clone()), paths: Vec::new() };
    let mut all = Vec::new();
    for text in set {
        let (path, value) = text.split_once('=').ok_or_else(|| InvalidAssignment::Form(text.to_owned()))?;
        let fields = resolve(message, path)?;
        assignment.check_order(path)?;
        let value = parse(path, &fields, value, read)?;
        put(&mut assignment.message, &fields, value);
        assignment.paths.push(path.to_owned());
        all.push((path, fields));
    }
    for path in unset {
        let fields = resolve(message, path)?;
        assignment.check_order(path)?;
        clear(&mut assignment.message, &fields);
        assignment.paths.push(path.to_owned());
    }
    match all.iter().find(|(_, fields)| is_lost(&assignment.message, fields)) {
        Some((path, _)) => Err(InvalidAssignment::Arm { path: (*path).to_owned() }),
        None => Ok(assignment),
    }
}

impl Assignment {
    /// Nothing may come after what is within it.
    fn check_order(&self, path: &str) -> Result<(), InvalidAssignment> {
        let is_within =
            |set: &&String| set.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        match self.paths.iter().find(is_within) {
            Some(set) => Err(InvalidAssignment::Overlap { path: path.to_owned(), set: set.clone() }),
            None => Ok(()),
        }
    }
}

fn parse(path: &str, fields: &[FieldDescriptor], value: &str, read: Read<'_>) -> Result<Value, InvalidAssignment> {
    let invalid = |error| InvalidAssignment::Value { path: path.to_owned(), error };
    let Some(field) = fields.last() else { return Err(InvalidAssignment::Form(path.to_owned())) };
    let is_read = value.starts_with('@') && !value.starts_with("@@");
    if FieldOptions::of(field).secret && !is_read {
        return Err(InvalidAssignment::Secret { path: path.to_owned() });
    }
    let mut text = text::read(value, read).map_err(invalid)?;
    if is_read {
        let end = text.strip_suffix('\n').map_or(text.len(), |text| text.strip_suffix('\r').unwrap_or(text).len());
        text.truncate(end);
    }
    let value = text::value(field, &text).map_err(invalid)?;
    match secret_in(&value).filter(|_| !is_read) {
        Some(secret) => Err(InvalidAssignment::Secret { path: format!("{path}.{secret}") }),
        None => Ok(value),
    }
}

/// The path of a secret that a value holds.
fn secret_in(value: &Value) -> Option<String> {
    match value {
        Value::Message(message) => message.fields().find_map(|(field, value)| {
            if FieldOptions::of(&field).secret {
                return Some(field.name().to_owned());
            }
            secret_in(value).map(|inner| format!("{}.{inner}", field.name()))
        }),
        Value::List(values) => values.iter().find_map(secret_in),
        Value::Map(values) => values.values().find_map(secret_in),
        _ => None,
    }
}

/// Sets the field that these lead to.
fn put(message: &mut DynamicMessage, fields: &[FieldDescriptor], value: Value) {
    match fields {
        [] => {}
        [field] => super::set(message, field, value),
        [field, rest @ ..] => {
            if let Some(inner) = message.get_field_mut(field).as_message_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// Clears the field that these lead to, if they do.
fn clear(message: &mut DynamicMessage, fields: &[FieldDescriptor]) {
    match fields {
        [field] => message.clear_field(field),
        [field, rest @ ..] if message.has_field(field) => {
            if let Some(inner) = message.get_field_mut(field).as_message_mut() {
                clear(inner, rest);
            }
        }
        _ => {}
    }
}

/// Whether the field that these lead to was cleared by another arm of a oneof.
fn is_lost(message: &DynamicMessage, fields: &[FieldDescriptor]) -> bool {
    let Some((field, rest)) = fields.split_first() else { return false };
    let is_other = |oneof: OneofDescriptor| oneof.fields().any(|other| other != *field && message.has_field(&other));
    if field.containing_oneof().is_some_and(is_other) {
        return true;
    }
    message.get_field(field).as_message().is_some_and(|inner| is_lost(inner, rest))
}

/// Why something that was to be set cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssignment {
    /// It has no `=`.
    #[error("{0:?} is not PATH=VALUE")]
    Form(String),
    /// It names nothing that can be set.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// The value is not one of the field.
    #[error("{path}: {error}")]
    Value {
        /// The path.
        path: String,
        /// What is wrong with it.
        error: InvalidText,
    },
    /// A secret was to be set to what stands on the command line.
    #[error("{path} is secret: name a file, {path}=@FILE, or standard input, {path}=@-")]
    Secret {
        /// The path.
        path: String,
    },
    /// It would undo what was set before.
    #[error("{path} comes after {set}, which it would undo")]
    Overlap {
        /// The path.
        path: String,
        /// The path that was set before.
        set: String,
    },
    /// Another field was set that excludes it.
    #[error("{path} is one of several of which only one can be set")]
    Arm {
        /// The path.
        path: String,
    },
}
