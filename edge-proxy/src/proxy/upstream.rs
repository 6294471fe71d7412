//! How a request reaches a backend.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{HeaderValue, Version, header::CONTENT_TYPE, header::UPGRADE};
use pingora_core::{connectors::L4Connect, protocols::l4::ext::TcpKeepalive, upstreams::peer::HttpPeer};
use pingora_http::RequestHeader;
use switchyard_proto::resource::BackendProtocol;

use super::deadline::Connector;
use crate::{balance::Attempt, snapshot::Service};

/// An unused connection to a backend is closed after this time.
const POOLED_IDLE: Duration = Duration::from_secs(60);
/// Requests at a time on one HTTP/2 connection to a backend.
const HTTP2_STREAMS_MAX: usize = 100;
/// How often an HTTP/2 connection to a backend is asked whether it is alive.
const HTTP2_PING: Duration = Duration::from_secs(30);
/// After this time without a packet a backend is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// How long each answer may take.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How often it is asked.
const KEEPALIVE_PROBES: usize = 4;

/// Makes all connections to backends.
static CONNECTOR: LazyLock<Arc<dyn L4Connect + Send + Sync>> = LazyLock::new(|| Arc::new(Connector));

/// What kind of exchange a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// A request and its answer.
    Plain,
    /// A WebSocket, which stays open for as long as both sides like.
    WebSocket,
    /// A gRPC call: over HTTP/2, since its status is in trailers.
    Grpc,
}

impl Exchange {
    pub(super) fn of(request: &RequestHeader) -> Self {
        let upgrade = request.headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if upgrade && request.version == Version::HTTP_11 {
            Self::WebSocket
        } else if request.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
            Self::Grpc
        } else {
            Self::Plain
        }
    }

    /// Whether it takes place over HTTP/2, on a connection that it shares with others.
    pub(super) fn is_over_http2(self, protocol: BackendProtocol) -> bool {
        match (protocol, self) {
            (_, Self::WebSocket) | (BackendProtocol::Http1, _) | (BackendProtocol::Automatic, Self::Plain) => false,
            (BackendProtocol::Http2, _) | (BackendProtocol::Automatic, Self::Grpc) => true,
        }
    }
}

/// `application/grpc`, perhaps with a suffix or parameters; gRPC-Web is something else, and speaks HTTP/1.1 too.
fn is_grpc(content_type: &HeaderValue) -> bool {
    content_type
        .as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Where and how Pingora connects.
pub(super) fn peer(attempt: &Attempt, service: &Service, exchange: Exchange) -> HttpPeer {
    // An empty name would be no name for Pingora, and verify nothing.
    let server_name = service.tls.as_ref().map(|tls| tls.name(&attempt.backend.host, attempt.name).to_owned());
    let mut peer = HttpPeer::new(attempt.address, service.tls.is_some(), server_name.unwrap_or_default());
    let options = &mut peer.options;
    options.connection_timeout = Some(service.settings.timeouts.connect());
    options.total_connection_timeout = Some(service.settings.timeouts.connect());
    options.idle_timeout = Some(POOLED_IDLE);
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: KEEPALIVE_IDLE,
        interval: KEEPALIVE_INTERVAL,
        count: KEEPALIVE_PROBES,
        user_timeout: Duration::ZERO,
    });
    options.custom_l4 = Some(CONNECTOR.clone());
    if exchange != Exchange::WebSocket {
        // Pingora has one limit for both waits. The deadline of the connection sees to the first one.
        options.read_timeout = Some(service.settings.timeouts.first_byte().max(service.settings.timeouts.idle()));
        options.write_timeout = Some(service.settings.timeouts.idle());
    }
    let http2 = exchange.is_over_http2(service.settings.protocol);
    if http2 {
        options.set_http_version(2, 2);
        options.max_h2_streams = HTTP2_STREAMS_MAX;
        options.h2_ping_interval = Some(HTTP2_PING);
    }
    if let Some(tls) = &service.tls {
        options.verify_cert = tls.is_verified();
        options.verify_hostname = tls.is_verified();
        options.ca = tls.authorities();
        peer.client_cert_key = tls.client_certificate();
        // Pingora keeps connections apart neither by the CAs nor by what was agreed on with ALPN.
        peer.group_key = tls.group() ^ u64::from(http2);
    }
    peer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_grpc_web() {
        let is = |text| is_grpc(&HeaderValue::from_static(text));
        assert!(is("application/grpc") && is("application/grpc+proto") && is("application/grpc;charset=utf-8"));
        assert!(!is("application/grpc-web") && !is("application/grpc-web+proto") && !is("application/json"));
    }
}
