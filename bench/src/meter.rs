//! What a program has used, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context, Result};
use procfs::process::{Process, all_processes};

/// Reads the counters of a process and its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    root: i32,
}

impl Meter {
    /// Of the process with this id.
    pub(crate) fn new(id: u32) -> Result<Self> {
        Ok(Self { root: id.try_into()? })
    }

    /// The CPU time used so far, in user and kernel mode; counted in ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut ticks = 0;
        for process in self.processes()? {
            let stat = process.stat()?;
            ticks += stat.utime + stat.stime;
        }
        Ok(Duration::from_secs(ticks) / u32::try_from(procfs::ticks_per_second())?)
    }

    /// The resident memory now, in bytes; pages that processes share are counted for each.
    pub(crate) fn memory_bytes(&self) -> Result<u64> {
        self.status_kib(|status| status.vmrss)
    }

    /// The most resident memory so far, in bytes.
    pub(crate) fn memory_peak_bytes(&self) -> Result<u64> {
        self.status_kib(|status| status.vmhwm)
    }

    fn status_kib(&self, field: impl Fn(&procfs::process::Status) -> Option<u64>) -> Result<u64> {
        let mut kib = 0;
        for process in self.processes()? {
            kib += field(&process.status()?).context("a process has no memory")?;
        }
        Ok(kib * 1024)
    }

    fn processes(&self) -> Result<Vec<Process>> {
        let mut found = vec![Process::new(self.root)?];
        let all: Vec<(i32, i32)> = all_processes()?
            // Others may end while this looks at them.
            .filter_map(|process| process.ok()?.stat().ok())
            .map(|stat| (stat.pid, stat.ppid))
            .collect();
        let mut parents = vec![self.root];
        while let Some(parent) = parents.pop() {
            for (id, _) in all.iter().filter(|(_, of)| *of == parent) {
                found.push(Process::new(*id)?);
                parents.push(*id);
            }
        }
        Ok(found)
    }
}
