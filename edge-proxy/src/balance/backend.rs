use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use switchyard_proto::vocab::{BackendAddress, BackendHost, HostPattern};
use tokio::sync::watch;

/// Below this many remembered backends nothing is tidied up.
const TIDY_LENGTH_MIN: usize = 64;

/// How often it is logged that a backend is down.
const DOWN_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// All backends that this process knows, by identity.
#[derive(Debug)]
pub struct Backends {
    known: Mutex<Known>,
    /// Rises whenever a backend given by name becomes known.
    names_version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    handles: HashMap<BackendAddress, Weak<BackendHandle>>,
    tidy_at_length: usize,
}

impl Backends {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), names_version: watch::Sender::new(0) })
    }

    /// The state of the backend at `address`. The same one for as long as anybody holds it.
    pub fn handle(&self, address: &BackendAddress) -> Arc<BackendHandle> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = known.handles.get(address).and_then(Weak::upgrade) {
            return handle;
        }
        if known.handles.len() >= known.tidy_at_length {
            known.handles.retain(|_, handle| handle.strong_count() > 0);
            // Doubling keeps the cost of tidying constant per backend.
            known.tidy_at_length = (2 * known.handles.len()).max(TIDY_LENGTH_MIN);
        }
        let handle = Arc::new(BackendHandle::new(address));
        known.handles.insert(address.clone(), Arc::downgrade(&handle));
        drop(known);
        if handle.name().is_some() {
            self.names_version.send_modify(|version| *version += 1);
        }
        handle
    }

    /// The backends given by name that are in use now.
    pub fn named(&self) -> Vec<Arc<BackendHandle>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.handles.values().filter_map(Weak::upgrade).filter(|handle| handle.name().is_some()).collect()
    }

    /// Changes whenever a backend given by name becomes known.
    pub fn names_changes(&self) -> watch::Receiver<u64> {
        self.names_version.subscribe()
    }
}

/// What this process knows of one backend. On a cache line of its own: every worker writes to it.
#[repr(align(128))]
pub struct BackendHandle {
    in_flight: AtomicU32,
    /// Whether it could not be connected to the last time that this was logged.
    is_down: AtomicBool,
    down_logged: Mutex<Option<Instant>>,
    port: u16,
    host: Host,
}

enum Host {
    Address([SocketAddr; 1]),
    Name { name: HostPattern, addresses: ArcSwap<Vec<SocketAddr>> },
}

impl BackendHandle {
    fn new(address: &BackendAddress) -> Self {
        let port = address.port();
        let host = match address.host() {
            BackendHost::Ip(ip) => Host::Address([SocketAddr::new(*ip, port)]),
            BackendHost::Name(name) => Host::Name { name: name.clone(), addresses: ArcSwap::default() },
        };
        Self {
            in_flight: AtomicU32::new(0),
            is_down: AtomicBool::new(false),
            down_logged: Mutex::default(),
            port,
            host,
        }
    }

    /// Its name, unless it is given by address.
    pub fn name(&self) -> Option<&HostPattern> {
        match &self.host {
            Host::Address(_) => None,
            Host::Name { name, .. } => Some(name),
        }
    }

    /// Where to connect, and how many places there are: the one at `index`, counted around. `None` while its name
    /// has no address yet.
    pub fn address(&self, index: usize) -> Option<(SocketAddr, usize)> {
        let at = |addresses: &[SocketAddr]| {
            let count = addresses.len();
            (count > 0).then(|| (addresses[index % count], count))
        };
        match &self.host {
            Host::Address(address) => at(address),
            Host::Name { addresses, .. } => at(&addresses.load()),
        }
    }

    /// Takes what its name resolves to now. Nothing changes for requests that are under way, nor for a backend given
    /// by address. Returns whether it is something new.
    pub fn resolved(&self, ips: impl IntoIterator<Item = IpAddr>) -> bool {
        let Host::Name { addresses, .. } = &self.host else { return false };
        let new: Vec<_> = ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect();
        let changed = **addresses.load() != new;
        if changed {
            addresses.store(Arc::new(new));
        }
        changed
    }

    /// It cannot be connected to. Returns whether that is to be logged: not again and again while it is down, nor when only some
    /// of its addresses are.
    pub fn unreachable(&self, now: Instant) -> bool {
        let mut logged = self.down_logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.is_none_or(|at| now.saturating_duration_since(at) >= DOWN_LOG_INTERVAL);
        if is_due {
            *logged = Some(now);
            self.is_down.store(true, Ordering::Relaxed);
        }
        is_due
    }

    /// There is a connection to it. Returns whether that is to be logged: after it was logged that there was none.
    pub fn reached(&self) -> bool {
        // It is read by all workers, and seldom changes.
        self.is_down.load(Ordering::Relaxed) && self.is_down.swap(false, Ordering::Relaxed)
    }

    /// Requests that it has now.
    pub fn requests_in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for BackendHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendHandle")
            .field("address", &self.address(0))
            .field("requests_in_flight", &self.requests_in_flight())
            .finish_non_exhaustive()
    }
}

/// Counts one request of a backend while it lives.
#[derive(Debug)]
pub struct InFlight(Arc<BackendHandle>);

impl InFlight {
    /// Counts one more.
    pub fn begin(handle: Arc<BackendHandle>) -> Self {
        handle.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(handle)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> BackendAddress {
        BackendAddress::parse(text).unwrap()
    }

    #[test]
    fn one_identity_has_one_state_for_as_long_as_it_is_held() {
        let backends = Backends::new();
        let first = backends.handle(&address("10.0.0.1:80"));
        let request = InFlight::begin(first.clone());
        assert_eq!(backends.handle(&address("10.0.0.1:80")).requests_in_flight(), 1);
        assert_eq!(backends.handle(&address("10.0.0.1:81")).requests_in_flight(), 0);
        drop(request);
        assert_eq!(first.requests_in_flight(), 0);
    }

    #[test]
    fn what_is_down_is_logged_once_a_minute_and_once_when_it_is_back() {
        let handle = Backends::new().handle(&address("10.0.0.1:80"));
        let now = Instant::now();
        assert!(!handle.reached());
        assert!(handle.unreachable(now) && !handle.unreachable(now + DOWN_LOG_INTERVAL / 2));
        assert!(handle.reached() && !handle.reached());
        assert!(!handle.unreachable(now + DOWN_LOG_INTERVAL / 2) && !handle.reached());
        assert!(handle.unreachable(now + DOWN_LOG_INTERVAL) && handle.reached());
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let backends = Backends::new();
        for port in 1..10_000 {
            backends.handle(&address(&format!("10.0.0.1:{port}")));
        }
        assert!(backends.known.lock().unwrap().handles.len() <= TIDY_LENGTH_MIN);
    }

    #[test]
    fn a_name_without_an_answer_has_no_address() {
        let backends = Backends::new();
        let mut changes = backends.names_changes();
        let handle = backends.handle(&address("shop.internal:80"));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(handle.address(0), None);
        assert!(handle.resolved(["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()]));
        assert!(!handle.resolved(["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()]));
        assert_eq!(handle.address(3), Some(("[::1]:80".parse().unwrap(), 2)));
        assert_eq!(backends.named().len(), 1);
        backends.handle(&address("10.0.0.1:80"));
        assert!(!changes.has_changed().unwrap());
    }
}
