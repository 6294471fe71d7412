use std::time::Duration;

use crate::{v1 as wire, vocab::ServiceId};

use super::{BackendTls, Defaults, InvalidResource, Resource, enumeration::enumeration, invalid::Violations};

/// A named group of backends, and the policy for reaching them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// How a backend is chosen.
    pub balancing: Balancing,
    /// What is spoken to the backends.
    pub protocol: BackendProtocol,
    /// How long a backend may take.
    pub timeouts: Timeouts,
    /// How TLS is spoken to the backends; `None`: in the clear.
    pub tls: Option<BackendTls>,
}

enumeration! {
    /// How a backend is chosen among those of a pool.
    pub enum Balancing of BalancingPolicy {
        /// One after the other.
        RoundRobin = "round-robin",
    }
}

enumeration! {
    /// What is spoken to the backends of a service.
    pub enum BackendProtocol of BackendProtocol {
        /// HTTP/2 for gRPC requests, HTTP/1.1 for all others.
        Automatic = "automatic",
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2: with prior knowledge, over TLS by ALPN.
        Http2 = "http2",
    }
}

impl Service {
    /// A service with the defaults.
    pub fn new(id: ServiceId) -> Self {
        Self {
            id,
            balancing: Balancing::RoundRobin,
            protocol: BackendProtocol::Automatic,
            timeouts: Timeouts::default(),
            tls: None,
        }
    }
}

impl Resource for Service {
    type Message = wire::Service;

    fn parse(message: wire::Service) -> Result<Self, InvalidResource> {
        let wire::Service {
            name,
            balancing,
            protocol,
            timeouts,
            revision: _,
            etag: _,
            create_time: _,
            update_time: _,
            tls,
        } = message;
        let mut violations = Violations::default();
        let id = violations.check("name", ServiceId::parse_resource_name(&name));
        let balancing = violations.known("balancing", Balancing::from_message(balancing));
        let protocol = violations.known("protocol", BackendProtocol::from_message(protocol));
        let timeouts = violations.nested("timeouts", Timeouts::parse(timeouts.unwrap_or_default()));
        let tls = match tls {
            None => Some(None),
            Some(tls) => violations.nested("tls", BackendTls::parse(tls)).map(Some),
        };
        let service = || {
            Some(Self {
                id: id?,
                balancing: balancing?.unwrap_or(Balancing::RoundRobin),
                protocol: protocol?.unwrap_or(BackendProtocol::Automatic),
                timeouts: timeouts?,
                tls: tls?,
            })
        };
        let service = service();
        violations.finish(service)
    }

    fn message(&self, defaults: Defaults) -> wire::Service {
        let Self { id, balancing, protocol, timeouts, tls } = self;
        wire::Service {
            name: id.to_resource_name(),
            balancing: defaults.keep(*balancing, &Balancing::RoundRobin).map(Balancing::to_message).unwrap_or_default(),
            protocol: defaults
                .keep(*protocol, &BackendProtocol::Automatic)
                .map(BackendProtocol::to_message)
                .unwrap_or_default(),
            timeouts: defaults.keep(*timeouts, &Timeouts::default()).map(|timeouts| timeouts.message(defaults)),
            revision: 0,
            etag: String::new(),
            create_time: None,
            update_time: None,
            tls: tls.as_ref().map(BackendTls::message),
        }
    }
}

/// How long a backend may take; each between [`Timeouts::SHORTEST`] and [`Timeouts::LONGEST`], in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    idle: Duration,
}

