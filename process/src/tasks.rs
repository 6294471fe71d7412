use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, error, info, info_span, warn};

use crate::{
    log::Log,
    signals::{Request, Signals},
};

/// Owns the program's tasks: all end by the same token, and are awaited in [`Tasks::end`].
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    ending: CancellationToken,
    tracker: TaskTracker,
    /// The first that ended unexpectedly.
    ended: Arc<OnceLock<&'static str>>,
    reloads: watch::Sender<()>,
}

impl Tasks {
    /// Is cancelled when the program is to end.
    pub fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Changes at each SIGHUP: files that somebody else takes care of are to be read again.
    pub fn reloads(&self) -> watch::Receiver<()> {
        self.reloads.subscribe()
    }

    /// Runs a task that ends by itself once [`Tasks::ending`] is cancelled. One that ends before, or panics, ends the program:
    /// what is left would look alive and not be.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.watch(name);
        self.tracker.spawn(
            async move {
                task.await;
                drop(end);
            }
            .instrument(info_span!("task", task = name)),
        );
    }

    /// What ends the program when it is dropped, unless that ends already: for what runs elsewhere than in a task.
    #[must_use]
    pub fn watch(&self, name: &'static str) -> EndsProgram {
        EndsProgram { name, ending: self.ending.clone(), ended: self.ended.clone() }
    }

    /// Awaits SIGTERM or SIGINT. At SIGHUP `log` is opened anew, and [`Tasks::reloads`] changes.
    ///
    /// # Errors
    ///
    /// A task ended unexpectedly.
    pub async fn wait(&self, mut signals: Signals, log: &Log) -> Result<(), TaskEnded> {
        loop {
            let request = tokio::select! {
                request = signals.next() => request,
                () = self.ending.cancelled() => {
                    return Err(TaskEnded { task: self.ended.get().copied().unwrap_or("unknown") });
                }
            };
            match request {
                Request::End(signal) => {
                    info!(signal, "ending");
                    return Ok(());
                }
                Request::Reload => {
                    if let Err(error) = log.reopen() {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "the log file cannot be opened; the old one is used"
                        );
                    }
                    info!(signal = "SIGHUP", "reloading");
                    self.reloads.send_replace(());
                }
            }
        }
    }

    /// Ends all tasks and awaits that, for at most `timeout`.
    pub async fn end(&self, timeout: Duration) {
        self.ending.cancel();
        self.tracker.close();
        if tokio::time::timeout(timeout, self.tracker.wait()).await.is_err() {
            warn!(tasks = self.tracker.len(), "some tasks did not end in time and are dropped");
        }
    }
}

/// Ends the program when it is dropped.
#[derive(Debug)]
pub struct EndsProgram {
    name: &'static str,
    ending: CancellationToken,
    ended: Arc<OnceLock<&'static str>>,
}

impl Drop for EndsProgram {
    fn drop(&mut self) {
        if !self.ending.is_cancelled() {
            let _ = self.ended.set(self.name);
            error!(task = self.name, "a background task exited unexpectedly; the program ends");
            self.ending.cancel();
        }
    }
}

/// A task ended unexpectedly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the background task {task:?} exited unexpectedly; the log says why")]
pub struct TaskEnded {
    /// Which.
    pub task: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn all_tasks_are_ended_and_awaited() {
        let tasks = Tasks::default();
        let (ended, end) = tokio::sync::oneshot::channel();
        let ending = tasks.ending();
        tasks.spawn("waits", async move {
            ending.cancelled().await;
            ended.send(()).unwrap();
        });
        tasks.end(TIMEOUT).await;
        end.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_ends_or_panics_ends_the_program_with_a_failure() {
        for panics in [false, true] {
            let tasks = Tasks::default();
            tasks.spawn("sync", async move { assert!(!panics, "on purpose") });
            let ended = tasks.wait(Signals::catch().unwrap(), &Log::default()).await;
            assert_eq!(ended, Err(TaskEnded { task: "sync" }));
        }
    }
}
