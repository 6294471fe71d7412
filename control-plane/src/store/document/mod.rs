//! What the database keeps of each kind: a message, its secrets apart, and the references to others.
//!
//! A document is read by the version that wrote it or by a newer one. What this version cannot read whole (bytes that are no message, a
//! field or a word that it does not know, a value that is out of bounds) is [`Unreadable`]: it is never taken for something else, and
//! never written again without the part that was not understood.

mod certificate;
mod challenge;
mod edge;
mod invite;
mod resource;
mod ticket_keys;
mod token;

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use prost::Message;
use switchyard_proto::{
    schema::{self, InvalidSecrets},
    vocab::{ResourceKind, Revision},
};

use crate::model::{
    Backend, Certificate, Challenge, DnsProvider, Domain, Enrolment, Invite, Issuer, Object, ObjectKey, ObjectKind,
    Service, Stored, TicketKeys, Timestamp, Token,
};

/// A kind of objects that the database keeps.
pub trait Document: Sized + Send + Sync + 'static {
    /// The kind.
    const KIND: ObjectKind;
    /// What its objects are named by.
    type Id: Sync;
    /// What is written of an object.
    type Message: Message + prost::Name + Default;

    /// The key of the object of this id.
    fn key_of(id: &Self::Id) -> ObjectKey;

    /// Its id.
    fn id(&self) -> &Self::Id;

    /// The object as a message, with its secrets.
    fn message(&self) -> Self::Message;

    /// Takes an object from its message, secrets included.
    ///
    /// # Errors
    ///
    /// It is not one that this version would write.
    fn parse(message: Self::Message) -> Result<Self, Invalid>;

    /// Takes the secrets out of the message, and puts them back.
    fn secrets() -> &'static schema::Secrets;

    /// The objects that must exist as long as this one does.
    fn references(&self) -> Vec<ObjectKey> {
        Vec::new()
    }

    /// Whether the system made it. Secrets of what it made before are of no use to anybody, and are not kept in the history.
    fn is_derived(&self) -> bool {
        false
    }

    /// The object among those of all kinds.
    fn object(stored: Arc<Stored<Self>>) -> Object;

    /// Its key.
    fn key(&self) -> ObjectKey {
        Self::key_of(self.id())
    }
}

/// What is written of an object: its message without secrets, and these.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The message.
    pub message: Vec<u8>,
    /// The secrets.
    pub secrets: Secrets,
}

/// Says which secrets a message has: those that its fields' options say.
macro_rules! secrets_of {
    ($message:ty) => {
        fn secrets() -> &'static switchyard_proto::schema::Secrets {
            static SECRETS: std::sync::LazyLock<switchyard_proto::schema::Secrets> = std::sync::LazyLock::new(|| {
                switchyard_proto::schema::Secrets::of(&switchyard_proto::schema::descriptor::<$message>())
            });
            &SECRETS
        }
    };
}
use secrets_of;

/// Encodes an object. The same object always has the same bytes.
pub(super) fn encode<T: Document>(value: &T) -> Encoded {
    let whole = value.message().encode_to_vec();
    let (message, taken) = T::secrets().split(&whole).expect("what was just encoded is in the wire format");
    let mut secrets = Secrets::default();
    for schema::Secret { path, value } in taken {
        secrets.insert(path, value);
    }
    Encoded { message, secrets }
}

/// Decodes an object of the id `id`.
fn decode<T: Document>(id: &str, message: Bytes, secrets: &Secrets) -> Result<T, Unreadable> {
    let whole = if secrets.is_empty() {
        message
    } else {
        let joined = T::secrets().join(&message, secrets.iter());
        joined.map_err(|error| if is_known::<T>(&message) { error.into() } else { Unreadable::UnknownFields })?.into()
    };
    let length = whole.len();
    let message = T::Message::decode(whole).map_err(|error| Unreadable::Damaged(error.to_string()))?;
    if message.encoded_len() != length {
        return Err(Unreadable::UnknownFields);
    }
    let value = T::parse(message).map_err(|Invalid(reason)| Unreadable::Damaged(reason))?;
    if *value.key().id != *id {
        return Err(Unreadable::Damaged(format!("it is of the name {}", value.key())));
    }
    Ok(value)
}

/// Whether this version knows all that a message says.
fn is_known<T: Document>(message: &Bytes) -> bool {
    T::Message::decode(message.clone()).is_ok_and(|known| known.encoded_len() == message.len())
}

impl From<InvalidSecrets> for Unreadable {
    fn from(invalid: InvalidSecrets) -> Self {
        match invalid {
            InvalidSecrets::Message(error) => Self::Damaged(error.to_string()),
            InvalidSecrets::Place(path) => Self::UnknownSecret { path },
        }
    }
}

