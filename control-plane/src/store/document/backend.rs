use std::sync::Arc;

use switchyard_proto::{
    v1,
    vocab::{BackendAddress, BackendId, ResourceKey, ResourceKind, ServiceId, Tag},
};

use super::{Document, Invalid, Secrets, word};
use crate::model::{Backend, BackendState, Object, ObjectKey, ObjectKind, Resource, Stored, Tags};

impl Document for Backend {
    const KIND: ObjectKind = ObjectKind::Served(ResourceKind::Backend);
    type Id = BackendId;
    type Message = v1::Backend;

    fn key_of(id: &BackendId) -> ObjectKey {
        ResourceKey::backend(id).into()
    }

    fn id(&self) -> &BackendId {
        &self.id
    }

    fn message(&self) -> v1::Backend {
        let Self { id, service, address, tags, state } = self;
        let state = match state {
            BackendState::Active => v1::BackendState::Unspecified,
            BackendState::Draining => v1::BackendState::Draining,
            BackendState::Disabled => v1::BackendState::Disabled,
        };
        v1::Backend {
            name: id.to_resource_name(),
            service: service.to_resource_name(),
            address: address.to_string(),
            tags: tags.iter().map(ToString::to_string).collect(),
            state: state.into(),
            ..v1::Backend::default()
        }
    }

    fn parse(message: v1::Backend, _: &mut Secrets) -> Result<Self, Invalid> {
        let v1::Backend { name, service, address, tags, state, revision: _, etag: _, create_time: _, update_time: _ } =
            message;
        let tags = tags.iter().map(|tag| Tag::parse(tag)).collect::<Result<_, _>>()?;
        Ok(Self {
            id: BackendId::parse_resource_name(&name)?,
            service: ServiceId::parse_resource_name(&service)?,
            address: BackendAddress::parse(&address)?,
            tags: Tags::new(tags)?,
            state: match word("state", state)? {
                v1::BackendState::Unspecified | v1::BackendState::Active => BackendState::Active,
                v1::BackendState::Draining => BackendState::Draining,
                v1::BackendState::Disabled => BackendState::Disabled,
            },
        })
    }

    fn references(&self) -> Vec<ObjectKey> {
        vec![ResourceKey::service(&self.service).into()]
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Served(Resource::Backend(stored))
    }
}
