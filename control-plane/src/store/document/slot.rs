use bytes::Bytes;

use super::{Secrets, Unreadable};

/// A field of a message that is secret.
pub struct Slot<'a> {
    path: &'static str,
    field: Field<'a>,
}

enum Field<'a> {
    Text(&'a mut String),
    Bytes(&'a mut Bytes),
}

impl<'a> Slot<'a> {
    pub(super) fn text(path: &'static str, field: &'a mut String) -> Self {
        Self { path, field: Field::Text(field) }
    }

    pub(super) fn bytes(path: &'static str, field: &'a mut Bytes) -> Self {
        Self { path, field: Field::Bytes(field) }
    }

    /// Takes the secret out of the message, if there is one.
    pub(super) fn take(self) -> Option<(&'static str, Vec<u8>)> {
        let secret = match self.field {
            Field::Text(text) => std::mem::take(text).into_bytes(),
            Field::Bytes(bytes) => std::mem::take(bytes).to_vec(),
        };
        (!secret.is_empty()).then_some((self.path, secret))
    }

    /// Puts the secret into the message, if there is one.
    pub(super) fn fill(self, secrets: &mut Secrets) -> Result<(), Unreadable> {
        let Some(secret) = secrets.take(self.path) else { return Ok(()) };
        match self.field {
            Field::Text(text) => {
                *text = String::from_utf8(secret)
                    .map_err(|_| Unreadable::Damaged(format!("its secret {} is no text", self.path)))?;
            }
            Field::Bytes(bytes) => *bytes = secret.into(),
        }
        Ok(())
    }
}
