use std::time::Duration;

use pbjson_types::FieldMask;
use switchyard_proto::{
    resource::{Defaults, InvalidTimeout, Resource as _},
    v1 as wire,
    vocab::{Revision, ServiceId},
};

use super::{Mask, Violations, backend_tls, etag, parse_etag, timestamp};
use crate::{
    app::{AppError, backend_tls::TlsFields, service::ServiceUpdate},
    model::{BackendProtocol, Balancing, Service, Stored, Timeouts},
};

/// The paths of an update mask.
const PATHS: [&str; 12] = [
    "balancing",
    "protocol",
    "timeouts",
    "timeouts.connect",
    "timeouts.first_byte",
    "timeouts.idle",
    "tls",
    "tls.ca_bundle_pem",
    "tls.server_name",
    "tls.alternative_name",
    "tls.client_certificate",
    "tls.insecure_skip_verify",
];

/// A service as a message; its private key never is in one.
pub(in crate::grpc) fn message(stored: &Stored<Service>) -> wire::Service {
    let Stored { value, revision, created_at, updated_at } = stored;
    wire::Service {
        revision: revision.0,
        etag: etag(*revision),
        create_time: Some(timestamp(*created_at)),
        update_time: Some(timestamp(*updated_at)),
        tls: value.tls.as_ref().map(backend_tls::message),
        ..value.message(Defaults::Written)
    }
}

/// A service to be created. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new(service: Option<wire::Service>) -> Result<(Service, Option<TlsFields>), AppError> {
    let Fields { name, balancing, protocol, connect, first_byte, idle, tls, etag: _ } = Fields::take(service)?;
    let mut violations = Violations::default();
    let id = violations.check("service.name", ServiceId::parse_resource_name(&name));
    let balancing = match balancing {
        wire::BalancingPolicy::Unspecified => Some(Balancing::RoundRobin),
        set => violations.check("service.balancing", parse_balancing(set)),
    };
    let protocol = match protocol {
        wire::BackendProtocol::Unspecified => Some(BackendProtocol::Automatic),
        set => violations.check("service.protocol", parse_protocol(set)),
    };
    let defaults = Timeouts::default();
    let mut timeout = |field, value, default| timeout(&mut violations, field, value).map(|set| set.unwrap_or(default));
    let connect = timeout(CONNECT, connect, defaults.connect());
    let first_byte = timeout(FIRST_BYTE, first_byte, defaults.first_byte());
    let idle = timeout(IDLE, idle, defaults.idle());
    let tls = tls.map(|tls| backend_tls::new(tls, &mut violations));
    let service = || {
        let timeouts = Timeouts::new(connect?, first_byte?, idle?).ok()?;
        Some((Service { balancing: balancing?, protocol: protocol?, timeouts, ..Service::new(id?) }, tls))
    };
    let service = service();
    violations.finish(service)
}

/// Which service is to be changed, how, and the etag it must have.
pub(in crate::grpc) fn update(
    service: Option<wire::Service>,
    mask: Option<FieldMask>,
) -> Result<(ServiceId, ServiceUpdate, Option<Revision>), AppError> {
    let Fields { name, balancing, protocol, connect, first_byte, idle, tls, etag } = Fields::take(service)?;
    let mask = Mask::parse(mask, &PATHS)?;
    let mut violations = Violations::default();
    let id = violations.check("service.name", ServiceId::parse_resource_name(&name));
    let mut update = ServiceUpdate::default();
    if mask.covers("balancing", balancing != wire::BalancingPolicy::Unspecified) {
        update.balancing = violations.check("service.balancing", parse_balancing(balancing));
    }
    if mask.covers("protocol", protocol != wire::BackendProtocol::Unspecified) {
        update.protocol = violations.check("service.protocol", parse_protocol(protocol));
    }
    // A timeout that is named and not set returns to its default.
    let defaults = Timeouts::default();
    let mut timeout = |path, field, value: Option<pbjson_types::Duration>, default| {
        if !mask.covers(path, value.is_some()) {
            return None;
        }
        timeout(&mut violations, field, value).map(|set| set.unwrap_or(default))
    };
    update.connect_timeout = timeout("timeouts.connect", CONNECT, connect, defaults.connect());
    update.first_byte_timeout = timeout("timeouts.first_byte", FIRST_BYTE, first_byte, defaults.first_byte());
    update.idle_timeout = timeout("timeouts.idle", IDLE, idle, defaults.idle());
    update.tls = backend_tls::update(tls, &mask, &mut violations);
    violations.finish(id.map(|id| (id, update, parse_etag(&etag))))
}

