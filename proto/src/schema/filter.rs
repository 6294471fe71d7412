use prost_reflect::MessageDescriptor;

use super::{
    DEPTH_MAX, FieldOptions, Output,
    tables::{Action, Tables},
    wire::{Fields, put_with},
};

/// Takes fields out of encoded messages of one type, by the options of the fields.
///
/// What is kept is copied as it is, and what is not known is kept: nothing is lost that another version wrote. A message that loses all its
/// fields stays, since it is present.
#[derive(Clone, Debug)]
pub struct Filter(Tables);

impl Filter {
    /// What edges get: without what is of no use to them and without what is computed; secrets that are theirs are kept.
    pub fn for_edges(message: &MessageDescriptor) -> Self {
        Self::dropping(message, |options| options.not_for_edges || options.output == Some(Output::Computed))
    }

    /// What is stored: without what is computed.
    pub fn stored(message: &MessageDescriptor) -> Self {
        Self::dropping(message, |options| options.output == Some(Output::Computed))
    }

    /// What is returned, logged and put into histories: without secrets.
    pub fn without_secrets(message: &MessageDescriptor) -> Self {
        Self::dropping(message, |options| options.secret)
    }

    /// Takes out what the options say of this filter.
    ///
    /// # Errors
    ///
    /// The message, or one in it that has to be read, is not in the wire format.
    pub fn apply(&self, message: &[u8]) -> Result<Vec<u8>, MalformedMessage> {
        let mut out = Vec::with_capacity(message.len());
        self.copy(0, message, &mut out, 0)?;
        Ok(out)
    }

    fn dropping(message: &MessageDescriptor, drops: impl Fn(&FieldOptions) -> bool) -> Self {
        Self(Tables::new(message, |field| drops(&FieldOptions::of(field))))
    }

    fn copy(&self, table: usize, message: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<(), MalformedMessage> {
        if depth > DEPTH_MAX {
            return Err(MalformedMessage::Depth);
        }
        for field in Fields::of(message) {
            let field = field?;
            match self.0.entry(table, field.number).map(|entry| &entry.action) {
                None => out.extend_from_slice(field.encoded),
                Some(Action::Select) => {}
                Some(Action::Nested(inner)) => {
                    let payload = field.payload.ok_or(MalformedMessage::Type)?;
                    put_with(out, field.number, |out| self.copy(*inner, payload, out, depth + 1))?;
                }
            }
        }
        Ok(())
    }
}

/// Why bytes are not an encoded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedMessage {
    /// They end within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A key has no field number or no wire type.
    #[error("the message has a key that is none")]
    Key,
    /// A number is longer than 64 bits.
    #[error("the message has a number of more than 64 bits")]
    Varint,
    /// A field that holds a message is of another wire type.
    #[error("the message has a field of another type")]
    Type,
    /// Messages are nested too deep.
    #[error("the message is nested too deep")]
    Depth,
}
