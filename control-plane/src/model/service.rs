use std::time::Duration;

use switchyard_proto::vocab::ServiceId;

use super::BackendTls;

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

/// How a backend is chosen among those of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancing {
    /// One after the other.
    RoundRobin,
}

impl Balancing {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
        }
    }

    /// The policy that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::RoundRobin].into_iter().find(|policy| policy.as_str() == word)
    }
}

/// What is spoken to the backends of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendProtocol {
    /// HTTP/2 for gRPC requests, HTTP/1.1 for all others.
    Automatic,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl BackendProtocol {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }

    /// The protocol that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Automatic, Self::Http1, Self::Http2].into_iter().find(|protocol| protocol.as_str() == word)
    }
}

/// How long a backend may take; each between [`Timeouts::SHORTEST`] and [`Timeouts::LONGEST`].
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
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), first_byte: Duration::from_secs(60), idle: Duration::from_secs(5 * 60) }
    }
}

/// A timeout that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a timeout is from 1 ms to 24 h")]
pub struct InvalidTimeout {
    /// Which one.
    pub field: &'static str,
}
