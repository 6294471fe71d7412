//! Where backends are that are given by name.
//!
//! What always holds: no request waits for a name. Every name in use is looked up again when its answer has lived its time,
//! within bounds; all of its addresses are used; the last good answer is kept for as long as there is no better one. A slow
//! name holds up no other. Which address a request uses is left to `balance`.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::{TokioResolver, net::NetError};
use switchyard_process::{
    chain,
    resolver::{ResolverError, resolver},
};
use switchyard_proto::vocab::HostPattern;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::balance::{BackendHandle, Backends};

/// How long an answer is used at least, whatever it says: DNS servers are not to be flooded.
const TTL_MIN: Duration = Duration::from_secs(1);
/// How long an answer of DNS is used before it is asked for anew.
const TTL_MAX: Duration = Duration::from_secs(300);
/// Pauses after a name that has no answer: the first, and the longest.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Names that are looked up at the same time.
const LOOKUPS_MAX: usize = 32;
/// How long one server of DNS may take.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses of one name that are used.
const ADDRESSES_MAX: usize = 64;

/// Looks up the names of all backends that are in use.
pub struct Resolver {
    backends: Arc<Backends>,
    dns: TokioResolver,
}

/// What is known of a name's lookups.
#[derive(Debug)]
struct Name {
    /// When it is looked up next; `None` while it is.
    due: Option<Instant>,
    /// The pause after the next failure.
    pause: Duration,
    health: Health,
    /// The last good answer.
    ips: BTreeSet<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Unknown,
    Answered,
    Failing,
}

/// An answer, and how long it is used.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    ips: BTreeSet<IpAddr>,
    lifetime: Duration,
}

impl Resolver {
    /// Asks `server`, or those that the system is configured to ask, or as a last resort this machine, as the C library
    /// does (resolv.conf(5)). The system's hosts file comes first.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn new(backends: Arc<Backends>, server: Option<SocketAddr>) -> Result<Self, ResolverError> {
        Ok(Self { backends, dns: resolver(server, SERVER_TIMEOUT)? })
    }

    /// Keeps all names resolved until `ending` is cancelled.
    pub async fn run(self, ending: CancellationToken) {
        let mut names: HashMap<HostPattern, Name> = HashMap::new();
        let mut lookups: JoinSet<(HostPattern, Result<Answer, NetError>)> = JoinSet::new();
        let mut changes = self.backends.names_changes();
        loop {
            changes.borrow_and_update();
            let in_use = self.in_use();
            names.retain(|name, _| in_use.contains_key(name));
            for (name, handles) in &in_use {
                let state = names.entry(name.clone()).or_insert_with(Name::new);
                // A name that is known already may have come into use with another port.
                for handle in handles.iter().filter(|handle| handle.address(0).is_none()) {
                    handle.resolved(state.ips.iter().copied());
                }
            }
            self.begin_due(&mut names, &mut lookups);
            let next = match lookups.len() {
                // One that ends makes room for the next.
                LOOKUPS_MAX.. => None,
                _ => names.values().filter_map(|name| name.due).min(),
            };
            tokio::select! {
                () = ending.cancelled() => return,
                // The sender lives in `self.backends`.
                _ = changes.changed() => {}
                () = sleep_until(next) => {}
                Some(Ok((name, result))) = lookups.join_next() => {
                    if let Some(state) = names.get_mut(&name) {
                        state.take(&name, result, in_use.get(&name).map_or(&[], Vec::as_slice));
                    }
                }
            }
        }
    }

    /// The backends of each name; several when one name is used with several ports.
    fn in_use(&self) -> HashMap<HostPattern, Vec<Arc<BackendHandle>>> {
        let mut in_use: HashMap<HostPattern, Vec<Arc<BackendHandle>>> = HashMap::new();
        for handle in self.backends.named() {
            if let Some(name) = handle.name() {
                in_use.entry(name.clone()).or_default().push(handle);
            }
        }
        in_use
    }

    fn begin_due(
        &self,
        names: &mut HashMap<HostPattern, Name>,
        lookups: &mut JoinSet<(HostPattern, Result<Answer, NetError>)>,
    ) {
        let now = Instant::now();
        for (name, state) in names {
            if lookups.len() >= LOOKUPS_MAX {
                return;
            }
            if state.due.is_some_and(|due| due <= now) {
                state.due = None;
                let (name, dns) = (name.clone(), self.dns.clone());
                lookups.spawn(async move {
                    let result = look_up(&dns, &name).await;
                    (name, result)
                });
            }
        }
    }
}

