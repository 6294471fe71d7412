//! What is known of a client's connection, on its way from `listen`, which accepts it, to `proxy`, which serves its requests.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::HeaderValue;
use ipnet::IpNet;
use pingora_core::protocols::Digest;
use switchyard_proto::resource::TlsVersion;

use crate::peer_auth::Authenticated;

/// What is known of a client's connection. Requests find it with [`Connection::of`].
#[derive(Debug)]
pub struct Connection {
    /// The client's address.
    pub client: IpAddr,
    /// The client's address as text, made once for all requests.
    pub client_text: HeaderValue,
    /// Whether what the client says about the way a request came is believed.
    pub trust: Trust,
    /// How it came.
    pub transport: Transport,
    /// What the client has proven, where it was asked to.
    pub authenticated: Option<Box<Authenticated>>,
    /// The version of TLS, where it came over TLS.
    pub tls_version: TlsVersion,
    /// Whether the header of a request is awaited: then, once it has begun, it has a deadline.
    awaits_header: AtomicBool,
    /// The bytes of the last request, or [`UNKNOWN`].
    request_bytes: AtomicU64,
}

/// A client's connection without a request is closed after this time.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long a request was is not known.
const UNKNOWN: u64 = u64::MAX;

/// Whether forwarding headers from the other side are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is one of the trusted networks.
    Trusted,
    /// It is anybody.
    Untrusted,
}

/// The networks whose forwarding headers are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedNetworks(Vec<IpNet>);

impl TrustedNetworks {
    /// These, and no others.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    fn trust(&self, client: IpAddr) -> Trust {
        if self.0.iter().any(|network| network.contains(&client)) { Trust::Trusted } else { Trust::Untrusted }
    }
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the clear.
    Plain,
    /// Over TLS, terminated here.
    Tls,
}

impl Connection {
    pub(crate) fn new(client: IpAddr, trusted: &TrustedNetworks, transport: Transport) -> Self {
        // An IPv4 client of an IPv6 socket is an IPv4 client.
        let client = client.to_canonical();
        let trust = trusted.trust(client);
        let client_text = HeaderValue::from_maybe_shared(Bytes::from(client.to_string()))
            .expect("an address consists of visible ASCII");
        Self {
            client,
            client_text,
            trust,
            transport,
            authenticated: None,
            tls_version: TlsVersion::default(),
            awaits_header: AtomicBool::new(true),
            request_bytes: AtomicU64::new(UNKNOWN),
        }
    }

    /// The connection that a request came on.
    pub fn of(digest: &Digest) -> Option<&Self> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Arc<Self>>().map(Arc::as_ref)
    }

    /// The header of a request is complete: its body may take its time.
    pub fn header_complete(&self) {
        self.awaits_header.store(false, Ordering::Relaxed);
    }

    /// The answer is complete: the next request may come. `request_bytes` is how long this one was on the connection,
    /// header and body, if that is known.
    pub fn request_complete(&self, request_bytes: Option<u64>) {
        self.request_bytes.store(request_bytes.unwrap_or(UNKNOWN), Ordering::Relaxed);
        self.awaits_header.store(true, Ordering::Relaxed);
    }

    /// How long the last request was on the connection, if that is known.
    pub(crate) fn request_bytes(&self) -> Option<u64> {
        Some(self.request_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN)
    }

    pub(crate) fn awaits_header(&self) -> bool {
        self.awaits_header.load(Ordering::Relaxed)
    }
}
