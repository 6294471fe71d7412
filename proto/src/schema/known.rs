//! Which fields, numbers of enums and kinds a program knows of what travels on the change feed: edges say it, so that control planes know
//! what they will reject.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value};

use super::{FieldOptions, Output, descriptor, is_well_known, join};
use crate::{
    fleet::v1 as wire,
    v1,
    vocab::{
        ResourceKind,
        limits::{SCHEMA_ENTRIES_MAX, SCHEMA_NAME_BYTES_MAX, SCHEMA_NUMBERS_MAX},
    },
};

/// What a program knows of the messages that travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownSchema {
    /// The numbers of the fields of each message, by its full name.
    messages: BTreeMap<String, BTreeSet<u32>>,
    /// The numbers of each enum, by its full name.
    enums: BTreeMap<String, BTreeSet<i32>>,
    /// The kinds of resources.
    kinds: BTreeSet<String>,
}

static OWN: LazyLock<KnownSchema> = LazyLock::new(|| {
    let mut own = KnownSchema::default();
    for kind in ResourceKind::KNOWN {
        own.kinds.insert(kind.collection().to_owned());
        if let Some(message) = travels_as(&kind) {
            own.add(&message);
        }
    }
    own.add(&descriptor::<wire::Resource>());
    own
});

/// What the resources of a kind travel as.
fn travels_as(kind: &ResourceKind) -> Option<MessageDescriptor> {
    Some(match kind {
        ResourceKind::Service => descriptor::<v1::Service>(),
        ResourceKind::Backend => descriptor::<v1::Backend>(),
        ResourceKind::Domain => descriptor::<v1::Domain>(),
        ResourceKind::Certificate => descriptor::<wire::Certificate>(),
        ResourceKind::Challenge => descriptor::<wire::Challenge>(),
        ResourceKind::TicketKeys => descriptor::<wire::TicketKeys>(),
        ResourceKind::Unknown(_) => return None,
    })
}

