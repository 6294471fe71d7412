use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that wait to be accepted; the kernel takes the smaller of this and `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// After this time without a packet a client is asked whether it is still there.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// How long each answer may take.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How often it is asked.
const KEEPALIVE_PROBES: u32 = 4;

/// Opens `workers` sockets for one address, between which the kernel distributes connections (`SO_REUSEPORT`). Port 0
/// stands for one free port, the same for all.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, BindError> {
    let error = |source| BindError { address, source };
    // Without SO_REUSEPORT, which would let two programs share the address without telling anybody.
    let probe = open(address, Sharing::Exclusive).map_err(error)?;
    let address = probe.local_addr().map_err(error)?;
    drop(probe);
    (0..workers).map(|_| open(address, Sharing::AmongWorkers).map_err(error)).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    AmongWorkers,
}

fn open(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait for the connections of the last run to time out.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::AmongWorkers {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]` accepts IPv4 too, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    // Connections inherit these: nothing waits to be sent together, and a peer that vanished is found out.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES),
    )?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; {}", advice(source))]
pub struct BindError {
    /// Which.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "stop the program that uses it, or choose another address",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE; grant it, or choose a higher port"
        }
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine, or 0.0.0.0 for all of them",
        _ => "choose another address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_free_port() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]));
    }

    #[test]
    fn an_address_in_use_is_an_error_even_among_ours() {
        let held = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = held[0].local_addr().unwrap();
        let error = bind(address, 2).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&format!("cannot listen on {address}")), "{error}");
        assert!(error.to_string().ends_with("stop the program that uses it, or choose another address"), "{error}");
    }
}