/// An object as it was read, with its secrets opened.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its message, without secrets.
    pub message: Bytes,
    /// The secrets.
    pub secrets: Secrets,
    /// The revision that changed it last.
    pub revision: Revision,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl Record {
    /// The object.
    pub(super) fn stored<T: Document>(self) -> Result<Stored<T>, Unreadable> {
        let Self { id, message, secrets, revision, created_at, updated_at } = self;
        Ok(Stored { value: decode(&id, message, &secrets)?, revision, created_at, updated_at })
    }

    /// The object of this kind.
    pub(super) fn object(self, kind: &ObjectKind) -> Result<Object, Unreadable> {
        match kind {
            ObjectKind::Served(ResourceKind::Service) => self.of::<Service>(),
            ObjectKind::Served(ResourceKind::Backend) => self.of::<Backend>(),
            ObjectKind::Served(ResourceKind::Certificate) => self.of::<Certificate>(),
            ObjectKind::Served(ResourceKind::Domain) => self.of::<Domain>(),
            ObjectKind::Served(ResourceKind::Challenge) => self.of::<Challenge>(),
            ObjectKind::Served(ResourceKind::TicketKeys) => self.of::<TicketKeys>(),
            ObjectKind::Edge => self.of::<Enrolment>(),
            ObjectKind::Invite => self.of::<Invite>(),
            ObjectKind::Token => self.of::<Token>(),
            ObjectKind::Issuer => self.of::<Issuer>(),
            ObjectKind::DnsProvider => self.of::<DnsProvider>(),
            ObjectKind::Served(ResourceKind::Unknown(_)) => Err(Unreadable::UnknownKind),
        }
    }

    fn of<T: Document>(self) -> Result<Object, Unreadable> {
        Ok(T::object(Arc::new(self.stored::<T>()?)))
    }
}

/// The full name of the message that the objects of a kind are kept as.
pub(super) fn message_name(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "services" => "switchyard.v1.Service",
        "backends" => "switchyard.v1.Backend",
        "domains" => "switchyard.v1.Domain",
        "issuers" => "switchyard.v1.Issuer",
        "dnsProviders" => "switchyard.v1.DnsProvider",
        "certificates" => "switchyard.store.v1.Certificate",
        "challenges" => "switchyard.store.v1.Challenge",
        "ticketKeys" => "switchyard.store.v1.TicketKeys",
        "edges" => "switchyard.store.v1.Edge",
        "invites" => "switchyard.store.v1.Invite",
        "tokens" => "switchyard.store.v1.Token",
        _ => return None,
    })
}

/// The secrets of an object, by the path of their field. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Vec<u8>>);

impl Secrets {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, path: impl Into<String>, secret: Vec<u8>) {
        self.0.insert(path.into(), secret);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, secret)| (path.as_str(), secret.as_slice()))
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.paths()).finish()
    }
}

/// Why a message is not an object, in words.
#[derive(Debug)]
pub struct Invalid(String);

impl<E: fmt::Display> From<E> for Invalid {
    fn from(reason: E) -> Self {
        Self(reason.to_string())
    }
}

/// Why an object cannot be read. It is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The envelope is of a form that this version does not know.
    #[error("it is of format {0}, which a newer version wrote")]
    Format(u32),
    /// This version does not know all that it says.
    #[error("it has fields that this version does not know; a newer one wrote it")]
    UnknownFields,
    /// This version does not know what it is.
    #[error("it is of a kind that this version does not know; a newer one wrote it")]
    UnknownKind,
    /// This version does not know what one of its secrets is for.
    #[error("it has a secret that this version does not know ({path}); a newer one wrote it")]
    UnknownSecret {
        /// Of which field.
        path: String,
    },
    /// A secret is not in the database.
    #[error("its secret {path} is missing")]
    MissingSecret {
        /// Of which field.
        path: String,
    },
    /// A secret was purged.
    #[error("its secret {path} was purged")]
    PurgedSecret {
        /// Of which field.
        path: String,
    },
    /// A secret does not open.
    #[error("its secret {path} does not open: it was sealed under another master key, or is damaged")]
    SealedSecret {
        /// Of which field.
        path: String,
    },
    /// It means nothing.
    #[error("{0}")]
    Damaged(String),
}

/// A moment as a message.
fn time(at: Timestamp) -> pbjson_types::Timestamp {
    let (seconds, milliseconds) = (at.0.div_euclid(1_000), at.0.rem_euclid(1_000));
    let milliseconds = i32::try_from(milliseconds).expect("a remainder of 1,000 fits");
    pbjson_types::Timestamp { seconds, nanos: milliseconds * 1_000_000 }
}

/// The moment of a message, which must be one of whole milliseconds.
fn parse_time(time: Option<pbjson_types::Timestamp>) -> Result<Timestamp, Invalid> {
    let pbjson_types::Timestamp { seconds, nanos } = time.ok_or("a moment is missing")?;
    let millis = (0..1_000_000_000).contains(&nanos).then_some(i64::from(nanos) / 1_000_000);
    let at = millis.and_then(|millis| seconds.checked_mul(1_000)?.checked_add(millis));
    Ok(Timestamp(at.ok_or("a moment is out of bounds")?))
}

/// `None` for an empty text.
fn optional<T, E: fmt::Display>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, Invalid> {
    if text.is_empty() { Ok(None) } else { Ok(Some(parse(text)?)) }
}

/// The meaning of an enum's number, which this version must know.
fn word<T: TryFrom<i32>>(field: &'static str, number: i32) -> Result<T, Invalid> {
    T::try_from(number).map_err(|_| format!("{field} has a value that this version does not know: {number}").into())
}

#[cfg(test)]
mod tests;