impl Name {
    /// One that is to be looked up now.
    fn new() -> Self {
        Self { due: Some(Instant::now()), pause: RETRY_PAUSE_MIN, health: Health::Unknown, ips: BTreeSet::new() }
    }

    /// Takes the result of a lookup: hands the addresses on, and says when the next one is due.
    fn take(&mut self, name: &HostPattern, result: Result<Answer, NetError>, handles: &[Arc<BackendHandle>]) {
        match result {
            Ok(Answer { ips, lifetime }) => {
                for handle in handles {
                    if handle.resolved(ips.iter().copied()) {
                        info!(%name, addresses = ?ips, "a backend's name has new addresses");
                    }
                }
                self.due = Some(Instant::now() + lifetime);
                self.pause = RETRY_PAUSE_MIN;
                self.health = Health::Answered;
                self.ips = ips;
            }
            Err(error) => {
                if self.health != Health::Failing {
                    warn!(%name, error = chain(&error), "a backend's name has no answer: the last good one is used, if there was one");
                }
                self.due = Some(Instant::now() + self.pause);
                self.pause = (2 * self.pause).min(RETRY_PAUSE_MAX);
                self.health = Health::Failing;
            }
        }
    }
}

async fn look_up(dns: &TokioResolver, name: &HostPattern) -> Result<Answer, NetError> {
    let lookup = dns.lookup_ip(name.as_str()).await?;
    let ips: BTreeSet<IpAddr> = lookup.iter().take(ADDRESSES_MAX).collect();
    let lifetime = lookup.valid_until().saturating_duration_since(Instant::now());
    if ips.is_empty() {
        return Err("the answer has no addresses".into());
    }
    Ok(Answer { ips, lifetime: lifetime.clamp(TTL_MIN, TTL_MAX) })
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::BackendAddress;

    use super::*;

    fn address(text: &str) -> BackendAddress {
        BackendAddress::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_name_of_the_hosts_file_gets_its_addresses_for_every_port_and_what_is_unused_is_forgotten() {
        let backends = Backends::new();
        // No DNS server is there: it must not be needed.
        let resolver = Resolver::new(backends.clone(), Some("127.0.0.1:9".parse().unwrap())).unwrap();
        let first = backends.handle(&address("localhost:81"));
        let ending = CancellationToken::new();
        let running = tokio::spawn(resolver.run(ending.clone()));
        let is_resolved = |handle: Arc<BackendHandle>| async move {
            while handle.address(0).is_none() {
                tokio::task::yield_now().await;
            }
            handle.address(0).unwrap().0
        };
        let patience = Duration::from_secs(20);
        let resolved = tokio::time::timeout(patience, is_resolved(first.clone())).await.unwrap();
        assert!(resolved.ip().is_loopback() && resolved.port() == 81, "{resolved}");
        // The second port has the answer before it would be asked for again.
        let second = backends.handle(&address("localhost:82"));
        let resolved = tokio::time::timeout(patience, is_resolved(second.clone())).await.unwrap();
        assert_eq!(resolved.port(), 82);
        ending.cancel();
        running.await.unwrap();
        drop((first, second));
        assert!(backends.named().is_empty());
    }

    #[tokio::test]
    async fn the_last_good_answer_is_kept_when_there_is_no_other() {
        let backends = Backends::new();
        let handle = backends.handle(&address("shop.internal:80"));
        let name = handle.name().unwrap().clone();
        let mut state = Name::new();
        let ips = BTreeSet::from(["10.0.0.1".parse().unwrap()]);
        state.take(&name, Ok(Answer { ips, lifetime: TTL_MIN }), std::slice::from_ref(&handle));
        let good = handle.address(0);
        assert!(good.is_some());
        for _ in 0..20 {
            state.take(&name, Err("no answer".into()), std::slice::from_ref(&handle));
            assert_eq!((handle.address(0), state.health), (good, Health::Failing));
        }
        assert_eq!(state.pause, RETRY_PAUSE_MAX);
    }
}