impl Timeouts {
    /// The shortest timeout.
    pub const SHORTEST: Duration = Duration::from_millis(1);
    /// The longest timeout.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    const DEFAULT: Self = Self {
        connect: Duration::from_secs(3),
        first_byte: Duration::from_secs(60),
        idle: Duration::from_secs(5 * 60),
    };

    /// Checks each; the error names the first that is out of bounds.
    pub fn new(connect: Duration, first_byte: Duration, idle: Duration) -> Result<Self, InvalidTimeout> {
        for (field, value) in [("connect", connect), ("first_byte", first_byte), ("idle", idle)] {
            if !(Self::SHORTEST..=Self::LONGEST).contains(&value) {
                return Err(InvalidTimeout { field });
            }
        }
        Ok(Self { connect, first_byte, idle })
    }

    /// To establish a connection.
    pub fn connect(&self) -> Duration {
        self.connect
    }

    /// From the end of the request to the first byte of the answer.
    pub fn first_byte(&self) -> Duration {
        self.first_byte
    }

    /// Between two pieces of a body.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    fn parse(message: wire::ServiceTimeouts) -> Result<Self, InvalidResource> {
        let wire::ServiceTimeouts { connect, first_byte, idle } = message;
        let mut violations = Violations::default();
        let mut timeout = |field: &'static str, value, default| match value {
            None => Some(default),
            Some(value) => violations.check(field, parse_timeout(field, value)),
        };
        let timeouts = (
            timeout("connect", connect, Self::DEFAULT.connect),
            timeout("first_byte", first_byte, Self::DEFAULT.first_byte),
            timeout("idle", idle, Self::DEFAULT.idle),
        );
        let timeouts = match timeouts {
            (Some(connect), Some(first_byte), Some(idle)) => Some(Self { connect, first_byte, idle }),
            _ => None,
        };
        violations.finish(timeouts)
    }

    fn message(&self, defaults: Defaults) -> wire::ServiceTimeouts {
        let Self { connect, first_byte, idle } = self;
        let timeout = |value: &Duration, default| defaults.keep(*value, default).map(Into::into);
        wire::ServiceTimeouts {
            connect: timeout(connect, &Self::DEFAULT.connect),
            first_byte: timeout(first_byte, &Self::DEFAULT.first_byte),
            idle: timeout(idle, &Self::DEFAULT.idle),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A timeout within its bounds. What is finer than a millisecond is cut off.
fn parse_timeout(field: &'static str, value: pbjson_types::Duration) -> Result<Duration, InvalidTimeout> {
    let millis = Duration::try_from(value).ok().and_then(|duration| u64::try_from(duration.as_millis()).ok());
    millis
        .map(Duration::from_millis)
        .filter(|duration| (Timeouts::SHORTEST..=Timeouts::LONGEST).contains(duration))
        .ok_or(InvalidTimeout { field })
}

/// A timeout that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a timeout is from 1 ms to 24 h")]
pub struct InvalidTimeout {
    /// Which one.
    pub field: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(connect: Option<pbjson_types::Duration>) -> wire::Service {
        let timeouts = Some(wire::ServiceTimeouts { connect, first_byte: None, idle: None });
        wire::Service { name: "services/shop".into(), timeouts, ..wire::Service::default() }
    }

    #[test]
    fn unset_timeouts_have_their_defaults_and_defaults_are_not_written() {
        let service = Service::parse(message(Some(Duration::from_millis(250).into()))).unwrap();
        assert_eq!(service.timeouts.connect(), Duration::from_millis(250));
        assert_eq!(service.timeouts.idle(), Timeouts::default().idle());
        let written = service.message(Defaults::Omitted).timeouts.unwrap();
        assert_eq!((written.first_byte, written.idle), (None, None));
        assert_eq!(Service::parse(message(None)).unwrap().message(Defaults::Omitted).timeouts, None);
        let shown = Service::parse(message(None)).unwrap().message(Defaults::Written).timeouts.unwrap();
        assert_eq!(shown.connect, Some(Duration::from_secs(3).into()));
    }

    #[test]
    fn timeouts_out_of_bounds_are_refused_by_name() {
        for (seconds, nanos) in [(-1, 0), (0, 0), (0, 999_999), (86_400, 1_000_000), (i64::MAX, 0), (0, -1)] {
            let invalid = Service::parse(message(Some(pbjson_types::Duration { seconds, nanos }))).unwrap_err();
            assert_eq!(invalid.violations()[0].path, "timeouts.connect");
        }
    }
}
