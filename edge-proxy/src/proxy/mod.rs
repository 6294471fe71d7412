//! What a request gets: Pingora's phases, each of which calls a function of its own file.
//!
//! A request looks its host up once, in the snapshot that is live at that moment, and keeps what it found there to its
//! end. On the way to a backend there is no lock and no log unless it is asked for. A request is sent again only if no
//! backend can have acted on it, or if it may be acted on twice; each attempt goes to an address that was not tried,
//! and there are few.
//!
//! Sockets and TLS are left to `listen`, whose turn it is to `balance`.

mod access_log;
mod answer;
mod authority;
mod connection_policy;
mod deadline;
mod decision;
mod forwarding;
mod metrics;
mod patience;
mod phases;
mod redirect;
mod request_id;
mod settings;
mod upstream;

use std::{hash::RandomState, sync::Arc, time::Duration};

use pingora_core::{
    apps::HttpServerOptions, protocols::http::v2::server::default_h2_options, server::configuration::ServerConf,
};
use pingora_proxy::HttpProxy;

use crate::{
    balance::{ATTEMPTS_MAX, Rotation},
    snapshot::LiveSnapshot,
};
use request_id::Randomness;

pub use metrics::Metrics;
pub use settings::{AccessLog, Settings};

/// Unused connections to backends that the whole program keeps.
const POOLED_CONNECTIONS_MAX: usize = 4096;
/// Requests at a time on one HTTP/2 connection of a client.
const HTTP2_REQUESTS_MAX: u32 = 100;
/// Bytes of the header of one request over HTTP/2.
const HTTP2_HEADER_BYTES_MAX: u32 = 64 * 1024;
/// A client's HTTP/2 connection without requests is closed after this time.
const HTTP2_IDLE: Duration = Duration::from_secs(75);

/// Which worker it is.
#[derive(Clone, Copy, Debug)]
pub struct Worker {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

/// What one worker knows to serve requests.
pub(crate) struct Proxy {
    live: LiveSnapshot,
    rotation: Rotation,
    randomness: Randomness,
    settings: Arc<Settings>,
    metrics: Metrics,
}

/// The HTTP proxy of one worker, with connections to backends of its own.
pub(crate) fn http_proxy(
    worker: Worker,
    live: LiveSnapshot,
    settings: Arc<Settings>,
    metrics: Metrics,
) -> HttpProxy<Proxy> {
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: POOLED_CONNECTIONS_MAX.div_ceil(worker.count.max(1)),
        // Pingora counts the first one as well; the bound itself is in `Attempts`.
        max_retries: ATTEMPTS_MAX as usize + 1,
        ..ServerConf::default()
    };
    let proxy = Proxy {
        live,
        rotation: Rotation::new(worker.index),
        randomness: Randomness::new([RandomState::new(), RandomState::new()]),
        settings,
        metrics,
    };
    let mut proxy = HttpProxy::new(proxy, Arc::new(conf));
    let mut options = HttpServerOptions::default();
    // For gRPC without TLS.
    options.h2c = true;
    options.h2_idle_timeout = Some(HTTP2_IDLE);
    proxy.server_options = Some(options);
    let mut http2 = default_h2_options();
    http2.max_concurrent_streams(HTTP2_REQUESTS_MAX).max_header_list_size(HTTP2_HEADER_BYTES_MAX);
    proxy.h2_options = Some(http2);
    proxy.handle_init_modules();
    proxy
}
