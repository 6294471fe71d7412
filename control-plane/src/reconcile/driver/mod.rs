//! Runs all reconcilers in the same way: a step is done at the start, after a signal, and when its time has come; after a failure it is
//! repeated with backoff. What became of it is in the task's status and in the metrics.
//!
//! What always holds: a step takes no input, whatever activated it; there is a pause between two steps; a signal shortens no pause after
//! a failure, so that what keeps failing is not driven by changes. Time, its passing and jitter are arguments.

mod timing;

use std::{sync::Arc, time::Duration};

use switchyard_process::chain;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::timing::Timing;
pub(super) use self::timing::backoff;
use super::lease::Leadership;
use crate::{
    app::AppError,
    clock::{Clock, Timer},
    fleet::CertificateError,
    metrics::Metrics,
    model::Lease,
    random::Random,
    store::StoreError,
    task_status::{TaskStatus, TaskStatuses},
};

/// Work that is done in steps.
pub trait Task: Send + 'static {
    /// How often.
    const TIMING: Timing;

    /// Ends when something changed on which the next step may act. What changes during a step, or while nobody asks, ends the next
    /// call; dropping the call loses nothing.
    fn signal(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Looks at the state, and does what is due.
    fn step(&mut self) -> impl Future<Output = Result<Step, StepError>> + Send;

    /// Does what is left to do when the program ends.
    fn end(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What a step found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    action: Option<String>,
    waiting_for: Option<String>,
    due: Option<Duration>,
}

impl Step {
    /// There was nothing to do.
    pub fn idle() -> Self {
        Self::default()
    }

    /// It did something: `replaced certificates: 3`.
    pub fn did(action: impl Into<String>) -> Self {
        Self { action: Some(action.into()), ..Self::default() }
    }

    /// It cannot go on yet: `the first edge`.
    #[must_use]
    pub fn waiting_for(self, what: impl Into<String>) -> Self {
        Self { waiting_for: Some(what.into()), ..self }
    }

    /// Something is due after this time, if nothing changes before.
    #[must_use]
    pub fn due_in(self, due: Duration) -> Self {
        Self { due: Some(due), ..self }
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A use case did.
    #[error(transparent)]
    App(#[from] AppError),
    /// The database did not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no certificate for the control plane itself.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Some certificates of the internal CA were not replaced.
    #[error("{failed} certificates of the internal CA were not replaced; the log names them")]
    Renewals {
        /// How many.
        failed: usize,
    },
    /// The database did not renew a lease before its end.
    #[error("the lease ended before the database renewed it")]
    LeaseEnded,
}

/// Runs tasks. Each is to be spawned under its name, which is then in all that it logs.
#[derive(Clone, Debug)]
pub struct Driver {
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    random: Arc<dyn Random>,
    statuses: TaskStatuses,
    metrics: Arc<Metrics>,
}

impl Driver {
    /// Runs tasks by this time, with this jitter, and counts their steps.
    pub fn new(clock: Arc<dyn Clock>, timer: Arc<dyn Timer>, random: Arc<dyn Random>, metrics: Arc<Metrics>) -> Self {
        Self { clock, timer, random, statuses: TaskStatuses::default(), metrics }
    }

    /// The status of each task.
    pub fn statuses(&self) -> TaskStatuses {
        self.statuses.clone()
    }

    /// Runs a task until `ending` is cancelled. A step that is under way then is dropped.
    pub fn run(
        &self,
        name: &'static str,
        mut task: impl Task,
        ending: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.stand_by(name);
        let driver = self.clone();
        async move {
            tokio::select! {
                () = driver.drive(name, &mut task) => {}
                () = ending.cancelled() => {}
            }
            task.end().await;
        }
    }

    /// Runs a task that begins anew with each term of leadership, until `ending` is cancelled. All of its work is dropped when the lease
    /// is lost.
    pub fn run_leading<T: Task>(
        &self,
        name: &'static str,
        mut leadership: Leadership,
        begin: impl Fn(Lease) -> T + Send + Sync + 'static,
        ending: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.stand_by(name);
        let driver = self.clone();
        async move {
            let lead = async {
                loop {
                    driver.stand_by(name);
                    let lease = leadership.acquired().await;
                    let mut task = begin(lease.clone());
                    tokio::select! {
                        () = driver.drive(name, &mut task) => {}
                        () = leadership.lost(&lease) => {}
                    }
                }
            };
            tokio::select! {
                () = lead => {}
                () = ending.cancelled() => {}
            }
        }
    }

    fn stand_by(&self, name: &'static str) {
        self.statuses.update(name, TaskStatus::stand_by);
        self.metrics.task_stands_by(name);
    }

    /// Does one step after the other, without end.
    async fn drive<T: Task>(&self, name: &'static str, task: &mut T) {
        loop {
            self.statuses.update(name, TaskStatus::start);
            match task.step().await {
                Ok(step) => {
                    let pause = self.succeeded(name, T::TIMING, step);
                    let rest = T::TIMING.rest.min(pause);
                    self.timer.sleep(rest).await;
                    tokio::select! {
                        () = task.signal() => {}
                        () = self.timer.sleep(pause - rest) => {}
                    }
                }
                Err(error) => {
                    let pause = self.failed(name, T::TIMING, &error);
                    self.timer.sleep(pause).await;
                }
            }
        }
    }

    /// Records a step without a failure; how long nothing more is due.
    fn succeeded(&self, name: &'static str, timing: Timing, step: Step) -> Duration {
        let Step { action, waiting_for, due } = step;
        let now = self.clock.now();
        let pause = timing.after_success(due, self.random.fraction());
        self.metrics.task_succeeded(name, now);
        self.statuses.update(name, |status| {
            if status.consecutive_failures > 0 {
                info!(failures = status.consecutive_failures, "a task recovered");
            }
            if let Some(what) = waiting_for.as_ref().filter(|what| status.waiting_for.as_ref() != Some(what)) {
                info!(waiting_for = what, "a task is waiting");
            }
            status.succeed(now, now.plus(pause), action, waiting_for);
        });
        pause
    }

    /// Records a failure; how long until the next step.
    fn failed(&self, name: &'static str, timing: Timing, error: &StepError) -> Duration {
        let now = self.clock.now();
        let reason = chain(error);
        self.metrics.task_failed(name, now);
        self.statuses.update(name, |status| {
            let failures = status.consecutive_failures.saturating_add(1);
            let pause = timing.after_failures(failures, self.random.fraction());
            let retry_milliseconds = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            warn!(error = reason, failures, retry_milliseconds, "a task failed; it is repeated");
            status.fail(now, now.plus(pause), reason);
            pause
        })
    }
}

#[cfg(test)]
mod tests;
