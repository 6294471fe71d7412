//! Ports for what must come back on the same port after a restart, and ports where nobody listens.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Mutex,
};

use anyhow::{Result, bail};

/// Below what the kernel gives to outgoing connections and to port 0 (`net.ipv4.ip_local_port_range`): while a program
/// is down, nobody gets its port by chance.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

const ATTEMPTS_MAX: usize = 100;

/// What this process has handed out.
static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A loopback address on which nobody listens now, and nobody will by chance.
pub fn free() -> Result<SocketAddr> {
    for _ in 0..ATTEMPTS_MAX {
        let random = RandomState::new().hash_one(0u8);
        let port = PORTS.start + (random % u64::from(PORTS.end - PORTS.start)) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut taken = TAKEN.lock().expect("nothing panics while it is held");
        if TcpListener::bind(address).is_ok() && taken.get_or_insert_default().insert(port) {
            return Ok(address);
        }
    }
    bail!("no free port among {PORTS:?}")
}
