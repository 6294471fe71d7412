//! Resources as edges receive them.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use prost::Message;
use switchyard_proto::{
    fleet::v1 as wire,
    resource::{self, Defaults},
    schema::{Filter, descriptor},
    v1,
    vocab::limits::RESOURCE_BYTES_MAX,
};

use crate::model::{
    Certificate, CertificateChain, Challenge, PrivateKey, Resource, Stored, TicketKey, TicketKeyRole, TicketKeys,
};

/// Encodes a resource. The same version gives the same bytes on every control plane: digests depend on it.
pub(super) fn encode(resource: &Resource) -> Bytes {
    let body = match resource {
        Resource::Service(stored) => for_edges(&stored.value, &SERVICE),
        Resource::Backend(stored) => for_edges(&stored.value, &BACKEND),
        Resource::Certificate(stored) => certificate(&stored.value).encode_to_vec(),
        Resource::Domain(stored) => for_edges(&stored.value, &DOMAIN),
        Resource::Challenge(stored) => challenge(&stored.value).encode_to_vec(),
        Resource::TicketKeys(stored) => ticket_keys(&stored.value).encode_to_vec(),
    };
    let encoded =
        wire::Resource { key: Some(resource.key().to_wire()), revision: resource.revision().0, body: body.into() };
    let encoded = encoded.encode_to_vec();
    debug_assert!(
        encoded.len() <= RESOURCE_BYTES_MAX,
        "the bounds of the model's values keep {} below",
        resource.key()
    );
    encoded.into()
}

static SERVICE: LazyLock<Filter> = LazyLock::new(|| Filter::for_edges(&descriptor::<v1::Service>()));
static BACKEND: LazyLock<Filter> = LazyLock::new(|| Filter::for_edges(&descriptor::<v1::Backend>()));
static DOMAIN: LazyLock<Filter> = LazyLock::new(|| Filter::for_edges(&descriptor::<v1::Domain>()));

/// The message of the API, without what edges do not need.
fn for_edges<R: resource::Resource>(resource: &R, filter: &Filter) -> Vec<u8> {
    let message = resource.message(Defaults::Omitted).encode_to_vec();
    filter.apply(&message).expect("what was just encoded is in the wire format")
}

/// A certificate over the bytes that edges receive: its chain and its key are in memory once.
pub(super) fn over(encoded: &Bytes, stored: Arc<Stored<Certificate>>) -> Arc<Stored<Certificate>> {
    let body = wire::Resource::decode(encoded.clone()).map(|resource| resource.body);
    let Ok(body) = body.and_then(wire::Certificate::decode) else { return stored };
    let wire::Certificate { dns_names: _, chain, private_key } = body;
    let Stored { value: Certificate { id, source, chain: old, private_key: _ }, revision, created_at, updated_at } =
        Arc::unwrap_or_clone(stored);
    let mut chain = CertificateChain { certificates: chain, ..old };
    chain.certificates.shrink_to_fit();
    chain.dns_names.shrink_to_fit();
    let value = Certificate { id, source, chain, private_key: PrivateKey::within(private_key) };
    Arc::new(Stored { value, revision, created_at, updated_at })
}

fn challenge(challenge: &Challenge) -> wire::Challenge {
    let Challenge { host: _, http_01, tls_alpn_01 } = challenge;
    wire::Challenge {
        http_01_thumbprint: http_01.as_ref().map(|thumbprint| thumbprint.as_str().to_owned()).unwrap_or_default(),
        tls_alpn_01_digest: tls_alpn_01
            .as_ref()
            .map(|digest| Bytes::copy_from_slice(digest.as_bytes()))
            .unwrap_or_default(),
    }
}

fn ticket_keys(keys: &TicketKeys) -> wire::TicketKeys {
    let key = |key: &TicketKey| {
        // Since when is for whoever decides what comes next.
        let TicketKey { name, secret, role, created_at, since: _ } = key;
        let role = match role {
            TicketKeyRole::Next => wire::TicketKeyRole::Next,
            TicketKeyRole::Current | TicketKeyRole::Condemned => wire::TicketKeyRole::Current,
            TicketKeyRole::Previous => wire::TicketKeyRole::Previous,
        };
        wire::TicketKey {
            name: Bytes::copy_from_slice(name.as_bytes()),
            secret: Bytes::copy_from_slice(secret.expose()),
            role: role.into(),
            created_at_ms: created_at.0,
        }
    };
    wire::TicketKeys { keys: keys.keys().iter().map(key).collect() }
}

fn certificate(certificate: &Certificate) -> wire::Certificate {
    let Certificate { id: _, source: _, chain, private_key } = certificate;
    // The rest is read from the certificates for people.
    let CertificateChain { certificates, dns_names, issuer: _, not_before: _, not_after: _ } = chain;
    wire::Certificate {
        dns_names: dns_names.iter().map(ToString::to_string).collect(),
        chain: certificates.clone(),
        private_key: Bytes::copy_from_slice(private_key.expose_pkcs8()),
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::{
        resource::{CertificateSource, Domain},
        vocab::{HostPattern, Labels, Revision, ServiceId, Tag},
    };

    use super::*;
    use crate::{
        model::{Stored, Timestamp},
        store::fixture::values,
    };

    #[test]
    fn a_resource_is_an_envelope_with_what_edges_need_of_it() {
        let tag = |text| Tag::parse(text).unwrap();
        let domain = Domain {
            previous_tag: Some(tag("b")),
            certificate_source: CertificateSource::Acme,
            edge_selector: Labels::new([("region".to_owned(), "eu".to_owned())]).unwrap(),
            http_to_https: true,
            ..Domain::new(HostPattern::parse("shop.example").unwrap(), ServiceId::parse("shop").unwrap(), tag("a"))
        };
        let stored =
            Stored { value: domain, revision: Revision(7), created_at: Timestamp(1), updated_at: Timestamp(2) };
        let resource = Resource::Domain(Arc::new(stored));
        let envelope = wire::Resource::decode(encode(&resource)).unwrap();
        assert_eq!(envelope.revision, 7);
        assert_eq!(envelope.key, Some(resource.key().to_wire()));
        let body = v1::Domain::decode(envelope.body).unwrap();
        let expected = v1::Domain {
            name: "domains/shop.example".into(),
            service: "services/shop".into(),
            active_tag: "a".into(),
            http_to_https: true,
            tls: Some(v1::DomainTls::default()),
            ..v1::Domain::default()
        };
        assert_eq!(body, expected);
    }

    #[test]
    fn a_certificate_is_in_memory_as_edges_receive_it() {
        let value = values::internal_certificate("shop.example");
        let at = Timestamp(1);
        let stored = Arc::new(Stored { value, revision: Revision(7), created_at: at, updated_at: at });
        let encoded = encode(&Resource::Certificate(stored.clone()));
        let over = over(&encoded, stored.clone());
        assert_eq!(over, stored);
        let is_part = |part: &[u8]| encoded.as_ptr_range().contains(&part.as_ptr());
        assert!(over.value.chain.certificates.iter().all(|der| is_part(der)));
        assert!(is_part(over.value.private_key.expose_pkcs8()));
    }
}
