//! Resources as edges receive them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use switchyard_proto::{fleet::v1 as wire, vocab::limits::RESOURCE_BYTES_MAX};

use crate::model::{
    Backend, BackendProtocol, BackendState, BackendTls, BackendTrust, Balancing, CaBundle, Certificate,
    CertificateChain, Challenge, ClientAuthentication, ClientCertificate, ClientCertificateMode, Domain, PrivateKey,
    Resource, Service, Stored, TicketKey, TicketKeyRole, TicketKeys, TlsVersion,
};

/// Encodes a resource. The same version gives the same bytes on every control plane: digests depend on it.
pub(super) fn encode(resource: &Resource) -> Bytes {
    let body = match resource {
        Resource::Service(stored) => service(&stored.value).encode_to_vec(),
        Resource::Backend(stored) => backend(&stored.value).encode_to_vec(),
        Resource::Certificate(stored) => certificate(&stored.value).encode_to_vec(),
        Resource::Domain(stored) => domain(&stored.value).encode_to_vec(),
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
    let value = Certificate { id, source, chain, private_key: PrivateKey::from_pkcs8(private_key) };
    Arc::new(Stored { value, revision, created_at, updated_at })
}

fn domain(domain: &Domain) -> wire::Domain {
    // An edge serves the certificates it has, whoever takes care of them; what was active before is for people.
    let on_demand = domain.on_demand().is_some();
    let Domain {
        host: _,
        service,
        active_tag,
        previous_tag: _,
        certificate_source: _,
        http_to_https,
        edge_selector: _,
        client_authentication,
        minimum_tls_version,
        acme: _,
    } = domain;
    wire::Domain {
        service: service.to_string(),
        active_tag: active_tag.to_string(),
        http_to_https: *http_to_https,
        client_authentication: client_authentication.as_ref().map(|authentication| {
            let ClientAuthentication { authorities: CaBundle(certificates), mode } = authentication;
            let mode = match mode {
                ClientCertificateMode::Required => wire::ClientCertificateMode::Required,
                ClientCertificateMode::Optional => wire::ClientCertificateMode::Optional,
            };
            wire::ClientAuthentication { authorities: der(certificates), mode: mode.into() }
        }),
        minimum_tls_version: match minimum_tls_version {
            TlsVersion::V12 => wire::TlsVersion::V12,
            TlsVersion::V13 => wire::TlsVersion::V13,
        }
        .into(),
        on_demand,
    }
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

fn service(service: &Service) -> wire::Service {
    let Service { id: _, balancing, protocol, timeouts, tls } = service;
    let balancing = match balancing {
        Balancing::RoundRobin => wire::BalancingPolicy::RoundRobin,
    };
    let protocol = match protocol {
        BackendProtocol::Automatic => wire::BackendProtocol::Automatic,
        BackendProtocol::Http1 => wire::BackendProtocol::Http1,
        BackendProtocol::Http2 => wire::BackendProtocol::Http2,
    };
    wire::Service {
        balancing: balancing.into(),
        protocol: protocol.into(),
        connect_timeout_ms: milliseconds(timeouts.connect()),
        first_byte_timeout_ms: milliseconds(timeouts.first_byte()),
        idle_timeout_ms: milliseconds(timeouts.idle()),
        tls: tls.as_ref().map(backend_tls),
    }
}

fn backend_tls(tls: &BackendTls) -> wire::BackendTls {
    let BackendTls { trust, server_name, alternative_name, client_certificate } = tls;
    let (trust, authorities) = match trust {
        BackendTrust::System => (wire::BackendTrust::System, Vec::new()),
        BackendTrust::Authorities(CaBundle(certificates)) => (wire::BackendTrust::Authorities, der(certificates)),
        BackendTrust::Anybody => (wire::BackendTrust::Anybody, Vec::new()),
    };
    let (client_chain, client_private_key) = match client_certificate {
        Some(ClientCertificate { chain, private_key }) => {
            (der(chain), Bytes::copy_from_slice(private_key.expose_pkcs8()))
        }
        None => Default::default(),
    };
    wire::BackendTls {
        trust: trust.into(),
        authorities,
        server_name: server_name.as_ref().map(ToString::to_string).unwrap_or_default(),
        alternative_name: alternative_name.as_ref().map(ToString::to_string).unwrap_or_default(),
        client_chain,
        client_private_key,
    }
}

fn der(certificates: &[Vec<u8>]) -> Vec<Bytes> {
    certificates.iter().map(|der| Bytes::copy_from_slice(der)).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a timeout is at most a day")
}

fn backend(backend: &Backend) -> wire::Backend {
    let Backend { id: _, service, address, tags, state } = backend;
    let state = match state {
        BackendState::Active => wire::BackendState::Active,
        BackendState::Draining => wire::BackendState::Draining,
        BackendState::Disabled => wire::BackendState::Disabled,
    };
    wire::Backend {
        service: service.to_string(),
        address: address.to_string(),
        tags: tags.iter().map(ToString::to_string).collect(),
        state: state.into(),
    }
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
    use switchyard_proto::vocab::{HostPattern, Labels, Revision, ServiceId, Tag};

    use super::*;
    use crate::{
        model::{CertificateSource, Stored, Timestamp},
        store::fixture::values,
    };

    #[test]
    fn a_resource_is_an_envelope_with_a_body() {
        let domain = Domain {
            host: HostPattern::parse("shop.example").unwrap(),
            service: ServiceId::parse("shop").unwrap(),
            active_tag: Tag::parse("a").unwrap(),
            previous_tag: None,
            certificate_source: CertificateSource::Uploaded,
            http_to_https: true,
            edge_selector: Labels::default(),
            client_authentication: None,
            minimum_tls_version: TlsVersion::V13,
            acme: crate::model::AcmeSettings::default(),
        };
        let stored =
            Stored { value: domain, revision: Revision(7), created_at: Timestamp(1), updated_at: Timestamp(2) };
        let resource = Resource::Domain(Arc::new(stored));
        let envelope = wire::Resource::decode(encode(&resource)).unwrap();
        assert_eq!(envelope.revision, 7);
        assert_eq!(envelope.key, Some(resource.key().to_wire()));
        let body = wire::Domain::decode(envelope.body).unwrap();
        let expected = wire::Domain {
            service: "shop".into(),
            active_tag: "a".into(),
            http_to_https: true,
            client_authentication: None,
            minimum_tls_version: wire::TlsVersion::V13.into(),
            on_demand: false,
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

    #[test]
    fn timeouts_travel_in_milliseconds() {
        let encoded = service(&Service::new(ServiceId::default_service()));
        assert_eq!(encoded.connect_timeout_ms, 3_000);
        assert_eq!(encoded.first_byte_timeout_ms, 60_000);
        assert_eq!(encoded.idle_timeout_ms, 300_000);
    }
}
