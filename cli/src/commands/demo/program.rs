use std::{
    collections::VecDeque,
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    future::Future,
    io::{self, Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::process::{CommandExt, parent_id},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::DemoFailure;
use crate::failure::Failure;

/// How long a program may take to get ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often its log is looked at meanwhile.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a program may take to end when asked to, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one log file. A larger one begins anew.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a log file's end that are looked at for its last lines, and how many lines are shown.
const LOG_TAIL_BYTES: u64 = 16 * 1024;
const LOG_TAIL_LINES: usize = 10;

/// A program of Switchyard that runs beside this one. It is killed when it is dropped, and when this process ends.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    child: Child,
    log: File,
    log_path: PathBuf,
}

impl Program {
    /// Starts the program `name` found beside this one, its log in `data_dir`; `configure` adds its arguments.
    pub(super) fn start(
        name: &'static str,
        data_dir: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self, DemoFailure> {
        let this = env::current_exe().map_err(|error| DemoFailure::System { what: "this program's path", error })?;
        let path = this.with_file_name(name);
        if !path.is_file() {
            return Err(DemoFailure::Missing { name, path });
        }
        let log_path = data_dir.join(format!("{name}.log"));
        let file = |error| DemoFailure::File { path: log_path.clone(), error };
        fs::write(&log_path, "").map_err(file)?;
        // For appending, so that a log that begins anew has no hole where it was.
        let its_stderr = OpenOptions::new().append(true).open(&log_path).map_err(file)?;
        // Opened apart, because what is read here has a position of its own.
        let log = OpenOptions::new().read(true).write(true).open(&log_path).map_err(file)?;

        let mut command = Command::new(this);
        command.args([BOUND_TO, &std::process::id().to_string()]).arg(&path);
        // What is meant for this program, or for another control plane, is not meant for the demo's.
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("SWITCHYARD_") {
                command.env_remove(variable);
            }
        }
        configure(&mut command);
        command.args(["--log-format", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(its_stderr);
        // Apart from the terminal's signals: this program tells it when to end.
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|error| DemoFailure::File { path, error })?;
        Ok(Self { name, child, log, log_path })
    }

    /// The program's name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Waits until the program says that it is ready; returns the addresses in `fields` of what it says.
    pub(super) async fn ready(&mut self, fields: &[&str]) -> Result<Vec<SocketAddr>, DemoFailure> {
        let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
        let mut poll = tokio::time::interval(READY_POLL_INTERVAL);
        let mut said = Vec::new();
        loop {
            tokio::select! {
                failure = self.ended() => return Err(failure),
                () = tokio::time::sleep_until(deadline) => {
                    return Err(DemoFailure::NotReady { name: self.name, within: READY_TIMEOUT, log: self.log_tail() });
                }
                _ = poll.tick() => {}
            }
            // The file's own position is where the last look ended.
            (&self.log)
                .take(LOG_BYTES_MAX)
                .read_to_end(&mut said)
                .map_err(|error| DemoFailure::File { path: self.log_path.clone(), error })?;
            if let Some(addresses) = said.split(|byte| *byte == b'\n').find_map(|line| ready_addresses(line, fields)) {
                return Ok(addresses);
            }
            // What is left is a line that is not whole yet.
            let whole = said.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            said.drain(..whole);
        }
    }

    /// Waits until the program ends, which it should not. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> DemoFailure {
        let how = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        DemoFailure::Ended { name: self.name, how, log: self.log_tail() }
    }

    /// Asks the program to end, and waits for that: for a bounded time, and no longer than until `impatience`.
    pub(super) async fn stop(mut self, impatience: impl Future<Output = ()>) -> io::Result<ExitStatus> {
        // No id: it has ended already. Until it is waited for, nobody else gets its id.
        if let Some(id) = self.child.id() {
            let id = i32::try_from(id).expect("a process id is positive and fits");
            kill(Pid::from_raw(id), Signal::SIGTERM)?;
        }
        tokio::select! {
            status = self.child.wait() => return status,
            () = tokio::time::sleep(STOP_TIMEOUT) => {}
            () = impatience => {}
        }
        self.child.kill().await?;
        self.child.wait().await
    }

    /// Lets a log that has grown too large begin anew.
    pub(super) fn bound_log(&self) {
        if self.log.metadata().is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            // If it cannot be shortened now, perhaps next time.
            let _ = self.log.set_len(0);
        }
    }

    /// The last lines of the log, for people.
    pub(super) fn log_tail(&self) -> Vec<String> {
        let mut tail = Vec::new();
        let read = File::open(&self.log_path).and_then(|mut file| {
            let begin = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
            file.seek(SeekFrom::Start(begin))?;
            file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)
        });
        if let Err(error) = read {
            return vec![format!("{}: {error}", self.log_path.display())];
        }
        let mut lines = VecDeque::new();
        for line in String::from_utf8_lossy(&tail).lines() {
            if lines.len() == LOG_TAIL_LINES {
                lines.pop_front();
            }
            lines.push_back(readable(line));
        }
        if lines.is_empty() { vec!["(it is empty)".to_owned()] } else { lines.into() }
    }
}

