use std::time::Duration;

use prost::Message;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use switchyard_proto::{
    fleet::v1 as wire,
    resource::{self, Backend, Problem, Resource},
    v1,
    vocab::{
        CertificateId, HostPattern, InvalidHostPattern, InvalidId, InvalidResourceName, ResourceKind, ServiceId, Tag,
        TicketKeysId,
        limits::{
            CERTIFICATE_CHAIN_BYTES_MAX, CERTIFICATE_CHAIN_MAX, CERTIFICATE_NAMES_MAX, PRIVATE_KEY_BYTES_MAX,
            THUMBPRINT_BYTES, TICKET_KEYS_MAX,
        },
    },
};

use super::batch::{Envelope, Received};
use crate::{
    peer_auth::{InvalidBackendTls, InvalidClientAuthentication},
    snapshot::{
        Certificate, Challenge, Domain, InvalidCertificate, InvalidTicketKeys, Service, TicketKey, TicketKeyRole,
        TicketKeys,
    },
};

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
    Pools { service: ServiceId, tags: Vec<Tag> },
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
        ResourceKind::Service => read(received, no_claim, |message| {
            Ok(Valid::Service(Service::new(parse(received, message, |it: &resource::Service| it.id.as_str())?)?))
        }),
        ResourceKind::Backend => read(received, pools, |message| {
            Ok(Valid::Backend(parse(received, message, |it: &Backend| it.id.as_str())?))
        }),
        ResourceKind::Certificate => {
            let claim = |message: &wire::Certificate| {
                let names = message.dns_names.iter().filter_map(|name| HostPattern::parse(name).ok());
                Claim::Names(names.collect())
            };
            read(received, claim, |message| certificate(&received.key.id, message, trust).map(Valid::Certificate))
        }
        ResourceKind::Domain => read(received, no_claim, |message| {
            Ok(Valid::Domain(Domain::new(parse(received, message, |it: &resource::Domain| it.host.as_str())?)?))
        }),
        ResourceKind::Challenge => {
            read(received, no_claim, |message| challenge(received.key.host()?, message).map(Valid::Challenge))
        }
        ResourceKind::TicketKeys => {
            read(received, no_claim, |message| ticket_keys(&received.key.id, message).map(Valid::TicketKeys))
        }
        ResourceKind::Unknown(_) => (Claim::None, Err(Newer::Kind.into())),
    }
}

/// Parses a message of the API, which must be of the resource that it came as.
fn parse<R: Resource>(
    received: &Received,
    message: R::Message,
    id: impl FnOnce(&R) -> &str,
) -> Result<R, InvalidResource> {
    let resource = R::parse(message)?;
    if id(&resource) == &*received.key.id { Ok(resource) } else { Err(InvalidResource::Name) }
}

/// The pools that a backend belongs to, as far as its message says so.
fn pools(message: &v1::Backend) -> Claim {
    let service = match message.service.as_str() {
        "" => Ok(ServiceId::default_service()),
        name => ServiceId::parse_resource_name(name),
    };
    let tags = message.tags.iter().map(|tag| Tag::parse(tag)).collect::<Result<Vec<_>, _>>();
    match (service, tags) {
        (Ok(service), Ok(tags)) => Claim::Pools { service, tags },
        // Nobody can say whose it is.
        _ => Claim::Unreadable,
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
    convert: impl FnOnce(M) -> Result<Valid, InvalidResource>,
) -> (Claim, Result<Valid, InvalidResource>) {
    let Received { key: _, revision: _, encoded: _, body, envelope } = received;
    let Ok(message) = M::decode(body.clone()) else { return (Claim::Unreadable, Err(InvalidResource::Unreadable)) };
    let claim = claim(&message);
    let is_known = message.encoded_len() == body.len() && *envelope == Envelope::Known;
    let converted = if is_known { convert(message) } else { Err(Newer::Field.into()) };
    (claim, converted)
}

/// The value of an enum, unless this version does not know it. The getters of messages would make it the unspecified one.
fn known<E: TryFrom<i32>>(field: &'static str, number: i32) -> Result<E, InvalidResource> {
    E::try_from(number).map_err(|_| Newer::Value(field.to_owned()).into())
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

/// Certificates, if there is one, and neither too many nor too large.
fn der(certificates: &[bytes::Bytes], count_max: usize, bytes_max: usize) -> Option<Vec<Vec<u8>>> {
    let bytes: usize = certificates.iter().map(bytes::Bytes::len).sum();
    let is_bounded = (1..=count_max).contains(&certificates.len()) && bytes <= bytes_max;
    is_bounded.then(|| certificates.iter().map(|der| der.to_vec()).collect())
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
        .map_err(InvalidResource::DnsName)?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let private_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(private_key.to_vec()));
    Ok(match trust {
        Trust::Checked => Certificate::parse(id, names, chain, private_key)?,
        Trust::CheckedBefore => Certificate::trusted(id, names, chain, private_key),
    })
}

/// What this version does not know. A resource with any of it is not served: what it asks for would not be enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Newer {
    #[error("needs a newer edge: its kind is not known here")]
    Kind,
    #[error("needs a newer edge: it has a field that is not known here")]
    Field,
    #[error("needs a newer edge: {0} has a value that is not known here")]
    Value(String),
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
    #[error("name: it is that of another resource than it came as")]
    Name,
    #[error(transparent)]
    Field(resource::InvalidResource),
    #[error(transparent)]
    Newer(#[from] Newer),
    #[error("{0}: required")]
    Required(&'static str),
    #[error("tls: {0}")]
    BackendTls(#[from] InvalidBackendTls),
    #[error("tls.client_authentication: {0}")]
    ClientAuthentication(#[from] InvalidClientAuthentication),
    #[error("http_01_thumbprint: {THUMBPRINT_BYTES} characters of base64url are required")]
    Thumbprint,
    #[error("tls_alpn_01_digest: 32 bytes are required")]
    KeyAuthorization,
    #[error("dns_names: {0}")]
    DnsName(InvalidHostPattern),
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

impl From<resource::InvalidResource> for InvalidResource {
    fn from(invalid: resource::InvalidResource) -> Self {
        let unknown = invalid.violations().iter().find(|it| matches!(it.problem, Problem::Unknown(_)));
        match unknown {
            Some(violation) => Newer::Value(violation.path.clone()).into(),
            None => Self::Field(invalid),
        }
    }
}
