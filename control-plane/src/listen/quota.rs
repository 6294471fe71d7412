use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::model::Network;

/// Connections of one network at a time.
const CONNECTIONS_PER_NETWORK_MAX: usize = 4_000;
/// Connections of one network on which no call was let in yet.
const PENDING_PER_NETWORK_MAX: usize = 256;

/// How many connections each network has; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota(Arc<Mutex<HashMap<Network, Count>>>);

/// The connections of one network: never none.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    open: usize,
    pending: usize,
    /// Whether one was refused since there were none.
    has_refused: bool,
}

impl Quota {
    /// Counts a connection, until what is returned is dropped.
    pub(super) fn take(&self, address: IpAddr) -> Result<Share, QuotaExceeded> {
        let network = Network::of(address);
        let mut counts = self.0.lock().expect("no panic while it is locked");
        let count = counts.entry(network).or_default();
        if count.open >= CONNECTIONS_PER_NETWORK_MAX || count.pending >= PENDING_PER_NETWORK_MAX {
            let is_first = !std::mem::replace(&mut count.has_refused, true);
            return Err(QuotaExceeded { network, is_first });
        }
        count.open += 1;
        count.pending += 1;
        Ok(Share { quota: self.clone(), network, is_pending: AtomicBool::new(true) })
    }

    fn change(&self, network: Network, change: impl FnOnce(&mut Count)) {
        let mut counts = self.0.lock().expect("no panic while it is locked");
        if let Some(count) = counts.get_mut(&network) {
            change(count);
            if count.open == 0 {
                counts.remove(&network);
            }
        }
    }
}

/// A network has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{network} has as many connections as it may")]
pub(super) struct QuotaExceeded {
    /// Which.
    pub(super) network: Network,
    /// Whether this is the first that is refused.
    pub(super) is_first: bool,
}

/// A connection that counts.
#[derive(Debug)]
pub(super) struct Share {
    quota: Quota,
    network: Network,
    is_pending: AtomicBool,
}

impl Share {
    /// A call was let in on it.
    pub(super) fn admit(&self) {
        if self.is_pending.swap(false, Ordering::Relaxed) {
            self.quota.change(self.network, |count| count.pending -= 1);
        }
    }

    /// Whether a call was.
    pub(super) fn is_admitted(&self) -> bool {
        !self.is_pending.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let pending = usize::from(!self.is_admitted());
        self.quota.change(self.network, |count| {
            count.open -= 1;
            count.pending -= pending;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn a_network_that_shows_no_credentials_leaves_room_for_others() {
        let quota = Quota::default();
        let pending: Vec<_> = (0..PENDING_PER_NETWORK_MAX).map(|_| quota.take(address(1)).unwrap()).collect();
        assert!(quota.take(address(1)).unwrap_err().is_first);
        assert!(!quota.take(address(1)).unwrap_err().is_first);
        assert!(quota.take(address(2)).is_ok());
        pending[0].admit();
        pending[0].admit();
        assert!(quota.take(address(1)).is_ok(), "one of them belongs here");
        drop(pending);
        assert!(quota.0.lock().unwrap().is_empty(), "nothing is left of it");
    }

    #[test]
    fn a_network_has_a_share_of_the_connections_whatever_it_shows() {
        let quota = Quota::default();
        let take = || quota.take(address(1)).inspect(Share::admit);
        let open: Vec<_> = (0..CONNECTIONS_PER_NETWORK_MAX).map(|_| take().unwrap()).collect();
        assert!(take().is_err() && quota.take(address(2)).is_ok());
        drop(open);
        assert!(take().is_ok());
    }
}