impl KnownSchema {
    /// What this program knows.
    pub fn own() -> &'static Self {
        &OWN
    }

    /// Parses what another program knows.
    ///
    /// # Errors
    ///
    /// It is out of bounds.
    pub fn parse(schema: wire::Schema) -> Result<Self, InvalidSchema> {
        let wire::Schema { messages, enums, kinds } = schema;
        let name = |name: String| {
            if name.is_empty() || name.len() > SCHEMA_NAME_BYTES_MAX { Err(InvalidSchema) } else { Ok(name) }
        };
        if [messages.len(), enums.len(), kinds.len()].into_iter().any(|entries| entries > SCHEMA_ENTRIES_MAX)
            || messages.iter().any(|message| message.fields.len() > SCHEMA_NUMBERS_MAX)
            || enums.iter().any(|it| it.numbers.len() > SCHEMA_NUMBERS_MAX)
        {
            return Err(InvalidSchema);
        }
        let message = |it: wire::MessageSchema| Ok((name(it.name)?, it.fields.into_iter().collect::<BTreeSet<_>>()));
        let enumeration = |it: wire::EnumSchema| Ok((name(it.name)?, it.numbers.into_iter().collect::<BTreeSet<_>>()));
        Ok(Self {
            messages: messages.into_iter().map(message).collect::<Result<_, _>>()?,
            enums: enums.into_iter().map(enumeration).collect::<Result<_, _>>()?,
            kinds: kinds.into_iter().map(name).collect::<Result<_, _>>()?,
        })
    }

    /// As it travels.
    pub fn to_wire(&self) -> wire::Schema {
        let message = |(name, fields): (&String, &BTreeSet<u32>)| wire::MessageSchema {
            name: name.clone(),
            fields: fields.iter().copied().collect(),
        };
        let enumeration = |(name, numbers): (&String, &BTreeSet<i32>)| wire::EnumSchema {
            name: name.clone(),
            numbers: numbers.iter().copied().collect(),
        };
        wire::Schema {
            messages: self.messages.iter().map(message).collect(),
            enums: self.enums.iter().map(enumeration).collect(),
            kinds: self.kinds.iter().cloned().collect(),
        }
    }

    /// Whether it has everything that another has.
    pub fn covers(&self, other: &Self) -> bool {
        fn cover<N: Ord>(all: &BTreeMap<String, BTreeSet<N>>, others: &BTreeMap<String, BTreeSet<N>>) -> bool {
            others.iter().all(|(name, numbers)| all.get(name).is_some_and(|all| all.is_superset(numbers)))
        }
        cover(&self.messages, &other.messages)
            && cover(&self.enums, &other.enums)
            && self.kinds.is_superset(&other.kinds)
    }

    /// Whether it has a kind.
    pub fn has_kind(&self, kind: &str) -> bool {
        self.kinds.contains(kind)
    }

    /// The paths of what a message says and this schema has not. What edges do not receive does not count.
    pub fn unknown_to_it(&self, message: &DynamicMessage) -> Vec<String> {
        let mut unknown = Vec::new();
        self.compare(message, "", &mut unknown);
        unknown
    }

    fn compare(&self, message: &DynamicMessage, path: &str, unknown: &mut Vec<String>) {
        let descriptor = message.descriptor();
        let known = self.messages.get(descriptor.full_name());
        for (field, value) in message.fields() {
            let options = FieldOptions::of(&field);
            if options.not_for_edges || options.output == Some(Output::Computed) {
                continue;
            }
            let path = join(path, field.name());
            if !known.is_some_and(|numbers| numbers.contains(&field.number())) {
                unknown.push(path);
                continue;
            }
            match value {
                Value::List(values) => values.iter().for_each(|value| self.value(&field, value, &path, unknown)),
                Value::Map(values) => values.values().for_each(|value| self.value(&field, value, &path, unknown)),
                value => self.value(&field, value, &path, unknown),
            }
        }
    }

    fn value(&self, field: &FieldDescriptor, value: &Value, path: &str, unknown: &mut Vec<String>) {
        match value {
            Value::Message(inner) if !is_well_known(&inner.descriptor()) => self.compare(inner, path, unknown),
            Value::EnumNumber(number) => {
                let has = |name: &str| self.enums.get(name).is_some_and(|numbers| numbers.contains(number));
                let is_known = enum_name(&value_kind(field)).is_some_and(|name| has(&name));
                if !is_known && unknown.last().is_none_or(|last| last != path) {
                    unknown.push(path.to_owned());
                }
            }
            _ => {}
        }
    }

    /// Adds a message and what is in it.
    fn add(&mut self, message: &MessageDescriptor) {
        if self.messages.contains_key(message.full_name()) {
            return;
        }
        let numbers = message.fields().map(|field| field.number()).collect();
        self.messages.insert(message.full_name().to_owned(), numbers);
        for field in message.fields() {
            match value_kind(&field) {
                Kind::Message(inner) if !is_well_known(&inner) => self.add(&inner),
                Kind::Enum(it) => {
                    let numbers = it.values().map(|value| value.number()).collect();
                    self.enums.insert(it.full_name().to_owned(), numbers);
                }
                _ => {}
            }
        }
    }
}

/// The kind of the values of a field: of a map, of what it maps to.
fn value_kind(field: &FieldDescriptor) -> Kind {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    }
}

fn enum_name(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Enum(it) => Some(it.full_name().to_owned()),
        _ => None,
    }
}

