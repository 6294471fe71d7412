//! Orders certificates, and has them renewed.
//!
//! Whatever is due is attempted, many domains at a time and each by one attempt. An attempt does one step after the other and writes each
//! down, so that whoever comes after it, in this process or another, goes on where it stopped: at worst one order is made again,
//! when a CA has answered and that was not written yet.

mod approvals;
mod attempt;
mod connections;
mod renewal;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use switchyard_process::chain;
use switchyard_proto::vocab::HostPattern;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tracing::{Instrument, error, info_span, warn};

use self::{approvals::Approvals, attempt::Attempt, connections::Connections};
use super::{
    driver::{Step, StepError, Task, Timing},
    edges::Edges,
};
use crate::{
    app::{App, AppError},
    dns::Dns,
    feed::State,
    fleet::{self, FleetView},
    model::{Issuance, Lease},
    on_demand::Hooks,
    random::Random,
    store::StoreError,
};

/// The lease that this works under.
pub const LEASE: &str = "acme";

/// Domains that are worked on at a time.
const ATTEMPTS_MAX: usize = 32;
/// How often it is asked whether another control plane has an edge, while none was seen yet.
const FIRST_EDGE_INTERVAL: Duration = Duration::from_secs(1);

/// Orders certificates.
#[derive(Clone, Debug)]
pub struct Acme {
    app: Arc<App>,
    edges: Edges,
    connections: Connections,
    dns: Dns,
    approvals: Approvals,
    /// After the first failure; after each further one it is twice as long.
    retry_pause: Duration,
    random: Arc<dyn Random>,
}

impl Acme {
    /// For what `app` has, answered by the edges of `view`, or by records that `dns` has set, and approved by hooks where it is on demand.
    pub fn new(
        app: Arc<App>,
        view: FleetView,
        dns: Dns,
        hooks: Hooks,
        retry_pause: Duration,
        random: Arc<dyn Random>,
    ) -> Self {
        let edges = Edges::new(view, app.clone());
        let approvals = Approvals::new(hooks);
        Self { app, edges, connections: Connections::default(), dns, approvals, retry_pause, random }
    }

    /// The task that orders them under a lease; dropped, all work ends.
    pub fn begin(&self, lease: Lease) -> Orders {
        Orders {
            states: self.app.feed.subscribe(),
            fleet: self.edges.subscribe(),
            acme: self.clone(),
            lease,
            attempts: JoinSet::new(),
            busy: HashMap::new(),
            is_edge_known: false,
        }
    }
}

/// The orders for as long as there is a lease for them.
#[derive(Debug)]
pub struct Orders {
    acme: Acme,
    lease: Lease,
    states: watch::Receiver<Arc<State>>,
    fleet: watch::Receiver<fleet::Edges>,
    attempts: JoinSet<HostPattern>,
    busy: HashMap<tokio::task::Id, HostPattern>,
    /// Whether an edge is there to answer a CA.
    is_edge_known: bool,
}

impl Task for Orders {
    const TIMING: Timing = Timing {
        rest: Duration::from_millis(10),
        interval: Duration::from_secs(5),
        retry: Duration::from_secs(1),
        retry_max: Duration::from_secs(15),
    };

    async fn signal(&mut self) {
        // The feed and the view are kept by what this has, so they do not go away.
        tokio::select! {
            Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
            _ = self.states.changed() => {}
            _ = self.fleet.changed(), if !self.is_edge_known => {}
            () = self.acme.app.due.notified() => {}
        }
    }

    async fn step(&mut self) -> Result<Step, StepError> {
        if !self.is_edge_known {
            self.is_edge_known = self.acme.edges.is_any().await;
        }
        if !self.is_edge_known {
            return Ok(Step::idle().waiting_for("the first edge").due_in(FIRST_EDGE_INTERVAL));
        }
        while let Some(ended) = self.attempts.try_join_next_with_id() {
            self.ended(ended);
        }
        self.begin_due().await
    }
}

impl Orders {
    fn ended(&mut self, ended: Result<(tokio::task::Id, HostPattern), JoinError>) {
        match ended {
            Ok((id, _)) => drop(self.busy.remove(&id)),
            Err(ended) => {
                let host = self.busy.remove(&ended.id());
                error!(
                    domain = host.map(|host| host.to_string()),
                    error = chain(&ended),
                    "an attempt failed; it is repeated"
                );
            }
        }
    }

    /// Begins with what is due and nobody works on.
    async fn begin_due(&mut self) -> Result<Step, StepError> {
        if self.busy.len() >= ATTEMPTS_MAX {
            return Ok(Step::idle().waiting_for("an attempt to end: no more are made at a time"));
        }
        let app = self.acme.app.clone();
        let now = app.clock.now();
        // Those that are worked on are due as well.
        let due = app.store.due_issuances(now, ATTEMPTS_MAX).await?;
        let hosts: HashSet<&HostPattern> = self.busy.values().collect();
        let mut new: Vec<Issuance> = due.into_iter().filter(|issuance| !hosts.contains(&issuance.host)).collect();
        new.truncate(ATTEMPTS_MAX - self.busy.len());
        let step = match new.as_slice() {
            [] => Step::idle(),
            [issuance] => Step::did(format!("began an attempt for {}", issuance.host)),
            [first, more @ ..] => Step::did(format!("began attempts for {} and {} more", first.host, more.len())),
        };
        for issuance in new {
            self.begin(issuance);
        }
        let next = app.store.next_issuance_at(now).await?;
        Ok(match next {
            Some(next) => step.due_in(Duration::from_millis(u64::try_from(next.0 - app.clock.now().0).unwrap_or(0))),
            None => step,
        })
    }

    fn begin(&mut self, issuance: Issuance) {
        let host = issuance.host.clone();
        let span = info_span!("certificate", domain = %host);
        let attempt = Attempt::new(self.acme.clone(), self.lease.clone(), issuance);
        let task = async move {
            let host = attempt.host();
            if let Err(error) = attempt.run().await {
                log_step_error(&error);
            }
            host
        };
        self.busy.insert(self.attempts.spawn(task.instrument(span)).id(), host);
    }
}

/// Logs why a step could not be written; the step is done again.
fn log_step_error(error: &AppError) {
    match error {
        AppError::Store(StoreError::LeaseLost) => warn!("another control plane goes on with it"),
        error => warn!(error = chain(error), "a step could not be written; it is done again"),
    }
}
