//! `switchyard demo`, with scripts in the place of the other programs; `tests/` of the workspace runs the real ones.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use switchyard_proto::v1::{Edge, EdgeState};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::fake::{Fake, REVISION, run_alone};

/// How long something may take that takes no time: then the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with this program, and what a test puts beside it.
struct Installation(TempDir);

impl Installation {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_switchyard"), directory.path().join("switchyard")).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Installs a script that says that it is ready, leaves its process id and a token in the data directory, and goes on
    /// until it is ended. It is written by a process of its own: a file that is open for writing cannot be run, and any process
    /// that another test starts meanwhile would keep this one's open.
    async fn script(&self, name: &str, ready: &Value) {
        let mut record = ready.clone();
        record["level"] = "INFO".into();
        let script = format!(
            "#!/bin/sh\nfor word; do case $last in --data-dir|--state-dir) mkdir -p $word; echo $$ >$word/pid; \
             echo sy_test >$word/admin-token;; esac; \
             last=$word; done\necho '{record}' >&2\nexec sleep 1000\n"
        );
        let mut write = Command::new("sh");
        write.args(["-c", "printf %s \"$1\" >\"$2\" && chmod +x \"$2\"", "sh", &script]).arg(self.path(name));
        assert!(write.status().await.unwrap().success());
    }

    fn demo(&self) -> Command {
        let mut demo = Command::new(self.path("switchyard"));
        demo.env("HOME", self.0.path()).env_remove("XDG_CONFIG_HOME");
        demo.args(["demo", "--output", "json"]).stdin(Stdio::null()).kill_on_drop(true);
        demo.stdout(Stdio::piped()).stderr(Stdio::piped());
        demo
    }
}

/// What the demo prints when it runs.
async fn running(demo: &mut tokio::process::Child) -> Value {
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut text = String::new();
    loop {
        let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() else {
            let mut stderr = String::new();
            demo.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
            panic!("the demo ended: {text}{stderr}");
        };
        text.push_str(&line);
        if let Ok(running) = serde_json::from_str(&text) {
            return running;
        }
    }
}

fn process_of(pid_file: &Path) -> PathBuf {
    Path::new("/proc").join(fs::read_to_string(pid_file).unwrap().trim())
}

#[tokio::test]
async fn a_signal_ends_all_of_it_and_leaves_nothing() {
    let fake = Fake::start().await;
    let edge = Edge {
        name: "edges/demo".to_owned(),
        state: EdgeState::Connected.into(),
        acknowledged_revision: REVISION,
        ..Edge::default()
    };
    fake.state.edges.lock().unwrap().push(edge);
    let installation = Installation::new();
    let admin = fake.address.trim_start_matches("http://");
    let ready = serde_json::json!({"message": "ready", "admin": admin, "fleet": "127.0.0.1:1"});
    installation.script("switchyard-control-plane", &ready).await;
    let ready = serde_json::json!({
        "message": "ready", "http": "127.0.0.1:2", "https": "127.0.0.1:3", "admin": "127.0.0.1:4"
    });
    installation.script("switchyard-edge-proxy", &ready).await;

    let mut demo = installation.demo().spawn().unwrap();
    let running = running(&mut demo).await;
    assert_eq!((&running["admin"], &running["http"]), (&admin.into(), &"127.0.0.1:2".into()));
    let ca_file = running["caFile"].as_str().unwrap();
    assert_eq!(fs::read_to_string(ca_file).unwrap(), "-----BEGIN CERTIFICATE-----\n");
    let domain = fake.requests("CreateDomain").remove(0)["domain"].clone();
    assert_eq!((&domain["name"], &domain["activeTag"]), (&"domains/demo.localhost".into(), &"a".into()));
    for backend in fake.requests("CreateBackend") {
        let (address, tag) = (&backend["backend"]["address"], backend["backend"]["tags"][0].as_str().unwrap());
        let answer = get(address.as_str().unwrap()).await;
        assert!(answer.contains(&format!("\r\nx-demo-tag: {tag}\r\n")), "{answer}");
    }

    let data_dir = Path::new(running["dataDir"].as_str().unwrap());
    let processes = [process_of(&data_dir.join("pid")), process_of(&data_dir.join("edge/pid"))];
    assert!(processes.iter().all(|process| process.exists()), "{processes:?}");
    kill(Pid::from_raw(demo.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status = timeout(PATIENCE, demo.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!processes.iter().any(|process| process.exists()), "{processes:?}");
    assert!(!data_dir.exists());
}

/// What a backend answers.
async fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: demo.localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_program_that_ends_by_itself_ends_the_demo_with_its_last_words() {
    let installation = Installation::new();
    // Whatever its arguments are, `ls` does not know them, and says so.
    symlink("/bin/ls", installation.path("switchyard-control-plane")).unwrap();
    let output = timeout(PATIENCE, installation.demo().output()).await.unwrap().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let failure: Value = serde_json::from_str(&stderr).unwrap();
    let message = failure["message"].as_str().unwrap();
    assert!(message.starts_with("switchyard-control-plane ended (exit status: "), "{stderr}");
    assert!(failure["log"][0].as_str().is_some_and(|line| line.contains("data-dir")), "{stderr}");
}

#[tokio::test]
async fn a_program_that_is_not_beside_it_is_named() {
    let output = timeout(PATIENCE, Installation::new().demo().output()).await.unwrap().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("\"message\":\"switchyard-control-plane is not beside this program"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_bound_program_does_not_survive_the_one_that_started_it() {
    let mut parent = Command::new("sh");
    parent.args(["-c", "\"$0\" bound-to $$ sh -c 'echo started; exec sleep 1000' & wait"]);
    let mut parent = parent.arg(env!("CARGO_BIN_EXE_switchyard")).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    timeout(PATIENCE, stdout.read_line(&mut line)).await.unwrap().unwrap();
    assert_eq!(line, "started\n");
    parent.kill().await.unwrap();
    // The pipe ends when the last one who holds it does.
    assert_eq!(timeout(PATIENCE, stdout.read_line(&mut line)).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_program_is_not_started_for_a_parent_that_has_ended() {
    // Process 1 has not started this one.
    let ended = run_alone(&["bound-to", "1", "/bin/echo", "started"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
}

#[tokio::test]
async fn a_bound_program_gets_its_arguments_as_they_are() {
    let parent = std::process::id().to_string();
    let ended = run_alone(&["bound-to", &parent, "/bin/echo", "--control-plane", "x", "--", "-v"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "--control-plane x -- -v\n"));
}

#[tokio::test]
async fn a_data_directory_is_one_demos_alone() {
    let installation = Installation::new();
    let lock = fs::File::create(installation.path("demo.lock")).unwrap();
    lock.lock().unwrap();
    let output = timeout(PATIENCE, installation.demo().arg("--data-dir").arg(installation.0.path()).output()).await;
    let output = output.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another demo runs there"), "{output:?}");
}
