use std::{sync::Arc, time::Duration};

use prost::Message;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use switchyard_proto::{
    fleet::v1 as wire,
    vocab::{
        BackendAddress, BackendHost, BackendId, CertificateId, HostPattern, InvalidBackendAddress, InvalidHostPattern,
        InvalidId, InvalidResourceName, InvalidTag, ResourceKind, ServiceId, Tag, TicketKeysId,
        limits::{
            BACKEND_TAGS_MAX, CA_BUNDLE_BYTES_MAX, CA_BUNDLE_CERTIFICATES_MAX, CERTIFICATE_CHAIN_BYTES_MAX,
            CERTIFICATE_CHAIN_MAX, CERTIFICATE_NAMES_MAX, PRIVATE_KEY_BYTES_MAX, THUMBPRINT_BYTES, TICKET_KEYS_MAX,
        },
    },
};

use super::batch::{Envelope, Received};
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
    match &received.key.kind {
        ResourceKind::Service => read(received, no_claim, |id, message| service(id, message).map(Valid::Service)),
        ResourceKind::Backend => {
            let claim = |message: &wire::Backend| {
                let wire::Backend { service, tags, address: _, state: _ } = message;
                Claim::Pools { service: service.clone(), tags: tags.clone() }
            };
            read(received, claim, |id, message| backend(id, message).map(Valid::Backend))
        }
        ResourceKind::Certificate => {
            let claim = |message: &wire::Certificate| {
                let names = message.dns_names.iter().filter_map(|name| HostPattern::parse(name).ok());
                Claim::Names(names.collect())
            };
            read(received, claim, |id, message| certificate(id, message, trust).map(Valid::Certificate))
        }
        ResourceKind::Domain => {
            read(received, no_claim, |_, message| domain(received.key.host()?, message).map(Valid::Domain))
        }
        ResourceKind::Challenge => {
            read(received, no_claim, |_, message| challenge(received.key.host()?, message).map(Valid::Challenge))
        }
        ResourceKind::TicketKeys => {
            read(received, no_claim, |id, message| ticket_keys(id, message).map(Valid::TicketKeys))
        }
        ResourceKind::Unknown(_) => (Claim::None, Err(Newer::Kind.into())),
    }
}

/// The claim of what others refer to by its id, or not at all.
fn no_claim<M>(_: &M) -> Claim {
    Claim::None
}

/// Decodes the body of a resource, and converts it if it holds nothing that this version does not know, at any level: that would show
/// in the length.
fn read<M: Message + Default>(
    received: &Received,
    claim: impl FnOnce(&M) -> Claim,
    convert: impl FnOnce(&str, M) -> Result<Valid, InvalidResource>,
) -> (Claim, Result<Valid, InvalidResource>) {
    let Received { key, revision: _, encoded: _, body, envelope } = received;
    let Ok(message) = M::decode(body.clone()) else { return (Claim::Unreadable, Err(InvalidResource::Unreadable)) };
    let claim = claim(&message);
    let is_known = message.encoded_len() == body.len() && *envelope == Envelope::Known;
    let converted = if is_known { convert(&key.id, message) } else { Err(Newer::Field.into()) };
    (claim, converted)
}

/// The value of an enum, unless this version does not know it. The getters of messages would make it the unspecified one.
fn known<E: TryFrom<i32>>(field: &'static str, number: i32) -> Result<E, InvalidResource> {
    E::try_from(number).map_err(|_| Newer::Value(field).into())
}

fn domain(host: HostPattern, message: wire::Domain) -> Result<Domain, InvalidResource> {
    let wire::Domain { service, active_tag, http_to_https, client_authentication, minimum_tls_version, on_demand } =
        message;
    Ok(Domain {
        minimum_tls_version: match known("minimum_tls_version", minimum_tls_version)? {
            wire::TlsVersion::Unspecified => return Err(InvalidResource::Required("minimum_tls_version")),
            wire::TlsVersion::V12 => TlsVersion::V12,
            wire::TlsVersion::V13 => TlsVersion::V13,
        },
        service: ServiceId::parse(&service).map_err(InvalidResource::Service)?,
        active_tag: Tag::parse(&active_tag).map_err(InvalidResource::ActiveTag)?,
        plain_http: if http_to_https { PlainHttp::RedirectToHttps } else { PlainHttp::Serve },
        client_authentication: client_authentication.map(|message| clients(&host, message)).transpose()?.map(Arc::new),
        missing_certificate: if on_demand { MissingCertificate::AskedFor } else { MissingCertificate::Refused },
        host,
    })
}

