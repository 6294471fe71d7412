use std::{sync::Arc, time::Duration};

use prost::Message;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use switchyard_proto::{
    fleet::v1 as wire,
    vocab::{
        BackendAddress, BackendHost, BackendId, CertificateId, HostPattern, InvalidBackendAddress, InvalidHostPattern,
        InvalidId, InvalidTag, ResourceKind, ServiceId, Tag, TicketKeysId,
        limits::{
            BACKEND_TAGS_MAX, CA_BUNDLE_BYTES_MAX, CA_BUNDLE_CERTIFICATES_MAX, CERTIFICATE_CHAIN_BYTES_MAX,
            CERTIFICATE_CHAIN_MAX, CERTIFICATE_NAMES_MAX, PRIVATE_KEY_BYTES_MAX, THUMBPRINT_BYTES, TICKET_KEYS_MAX,
        },
    },
};

use super::batch::Received;
use crate::{
    snapshot::{
        Backend, BackendProtocol, BackendState, Balancing, Certificate, Challenge, Domain, InvalidCertificate,
        InvalidTicketKeys, MissingCertificate, PlainHttp, Service, TicketKey, TicketKeyRole, TicketKeys, Timeouts,
    },
    verify::{
        BackendTls, BackendTrust, ClientAuthentication, ClientCertificate, ClientCertificateMode, InvalidBackendTls,
        InvalidClientAuthentication, TlsVersion,
    },
};

/// The longest timeout.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A resource that can be served.
#[derive(Debug)]
pub(super) enum Valid {
    Service(Service),
    Backend(Backend),
    Certificate(Certificate),
    Domain(Domain),
    Challenge(Challenge),
    TicketKeys(TicketKeys),
}

/// What a resource means to others, also when it cannot be served: what changes only together with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It belongs to these pools.
    Pools { service: String, tags: Vec<String> },
    /// It is for these names.
    Names(Vec<HostPattern>),
    /// It cannot even be read.
    Unreadable,
    /// Others refer to it by its id, or not at all.
    None,
}

/// Whether keys and certificates are parsed now, or when they are first asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Everything is checked.
    Checked,
    /// It was checked before it was written to this edge's disk.
    CheckedBefore,
}

/// Reads a resource, and checks every bound of it.
pub(super) fn convert(received: &Received, trust: Trust) -> (Claim, Result<Valid, InvalidResource>) {
    let id = &*received.key.id;
    let body = received.body.clone();
    match received.key.kind {
        ResourceKind::Service => match wire::Service::decode(body) {
            Ok(message) => (Claim::None, service(id, message).map(Valid::Service)),
            Err(_) => (Claim::Unreadable, Err(InvalidResource::Unreadable)),
        },
        ResourceKind::Backend => match wire::Backend::decode(body) {
            Ok(message) => {
                let claim = Claim::Pools { service: message.service.clone(), tags: message.tags.clone() };
                (claim, backend(id, message).map(Valid::Backend))
            }
            Err(_) => (Claim::Unreadable, Err(InvalidResource::Unreadable)),
        },
        ResourceKind::Certificate => match wire::Certificate::decode(body) {
            Ok(message) => {
                let names = message.dns_names.iter().filter_map(|name| HostPattern::parse(name).ok()).collect();
                (Claim::Names(names), certificate(id, message, trust).map(Valid::Certificate))
            }
            Err(_) => (Claim::Unreadable, Err(InvalidResource::Unreadable)),
        },
        ResourceKind::Domain => match wire::Domain::decode(body) {
            Ok(message) => (Claim::None, domain(id, message).map(Valid::Domain)),
            Err(_) => (Claim::Unreadable, Err(InvalidResource::Unreadable)),
        },
        ResourceKind::Challenge => match wire::Challenge::decode(body) {
            Ok(message) => (Claim::None, challenge(id, message).map(Valid::Challenge)),
            Err(_) => (Claim::Unreadable, Err(InvalidResource::Unreadable)),
        },
        ResourceKind::TicketKeys => match wire::TicketKeys::decode(body) {
            Ok(message) => (Claim::None, ticket_keys(id, message).map(Valid::TicketKeys)),
            Err(_) => (Claim::Unreadable, Err(InvalidResource::Unreadable)),
        },
    }
}

