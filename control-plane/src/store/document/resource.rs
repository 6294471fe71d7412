//! The kinds whose documents are the messages of the API.

use std::sync::Arc;

use switchyard_proto::{
    resource::Defaults,
    v1,
    vocab::{BackendId, DnsProviderId, HostPattern, IssuerId, ResourceKey, ResourceKind, ServiceId},
};

use super::{Document, Invalid, secrets_of};
use crate::model::{Backend, DnsProvider, Domain, Issuer, Object, ObjectKey, ObjectKind, Resource, Service, Stored};

macro_rules! resource_document {
    ($($kind:ident, $id:ident by $field:ident, $object_kind:expr, $key:expr, $object:expr, $references:expr;)+) => {
        $(impl Document for $kind {
            const KIND: ObjectKind = $object_kind;
            type Id = $id;
            type Message = v1::$kind;

            secrets_of!(v1::$kind);

            fn key_of(id: &$id) -> ObjectKey {
                $key(id).into()
            }

            fn id(&self) -> &$id {
                &self.$field
            }

            fn message(&self) -> v1::$kind {
                switchyard_proto::resource::Resource::message(self, Defaults::Omitted)
            }

            fn parse(message: v1::$kind) -> Result<Self, Invalid> {
                Ok(<$kind as switchyard_proto::resource::Resource>::parse(message)?)
            }

            fn references(&self) -> Vec<ObjectKey> {
                $references(self)
            }

            fn object(stored: Arc<Stored<Self>>) -> Object {
                $object(stored)
            }
        })+
    };
}

resource_document! {
    Backend, BackendId by id, ObjectKind::Served(ResourceKind::Backend), ResourceKey::backend,
        |it| Object::Served(Resource::Backend(it)), |it: &Backend| vec![ResourceKey::service(&it.service).into()];
    DnsProvider, DnsProviderId by id, ObjectKind::DnsProvider, ObjectKey::dns_provider, Object::DnsProvider, nothing;
    Domain, HostPattern by host, ObjectKind::Served(ResourceKind::Domain), ResourceKey::domain,
        |it| Object::Served(Resource::Domain(it)), of_domain;
    Issuer, IssuerId by id, ObjectKind::Issuer, ObjectKey::issuer, Object::Issuer, nothing;
    Service, ServiceId by id, ObjectKind::Served(ResourceKind::Service), ResourceKey::service,
        |it| Object::Served(Resource::Service(it)), nothing;
}

fn nothing<T>(_: &T) -> Vec<ObjectKey> {
    Vec::new()
}

fn of_domain(domain: &Domain) -> Vec<ObjectKey> {
    let issuers = domain.acme.issuers().iter().map(ObjectKey::issuer);
    std::iter::once(ResourceKey::service(&domain.service).into()).chain(issuers).collect()
}
