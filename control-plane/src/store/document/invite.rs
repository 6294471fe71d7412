use std::sync::Arc;

use bytes::Bytes;
use switchyard_proto::{
    store::v1 as store,
    vocab::{InviteId, Labels},
};

use super::{Document, Invalid, parse_time, secrets_of, time};
use crate::model::{Invite, Object, ObjectKey, ObjectKind, SecretHash, Stored};

impl Document for Invite {
    const KIND: ObjectKind = ObjectKind::Invite;
    type Id = InviteId;
    type Message = store::Invite;

    secrets_of!(store::Invite);

    fn key_of(id: &InviteId) -> ObjectKey {
        ObjectKey::invite(id)
    }

    fn id(&self) -> &InviteId {
        &self.id
    }

    fn message(&self) -> store::Invite {
        let Self { id, hash, labels, uses, expires_at } = self;
        store::Invite {
            name: id.to_resource_name(),
            secret_sha256: Bytes::copy_from_slice(hash.as_bytes()),
            labels: labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            uses: *uses,
            expire_time: Some(time(*expires_at)),
        }
    }

    fn parse(message: store::Invite) -> Result<Self, Invalid> {
        let store::Invite { name, secret_sha256, labels, uses, expire_time } = message;
        Ok(Self {
            id: InviteId::parse_resource_name(&name)?,
            hash: SecretHash::from_bytes(&secret_sha256).ok_or("the hash of its secret is damaged")?,
            labels: Labels::new(labels)?,
            uses,
            expires_at: parse_time(expire_time)?,
        })
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Invite(stored)
    }
}
