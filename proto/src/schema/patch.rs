use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage, Value};

use super::{FieldOptions, InvalidPath, is_well_known, join, nested, path::resolve};

/// Paths in one mask.
const PATHS_MAX: usize = 100;

/// Which fields of a resource a change speaks of (AIP-134).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Those that it gives: an empty mask.
    Given,
    /// All: `*`, and `PUT`. Secrets that are not given stay.
    Replace,
    /// All, secrets included: a document out of the history.
    Restore,
    /// These, and what is in them.
    Paths(Vec<String>),
}

impl Mask {
    /// The mask of these paths.
    pub fn of(paths: Vec<String>) -> Self {
        match &paths[..] {
            [] => Self::Given,
            [all] if all == "*" => Self::Replace,
            _ => Self::Paths(paths),
        }
    }
}

/// A stored resource as a change makes it.
///
/// - Given fields are set, into messages that are given; lists and maps are replaced as a whole. An empty message is present.
/// - A field that a path names and the change does not give is cleared; setting one arm of a `oneof` clears the others.
/// - What is for output only is as it was stored, whatever the change says of it.
/// - A secret that is not given stays while the message that it is in stays, in the same arm of a `oneof`; a path to the secret itself
///   clears it.
///
/// # Errors
///
/// Names everything that is wrong: paths that lead nowhere or to what is for output only, other values of what never changes, secrets that
/// have to be given again, and fields that this version does not know.
pub fn patch(stored: &DynamicMessage, change: &DynamicMessage, mask: &Mask) -> Result<DynamicMessage, InvalidPatch> {
    let descriptor = stored.descriptor();
    if change.descriptor() != descriptor {
        return Err(InvalidPatch(vec![Violation::Type(change.descriptor().full_name().to_owned())]));
    }
    let mut violations = Vec::new();
    unknown_fields(stored, "", &mut |path, number| violations.push(Violation::NewerStored { path, number }));
    unknown_fields(change, "", &mut |path, number| violations.push(Violation::UnknownField { path, number }));
    let selection = match mask {
        Mask::Given | Mask::Replace | Mask::Restore => Selection { is_whole: true, fields: BTreeMap::new() },
        Mask::Paths(paths) => Selection::of(&descriptor, paths, &mut violations),
    };
    InvalidPatch::check(&mut violations)?;

    let (stored, change) = (&retain(stored, &|_| true), input(change));
    let patched = match mask {
        Mask::Given => merge(stored.clone(), &change),
        Mask::Replace => replace(stored, change.clone(), true),
        Mask::Restore => replace(stored, change.clone(), false),
        Mask::Paths(_) => select(stored.clone(), Some(&change), &selection),
    };
    check_fixed(stored, &patched, "", &mut violations);
    check_secrets(stored, &patched, Some((&change, &selection)), "", &mut violations);
    InvalidPatch::check(&mut violations)?;
    Ok(patched)
}

/// What a request says: without what is for output only, which is ignored (AIP-203).
pub fn input(message: &DynamicMessage) -> DynamicMessage {
    retain(message, &|options| !options.is_output())
}

/// The fields of these options, at every level, so that equal messages compare as such: without defaults that are the same as nothing.
fn retain(message: &DynamicMessage, keeps: &impl Fn(&FieldOptions) -> bool) -> DynamicMessage {
    let mut retained = DynamicMessage::new(message.descriptor());
    let of = |value: &Value| match value {
        Value::Message(inner) if !is_well_known(&inner.descriptor()) => Value::Message(retain(inner, keeps)),
        value => value.clone(),
    };
    for (field, value) in message.fields().filter(|(field, _)| keeps(&FieldOptions::of(field))) {
        let value = match value {
            Value::List(values) => Value::List(values.iter().map(of).collect()),
            Value::Map(values) => Value::Map(values.iter().map(|(key, value)| (key.clone(), of(value))).collect()),
            value => of(value),
        };
        retained.set_field(&field, value);
    }
    retained
}

/// The named fields of a message, as a tree.
#[derive(Default)]
struct Selection {
    /// All of it is named.
    is_whole: bool,
    /// By field number, what is named of its fields.
    fields: BTreeMap<u32, Self>,
}