/// The addresses in `fields` of a line of the log that says `ready`.
fn ready_addresses(line: &[u8], fields: &[&str]) -> Option<Vec<SocketAddr>> {
    let record: serde_json::Value = serde_json::from_slice(line).ok()?;
    if record.get("message")?.as_str()? != "ready" {
        return None;
    }
    fields.iter().map(|field| record.get(field)?.as_str()?.parse().ok()).collect()
}

/// A line of a log in JSON as people read it: level, message and fields. Any other line is as it was.
fn readable(line: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(line).ok();
    let record = parsed.as_ref().and_then(|record| record.as_object());
    let standard = |record: &serde_json::Map<String, serde_json::Value>| {
        Some((record.get("level")?.as_str()?.to_owned(), record.get("message")?.as_str()?.to_owned()))
    };
    let Some((record, (level, message))) = record.and_then(|it| Some((it, standard(it)?))) else {
        return line.to_owned();
    };
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let others =
        record.iter().filter(|(name, _)| !["timestamp", "level", "message", "target"].contains(&name.as_str()));
    others.fold(format!("{level} {message}"), |line, (name, value)| format!("{line} {name}={}", text(value)))
}

/// The first argument of a run that is to become another program. Its arguments are that program's alone, and therefore
/// none of the command line's.
const BOUND_TO: &str = "bound-to";

/// A run of this program that is to become another one: `switchyard bound-to PARENT PROGRAM ARGUMENT...`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    parent: u32,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Bound {
    /// Whether this run is one, by its arguments without the program's name.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        if arguments.next()? != BOUND_TO {
            return None;
        }
        let parent = arguments.next()?.to_str()?.parse().ok()?;
        Some(Self { parent, program: arguments.next()?.into(), arguments: arguments.collect() })
    }

    /// Becomes the other program, which the kernel kills when the process that started this one ends, even if that is
    /// killed. Returns only if it cannot.
    ///
    /// The wish must be made by the process itself, between its birth and its change; it outlives the change. Elsewhere
    /// than on Linux there is no such wish: there the program ends with its parent only if that ends it.
    pub(crate) fn become_it(self) -> Failure {
        #[cfg(target_os = "linux")]
        if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
            return DemoFailure::System { what: "a program cannot be bound to the demo", error: error.into() }.into();
        }
        // The parent may have ended before the wish was made.
        if parent_id() != self.parent {
            let error = io::Error::other("the demo has ended");
            return DemoFailure::System { what: "a program cannot be bound to the demo", error }.into();
        }
        let error = std::process::Command::new(&self.program).args(self.arguments).exec();
        DemoFailure::File { path: self.program, error }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_record_holds_the_addresses() {
        let line = br#"{"level":"INFO","message":"ready","http":"127.0.0.1:80","https":"127.0.0.1:443"}"#;
        let addresses = ready_addresses(line, &["http", "https"]).unwrap();
        assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap(), "127.0.0.1:443".parse().unwrap()]);
        assert_eq!(ready_addresses(line, &["admin"]), None);
        assert_eq!(ready_addresses(b"ready", &["http"]), None);
        assert_eq!(ready_addresses(br#"{"message":"almost ready"}"#, &[]), None);
    }

    #[test]
    fn the_arguments_of_a_bound_program_are_its_own() {
        let parse = |words: &[&str]| Bound::parse(words.iter().map(OsString::from));
        let bound = parse(&["bound-to", "1", "/bin/echo", "--control-plane", "x"]).unwrap();
        assert_eq!(bound.arguments, ["--control-plane", "x"]);
        assert_eq!(parse(&["domain", "list"]), None);
        assert_eq!(parse(&["bound-to", "me"]), None);
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn log_lines_are_made_readable() {
        let line = r#"{"timestamp":"x","level":"WARN","message":"backend refused","target":"t","attempts":3}"#;
        assert_eq!(readable(line), "WARN backend refused attempts=3");
        assert_eq!(readable("switchyard-edge-proxy: address in use"), "switchyard-edge-proxy: address in use");
    }
}
