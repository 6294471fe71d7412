//! Certificates on demand: whether a name that a client asked an edge for gets one.
//!
//! What always holds: a question costs bounded memory and time, whatever is asked, and a name of which nobody approved costs no order.
//! Answers are remembered for a while, each name is asked for once at a time, and hooks and orders have their limits, for each domain
//! and for all together. Ordering is left to `reconcile`, which takes up what is begun here.

mod hook;
mod limits;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use switchyard_process::chain;
use switchyard_proto::{
    NameMemory,
    vocab::{EdgeId, HostPattern, ResourceKey},
};
use tokio::sync::OnceCell;
use tracing::{debug, info, warn};

pub use self::hook::{Approval, Hooks, HooksError};
use self::limits::{Limit, a_minute, a_second};
use crate::{
    app::{App, AppError, issuance},
    feed::State,
    model::{Certificate, Domain, HookUrl, Phase},
};

/// Calls of hooks in a second for the names of one domain.
const DOMAIN_HOOK_CALLS_PER_SECOND_MAX: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Calls of hooks in a second for all domains.
const HOOK_CALLS_PER_SECOND_MAX: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// First orders in a minute for the names of one domain.
const DOMAIN_ORDERS_PER_MINUTE_MAX: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// First orders in a minute for the names of all domains.
const ORDERS_PER_MINUTE_MAX: NonZeroU32 = NonZeroU32::new(300).unwrap();
/// Names that are asked for at a time.
const NAMES_IN_QUESTION_MAX: usize = 64;
/// Names of which an answer is remembered, of each kind.
const NAMES_REMEMBERED_MAX: usize = 10_000;
/// How long it is remembered that a hook refused a name.
const REFUSED_LIFETIME: Duration = Duration::from_secs(60);
/// How long it is remembered that a hook said nothing of a name, or that its order fails.
const NOT_NOW_LIFETIME: Duration = Duration::from_secs(10);
/// How long it is remembered that a certificate is being ordered.
const COMING_LIFETIME: Duration = Duration::from_secs(10);

/// What becomes of a name that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its certificate is being ordered, or is there.
    Coming,
    /// It is to have none.
    Refused,
    /// It has none for now.
    NotNow,
}

/// Answers questions. Clones share what they remember.
#[derive(Clone, Debug)]
pub struct OnDemand(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    app: Arc<App>,
    hooks: Hooks,
    hook_calls: Limit,
    orders: Limit,
    memory: Mutex<Memory>,
    in_question: Mutex<HashMap<HostPattern, Asked>>,
}

/// A name that is asked for now.
#[derive(Debug, Default)]
struct Asked {
    verdict: Arc<OnceCell<Verdict>>,
    /// How many wait for it.
    by: usize,
}

/// What was answered a moment ago.
#[derive(Debug)]
struct Memory {
    coming: NameMemory,
    refused: NameMemory,
    not_now: NameMemory,
}

impl Memory {
    fn verdict(&self, name: &HostPattern, now: Instant) -> Option<Verdict> {
        let name = name.as_str();
        if self.coming.has(name, now) {
            Some(Verdict::Coming)
        } else if self.refused.has(name, now) {
            Some(Verdict::Refused)
        } else {
            self.not_now.has(name, now).then_some(Verdict::NotNow)
        }
    }

    fn remember(&mut self, name: &HostPattern, verdict: Verdict, now: Instant) {
        let name = name.as_str();
        match verdict {
            Verdict::Coming => self.coming.remember(name, now + COMING_LIFETIME),
            Verdict::Refused => self.refused.remember(name, now + REFUSED_LIFETIME),
            Verdict::NotNow => self.not_now.remember(name, now + NOT_NOW_LIFETIME),
        }
    }
}

impl OnDemand {
    /// Answers for the domains of `app`.
    pub fn new(app: Arc<App>, hooks: Hooks) -> Self {
        let memory = || NameMemory::new(NAMES_REMEMBERED_MAX);
        Self(Arc::new(Shared {
            app,
            hooks,
            hook_calls: Limit::new(a_second(DOMAIN_HOOK_CALLS_PER_SECOND_MAX), a_second(HOOK_CALLS_PER_SECOND_MAX)),
            orders: Limit::new(a_minute(DOMAIN_ORDERS_PER_MINUTE_MAX), a_minute(ORDERS_PER_MINUTE_MAX)),
            memory: Mutex::new(Memory { coming: memory(), refused: memory(), not_now: memory() }),
            in_question: Mutex::default(),
        }))
    }

