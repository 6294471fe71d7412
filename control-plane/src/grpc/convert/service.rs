use switchyard_proto::{resource::fingerprint_sha256, v1 as wire};

use super::{resource, timestamp};
use crate::{
    model::{Service, Stored},
    pki,
};

/// A service as a message, with what its client certificate says.
pub(in crate::grpc) fn message(stored: &Stored<Service>) -> wire::Service {
    let mut message = resource::message(stored);
    let leaf = stored.value.tls.as_ref().and_then(|tls| tls.client_certificate.as_ref()?.chain.first());
    let shown = message.tls.as_mut().and_then(|tls| tls.client_certificate.as_mut());
    if let (Some(leaf), Some(shown)) = (leaf, shown) {
        shown.fingerprint_sha256 = fingerprint_sha256(leaf);
        shown.not_after_time = pki::not_after(leaf).map(timestamp);
    }
    message
}
