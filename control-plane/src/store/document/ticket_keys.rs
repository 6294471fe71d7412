use std::sync::Arc;

use bytes::Bytes;
use switchyard_proto::{
    store::v1 as store,
    vocab::{
        Labels, ResourceKey, ResourceKind, TicketKeysId,
        limits::{TICKET_KEY_NAME_BYTES, TICKET_KEY_SECRET_BYTES},
    },
};

use super::{Document, Invalid, parse_time, secrets_of, time, word};
use crate::model::{
    Object, ObjectKey, ObjectKind, Resource, Stored, TicketKey, TicketKeyRole, TicketKeys, ticket_key_parts,
};

impl Document for TicketKeys {
    const KIND: ObjectKind = ObjectKind::Served(ResourceKind::TicketKeys);
    type Id = TicketKeysId;
    type Message = store::TicketKeys;

    secrets_of!(store::TicketKeys);

    fn key_of(id: &TicketKeysId) -> ObjectKey {
        ResourceKey::ticket_keys(id).into()
    }

    fn id(&self) -> &TicketKeysId {
        self.id()
    }

    fn message(&self) -> store::TicketKeys {
        let parts = self.keys().iter().flat_map(|key| [key.name.as_bytes(), key.secret.expose()]);
        store::TicketKeys {
            name: self.key().to_string(),
            labels: self.labels().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            secrets: parts.collect::<Vec<_>>().concat().into(),
            keys: self.keys().iter().map(key_message).collect(),
        }
    }

    fn parse(message: store::TicketKeys) -> Result<Self, Invalid> {
        let store::TicketKeys { name, labels, keys, secrets } = message;
        let (parts, rest) = secrets.as_chunks::<{ TICKET_KEY_NAME_BYTES + TICKET_KEY_SECRET_BYTES }>();
        if parts.len() != keys.len() || !rest.is_empty() {
            return Err("there is not one secret for each key".into());
        }
        let keys = keys.into_iter().zip(parts).map(|(key, part)| parse_key(key, part)).collect::<Result<_, _>>()?;
        let keys = Self::from_parts(Labels::new(labels)?, keys)?;
        if keys.key().to_string() == name { Ok(keys) } else { Err("its id is that of other labels".into()) }
    }

    fn is_derived(&self) -> bool {
        true
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Served(Resource::TicketKeys(stored))
    }
}

fn key_message(key: &TicketKey) -> store::TicketKey {
    let TicketKey { name, secret: _, role, created_at, since } = key;
    let role = match role {
        TicketKeyRole::Next => store::TicketKeyRole::Next,
        TicketKeyRole::Current => store::TicketKeyRole::Current,
        TicketKeyRole::Condemned => store::TicketKeyRole::Condemned,
        TicketKeyRole::Previous => store::TicketKeyRole::Previous,
    };
    store::TicketKey {
        name: Bytes::copy_from_slice(name.as_bytes()),
        role: role.into(),
        create_time: Some(time(*created_at)),
        role_time: Some(time(*since)),
    }
}

fn parse_key(message: store::TicketKey, part: &[u8]) -> Result<TicketKey, Invalid> {
    let store::TicketKey { name: shown, role, create_time, role_time } = message;
    let (name, secret) = part.split_at(TICKET_KEY_NAME_BYTES);
    if shown != name {
        return Err("a secret is another key's".into());
    }
    let (name, secret) = ticket_key_parts(name, secret).ok_or("a damaged key")?;
    let role = match word("keys.role", role)? {
        store::TicketKeyRole::Next => TicketKeyRole::Next,
        store::TicketKeyRole::Current => TicketKeyRole::Current,
        store::TicketKeyRole::Condemned => TicketKeyRole::Condemned,
        store::TicketKeyRole::Previous => TicketKeyRole::Previous,
        store::TicketKeyRole::Unspecified => return Err("a key without a role".into()),
    };
    Ok(TicketKey { name, secret, role, created_at: parse_time(create_time)?, since: parse_time(role_time)? })
}