    /// Answers an edge that has no certificate for a name.
    pub async fn ask(&self, edge: &EdgeId, name: &HostPattern) -> Verdict {
        let Some((domain, hook)) = covering(&self.0.app.feed.state(), edge, name) else { return Verdict::Refused };
        if let Some(verdict) = self.memory().verdict(name, Instant::now()) {
            return verdict;
        }
        // What the edge will have soon, as it was told by the change feed.
        if self.0.app.feed.state().certificates().contains_key(&Certificate::acme_id(name)) {
            return Verdict::Coming;
        }
        let Some(question) = InQuestion::enter(&self.0, name) else { return Verdict::NotNow };
        // Whoever comes first decides, and if he goes away meanwhile, whoever comes next.
        *question.verdict.get_or_init(|| self.decide(&domain, &hook, name)).await
    }

    async fn decide(&self, domain: &HostPattern, hook: &HookUrl, name: &HostPattern) -> Verdict {
        if !self.0.hook_calls.allows(domain) {
            debug!(%domain, %name, "the hook is asked too often: a name on demand has to wait");
            return Verdict::NotNow;
        }
        let verdict = match self.0.hooks.ask(hook, name).await {
            Approval::Approved => match self.begin(domain, name).await {
                Ok(Some(verdict)) => verdict,
                Ok(None) => {
                    info!(%domain, %name, "too many names on demand are new: this one has to wait");
                    return Verdict::NotNow;
                }
                Err(error) => {
                    warn!(%domain, %name, error = chain(&error), "a name on demand was approved, but nothing can be ordered for it");
                    Verdict::NotNow
                }
            },
            Approval::Refused => Verdict::Refused,
            Approval::Unreachable(reason) => {
                let now = Instant::now();
                let mut memory = self.memory();
                // Once in a while is enough.
                if memory.verdict(domain, now).is_none() {
                    warn!(%domain, reason, "nobody says whether names below it are to have certificates");
                    memory.remember(domain, Verdict::NotNow, now);
                }
                Verdict::NotNow
            }
        };
        self.memory().remember(name, verdict, Instant::now());
        verdict
    }

    /// Has a certificate ordered for a name that was approved, if it is not already; `None`: too many are.
    async fn begin(&self, domain: &HostPattern, name: &HostPattern) -> Result<Option<Verdict>, AppError> {
        let known = self.0.app.store.issuance(name).await?.filter(|known| known.phase != Phase::Retired);
        if let Some(known) = known {
            return Ok(Some(if known.failures == 0 { Verdict::Coming } else { Verdict::NotNow }));
        }
        if !self.0.orders.allows(domain) {
            return Ok(None);
        }
        issuance::begin_on_demand(&self.0.app, domain, name).await?;
        info!(%domain, %name, "a certificate on demand was approved");
        Ok(Some(Verdict::Coming))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().expect("nobody panics with it")
    }
}

/// The domain that has certificates on demand for a name, as far as the edge may serve it, and its hook.
fn covering(state: &State, edge: &EdgeId, name: &HostPattern) -> Option<(HostPattern, HookUrl)> {
    // It has a domain of its own, which may be unreadable.
    if state.domains().contains_key(name) || state.is_withheld(&ResourceKey::domain(name)) {
        return None;
    }
    let (_, zone) = name.as_str().split_once('.')?;
    let domain: &Domain = &state.domains().get(&HostPattern::parse(&format!("*.{zone}")).ok()?)?.value;
    let on_demand = domain.on_demand()?;
    let sees = state.labels(edge)?.contain(&domain.edge_selector);
    sees.then(|| (domain.host.clone(), on_demand.hook.clone()))
}

/// One who waits for the answer of a hook. The last one of a name makes room for another.
struct InQuestion<'a> {
    shared: &'a Shared,
    name: &'a HostPattern,
    verdict: Arc<OnceCell<Verdict>>,
}

impl<'a> InQuestion<'a> {
    /// `None`: too many names are in question.
    fn enter(shared: &'a Shared, name: &'a HostPattern) -> Option<Self> {
        let mut names = shared.in_question.lock().expect("nobody panics with it");
        if names.len() >= NAMES_IN_QUESTION_MAX && !names.contains_key(name) {
            return None;
        }
        let asked = names.entry(name.clone()).or_default();
        asked.by += 1;
        Some(Self { shared, name, verdict: asked.verdict.clone() })
    }
}

impl Drop for InQuestion<'_> {
    fn drop(&mut self) {
        let mut names = self.shared.in_question.lock().expect("nobody panics with it");
        if let Some(asked) = names.get_mut(self.name) {
            asked.by -= 1;
            if asked.by == 0 {
                names.remove(self.name);
            }
        }
    }
}
