//! What fuzzing drives: bytes of edges and of clients, taken as this program takes them. No part of the program.

use std::{
    fmt::Debug,
    net::{IpAddr, Ipv4Addr},
};

use bytes::Buf;
use prost::Message;
use switchyard_proto::{
    fleet::v1 as fleet,
    resource::{Backend, Defaults, Domain, Resource, Service},
    v1 as wire,
    vocab::{HostPattern, Revision, ServiceId, Tag},
};

use super::convert::{
    self,
    resource::{self, ApiMessage},
};
use crate::model::{Stored, Timestamp};

/// Takes `bytes` as messages of an edge, each with its length before it.
pub fn edge_messages(mut bytes: &[u8]) {
    while let Ok(request) = fleet::SyncRequest::decode_length_delimited(&mut bytes) {
        drop(convert::fleet::said(request));
    }
}

/// Takes `bytes` as what an edge asks to join with.
pub fn enrolment(bytes: &[u8]) {
    if let Ok(request) = fleet::EnrolRequest::decode(bytes) {
        drop(convert::fleet::application(request, IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}

/// Takes `bytes` as a request of a client: the first byte says which.
///
/// # Panics
///
/// What was accepted is not accepted again when it is read and written.
pub fn request(mut bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    match bytes.get_u8() % 8 {
        0 => created::<Domain>(wire::CreateDomainRequest::decode(bytes).ok().and_then(|it| it.domain)),
        1 => {
            let Ok(request) = wire::UpdateDomainRequest::decode(bytes) else { return };
            let host = HostPattern::parse("shop.example").expect("it is a name");
            let tag = Tag::parse("a").expect("it is a tag");
            let old = Domain::new(host, ServiceId::default_service(), tag);
            changed(&old, request.domain, request.update_mask);
        }
        2 => created::<Service>(wire::CreateServiceRequest::decode(bytes).ok().and_then(|it| it.service)),
        3 => {
            let Ok(request) = wire::UpdateServiceRequest::decode(bytes) else { return };
            changed(&Service::new(ServiceId::default_service()), request.service, request.update_mask);
        }
        4 => created::<Backend>(wire::CreateBackendRequest::decode(bytes).ok().and_then(|it| it.backend)),
        5 => {
            let Ok(request) = wire::UpdateBackendRequest::decode(bytes) else { return };
            let old = wire::Backend {
                name: "backends/shop-1".to_owned(),
                address: "10.0.0.5:3000".to_owned(),
                tags: vec!["a".to_owned()],
                ..wire::Backend::default()
            };
            let old = Backend::parse(old).expect("it is a backend");
            changed(&old, request.backend, request.update_mask);
        }
        6 => {
            let Ok(request) = wire::CreateCertificateRequest::decode(bytes) else { return };
            drop(convert::certificate::upload(request.certificate, request.private_key_pem));
        }
        _ => {
            let Ok(request) = wire::UpdateEdgeRequest::decode(bytes) else { return };
            drop(convert::edge::update(request.edge, request.update_mask));
        }
    }
}

fn created<R: Resource<Message: ApiMessage> + Debug>(message: Option<R::Message>) {
    if let Ok(resource) = resource::new::<R>(message) {
        check(&resource);
    }
}

fn changed<R: Resource<Message: ApiMessage> + Debug>(
    old: &R,
    message: Option<R::Message>,
    mask: Option<pbjson_types::FieldMask>,
) {
    let Ok((_, patch, _)) = resource::update::<R, _>(message, mask, |name| Ok(name.to_owned())) else { return };
    if let Ok(new) = patch.apply(old) {
        check(&new);
    }
}

/// What was accepted can be stored, sent to edges and shown.
fn check<R: Resource<Message: ApiMessage> + Debug>(resource: &R) {
    for defaults in [Defaults::Omitted, Defaults::Written] {
        assert_eq!(R::parse(resource.message(defaults)).as_ref(), Ok(resource), "what was read can be written");
    }
    drop(resource::message(&stored(resource.clone())));
}

fn stored<T>(value: T) -> Stored<T> {
    Stored { value, revision: Revision(1), created_at: Timestamp(0), updated_at: Timestamp(0) }
}
