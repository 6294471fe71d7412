//! What fuzzing drives: bytes of edges and of clients, taken as this program takes them. No part of the program.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Buf;
use prost::Message;
use switchyard_proto::{fleet::v1 as fleet, v1 as wire};

use super::convert;
use crate::model::{Stored, Timestamp};
use switchyard_proto::vocab::Revision;

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
        0 => {
            let Ok(request) = wire::CreateDomainRequest::decode(bytes) else { return };
            let Ok(domain) = convert::domain::new(request.domain) else { return };
            let again = convert::domain::new(Some(convert::domain::message(&stored(domain.clone()))));
            assert_eq!(again.ok().as_ref(), Some(&domain), "a domain that was read can be written");
        }
        1 => {
            let Ok(request) = wire::UpdateDomainRequest::decode(bytes) else { return };
            drop(convert::domain::update(request.domain, request.update_mask));
        }
        2 => {
            let Ok(request) = wire::CreateServiceRequest::decode(bytes) else { return };
            let Ok((service, _)) = convert::service::new(request.service) else { return };
            let again = convert::service::new(Some(convert::service::message(&stored(service.clone()))));
            assert_eq!(again.ok().map(|(again, _)| again), Some(service), "a service that was read can be written");
        }
        3 => {
            let Ok(request) = wire::UpdateServiceRequest::decode(bytes) else { return };
            drop(convert::service::update(request.service, request.update_mask));
        }
        4 => {
            let Ok(request) = wire::CreateBackendRequest::decode(bytes) else { return };
            let Ok(backend) = convert::backend::new(request.backend) else { return };
            let again = convert::backend::new(Some(convert::backend::message(&stored(backend.clone()))));
            assert_eq!(again.ok().as_ref(), Some(&backend), "a backend that was read can be written");
        }
        5 => {
            let Ok(request) = wire::UpdateBackendRequest::decode(bytes) else { return };
            drop(convert::backend::update(request.backend, request.update_mask));
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

fn stored<T>(value: T) -> Stored<T> {
    Stored { value, revision: Revision(1), created_at: Timestamp(0), updated_at: Timestamp(0) }
}