impl Selection {
    fn of(descriptor: &MessageDescriptor, paths: &[String], violations: &mut Vec<Violation>) -> Self {
        let mut selection = Self::default();
        if paths.len() > PATHS_MAX {
            violations.push(Violation::TooManyPaths);
            return selection;
        }
        for path in paths {
            match resolve(descriptor, path) {
                _ if path == "*" => violations.push(Violation::Wildcard),
                Err(invalid) => violations.push(Violation::Path(invalid)),
                Ok(fields) => {
                    let end =
                        fields.iter().fold(&mut selection, |it, field| it.fields.entry(field.number()).or_default());
                    end.is_whole = true;
                }
            }
        }
        selection
    }

    /// What is named of a field; `None`: nothing.
    fn within(&self, field: &FieldDescriptor) -> Option<&Self> {
        if self.is_whole { Some(self) } else { self.fields.get(&field.number()) }
    }
}

/// Sets what is given.
fn merge(mut target: DynamicMessage, change: &DynamicMessage) -> DynamicMessage {
    for (field, value) in change.fields() {
        let value = match (message_in(&target, &field), value) {
            (Some(old), Value::Message(new)) => Value::Message(merge(old, new)),
            _ => value.clone(),
        };
        target.set_field(&field, value);
    }
    target
}

/// Sets what is named, and clears it where it is not given.
fn select(mut target: DynamicMessage, change: Option<&DynamicMessage>, selection: &Selection) -> DynamicMessage {
    for (number, named) in &selection.fields {
        let Some(field) = target.descriptor().get_field(*number) else { continue };
        let given = change.filter(|change| change.has_field(&field)).map(|change| change.get_field(&field));
        let given = given.as_deref();
        let old = message_in(&target, &field);
        let value = match (given, nested(&field)) {
            (Some(Value::Message(new)), Some(_)) if named.is_whole => Some(Value::Message(match old {
                Some(old) => replace(&old, new.clone(), true),
                None => new.clone(),
            })),
            (given, _) if named.is_whole => given.cloned(),
            (given, Some(message)) => {
                let is_new = old.is_none();
                let old = old.unwrap_or_else(|| DynamicMessage::new(message));
                let new = select(old, given.and_then(Value::as_message), named);
                // To clear a field of a message that is not there does not create it, and leaves other arms alone.
                if is_new && new.fields().next().is_none() {
                    continue;
                }
                Some(Value::Message(new))
            }
            (_, None) => continue,
        };
        match value {
            Some(value) => target.set_field(&field, value),
            None => target.clear_field(&field),
        }
    }
    target
}

/// The new message in place of the old one: with its outputs, and with what never changes where that is not given; so are secrets, if they
/// are kept.
fn replace(old: &DynamicMessage, mut new: DynamicMessage, keeps_secrets: bool) -> DynamicMessage {
    for (field, value) in old.fields() {
        let options = FieldOptions::of(&field);
        let is_kept = options.is_output() || options.is_fixed() || (options.secret && keeps_secrets);
        if new.has_field(&field) {
            if let (Some(inner), Value::Message(old)) = (message_in(&new, &field), value) {
                new.set_field(&field, Value::Message(replace(old, inner, keeps_secrets)));
            }
        } else if is_kept && !has_other_arm(&new, &field) {
            new.set_field(&field, value.clone());
        }
    }
    new
}

/// The message that a field holds, if it is set and its fields are fields of the whole.
fn message_in(message: &DynamicMessage, field: &FieldDescriptor) -> Option<DynamicMessage> {
    nested(field)?;
    message.has_field(field).then(|| message.get_field(field).as_message().cloned()).flatten()
}

fn has_other_arm(message: &DynamicMessage, field: &FieldDescriptor) -> bool {
    let oneof = field.containing_oneof();
    oneof.is_some_and(|oneof| oneof.fields().any(|other| other != *field && message.has_field(&other)))
}

/// Finds other values of what never changes.
fn check_fixed(stored: &DynamicMessage, patched: &DynamicMessage, path: &str, violations: &mut Vec<Violation>) {
    for field in stored.descriptor().fields() {
        let path = join(path, field.name());
        if FieldOptions::of(&field).is_fixed() {
            let is_same = stored.has_field(&field) == patched.has_field(&field)
                && stored.get_field(&field) == patched.get_field(&field);
            if !is_same {
                violations.push(Violation::Fixed { path });
            }
        } else if let (Some(stored), Some(patched)) = (message_in(stored, &field), message_in(patched, &field)) {
            check_fixed(&stored, &patched, &path, violations);
        }
    }
}

