use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, OneofDescriptor, Value};

use super::{DEPTH_MAX, FieldOptions, descriptor, text};

/// The seconds of 2030-01-01, before which no generated time is.
const EPOCH_SECONDS: i64 = 1_893_456_000;

/// PEM material for generated messages, which has to be real: it is parsed.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// The certificates of some CAs.
    pub ca_pem: String,
    /// A certificate and its intermediates.
    pub chain_pem: String,
    /// The key of the chain's first certificate.
    pub private_key_pem: String,
}

/// Makes messages in which every field is set: fixtures that a new field edits none of.
///
/// Values are valid, none is the default of its type, and no two fields of a kind have the same where the kind has as many values, so that a
/// conversion that loses or exchanges fields shows. The same descriptors make the same messages.
pub struct Populate<'a> {
    material: &'a Material,
    arm: &'a dyn Fn(&OneofDescriptor) -> usize,
    exclusive: bool,
}

impl<'a> Populate<'a> {
    /// With the first field of each `oneof`, and without the fields that exclude others.
    pub fn new(material: &'a Material) -> Self {
        Self { material, arm: &|_| 0, exclusive: false }
    }

    /// With the field of this index of each `oneof`; an index past its end stands for the last one.
    #[must_use]
    pub fn arms(self, arm: &'a dyn Fn(&OneofDescriptor) -> usize) -> Self {
        Self { arm, ..self }
    }

    /// With the fields that exclude others, and without these.
    #[must_use]
    pub fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }

    /// A message with every field set.
    pub fn message<M: prost::Name + Default>(&self) -> M {
        let message = self.dynamic(&descriptor::<M>());
        message.transcode_to().expect("code and descriptors are made from the same files")
    }

    /// As [`Populate::message`], for a descriptor.
    pub fn dynamic(&self, message: &MessageDescriptor) -> DynamicMessage {
        Generator { populate: self, number: 0 }.message(message, 0)
    }

    fn makes(&self, field: &FieldDescriptor) -> bool {
        if let Some(oneof) = field.containing_oneof() {
            let arms = oneof.fields().len();
            let arm = (self.arm)(&oneof).min(arms.saturating_sub(1));
            if oneof.fields().nth(arm).as_ref() != Some(field) {
                return false;
            }
        }
        let message = field.parent_message();
        let is_excluding = !FieldOptions::of(field).excludes.is_empty();
        let is_excluded =
            message.fields().any(|other| FieldOptions::of(&other).excludes.iter().any(|name| name == field.name()));
        if self.exclusive { !is_excluded } else { !is_excluding }
    }
}

/// A message of every type with each field set in at least one: all arms of its oneofs, and what excludes others.
pub fn variants<M: prost::Name + Default>(material: &Material) -> Vec<M> {
    let messages = dynamic_variants(&descriptor::<M>(), material);
    messages.iter().map(|it| it.transcode_to().expect("code and descriptors are made from the same files")).collect()
}

/// As [`variants`], for a descriptor.
pub fn dynamic_variants(message: &MessageDescriptor, material: &Material) -> Vec<DynamicMessage> {
    let populate = Populate::new(material);
    let mut variants = vec![populate.dynamic(message)];
    let exclusive = Populate::new(material).exclusive().dynamic(message);
    if exclusive != variants[0] {
        variants.push(exclusive);
    }
    for arm in 1.. {
        let of = |oneof: &OneofDescriptor| arm.min(oneof.fields().len() - 1);
        let variant = Populate::new(material).arms(&of).dynamic(message);
        if variants.last() == Some(&variant) || variants[0] == variant {
            break;
        }
        variants.push(variant);
    }
    variants
}

struct Generator<'a> {
    populate: &'a Populate<'a>,
    /// Counts the values that were made.
    number: u32,
}

impl Generator<'_> {
    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if depth > DEPTH_MAX {
            return message;
        }
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => self.span(&mut message, EPOCH_SECONDS),
            "google.protobuf.Duration" => self.span(&mut message, 0),
            _ => {
                for field in descriptor.fields() {
                    if self.populate.makes(&field) {
                        let value = self.field(&field, depth);
                        message.set_field(&field, value);
                    }
                }
            }
        }
        message
    }

    /// Seconds and milliseconds.
    fn span(&mut self, message: &mut DynamicMessage, start: i64) {
        let number = self.next();
        message.set_field_by_name("seconds", Value::I64(start + i64::from(number)));
        message.set_field_by_name("nanos", Value::I32(1_000_000 * i32::try_from(number % 999 + 1).unwrap_or(1)));
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        if let Some(example) = &FieldOptions::of(field).example {
            return self.example(field, example);
        }
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let mut map = HashMap::new();
                for _ in 0..2 {
                    let key = self.single(&entry.map_entry_key_field(), depth).into_map_key();
                    let key = key.unwrap_or(MapKey::Bool(true));
                    map.insert(key, self.single(&entry.map_entry_value_field(), depth));
                }
                Value::Map(map)
            }
            _ if field.is_list() => Value::List((0..2).map(|_| self.single(field, depth)).collect()),
            _ => self.single(field, depth),
        }
    }

    fn example(&mut self, field: &FieldDescriptor, example: &str) -> Value {
        let Material { ca_pem, chain_pem, private_key_pem } = self.populate.material;
        let read = |name: &str| match name {
            "ca" => Ok(ca_pem.clone()),
            "chain" => Ok(chain_pem.clone()),
            "key" => Ok(private_key_pem.clone()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        let value = text::read(example, &read).and_then(|text| text::value(field, &text));
        value.unwrap_or_else(|error| panic!("the example of {}: {error}", field.full_name()))
    }

    fn single(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        match field.kind() {
            Kind::Message(message) => return Value::Message(self.message(&message, depth + 1)),
            Kind::Enum(kind) => return Value::EnumNumber(kind.values().map(|value| value.number()).max().unwrap_or(0)),
            Kind::Bool => return Value::Bool(true),
            _ => {}
        }
        let number = self.next();
        match field.kind() {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(i32::try_from(number).unwrap_or(i32::MAX)),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number.into()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(number),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(number.into()),
            Kind::Float => Value::F32(f32::from(u16::try_from(number).unwrap_or(u16::MAX)) + 0.5),
            Kind::Double => Value::F64(f64::from(number) + 0.5),
            Kind::Bytes => Value::Bytes(format!("{}-{number}", field.name()).into_bytes().into()),
            _ => Value::String(format!("{}-{number}", field.name().replace('_', "-"))),
        }
    }

    fn next(&mut self) -> u32 {
        self.number += 1;
        self.number
    }
}
