//! The resolver of names by DNS, as each program uses it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use tracing::warn;

use crate::error::chain;

/// How often one server is asked.
const ATTEMPTS: usize = 2;

/// Asks `server`, or those that the system is configured to ask, or as a last resort this machine, as the C library does
/// (resolv.conf(5)); the system's hosts file comes first. Each server may take `timeout`. Nothing is cached: how long an answer is used
/// is the caller's to decide.
///
/// # Errors
///
/// The configuration cannot be used.
pub fn resolver(server: Option<SocketAddr>, timeout: Duration) -> Result<TokioResolver, ResolverError> {
    let of = |server| {
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let mut builder = match server {
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            of(NameServerConfig::new(server.ip(), true, connections.into()))
        }
        None => TokioResolver::builder_tokio().unwrap_or_else(|error| {
            // Not a reason to fail: what is asked for may be in the hosts file.
            warn!(error = chain(&error), "the system has no DNS configuration that can be used: this machine is asked");
            of(NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into()))
        }),
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = timeout;
    options.attempts = ATTEMPTS;
    options.cache_size = 0;
    builder.build().map_err(ResolverError)
}

/// The system's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the system's DNS configuration cannot be used: {0}; fix /etc/resolv.conf, or name a server with --dns-server")]
pub struct ResolverError(#[source] NetError);