fn challenge(host: HostPattern, message: wire::Challenge) -> Result<Challenge, InvalidResource> {
    let wire::Challenge { http_01_thumbprint, tls_alpn_01_digest } = message;
    let is_thumbprint = http_01_thumbprint.len() == THUMBPRINT_BYTES
        && http_01_thumbprint.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    Ok(Challenge {
        host,
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
    let wire::TicketKey { name, secret, role, created_at_ms } = message;
    let role = match known("keys.role", role)? {
        wire::TicketKeyRole::Unspecified => return Err(InvalidResource::Required("keys.role")),
        wire::TicketKeyRole::Next | wire::TicketKeyRole::Previous => TicketKeyRole::Accepted,
        wire::TicketKeyRole::Current => TicketKeyRole::Current,
    };
    let created = u64::try_from(created_at_ms).map(Duration::from_millis).map_err(|_| InvalidResource::CreatedAt)?;
    Ok(TicketKey::new(&name, &secret, role, created)?)
}

fn clients(host: &HostPattern, message: wire::ClientAuthentication) -> Result<ClientAuthentication, InvalidResource> {
    let wire::ClientAuthentication { authorities, mode } = message;
    let mode = match known("client_authentication.mode", mode)? {
        wire::ClientCertificateMode::Unspecified => {
            return Err(InvalidResource::Required("client_authentication.mode"));
        }
        wire::ClientCertificateMode::Required => ClientCertificateMode::Required,
        wire::ClientCertificateMode::Optional => ClientCertificateMode::Optional,
    };
    let authorities = der(&authorities, CA_BUNDLE_CERTIFICATES_MAX, CA_BUNDLE_BYTES_MAX)
        .ok_or(InvalidResource::Authorities("client_authentication.authorities"))?;
    Ok(ClientAuthentication::new(host, mode, &authorities)?)
}

fn service(id: &str, message: wire::Service) -> Result<Service, InvalidResource> {
    let wire::Service { balancing, protocol, connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, tls } =
        message;
    Ok(Service {
        id: ServiceId::parse(id)?,
        balancing: match known("balancing", balancing)? {
            wire::BalancingPolicy::Unspecified => return Err(InvalidResource::Required("balancing")),
            wire::BalancingPolicy::RoundRobin => Balancing::RoundRobin,
        },
        protocol: match known("protocol", protocol)? {
            wire::BackendProtocol::Unspecified => return Err(InvalidResource::Required("protocol")),
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
    let wire::BackendTls { trust, authorities, server_name, client_chain, client_private_key, alternative_name } =
        message;
    let trust = match known("tls.trust", trust)? {
        wire::BackendTrust::Unspecified => return Err(InvalidResource::Required("tls.trust")),
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
    let wire::Backend { service, address, tags, state } = message;
    let state = match known("state", state)? {
        wire::BackendState::Unspecified => return Err(InvalidResource::Required("state")),
        wire::BackendState::Active => BackendState::Active,
        wire::BackendState::Draining => BackendState::Draining,
        wire::BackendState::Disabled => BackendState::Disabled,
    };
    if tags.is_empty() || tags.len() > BACKEND_TAGS_MAX {
        return Err(InvalidResource::Tags);
    }
    Ok(Backend {
        id: BackendId::parse(id)?,
        service: ServiceId::parse(&service).map_err(InvalidResource::Service)?,
        address: BackendAddress::parse(&address).map_err(InvalidResource::Address)?,
        tags: tags.iter().map(|tag| Tag::parse(tag)).collect::<Result<_, _>>().map_err(InvalidResource::Tag)?,
        state,
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

/// What this version does not know. A resource with any of it is not served: what it asks for would not be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Newer {
    #[error("needs a newer edge: its kind is not known here")]
    Kind,
    #[error("needs a newer edge: it has a field that is not known here")]
    Field,
    #[error("needs a newer edge: {0} has a value that is not known here")]
    Value(&'static str),
}

/// Why a resource cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidResource {
    #[error("it cannot be read: it is damaged, or needs a newer edge")]
    Unreadable,
    #[error("id: {0}")]
    Id(#[from] InvalidId),
    #[error("id: {0}")]
    Host(#[from] InvalidResourceName),
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
    #[error(transparent)]
    Newer(#[from] Newer),
    #[error("{0}: required")]
    Required(&'static str),
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
