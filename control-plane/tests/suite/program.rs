//! The program itself: how it starts, keeps its state, ends, and what it says when it cannot start.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{ExitStatus, Stdio},
};

use serde_json::Value;
use switchyard_proto::v1::{CreateDomainRequest, ListDomainsRequest, domain_service_client::DomainServiceClient};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use crate::support::{channel, domain, within};

/// Writes a file that only its owner may read, as keys have to be.
fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The running program.
struct Program {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard-control-plane"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("SWITCHYARD_") {
            command.env_remove(variable);
        }
    }
    command
        .args(["--admin", "127.0.0.1:0", "--fleet", "127.0.0.1:0", "--log-format", "json"])
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Program {
    fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut child = command(data_dir, arguments).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// Awaits the record that says that it serves; where its API is.
    async fn ready(&mut self) -> (SocketAddr, Vec<Value>) {
        let mut records = Vec::new();
        loop {
            let line = within("a line of its log", self.log.next_line()).await.unwrap().expect("it goes on");
            let record: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            let fields = record.clone();
            records.push(fields.clone());
            if fields["message"] == "ready" {
                assert!(fields["fleet"].is_string() && fields["data_dir"].is_string() && !fields["revision"].is_null());
                return (fields["admin"].as_str().unwrap().parse().unwrap(), records);
            }
        }
    }

    async fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(&id).status().await.unwrap().success());
        within("its end", self.child.wait()).await.unwrap()
    }
}

/// Starts the program, which must fail at once; the one line that it says.
async fn failure(code: i32, data_dir: &Path, arguments: &[&str]) -> String {
    let output = within("its end", command(data_dir, arguments).output()).await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('{')).collect();
    let [line] = lines.as_slice() else { panic!("one line, not:\n{text}") };
    let said = line.strip_prefix("switchyard-control-plane: ").unwrap_or_else(|| panic!("{line}"));
    assert!(said.contains("; "), "what is wrong; what to do: {said}");
    said.to_owned()
}

#[tokio::test]
async fn what_it_was_told_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut program = Program::start(&data_dir, &[]);
    let (admin, _) = program.ready().await;
    let mut domains = DomainServiceClient::new(channel(admin, &data_dir));
    let request = CreateDomainRequest { domain: Some(domain("shop.example", "a")), validate_only: false };
    let created = domains.create_domain(request).await.unwrap().into_inner();
    let token = fs::read(data_dir.join("admin-token")).unwrap();
    assert_eq!(program.terminate().await.code(), Some(0));

    let mut program = Program::start(&data_dir, &[]);
    let (admin, _) = program.ready().await;
    let mut domains = DomainServiceClient::new(channel(admin, &data_dir));
    let list = domains.list_domains(ListDomainsRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.domains, [created]);
    assert_eq!(fs::read(data_dir.join("admin-token")).unwrap(), token);
    assert_eq!(program.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn what_a_kill_interrupts_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), &[]);
    let (admin, _) = program.ready().await;
    let mut domains = DomainServiceClient::new(channel(admin, dir.path()));
    let request = CreateDomainRequest { domain: Some(domain("shop.example", "a")), validate_only: false };
    domains.create_domain(request).await.unwrap();
    program.child.kill().await.unwrap();

    let mut program = Program::start(dir.path(), &[]);
    let (admin, _) = program.ready().await;
    let mut domains = DomainServiceClient::new(channel(admin, dir.path()));
    let list = domains.list_domains(ListDomainsRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.domains.len(), 1);
}

#[tokio::test]
async fn secrets_are_for_the_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut program = Program::start(&data_dir, &[]);
    program.ready().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(mode(&data_dir.join("master-key")), 0o600);
    assert_eq!(mode(&data_dir.join("admin-token")), 0o600);
}

