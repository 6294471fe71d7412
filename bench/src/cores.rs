//! Which core runs what: what is measured has one to itself.

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Runs what is measured.
pub(crate) const MEASURED: usize = 0;
/// Runs load and backends.
pub(crate) const LOAD: usize = 1;

/// Binds this thread, and the threads and processes that it starts from now on, to one core.
pub(crate) fn bind(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("bind to core {core}: two cores are needed"))
}

/// Starts something on the core of what is measured.
pub(crate) async fn measured<T>(start: impl Future<Output = Result<T>>) -> Result<T> {
    bind(MEASURED)?;
    let started = start.await;
    bind(LOAD)?;
    started
}
