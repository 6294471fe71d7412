use std::{sync::Arc, time::Duration};

use switchyard_proto::vocab::{BackendAddress, BackendId, HostPattern, ServiceId, Tag};

use crate::verify::{BackendTls, ClientAuthentication, TlsVersion};

/// What is served for the names of one host pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The names.
    pub host: HostPattern,
    /// Whose backends answer.
    pub service: ServiceId,
    /// Which of the service's backends answer: those that carry this tag.
    pub active_tag: Tag,
    /// What plain HTTP gets.
    pub plain_http: PlainHttp,
    /// How clients prove themselves; `None`: they are not asked.
    pub client_authentication: Option<Arc<ClientAuthentication>>,
    /// The oldest version of TLS that clients may use.
    pub minimum_tls_version: TlsVersion,
    /// What becomes of a handshake for a name without a certificate.
    pub missing_certificate: MissingCertificate,
}

/// What a request over plain HTTP gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// The same as over TLS.
    Serve,
    /// A redirect to the same place over TLS.
    RedirectToHttps,
}

/// What becomes of a handshake for a name without a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingCertificate {
    /// It is refused.
    #[default]
    Refused,
    /// The control plane is asked for one, and the handshake waits.
    AskedFor,
}

/// How requests reach a group of backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Which backend is next.
    pub balancing: Balancing,
    /// What the backends speak.
    pub protocol: BackendProtocol,
    /// How long to wait for them.
    pub timeouts: Timeouts,
    /// How TLS is spoken to them; `None`: in the clear.
    pub tls: Option<Arc<BackendTls>>,
}

/// How the backend of a request is chosen from its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancing {
    /// One after the other.
    RoundRobin,
}

/// What the backends of a service speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendProtocol {
    /// HTTP/2 for gRPC, HTTP/1.1 for everything else.
    Automatic,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: with prior knowledge, over TLS by ALPN.
    Http2,
}

/// How long a request waits for its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// From the whole request being sent to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two reads or writes after that. An upgraded connection has none.
    pub idle: Duration,
}

/// One address that answers for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its id.
    pub id: BackendId,
    /// The service it belongs to.
    pub service: ServiceId,
    /// Where it listens.
    pub address: BackendAddress,
    /// Which of the service's pools it is in.
    pub tags: Vec<Tag>,
    /// Whether it gets new requests.
    pub state: BackendState,
}

/// Whether a backend gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// It does.
    Active,
    /// No new ones; those it has go on.
    Draining,
    /// None; those it has go on.
    Disabled,
}
