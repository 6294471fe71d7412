use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};

/// Which fields of a message, and of those in it, are selected: by number, so that no descriptor is asked for each message.
#[derive(Clone, Debug)]
pub(super) struct Tables(Vec<Table>);

#[derive(Clone, Debug)]
struct Table {
    entries: Vec<Entry>,
    /// Where fields are encoded that prost does not encode at the place of their number: it puts a oneof where its lowest number is.
    ranks: Vec<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) action: Action,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    /// It is selected.
    Select,
    /// Something in its messages may be, by the table of this index.
    Nested(usize),
}

impl Tables {
    pub(super) fn new(message: &MessageDescriptor, selects: impl Fn(&FieldDescriptor) -> bool) -> Self {
        let mut indexes = HashMap::from([(message.full_name().to_owned(), 0)]);
        let mut messages = vec![message.clone()];
        let mut tables = Vec::new();
        while let Some(message) = messages.get(tables.len()).cloned() {
            let entry = |field: FieldDescriptor| {
                let action = match field.kind() {
                    _ if selects(&field) => Action::Select,
                    Kind::Message(inner) => {
                        Action::Nested(*indexes.entry(inner.full_name().to_owned()).or_insert_with(|| {
                            messages.push(inner);
                            messages.len() - 1
                        }))
                    }
                    _ => return None,
                };
                Some(Entry { number: field.number(), name: field.name().to_owned(), action })
            };
            tables.push(Table { entries: message.fields().filter_map(entry).collect(), ranks: ranks(&message) });
        }
        let mut tables = Self(tables);
        tables.prune();
        tables
    }

    /// What is done with a field; `None`: nothing, all of it is passed over.
    pub(super) fn entry(&self, table: usize, number: u32) -> Option<&Entry> {
        self.0[table].entries.iter().find(|entry| entry.number == number)
    }

    /// The selected field at a path, as the numbers of the fields that lead to it.
    pub(super) fn numbers(&self, path: &str) -> Option<Vec<u32>> {
        let mut table = Some(0);
        let mut numbers = Vec::new();
        for name in path.split('.') {
            let entry = self.0[table?].entries.iter().find(|entry| entry.name == name)?;
            numbers.push(entry.number);
            table = match entry.action {
                Action::Select => None,
                Action::Nested(inner) => Some(inner),
            };
        }
        table.is_none().then_some(numbers)
    }

    /// The place of a field among those of its message.
    pub(super) fn rank(&self, table: usize, number: u32) -> u32 {
        self.0[table].ranks.iter().find(|(other, _)| *other == number).map_or(number, |(_, rank)| *rank)
    }

    /// Removes what leads to nothing that is selected, so that it is copied without being read.
    fn prune(&mut self) {
        let mut leads = vec![false; self.0.len()];
        loop {
            let of = |entry: &Entry| match entry.action {
                Action::Select => true,
                Action::Nested(inner) => leads[inner],
            };
            let now: Vec<bool> = self.0.iter().map(|table| table.entries.iter().any(of)).collect();
            if now == leads {
                break;
            }
            leads = now;
        }
        for table in &mut self.0 {
            table.entries.retain(|entry| match entry.action {
                Action::Select => true,
                Action::Nested(inner) => leads[inner],
            });
        }
    }
}

fn ranks(message: &MessageDescriptor) -> Vec<(u32, u32)> {
    let of = |oneof: OneofDescriptor| {
        let numbers: Vec<u32> = oneof.fields().map(|field| field.number()).collect();
        let lowest = numbers.iter().copied().min().unwrap_or_default();
        numbers.into_iter().map(move |number| (number, lowest))
    };
    message.oneofs().flat_map(of).filter(|(number, rank)| number != rank).collect()
}
