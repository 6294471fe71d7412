//! A program that sets records, by the conventions of lego's provider [`exec`](https://go-acme.github.io/lego/dns/exec/).
//!
//! What always holds: it ends within its time or is killed, with all that it started in its process group; it sees nothing of
//! this process but `PATH`; and of what it says no more than a bounded part is kept.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use hickory_proto::rr::Name;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use super::{Change, Record, outgoing::excerpt};
use crate::model::HookMode;

/// How long the program may take.
const RUN_MAX: Duration = Duration::from_secs(120);
/// How long its last words are waited for when it has ended: what it left running may hold the pipe open.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);
/// What is kept, and repeated by an error, of what it says on stderr: the end, where the reason usually is.
const STDERR_BYTES_MAX: usize = 1000;
/// What it finds programs by where this process has no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the program to set the record at `name`, or to take it away.
pub(super) async fn run(
    program: &Path,
    mode: HookMode,
    change: Change,
    name: &Name,
    record: &Record<'_>,
) -> Result<(), ExecError> {
    run_within(program, mode, change, name, record, RUN_MAX).await
}

async fn run_within(
    program: &Path,
    mode: HookMode,
    change: Change,
    name: &Name,
    record: &Record<'_>,
    run_max: Duration,
) -> Result<(), ExecError> {
    let mut command = Command::new(program);
    command.arg(change.word());
    match mode {
        HookMode::Default => command.arg(name.to_ascii()).arg(record.value),
        HookMode::Raw => command.args(["--", record.domain, record.token, record.key_authorization]),
    };
    let path = env::var_os("PATH");
    command
        .env_clear()
        .env("PATH", path.as_deref().unwrap_or(OsStr::new(PATH_DEFAULT)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn().map_err(|source| ExecError::Start { program: program.to_owned(), source })?;
    let mut group = Group(child);
    let mut tail = Vec::new();
    let ended = match group.0.stderr.take() {
        Some(stderr) => timeout(run_max, end(&mut group.0, stderr, &mut tail)).await,
        None => timeout(run_max, group.0.wait()).await,
    };
    let program = program.to_owned();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ExecError::Failed { program, status, stderr: said(&tail) }),
        Ok(Err(source)) => Err(ExecError::Start { program, source }),
        Err(_) => Err(ExecError::TooLong { program, seconds: run_max.as_secs(), stderr: said(&tail) }),
    }
}

/// Waits for the end, and keeps reading meanwhile: a full pipe would hold the program up.
async fn end(child: &mut Child, mut stderr: ChildStderr, tail: &mut Vec<u8>) -> io::Result<ExitStatus> {
    let status = tokio::select! {
        status = child.wait() => status?,
        () = read_to_end(&mut stderr, tail) => return child.wait().await,
    };
    // Too late is not an error: the status is what counts.
    let _ = timeout(LAST_WORDS_WAIT, read_to_end(&mut stderr, tail)).await;
    Ok(status)
}

async fn read_to_end(stderr: &mut ChildStderr, tail: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..length]);
        tail.drain(..tail.len().saturating_sub(STDERR_BYTES_MAX));
    }
}

fn said(stderr: &[u8]) -> String {
    let text = excerpt(stderr, STDERR_BYTES_MAX, &[]);
    if text.is_empty() { "it says nothing on stderr".to_owned() } else { format!("it says: {text}") }
}

/// A program and what it started. Killed when dropped, unless it has ended by itself.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // There is a number as long as the child has not been waited for, so that it cannot be another's by now.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended just now.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Why a program has not set the record.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It cannot be run.
    #[error("the program {} cannot be run: {source}; check that it is there and executable", program.display())]
    Start {
        /// Which one.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says that it failed.
    #[error("the program {} failed ({status}); {stderr}", program.display())]
    Failed {
        /// Which one.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// It did not end.
    #[error(
        "the program {} did not end within {seconds} s, and was killed; {stderr}; make it end once the provider has \
         taken the change",
        program.display()
    )]
    TooLong {
        /// Which one.
        program: PathBuf,
        /// How long it had.
        seconds: u64,
        /// What it said.
        stderr: String,
    },
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, time::Instant};

    use super::*;

    const RECORD: Record<'static> =
        Record { domain: "example.test", token: "token", key_authorization: "token.thumbprint", value: "value" };

    /// Whether a process is there, and has not ended.
    fn runs(id: &str) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", id.trim())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("set-txt");
        let script = "#!/bin/sh\nsleep 600 & echo $! > \"${0%/*}/id\"; echo 'asking the provider' >&2; wait\n";
        // Written by another process: one that is being started could still hold the file open otherwise.
        let write = "printf %s \"$1\" > \"$0\"";
        let written = std::process::Command::new("sh").args(["-c", write]).arg(&program).arg(script).status().unwrap();
        assert!(written.success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let name = Name::from_ascii("_acme-challenge.example.test.").unwrap();
        let begun = Instant::now();
        let within = Duration::from_secs(2);
        let error = run_within(&program, HookMode::Default, Change::Present, &name, &RECORD, within).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert!(matches!(error, ExecError::TooLong { .. }), "{error}");
        assert!(error.to_string().contains("asking the provider"), "{error}");
        let id = fs::read_to_string(folder.path().join("id")).unwrap();
        timeout(Duration::from_secs(10), async {
            while runs(&id) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("what the program started runs on");
    }

    #[tokio::test]
    async fn a_program_that_leaves_something_running_has_ended_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("set-txt");
        let write = "printf %s \"$1\" > \"$0\"";
        let script = "#!/bin/sh\nsleep 5 &\nexit 0\n";
        let written = std::process::Command::new("sh").args(["-c", write]).arg(&program).arg(script).status().unwrap();
        assert!(written.success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let name = Name::from_ascii("_acme-challenge.example.test.").unwrap();
        let within = Duration::from_secs(4);
        run_within(&program, HookMode::Default, Change::Present, &name, &RECORD, within).await.unwrap();
    }
}
