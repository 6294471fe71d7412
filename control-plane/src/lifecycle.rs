//! How the program ends: everything that runs is told, and waited for, but not for ever.

use std::{future::Future, io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info, info_span, warn};

/// How long tasks may take to end once they are told.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Owns the program's tasks. Each is told to end by the same token, and waited for in [`Lifecycle::end`].
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    ending: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Is cancelled when the program is to end.
    pub fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Runs a task that ends by itself once [`Lifecycle::ending`] is cancelled. A task that ends before ends the program:
    /// what is left would look alive and not be.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let ending = self.ending.clone();
        // Also when the task panics.
        let end_with_it = ending.clone().drop_guard();
        let span = info_span!("task", name);
        self.tasks.spawn(
            async move {
                let _end_with_it = end_with_it;
                task.await;
                if !ending.is_cancelled() {
                    warn!("ended before its time; the program ends");
                }
            }
            .instrument(span),
        );
    }

    /// Waits for SIGTERM or SIGINT.
    ///
    /// # Errors
    ///
    /// A task has ended before its time.
    pub async fn wait(&self, mut signals: Signals) -> Result<(), TaskEnded> {
        tokio::select! {
            name = signals.next() => {
                info!(signal = name, "ending");
                Ok(())
            }
            () = self.ending.cancelled() => Err(TaskEnded),
        }
    }

    /// Tells all tasks to end and waits for them: at most [`SHUTDOWN_TIMEOUT`].
    pub async fn end(&self) {
        self.ending.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, self.tasks.wait()).await.is_err() {
            warn!(tasks = self.tasks.len(), "some tasks did not end in time; they are dropped");
        }
    }
}

/// A part of the program is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the program ended before its time")]
pub struct TaskEnded;

/// SIGTERM and SIGINT, caught from the moment this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Begins to catch them.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one; its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_tasks_are_told_to_end_and_waited_for() {
        let lifecycle = Lifecycle::default();
        let (ended, end) = tokio::sync::oneshot::channel();
        let ending = lifecycle.ending();
        lifecycle.spawn("waits", async move {
            ending.cancelled().await;
            ended.send(()).unwrap();
        });
        lifecycle.end().await;
        end.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_ends_before_its_time_ends_the_program() {
        let lifecycle = Lifecycle::default();
        lifecycle.spawn("panics", async { panic!("on purpose") });
        assert_eq!(lifecycle.wait(Signals::catch().unwrap()).await, Err(TaskEnded));
    }
}