/// Why what another program says that it knows is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "at most {SCHEMA_ENTRIES_MAX} messages, enums and kinds, each with a name of at most {SCHEMA_NAME_BYTES_MAX} bytes and \
     at most {SCHEMA_NUMBERS_MAX} numbers"
)]
pub struct InvalidSchema;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    fn domain() -> v1::Domain {
        let tls = v1::DomainTls { minimum_version: v1::TlsVersion::V13.into(), ..v1::DomainTls::default() };
        v1::Domain { name: "domains/shop.example".into(), tls: Some(tls), ..v1::Domain::default() }
    }

    fn without(change: impl FnOnce(&mut wire::Schema)) -> KnownSchema {
        let mut schema = KnownSchema::own().to_wire();
        change(&mut schema);
        KnownSchema::parse(schema).unwrap()
    }

    fn message<'a>(schema: &'a mut wire::Schema, name: &str) -> &'a mut wire::MessageSchema {
        schema.messages.iter_mut().find(|it| it.name == name).unwrap()
    }

    #[test]
    fn the_own_schema_survives_the_wire_and_knows_all_that_this_version_writes() {
        let own = KnownSchema::own();
        assert_eq!(KnownSchema::parse(own.to_wire()).as_ref(), Ok(own));
        assert!(own.covers(own) && own.has_kind("domains") && !own.has_kind("gadgets"));
        let material =
            schema::Material { ca_pem: String::new(), chain_pem: String::new(), private_key_pem: String::new() };
        for kind in ResourceKind::KNOWN {
            let descriptor = travels_as(&kind).unwrap();
            for variant in schema::dynamic_variants(&descriptor, &material) {
                assert_eq!(own.unknown_to_it(&variant), Vec::<String>::new(), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_field_an_enum_number_and_a_message_that_are_not_known_are_named() {
        let message_of_tls = schema::dynamic(&domain());
        let number = schema::descriptor::<v1::DomainTls>().get_field_by_name("minimum_version").unwrap().number();
        let fields = without(|it| message(it, "switchyard.v1.DomainTls").fields.retain(|field| *field != number));
        let numbers = without(|it| {
            let version = it.enums.iter_mut().find(|it| it.name == "switchyard.v1.TlsVersion").unwrap();
            version.numbers.retain(|number| *number != i32::from(v1::TlsVersion::V13));
        });
        for older in [&fields, &numbers] {
            assert_eq!(older.unknown_to_it(&message_of_tls), ["tls.minimum_version"]);
            assert!(!older.covers(KnownSchema::own()) && KnownSchema::own().covers(older));
            // What does not use it is of no concern.
            let plain = v1::Domain { tls: Some(v1::DomainTls::default()), ..domain() };
            assert!(older.unknown_to_it(&schema::dynamic(&plain)).is_empty());
        }
        let tls = schema::descriptor::<v1::Domain>().get_field_by_name("tls").unwrap().number();
        let whole = without(|it| message(it, "switchyard.v1.Domain").fields.retain(|field| *field != tls));
        assert_eq!(whole.unknown_to_it(&message_of_tls), ["tls"]);
        // What edges do not receive is nobody's concern.
        let stored = v1::Domain { previous_tag: "a".into(), ..v1::Domain::default() };
        assert!(KnownSchema::default().unknown_to_it(&schema::dynamic(&stored)).is_empty());
    }

    #[test]
    fn a_schema_that_is_out_of_bounds_is_refused() {
        let own = KnownSchema::own().to_wire();
        let names = |count: usize| (0..count).map(|it| it.to_string()).collect::<Vec<_>>();
        let kinds = |kinds| wire::Schema { kinds, ..own.clone() };
        assert!(KnownSchema::parse(kinds(names(SCHEMA_ENTRIES_MAX))).is_ok());
        for bad in [
            kinds(names(SCHEMA_ENTRIES_MAX + 1)),
            kinds(vec!["k".repeat(SCHEMA_NAME_BYTES_MAX + 1)]),
            kinds(vec![String::new()]),
            wire::Schema {
                messages: vec![wire::MessageSchema { name: "m".into(), fields: vec![1; SCHEMA_NUMBERS_MAX + 1] }],
                ..own.clone()
            },
        ] {
            assert_eq!(KnownSchema::parse(bad), Err(InvalidSchema));
        }
    }
}