fn domain(id: &str, message: wire::Domain) -> Result<Domain, InvalidResource> {
    let version = message.minimum_tls_version();
    let wire::Domain { service, active_tag, http_to_https, client_authentication, minimum_tls_version: _, on_demand } =
        message;
    let host = HostPattern::parse(id)?;
    Ok(Domain {
        service: ServiceId::parse(&service).map_err(InvalidResource::Service)?,
        active_tag: Tag::parse(&active_tag).map_err(InvalidResource::ActiveTag)?,
        plain_http: if http_to_https { PlainHttp::RedirectToHttps } else { PlainHttp::Serve },
        client_authentication: client_authentication.map(|message| clients(&host, message)).transpose()?.map(Arc::new),
        minimum_tls_version: match version {
            wire::TlsVersion::Unspecified => return Err(InvalidResource::Unknown("minimum_tls_version")),
            wire::TlsVersion::V12 => TlsVersion::V12,
            wire::TlsVersion::V13 => TlsVersion::V13,
        },
        missing_certificate: if on_demand { MissingCertificate::AskedFor } else { MissingCertificate::Refused },
        host,
    })
}

fn challenge(id: &str, message: wire::Challenge) -> Result<Challenge, InvalidResource> {
    let wire::Challenge { http_01_thumbprint, tls_alpn_01_digest } = message;
    let is_thumbprint = http_01_thumbprint.len() == THUMBPRINT_BYTES
        && http_01_thumbprint.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    Ok(Challenge {
        host: HostPattern::parse(id)?,
        http_01: match http_01_thumbprint {
            none if none.is_empty() => None,
            thumbprint if is_thumbprint => Some(thumbprint.into()),
            _ => return Err(InvalidResource::Thumbprint),
        },
        tls_alpn_01: match &*tls_alpn_01_digest {
            [] => None,
            digest => Some(digest.try_into().map_err(|_| InvalidResource::KeyAuthorization)?),
        },
    })
}

fn ticket_keys(id: &str, message: wire::TicketKeys) -> Result<TicketKeys, InvalidResource> {
    let wire::TicketKeys { keys } = message;
    // Before each is made ready for use.
    if keys.len() > TICKET_KEYS_MAX {
        return Err(InvalidTicketKeys::Count.into());
    }
    let keys = keys.into_iter().map(ticket_key).collect::<Result<_, _>>()?;
    Ok(TicketKeys::new(TicketKeysId::parse(id)?, keys)?)
}

fn ticket_key(message: wire::TicketKey) -> Result<TicketKey, InvalidResource> {
    let role = match message.role() {
        wire::TicketKeyRole::Unspecified => return Err(InvalidResource::Unknown("keys.role")),
        wire::TicketKeyRole::Next | wire::TicketKeyRole::Previous => TicketKeyRole::Accepted,
        wire::TicketKeyRole::Current => TicketKeyRole::Current,
    };
    let wire::TicketKey { name, secret, role: _, created_at_ms } = message;
    let created = u64::try_from(created_at_ms).map(Duration::from_millis).map_err(|_| InvalidResource::CreatedAt)?;
    Ok(TicketKey::new(&name, &secret, role, created)?)
}

fn clients(host: &HostPattern, message: wire::ClientAuthentication) -> Result<ClientAuthentication, InvalidResource> {
    let mode = match message.mode() {
        wire::ClientCertificateMode::Unspecified => {
            return Err(InvalidResource::Unknown("client_authentication.mode"));
        }
        wire::ClientCertificateMode::Required => ClientCertificateMode::Required,
        wire::ClientCertificateMode::Optional => ClientCertificateMode::Optional,
    };
    let wire::ClientAuthentication { authorities, mode: _ } = message;
    let authorities = der(&authorities, CA_BUNDLE_CERTIFICATES_MAX, CA_BUNDLE_BYTES_MAX)
        .ok_or(InvalidResource::Authorities("client_authentication.authorities"))?;
    Ok(ClientAuthentication::new(host, mode, &authorities)?)
}