/// Finds secrets that stayed while what they are for was changed. `given`: what the change gives of the message, and what is named of that.
fn check_secrets(
    stored: &DynamicMessage,
    patched: &DynamicMessage,
    given: Option<(&DynamicMessage, &Selection)>,
    path: &str,
    violations: &mut Vec<Violation>,
) {
    for field in stored.descriptor().fields() {
        let options = FieldOptions::of(&field);
        let within = given.and_then(|(change, selection)| {
            change.has_field(&field).then(|| selection.within(&field)).flatten().map(|within| (change, within))
        });
        if options.secret && within.is_none() && stored.has_field(&field) && patched.has_field(&field) {
            let changed =
                options.secret_for.iter().filter(|beside| value_at(stored, beside) != value_at(patched, beside));
            violations.extend(
                changed.map(|beside| Violation::SecretFor {
                    secret: join(path, field.name()),
                    changed: join(path, beside),
                }),
            );
        }
        if let (Some(stored), Some(patched)) = (message_in(stored, &field), message_in(patched, &field)) {
            let change = within.and_then(|(change, within)| Some((message_in(change, &field)?, within)));
            let given = change.as_ref().map(|(change, within)| (change, *within));
            check_secrets(&stored, &patched, given, &join(path, field.name()), violations);
        }
    }
}

/// The value at a path, its default where nothing is set.
fn value_at(message: &DynamicMessage, path: &str) -> Option<Value> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let value = message.get_field_by_name(name)?;
    match rest {
        None => Some(value.into_owned()),
        Some(rest) => value_at(value.as_message()?, rest),
    }
}

/// Finds fields that this version does not know, at every level.
fn unknown_fields(message: &DynamicMessage, path: &str, found: &mut impl FnMut(String, u32)) {
    for field in message.unknown_fields() {
        found(path.to_owned(), field.number());
    }
    for (field, value) in message.fields() {
        let path = join(path, field.name());
        let mut of = |value: &Value| {
            if let Some(inner) = value.as_message() {
                unknown_fields(inner, &path, found);
            }
        };
        match value {
            Value::List(values) => values.iter().for_each(of),
            Value::Map(values) => values.values().for_each(of),
            value => of(value),
        }
    }
}

/// Everything that is wrong with a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidPatch(pub Vec<Violation>);

impl InvalidPatch {
    fn check(violations: &mut Vec<Violation>) -> Result<(), Self> {
        if violations.is_empty() { Ok(()) } else { Err(Self(std::mem::take(violations))) }
    }
}

/// One thing that is wrong with a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The change is another message than what is stored.
    #[error("a change of another kind: {0}")]
    Type(String),
    /// The mask has too many paths.
    #[error("at most {PATHS_MAX} paths")]
    TooManyPaths,
    /// The mask has `*` and other paths.
    #[error("\"*\" stands alone")]
    Wildcard,
    /// A path of the mask names nothing that can be set.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// A field has another value than the stored one, and never changes.
    #[error("{path} cannot be changed")]
    Fixed {
        /// Its path.
        path: String,
    },
    /// A secret was for what is no longer there, and has to be given again.
    #[error("{secret} has to be given again when {changed} changes")]
    SecretFor {
        /// The path of the secret.
        secret: String,
        /// The path of what was changed.
        changed: String,
    },
    /// The change has a field that this version does not know.
    #[error("field {number} of {:?} is not known to this version", .path)]
    UnknownField {
        /// The path of the message that it is in; empty: the resource itself.
        path: String,
        /// Its number.
        number: u32,
    },
    /// What is stored has a field that this version does not know, and would lose.
    #[error("a newer version stored this resource: field {number} of {:?} is not known to this one", .path)]
    NewerStored {
        /// The path of the message that it is in; empty: the resource itself.
        path: String,
        /// Its number.
        number: u32,
    },
}

impl Violation {
    /// The path of what is wrong; empty where it is the resource or the mask itself.
    pub fn path(&self) -> &str {
        match self {
            Self::Type(_) | Self::TooManyPaths | Self::Wildcard => "",
            Self::Path(invalid) => invalid.path(),
            Self::Fixed { path } | Self::UnknownField { path, .. } | Self::NewerStored { path, .. } => path,
            Self::SecretFor { secret, .. } => secret,
        }
    }

    /// Whether the mask is wrong, and not the resource.
    pub fn is_of_mask(&self) -> bool {
        matches!(self, Self::TooManyPaths | Self::Wildcard | Self::Path(_))
    }
}
