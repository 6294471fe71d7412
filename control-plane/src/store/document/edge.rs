use std::sync::Arc;

use bytes::Bytes;
use switchyard_proto::{
    store::v1 as store,
    vocab::{EdgeId, InviteId, Labels},
};

use super::{Document, Invalid, optional, secrets_of};
use crate::model::{EdgeKey, Enrolment, Object, ObjectKey, ObjectKind, Stored};

impl Document for Enrolment {
    const KIND: ObjectKind = ObjectKind::Edge;
    type Id = EdgeId;
    type Message = store::Edge;

    secrets_of!(store::Edge);

    fn key_of(id: &EdgeId) -> ObjectKey {
        ObjectKey::edge(id)
    }

    fn id(&self) -> &EdgeId {
        &self.id
    }

    fn message(&self) -> store::Edge {
        let Self { id, key, labels, invite } = self;
        store::Edge {
            name: id.to_resource_name(),
            key_sha256: Bytes::copy_from_slice(key.as_bytes()),
            labels: labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            invite: invite.as_ref().map(InviteId::to_resource_name).unwrap_or_default(),
        }
    }

    fn parse(message: store::Edge) -> Result<Self, Invalid> {
        let store::Edge { name, key_sha256, labels, invite } = message;
        Ok(Self {
            id: EdgeId::parse_resource_name(&name)?,
            key: EdgeKey::from_bytes(&key_sha256).ok_or("its key is damaged")?,
            labels: Labels::new(labels)?,
            invite: optional(&invite, InviteId::parse_resource_name)?,
        })
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Edge(stored)
    }
}