fn service(id: &str, message: wire::Service) -> Result<Service, InvalidResource> {
    let (balancing, protocol) = (message.balancing(), message.protocol());
    let wire::Service { balancing: _, protocol: _, connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, tls } =
        message;
    Ok(Service {
        id: ServiceId::parse(id)?,
        balancing: match balancing {
            wire::BalancingPolicy::Unspecified => return Err(InvalidResource::Unknown("balancing")),
            wire::BalancingPolicy::RoundRobin => Balancing::RoundRobin,
        },
        protocol: match protocol {
            wire::BackendProtocol::Unspecified => return Err(InvalidResource::Unknown("protocol")),
            wire::BackendProtocol::Automatic => BackendProtocol::Automatic,
            wire::BackendProtocol::Http1 => BackendProtocol::Http1,
            wire::BackendProtocol::Http2 => BackendProtocol::Http2,
        },
        timeouts: Timeouts {
            connect: timeout("connect_timeout_ms", connect_timeout_ms)?,
            first_byte: timeout("first_byte_timeout_ms", first_byte_timeout_ms)?,
            idle: timeout("idle_timeout_ms", idle_timeout_ms)?,
        },
        tls: tls.map(backend_tls).transpose()?.map(Arc::new),
    })
}

fn backend_tls(message: wire::BackendTls) -> Result<BackendTls, InvalidResource> {
    let trust = message.trust();
    let wire::BackendTls { trust: _, authorities, server_name, client_chain, client_private_key, alternative_name } =
        message;
    let trust = match trust {
        wire::BackendTrust::Unspecified => return Err(InvalidResource::Unknown("tls.trust")),
        wire::BackendTrust::System => BackendTrust::System,
        wire::BackendTrust::Authorities => BackendTrust::Authorities(
            der(&authorities, CA_BUNDLE_CERTIFICATES_MAX, CA_BUNDLE_BYTES_MAX)
                .ok_or(InvalidResource::Authorities("tls.authorities"))?,
        ),
        wire::BackendTrust::Anybody => BackendTrust::Anybody,
    };
    let name = |field, name: &str| match name {
        "" => Ok(None),
        name => BackendHost::parse(name).map(Some).map_err(|error| InvalidResource::BackendName(field, error)),
    };
    let server_name = name("tls.server_name", &server_name)?;
    let alternative_name = name("tls.alternative_name", &alternative_name)?;
    let client_certificate = match (client_chain.is_empty(), client_private_key.len()) {
        (true, 0) => None,
        (false, 1..=PRIVATE_KEY_BYTES_MAX) => Some(ClientCertificate {
            chain: der(&client_chain, CERTIFICATE_CHAIN_MAX, CERTIFICATE_CHAIN_BYTES_MAX)
                .ok_or(InvalidResource::ClientCertificate)?,
            private_key: client_private_key.to_vec(),
        }),
        _ => return Err(InvalidResource::ClientCertificate),
    };
    Ok(BackendTls::new(trust, server_name, alternative_name, client_certificate)?)
}

/// Certificates, if there is one, and neither too many nor too large.
fn der(certificates: &[bytes::Bytes], count_max: usize, bytes_max: usize) -> Option<Vec<Vec<u8>>> {
    let bytes: usize = certificates.iter().map(bytes::Bytes::len).sum();
    let is_bounded = (1..=count_max).contains(&certificates.len()) && bytes <= bytes_max;
    is_bounded.then(|| certificates.iter().map(|der| der.to_vec()).collect())
}

fn timeout(field: &'static str, millis: u64) -> Result<Duration, InvalidResource> {
    let timeout = Duration::from_millis(millis);
    if timeout.is_zero() || timeout > TIMEOUT_MAX { Err(InvalidResource::Timeout(field)) } else { Ok(timeout) }
}

