use std::fmt;

use prost_reflect::MessageDescriptor;

use super::{
    DEPTH_MAX, FieldOptions, MalformedMessage,
    tables::{Action, Tables},
    wire::{Field, Fields, put, put_with},
};

/// Takes the secrets out of encoded messages of one type, and puts them back.
#[derive(Clone, Debug)]
pub struct Secrets(Tables);

/// A secret that was taken out of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Where it was: `tls.client_certificate.private_key_pem`.
    pub path: String,
    /// What the field held.
    pub value: Vec<u8>,
}

impl Secrets {
    /// Those of a type of messages.
    pub fn of(message: &MessageDescriptor) -> Self {
        Self(Tables::new(message, |field| FieldOptions::of(field).secret))
    }

    /// The message without its secrets, and these. All else is as it was, what is not known included.
    ///
    /// # Errors
    ///
    /// The message, or one in it that has to be read, is not in the wire format.
    pub fn split(&self, message: &[u8]) -> Result<(Vec<u8>, Vec<Secret>), MalformedMessage> {
        let mut split = Split { tables: &self.0, secrets: Vec::new() };
        let mut rest = Vec::with_capacity(message.len());
        split.message(0, message, "", &mut rest, 0)?;
        Ok((rest, split.secrets))
    }

    /// The message with the secrets at their paths: after [`Secrets::split`], what prost encodes of the whole.
    ///
    /// # Errors
    ///
    /// The message is not in the wire format, or has no place for a secret.
    pub fn join<'a>(
        &self,
        message: &[u8],
        secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Vec<u8>, InvalidSecrets> {
        let mut insertions = Vec::new();
        for (path, value) in secrets {
            let numbers = self.0.numbers(path).ok_or_else(|| InvalidSecrets::Place(path.to_owned()))?;
            insertions.push(Insertion { path, numbers, value });
        }
        let mut out = Vec::with_capacity(message.len());
        self.insert(0, message, &insertions.iter().collect::<Vec<_>>(), 0, &mut out)?;
        Ok(out)
    }

    /// Appends the message with the insertions, whose numbers from `depth` on lead on from it.
    fn insert(
        &self,
        table: usize,
        message: &[u8],
        insertions: &[&Insertion<'_>],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), InvalidSecrets> {
        let fields = Fields::of(message).collect::<Result<Vec<Field<'_>>, _>>()?;
        let (mut here, within): (Vec<_>, Vec<_>) =
            insertions.iter().copied().partition(|insertion| insertion.numbers.len() == depth + 1);
        here.sort_by_key(|insertion| self.0.rank(table, insertion.numbers[depth]));
        // Into the last of several, which are one message: it decides.
        let last = |number: u32| fields.iter().rposition(|field| field.number == number);
        if let Some(lost) = within.iter().find(|insertion| last(insertion.numbers[depth]).is_none()) {
            return Err(InvalidSecrets::Place(lost.path.to_owned()));
        }
        let mut here = here.into_iter().peekable();
        for (index, field) in fields.iter().enumerate() {
            let rank = self.0.rank(table, field.number);
            while let Some(secret) = here.next_if(|it| self.0.rank(table, it.numbers[depth]) < rank) {
                put(out, secret.numbers[depth], secret.value);
            }
            let inner: Vec<_> = match last(field.number) == Some(index) {
                true => within.iter().copied().filter(|it| it.numbers[depth] == field.number).collect(),
                false => Vec::new(),
            };
            match self.0.entry(table, field.number).map(|entry| &entry.action) {
                Some(Action::Nested(nested)) if !inner.is_empty() => {
                    let payload = field.payload.ok_or(MalformedMessage::Type)?;
                    put_with(out, field.number, |out| self.insert(*nested, payload, &inner, depth + 1, out))?;
                }
                _ => out.extend_from_slice(field.encoded),
            }
        }
        for secret in here {
            put(out, secret.numbers[depth], secret.value);
        }
        Ok(())
    }
}

/// A secret on its way into a message.
struct Insertion<'a> {
    path: &'a str,
    numbers: Vec<u32>,
    value: &'a [u8],
}

struct Split<'a> {
    tables: &'a Tables,
    secrets: Vec<Secret>,
}

impl Split<'_> {
    fn message(
        &mut self,
        table: usize,
        message: &[u8],
        path: &str,
        rest: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), MalformedMessage> {
        if depth > DEPTH_MAX {
            return Err(MalformedMessage::Depth);
        }
        let tables = self.tables;
        for field in Fields::of(message) {
            let field = field?;
            let Some(entry) = tables.entry(table, field.number) else {
                rest.extend_from_slice(field.encoded);
                continue;
            };
            let payload = field.payload.ok_or(MalformedMessage::Type)?;
            let path = super::join(path, &entry.name);
            match entry.action {
                Action::Select => self.take(path, payload),
                Action::Nested(inner) => {
                    put_with(rest, field.number, |rest| self.message(inner, payload, &path, rest, depth + 1))?;
                }
            }
        }
        Ok(())
    }

    /// Of several values of one field the last one counts.
    fn take(&mut self, path: String, value: &[u8]) {
        let value = value.to_vec();
        match self.secrets.iter_mut().find(|secret| secret.path == path) {
            Some(secret) => secret.value = value,
            None => self.secrets.push(Secret { path, value }),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Secret").field("path", &self.path).field("value", &"redacted").finish()
    }
}

/// Why secrets cannot be put into a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    /// The message is not in the wire format.
    #[error(transparent)]
    Message(#[from] MalformedMessage),
    /// The message that it belongs in is missing, or the path is not that of a secret.
    #[error("the message has no place for the secret {0}")]
    Place(String),
}
