//! The real programs as child processes.

use std::{
    collections::VecDeque,
    env, fmt,
    path::PathBuf,
    process::{ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::eventually::within;

/// What is kept of the log of one process.
const LOG_LINES_MAX: usize = 50_000;

/// What is shown of it when its test has failed.
const LOG_LINES_SHOWN: usize = 40;

/// A command that runs one of the workspace's programs, as it was built with the program that asks for it.
///
/// Settings of the machine that the test runs on do not reach it.
pub fn program(name: &str) -> Result<Command> {
    let this = env::current_exe()?;
    // target/PROFILE/PROGRAM, or target/PROFILE/deps/TEST
    let candidates: Vec<PathBuf> = this.ancestors().skip(1).take(2).map(|dir| dir.join(name)).collect();
    let path = candidates.iter().find(|path| path.is_file()).with_context(|| {
        format!("{name} is not beside {}: run scripts/test, or cargo build --workspace", this.display())
    })?;
    let mut command = Command::new(path);
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("SWITCHYARD_") {
            command.env_remove(variable);
        }
    }
    Ok(command)
}

/// Runs a command to its end.
pub async fn run(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let what = format!("{:?}", command.as_std());
    within(&what, command.output()).await?.with_context(|| format!("run {what}"))
}

/// Whether what processes logged is shown at their end.
static LOGS_ARE_SHOWN: AtomicBool = AtomicBool::new(true);

/// Keeps what processes logged from being shown at their end: for programs whose output nobody captures.
pub fn hide_logs() {
    LOGS_ARE_SHOWN.store(false, Ordering::Relaxed);
}

/// A running program. It is killed when this is dropped; what it logged is shown when the test has failed.
pub struct Process {
    name: String,
    child: Child,
    log: Log,
}

impl Process {
    /// Starts a command whose log goes to its standard error.
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {:?}", command.as_std()))?;
        let log = Log::default();
        let stdout = child.stdout.take().context("its standard output is piped")?;
        let stderr = child.stderr.take().context("its standard error is piped")?;
        // Both end when the process does, for its ends of the pipes are closed then.
        tokio::spawn(log.clone().collect(stdout));
        tokio::spawn(log.clone().collect(stderr));
        Ok(Self { name: name.into(), child, log })
    }

    /// What it has written to standard output and standard error.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Awaits the record that says that it serves; its fields.
    pub async fn ready(&mut self) -> Result<Value> {
        let log = self.log.clone();
        tokio::select! {
            record = log.record("ready") => record,
            status = self.child.wait() => bail!("{} ended before it was ready: {}", self.name, status?),
        }
    }

    /// Awaits a JSON document of several lines, as a command prints it.
    pub async fn document(&mut self) -> Result<Value> {
        let log = self.log.clone();
        tokio::select! {
            document = log.document() => document,
            status = self.child.wait() => bail!("{} ended before it had said all: {}", self.name, status?),
        }
    }

    /// Its process id.
    pub fn id(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} runs no more", self.name))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(self.id()?.try_into()?);
        kill(id, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Awaits its end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        Ok(within(&what, self.child.wait()).await??)
    }

    /// Ends it without any chance to tidy up.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.ended().await?;
        Ok(())
    }

    /// Asks it to end, and awaits that it does so in good order.
    pub async fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = self.ended().await?;
        ensure!(status.success(), "{} ended with {status} after SIGTERM", self.name);
        Ok(())
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the test runner captures it, and shows it for a test that fails")]
    fn drop(&mut self) {
        if LOGS_ARE_SHOWN.load(Ordering::Relaxed) {
            eprintln!("---- the end of the log of {} ----\n{}", self.name, self.log);
        }
    }
}

/// The lines that a process has written.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    changed: Arc<watch::Sender<()>>,
}

impl Log {
    /// Every line that is still kept.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nothing panics while it is held").iter().cloned().collect()
    }

    /// The records among the lines: those that are JSON objects.
    pub fn records(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(Value::is_object)
            .collect()
    }

    /// Awaits a record with this message.
    pub async fn record(&self, message: &str) -> Result<Value> {
        self.find(&format!("a record {message:?}"), |record| (record["message"] == message).then(|| record.clone()))
            .await
    }

    /// Awaits a record of which `choose` makes something.
    pub async fn find<T>(&self, what: &str, choose: impl Fn(&Value) -> Option<T>) -> Result<T> {
        self.awaited(what, || self.records().into_iter().find_map(|record| choose(&record))).await
    }

    /// Awaits a line that contains `text`.
    pub async fn line(&self, text: &str) -> Result<String> {
        let what = format!("a line with {text:?}");
        self.awaited(&what, || self.lines().into_iter().find(|line| line.contains(text))).await
    }

    /// Awaits that all lines from the first `{` on are one JSON document.
    async fn document(&self) -> Result<Value> {
        self.awaited("a JSON document", || {
            let text = self.lines().join("\n");
            serde_json::from_str(&text[text.find('{')?..]).ok()
        })
        .await
    }

    async fn awaited<T>(&self, what: &str, find: impl Fn() -> Option<T>) -> Result<T> {
        let mut changed = self.changed.subscribe();
        within(what, async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = find() {
                    return Ok(found);
                }
                changed.changed().await?;
            }
        })
        .await?
    }

    async fn collect(self, output: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut kept = self.lines.lock().expect("nothing panics while it is held");
            if kept.len() == LOG_LINES_MAX {
                kept.pop_front();
            }
            kept.push_back(line);
            drop(kept);
            self.changed.send_replace(());
        }
    }
}

/// The last lines, without the many of the access log.
impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.lines();
        let told: Vec<&String> = lines.iter().filter(|line| !line.contains("\"target\":\"access\"")).collect();
        for line in told.iter().skip(told.len().saturating_sub(LOG_LINES_SHOWN)) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