fn backend(id: &str, message: wire::Backend) -> Result<Backend, InvalidResource> {
    let state = message.state();
    let wire::Backend { service, address, tags, state: _ } = message;
    if tags.is_empty() || tags.len() > BACKEND_TAGS_MAX {
        return Err(InvalidResource::Tags);
    }
    Ok(Backend {
        id: BackendId::parse(id)?,
        service: ServiceId::parse(&service).map_err(InvalidResource::Service)?,
        address: BackendAddress::parse(&address).map_err(InvalidResource::Address)?,
        tags: tags.iter().map(|tag| Tag::parse(tag)).collect::<Result<_, _>>().map_err(InvalidResource::Tag)?,
        state: match state {
            wire::BackendState::Unspecified => return Err(InvalidResource::Unknown("state")),
            wire::BackendState::Active => BackendState::Active,
            wire::BackendState::Draining => BackendState::Draining,
            wire::BackendState::Disabled => BackendState::Disabled,
        },
    })
}

fn certificate(id: &str, message: wire::Certificate, trust: Trust) -> Result<Certificate, InvalidResource> {
    let wire::Certificate { dns_names, chain, private_key } = message;
    if dns_names.is_empty() || dns_names.len() > CERTIFICATE_NAMES_MAX {
        return Err(InvalidResource::Names);
    }
    let chain = der(&chain, CERTIFICATE_CHAIN_MAX, CERTIFICATE_CHAIN_BYTES_MAX).ok_or(InvalidResource::Chain)?;
    if private_key.is_empty() || private_key.len() > PRIVATE_KEY_BYTES_MAX {
        return Err(InvalidResource::PrivateKey);
    }
    let id = CertificateId::parse(id)?;
    let names = dns_names
        .iter()
        .map(|name| HostPattern::parse(name))
        .collect::<Result<_, _>>()
        .map_err(InvalidResource::Name)?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let private_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(private_key.to_vec()));
    Ok(match trust {
        Trust::Checked => Certificate::parse(id, names, chain, private_key)?,
        Trust::CheckedBefore => Certificate::trusted(id, names, chain, private_key),
    })
}

/// Why a resource cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidResource {
    #[error("it cannot be read: is this edge's version too old?")]
    Unreadable,
    #[error("id: {0}")]
    Id(#[from] InvalidId),
    #[error("id: {0}")]
    Host(#[from] InvalidHostPattern),
    #[error("service: {0}")]
    Service(InvalidId),
    #[error("active_tag: {0}")]
    ActiveTag(InvalidTag),
    #[error("address: {0}")]
    Address(InvalidBackendAddress),
    #[error("tags: {0}")]
    Tag(InvalidTag),
    #[error("tags: a backend carries 1 to {BACKEND_TAGS_MAX}")]
    Tags,
    #[error("{0}: a value that this version does not know: is it too old?")]
    Unknown(&'static str),
    #[error("{0}: a timeout is from 1 ms to 24 h")]
    Timeout(&'static str),
    #[error("{0}: {1}")]
    BackendName(&'static str, InvalidBackendAddress),
    #[error("{0}: 1 to {CA_BUNDLE_CERTIFICATES_MAX} certificates of at most {CA_BUNDLE_BYTES_MAX} bytes together")]
    Authorities(&'static str),
    #[error("tls.client_chain: a chain and its key are required, within the bounds of certificates")]
    ClientCertificate,
    #[error("tls: {0}")]
    BackendTls(#[from] InvalidBackendTls),
    #[error("client_authentication: {0}")]
    ClientAuthentication(#[from] InvalidClientAuthentication),
    #[error("http_01_thumbprint: {THUMBPRINT_BYTES} characters of base64url are required")]
    Thumbprint,
    #[error("tls_alpn_01_digest: 32 bytes are required")]
    KeyAuthorization,
    #[error("dns_names: {0}")]
    Name(InvalidHostPattern),
    #[error("dns_names: a certificate is for 1 to {CERTIFICATE_NAMES_MAX} names")]
    Names,
    #[error("chain: 1 to {CERTIFICATE_CHAIN_MAX} certificates of at most {CERTIFICATE_CHAIN_BYTES_MAX} bytes together")]
    Chain,
    #[error("private_key: 1 to {PRIVATE_KEY_BYTES_MAX} bytes")]
    PrivateKey,
    #[error("keys: {0}")]
    TicketKeys(#[from] InvalidTicketKeys),
    #[error("keys.created_at_ms: a moment since 1970 is required")]
    CreatedAt,
    #[error(transparent)]
    Certificate(#[from] InvalidCertificate),
}
