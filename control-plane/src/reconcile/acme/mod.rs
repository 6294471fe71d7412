//! Orders certificates, and has them renewed.
//!
//! Whatever is due is taken up, many domains at a time and each by one task. A task does one step after the other and writes each
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
use tokio::{task::JoinSet, time::sleep};
use tracing::{Instrument, error, info_span, warn};

use self::{approvals::Approvals, attempt::Attempt, connections::Connections};
use super::edges::Edges;
use crate::{
    app::{App, AppError},
    dns::Dns,
    fleet::FleetView,
    model::{Issuance, Lease},
    on_demand::Hooks,
    store::StoreError,
};

/// The lease that this works under.
pub const LEASE: &str = "acme";

/// Domains that are worked on at a time.
const ATTEMPTS_MAX: usize = 32;
/// The longest between two looks: something may be due of which this process was not told.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Before the next look when the database did not answer.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);

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
}

impl Acme {
    /// For what `app` has, answered by the edges of `view`, or by records that `dns` has set, and approved by hooks where it is on demand.
    pub fn new(app: Arc<App>, view: FleetView, dns: Dns, hooks: Hooks, retry_pause: Duration) -> Self {
        let edges = Edges::new(view, app.clone());
        let approvals = Approvals::new(hooks);
        Self { app, edges, connections: Connections::default(), dns, approvals, retry_pause }
    }

    /// Works for as long as the lease is held; dropped, all work ends.
    pub async fn run(&self, lease: Lease) {
        self.edges.first().await;
        let mut tasks: JoinSet<HostPattern> = JoinSet::new();
        let mut busy: HashMap<tokio::task::Id, HostPattern> = HashMap::new();
        let mut revisions = self.app.feed.subscribe();
        loop {
            revisions.borrow_and_update();
            let pause = match self.take_up(&lease, &mut tasks, &mut busy).await {
                Ok(pause) => pause,
                Err(error) => {
                    warn!(error = chain(&error), "what is due cannot be read");
                    OUTAGE_PAUSE
                }
            };
            tokio::select! {
                Some(ended) = tasks.join_next_with_id() => match ended {
                    Ok((id, _)) => drop(busy.remove(&id)),
                    Err(ended) => {
                        let host = busy.remove(&ended.id());
                        error!(domain = host.map(|host| host.to_string()), error = chain(&ended), "a task failed; it is taken up again");
                    }
                },
                // The feed is held by the app, so it does not go away.
                _ = revisions.changed() => {}
                () = self.app.due.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Begins with what is due and nobody works on. How long nothing more is due.
    async fn take_up(
        &self,
        lease: &Lease,
        tasks: &mut JoinSet<HostPattern>,
        busy: &mut HashMap<tokio::task::Id, HostPattern>,
    ) -> Result<Duration, StoreError> {
        if busy.len() >= ATTEMPTS_MAX {
            return Ok(LOOK_INTERVAL);
        }
        let now = self.app.clock.now();
        // Those that are worked on are due as well.
        let due = self.app.store.due_issuances(now, ATTEMPTS_MAX).await?;
        let hosts: HashSet<&HostPattern> = busy.values().collect();
        let new: Vec<Issuance> = due.into_iter().filter(|issuance| !hosts.contains(&issuance.host)).collect();
        for issuance in new.into_iter().take(ATTEMPTS_MAX - busy.len()) {
            let host = issuance.host.clone();
            let span = info_span!("certificate", domain = %host);
            let attempt = Attempt::new(self.clone(), lease.clone(), issuance);
            let task = async move {
                let host = attempt.host();
                if let Err(error) = attempt.run().await {
                    told(&error);
                }
                host
            };
            busy.insert(tasks.spawn(task.instrument(span)).id(), host);
        }
        let next = self.app.store.next_issuance_at(now).await?;
        let pause = next.map_or(LOOK_INTERVAL, |next| {
            Duration::from_millis(u64::try_from(next.0 - self.app.clock.now().0).unwrap_or(0))
        });
        Ok(pause.min(LOOK_INTERVAL))
    }
}

/// Logs why a step could not be written; the step is done again.
fn told(error: &AppError) {
    match error {
        AppError::Store(StoreError::LeaseLost) => warn!("another control plane goes on with it"),
        error => warn!(error = chain(error), "a step could not be written; it is done again"),
    }
}

/// A number from 0 to 1, by chance.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness everything is done a little later at the same time.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