#[tokio::test]
async fn a_seed_is_loaded_once() {
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("seed.toml");
    fs::write(
        &seed,
        "[proxy]\nlisten_addr = '0.0.0.0:443'\n[[virtual_hosts]]\ndomain = 'shop.example'\nenabled_backends_tag = 'a'\n\
         [[backends]]\nid = 'shop-1'\naddress = '10.0.0.5:3000'\ntags = ['a']\n",
    )
    .unwrap();
    let arguments = ["--seed", seed.to_str().unwrap()];
    let mut program = Program::start(&dir.path().join("data"), &arguments);
    let (admin, log) = program.ready().await;
    assert!(log.iter().any(|fields| fields["setting"] == "proxy.listen_addr"), "{log:?}");
    let mut domains = DomainServiceClient::new(channel(admin, &dir.path().join("data")));
    let list = domains.list_domains(ListDomainsRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.domains[0].name, "domains/shop.example");
    program.terminate().await;

    let mut program = Program::start(&dir.path().join("data"), &arguments);
    let (_, log) = program.ready().await;
    let ignored = |record: &Value| {
        record["level"] == "WARN" && record["message"].as_str().is_some_and(|text| text.contains("ignored"))
    };
    assert!(log.iter().any(ignored), "{log:?}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = TcpListener::bind(taken).unwrap();
    for flag in ["--admin", "--fleet"] {
        // The later flag would be refused as given twice.
        let said = failure_on(1, dir.path(), flag, &taken.to_string()).await;
        assert!(said.contains(&taken.to_string()) && said.contains(flag), "{said}");
    }
    drop(held);
    assert!(!dir.path().join("switchyard.db").exists(), "nothing was touched");
}

/// As [`failure`], with another value for one of the addresses.
async fn failure_on(code: i32, data_dir: &Path, flag: &str, address: &str) -> String {
    let file = data_dir.join("config.toml");
    fs::write(&file, format!("data_dir = {data_dir:?}\nadmin = '127.0.0.1:0'\nfleet = '127.0.0.1:0'\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard-control-plane"));
    command.arg("--config").arg(&file).args([flag, address]).stdin(Stdio::null());
    let output = within("its end", command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(code));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_bad_start_says_in_one_line_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        write_private(&path, text);
        path.to_str().unwrap().to_owned()
    };
    let (data_dir, key) = (dir.path().join("data"), file("key", &"0f".repeat(32)));
    let broken_seed = file("broken.toml", "[[backends]]\nid = 'shop-1'\n  tag = 'a'\n");
    let bad_config = file("config.toml", "\nflet = '127.0.0.1:1'\n");
    let short_key = file("short", "abc");
    let not_a_database = file("text.db", &"this is no database\n".repeat(100));
    for (code, arguments, expected) in [
        (2, vec!["--database", "mysql://root:hunter2@h/d"], "postgres://USER@HOST/DATABASE"),
        (2, vec!["--database", "postgres://u@127.0.0.1:1/d"], "master key"),
        (1, vec!["--database", "postgres://u@127.0.0.1:1/d", "--master-key-file", &key], "--database"),
        (1, vec!["--database", &format!("sqlite:{not_a_database}")], "not a database"),
        (1, vec!["--database", "sqlite:/nowhere/at/all.db"], "--database"),
        (1, vec!["--master-key-file", "/nowhere"], "/nowhere"),
        (1, vec!["--master-key-file", &short_key], "64 hexadecimal digits"),
        (1, vec!["--seed", "/nowhere.toml"], "/nowhere.toml"),
        (1, vec!["--seed", &broken_seed], "broken.toml, line 3, column 3"),
        (2, vec!["--config", &bad_config], "config.toml, line 2, column 1"),
        (2, vec!["--config", "/nowhere.toml"], "/nowhere.toml"),
        (2, vec!["--data-dir-of-mine", "/"], "--data-dir-of-mine"),
        (2, vec!["--log-level", "loud"], "loud"),
    ] {
        let said = failure(code, &data_dir, &arguments).await;
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let not_a_directory = file("file", "");
    let said = failure(1, Path::new(&not_a_directory), &[]).await;
    assert!(said.contains("--data-dir"), "{said}");
}

#[tokio::test]
async fn the_api_is_not_served_off_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let said = failure_on(2, dir.path(), "--admin", "0.0.0.0:7080").await;
    assert!(said.contains("not a loopback address"), "{said}");
}

#[tokio::test]
async fn another_master_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), &[]);
    program.ready().await;
    program.terminate().await;
    let key = dir.path().join("other-key");
    write_private(&key, &"0f".repeat(32));
    let said = failure(1, dir.path(), &["--master-key-file", key.to_str().unwrap()]).await;
    assert!(said.contains("another master key"), "{said}");
}