const CONNECT: &str = "service.timeouts.connect";
const FIRST_BYTE: &str = "service.timeouts.first_byte";
const IDLE: &str = "service.timeouts.idle";

fn parse_balancing(balancing: wire::BalancingPolicy) -> Result<Balancing, &'static str> {
    match balancing {
        wire::BalancingPolicy::RoundRobin => Ok(Balancing::RoundRobin),
        wire::BalancingPolicy::Unspecified => Err("a balancing policy is required"),
    }
}

fn parse_protocol(protocol: wire::BackendProtocol) -> Result<BackendProtocol, &'static str> {
    match protocol {
        wire::BackendProtocol::Automatic => Ok(BackendProtocol::Automatic),
        wire::BackendProtocol::Http1 => Ok(BackendProtocol::Http1),
        wire::BackendProtocol::Http2 => Ok(BackendProtocol::Http2),
        wire::BackendProtocol::Unspecified => Err("a protocol is required"),
    }
}

/// A timeout, if it is set; `None` if it is out of bounds, which was added to the violations then. Edges are told
/// milliseconds: what is finer is cut off.
fn timeout(
    violations: &mut Violations,
    field: &'static str,
    value: Option<pbjson_types::Duration>,
) -> Option<Option<Duration>> {
    let Some(value) = value else { return Some(None) };
    let duration = Duration::try_from(value).ok().and_then(|duration| {
        let duration = Duration::from_millis(u64::try_from(duration.as_millis()).ok()?);
        (Timeouts::SHORTEST..=Timeouts::LONGEST).contains(&duration).then_some(duration)
    });
    violations.check(field, duration.ok_or(InvalidTimeout { field })).map(Some)
}

/// What people may say of a service.
struct Fields {
    name: String,
    balancing: wire::BalancingPolicy,
    protocol: wire::BackendProtocol,
    connect: Option<pbjson_types::Duration>,
    first_byte: Option<pbjson_types::Duration>,
    idle: Option<pbjson_types::Duration>,
    tls: Option<wire::BackendTls>,
    etag: String,
}

impl Fields {
    fn take(service: Option<wire::Service>) -> Result<Self, AppError> {
        let service = service.ok_or_else(|| AppError::invalid("service", "a service is required"))?;
        let wire::Service {
            name,
            balancing,
            protocol,
            timeouts,
            revision: _,
            etag,
            create_time: _,
            update_time: _,
            tls,
        } = service;
        let wire::ServiceTimeouts { connect, first_byte, idle } = timeouts.unwrap_or_default();
        let balancing = wire::BalancingPolicy::try_from(balancing)
            .map_err(|_| AppError::invalid("service.balancing", "a policy that this version does not know"))?;
        let protocol = wire::BackendProtocol::try_from(protocol)
            .map_err(|_| AppError::invalid("service.protocol", "a protocol that this version does not know"))?;
        Ok(Self { name, balancing, protocol, connect, first_byte, idle, tls, etag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire_service(connect: Option<pbjson_types::Duration>) -> wire::Service {
        let timeouts = Some(wire::ServiceTimeouts { connect, first_byte: None, idle: None });
        wire::Service { name: "services/shop".into(), timeouts, ..wire::Service::default() }
    }

    #[test]
    fn unset_timeouts_have_their_defaults() {
        let (service, tls) = new(Some(wire_service(Some(Duration::from_millis(250).into())))).unwrap();
        assert!(tls.is_none());
        assert_eq!(service.timeouts.connect(), Duration::from_millis(250));
        assert_eq!(service.timeouts.idle(), Timeouts::default().idle());
    }

    #[test]
    fn timeouts_out_of_bounds_are_refused_by_name() {
        for (seconds, nanos) in [(-1, 0), (0, 0), (0, 999_999), (86_400, 1_000_000), (i64::MAX, 0), (0, -1)] {
            let error = new(Some(wire_service(Some(pbjson_types::Duration { seconds, nanos })))).err().unwrap();
            assert!(error.to_string().starts_with("service.timeouts.connect: "), "{error}");
        }
    }

    #[test]
    fn a_timeout_that_is_named_and_not_set_returns_to_its_default() {
        let mask = Some(FieldMask { paths: vec!["timeouts".into()] });
        let (_, update, _) = update(Some(wire_service(Some(Duration::from_secs(1).into()))), mask).unwrap();
        assert_eq!(update.connect_timeout, Some(Duration::from_secs(1)));
        assert_eq!(update.first_byte_timeout, Some(Timeouts::default().first_byte()));
        assert_eq!(update.balancing, None);
    }
}
