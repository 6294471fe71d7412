//! What cannot start says so in one line, with what to do, and ends with status 1.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result, ensure};
use switchyard_tests::{
    authority::Authority,
    database::Database,
    fleet::{ControlPlane, Edge},
    install_crypto_provider, key_file, port,
    process::{program, run},
};

const CONTROL_PLANE: &str = "switchyard-control-plane";
const EDGE: &str = "switchyard-edge-proxy";

/// A token that has the form of one.
fn token() -> String {
    format!("k7.{}.{}", "A".repeat(43), "0".repeat(64))
}

/// Arguments that would do.
fn good(name: &str, dir: &Path) -> Result<Vec<(&'static str, String)>> {
    let state = dir.join("state").to_string_lossy().into_owned();
    let any = || "127.0.0.1:0".to_owned();
    let token_file = dir.join("join-token");
    fs::write(&token_file, token())?;
    Ok(match name {
        CONTROL_PLANE => vec![("--data-dir", state), ("--admin", any()), ("--fleet", any())],
        _ => vec![
            ("--state-dir", state),
            ("--http", any()),
            ("--https", any()),
            ("--admin", any()),
            ("--control-plane", "https://127.0.0.1:1".to_owned()),
            ("--token-file", token_file.to_string_lossy().into_owned()),
        ],
    })
}

/// Starts a program with one argument replaced or added; it must fail, and say `words` in one line.
async fn fails(name: &str, flag: &'static str, value: &str, words: &[&str]) -> Result<()> {
    fails_with(1, name, flag, value, words).await
}

/// As [`fails`], with this exit code: 2 stands for wrong settings.
async fn fails_with(code: i32, name: &str, flag: &'static str, value: &str, words: &[&str]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut arguments = good(name, dir.path())?;
    arguments.retain(|(present, _)| *present != flag);
    arguments.push((flag, value.to_owned()));
    let mut command = program(name)?;
    command.current_dir(dir.path());
    for (flag, value) in arguments {
        command.args([flag, &value]);
    }
    let output = run(&mut command).await?;
    let said = String::from_utf8(output.stderr)?;
    let line = said.lines().last().with_context(|| format!("{name} {flag} {value} says nothing"))?;
    ensure!(output.status.code() == Some(code), "{name} {flag} {value}: {}: {said}", output.status);
    ensure!(line.starts_with(&format!("{name}: ")), "{name} {flag} {value}: {said}");
    ensure!(!said.contains("panicked") && said.lines().filter(|line| line.starts_with(name)).count() == 1, "{said}");
    for word in words {
        ensure!(line.contains(word), "{word:?} in {line:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_in_use_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for (name, flag) in
        [(CONTROL_PLANE, "--admin"), (CONTROL_PLANE, "--fleet"), (EDGE, "--http"), (EDGE, "--https"), (EDGE, "--admin")]
    {
        fails(name, flag, &address, &[&address, "in use", ";"]).await.with_context(|| flag)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_second_edge_on_the_same_ports_does_not_share_them() -> Result<()> {
    install_crypto_provider();
    let dir = tempfile::tempdir()?;
    let mut first = Edge::new(dir.path(), "edge-1", port::free()?, &token(), Vec::new())?;
    first.start().await?;
    fails(EDGE, "--http", &first.http.to_string(), &["in use"]).await?;
    fails(EDGE, "--https", &first.https.to_string(), &["in use"]).await?;
    let state = first.state_dir.to_string_lossy().into_owned();
    fails(EDGE, "--state-dir", &state, &[&state]).await
}

#[tokio::test]
async fn unreadable_files_are_named() -> Result<()> {
    for name in [CONTROL_PLANE, EDGE] {
        fails_with(2, name, "--config", "/nowhere/at/all", &["/nowhere/at/all"]).await.with_context(|| name)?;
    }
    for (name, flag) in [(CONTROL_PLANE, "--seed"), (CONTROL_PLANE, "--master-key-file"), (EDGE, "--token-file")] {
        // A master key that is not there is made for SQLite, if its directory is there.
        fails(name, flag, "/nowhere/at/all", &["/nowhere/at/all"]).await.with_context(|| format!("{name} {flag}"))?;
    }
    for (name, flag) in [(CONTROL_PLANE, "--data-dir"), (EDGE, "--state-dir")] {
        fails(name, flag, "/proc/nowhere", &["/proc/nowhere"]).await.with_context(|| format!("{name} {flag}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_configuration_file_with_an_unknown_key_is_refused_with_line_and_column() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("program.toml");
    for name in [CONTROL_PLANE, EDGE] {
        fs::write(&file, "log_level = \"info\"\n\n  no_such_setting = 1\n")?;
        let words = ["program.toml", "no_such_setting", "line 3, column 3", ";"];
        fails_with(2, name, "--config", &file.to_string_lossy(), &words).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_unreachable_database_is_named_without_its_password() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let key = dir.path().join("key");
    key_file::write(&key, "6d617374657220206b65792020666f722020746573747320206f6e6c79202020")?;
    let address = port::free()?.to_string();
    let mut command = program(CONTROL_PLANE)?;
    for (flag, value) in good(CONTROL_PLANE, dir.path())? {
        command.args([flag, &value]);
    }
    command.args(["--database", &format!("postgres://user:hunter2@{address}/switchyard")]);
    let output = run(command.arg("--master-key-file").arg(&key)).await?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && said.contains(&address), "{said}");
    ensure!(!said.contains("hunter2"), "{said}");
    Ok(())
}

#[tokio::test]
async fn postgres_without_a_master_key_and_an_admin_address_off_loopback_are_refused() -> Result<()> {
    fails_with(2, CONTROL_PLANE, "--database", "postgres://127.0.0.1:1/switchyard", &["--master-key-file"]).await?;
    fails_with(2, CONTROL_PLANE, "--admin", "0.0.0.0:0", &["loopback", "(--admin)"]).await
}

#[tokio::test]
async fn a_wrong_master_key_is_refused() -> Result<()> {
    install_crypto_provider();
    let dir = tempfile::tempdir()?;
    let mut control_plane = ControlPlane::new(dir.path(), Database::Sqlite, Vec::new())?;
    control_plane.start().await?;
    control_plane.terminate().await?;
    let other = dir.path().join("other-key");
    key_file::write(&other, &"00".repeat(32))?;
    let mut command = program(CONTROL_PLANE)?;
    command.args(["--admin", "127.0.0.1:0", "--fleet", "127.0.0.1:0", "--data-dir"]).arg(&control_plane.data_dir);
    let output = run(command.arg("--master-key-file").arg(&other)).await?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && said.contains("master key"), "{said}");
    control_plane.start().await
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused_with_what_to_do() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let key = dir.path().join("key");
    fs::write(&key, "00".repeat(32))?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640))?;
    let advice = format!("chmod 600 {}", key.display());
    for (name, flag) in [(CONTROL_PLANE, "--master-key-file"), (EDGE, "--store-key-file")] {
        fails(name, flag, &key.to_string_lossy(), &["mode 0640", &advice]).await?;
    }
    let authority = Authority::generate()?;
    let issued = authority.issue(&["localhost"])?;
    let chain = dir.path().join("chain.pem");
    fs::write(&chain, &issued.chain_pem)?;
    fs::write(&key, &issued.key_pem)?;
    let mut command = program(CONTROL_PLANE)?;
    for (flag, value) in good(CONTROL_PLANE, dir.path())? {
        command.args([flag, &value]);
    }
    command.arg("--admin-certificate-file").arg(&chain).arg("--admin-private-key-file").arg(&key);
    let output = run(&mut command).await?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && said.contains(&advice), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_none_is_refused_and_not_repeated() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("token");
    fs::write(&file, "hunter2 is no token")?;
    let mut command = program(EDGE)?;
    command.args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(["--control-plane", "https://127.0.0.1:1", "--state-dir"]).arg(dir.path().join("state"));
    let output = run(command.arg("--token-file").arg(&file)).await?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && said.contains("token"), "{said}");
    ensure!(!said.contains("hunter2"), "{said}");
    Ok(())
}

/// Runs a program that cannot start, with one variable set and without the flag that is stronger; its exit code and what it says.
async fn with_variable(name: &str, flag: &str, variable: &str, value: &str) -> Result<(Option<i32>, String)> {
    let dir = tempfile::tempdir()?;
    let mut command = program(name)?;
    for (present, value) in good(name, dir.path())?.iter().filter(|(present, _)| *present != flag) {
        command.args([present, value.as_str()]);
    }
    let output = run(command.env(variable, value)).await?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

#[tokio::test]
async fn a_value_from_a_variable_is_named_by_it() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for (name, flag, variable, value, code) in [
        (CONTROL_PLANE, "--admin", "SWITCHYARD_CONTROL_PLANE_ADMIN", "7080", 2),
        (CONTROL_PLANE, "--admin", "SWITCHYARD_CONTROL_PLANE_ADMIN", "0.0.0.0:0", 2),
        (CONTROL_PLANE, "--admin", "SWITCHYARD_CONTROL_PLANE_ADMIN", &address, 1),
        (CONTROL_PLANE, "--fleet", "SWITCHYARD_CONTROL_PLANE_FLEET", &address, 1),
        (CONTROL_PLANE, "--data-dir", "SWITCHYARD_CONTROL_PLANE_DATA_DIR", "/proc/nowhere", 1),
        (CONTROL_PLANE, "--database", "SWITCHYARD_CONTROL_PLANE_DATABASE", "sqlite:/nowhere/at/all", 1),
        (CONTROL_PLANE, "--seed", "SWITCHYARD_CONTROL_PLANE_SEED", "/nowhere", 1),
        (CONTROL_PLANE, "--log-level", "SWITCHYARD_CONTROL_PLANE_LOG_LEVEL", "loud", 2),
        (EDGE, "--http", "SWITCHYARD_EDGE_HTTP", &address, 1),
        (EDGE, "--admin", "SWITCHYARD_EDGE_ADMIN", &address, 1),
        (EDGE, "--state-dir", "SWITCHYARD_EDGE_STATE_DIR", "/proc/nowhere", 1),
        (EDGE, "--control-plane", "SWITCHYARD_EDGE_CONTROL_PLANE", "http://127.0.0.1:7443", 2),
        (EDGE, "--token-file", "SWITCHYARD_EDGE_TOKEN", "hunter2", 1),
        (EDGE, "", "SWITCHYARD_EDGE_TOKEN", "hunter2", 2),
    ] {
        let (ended, said) = with_variable(name, flag, variable, value).await?;
        ensure!(ended == Some(code) && said.contains(variable), "{variable}={value}: {ended:?}: {said}");
        ensure!(!said.contains("hunter2"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_value_from_a_settings_file_is_named_by_its_line() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("program.toml");
    for (name, flag) in [(CONTROL_PLANE, "--fleet"), (EDGE, "--https")] {
        fs::write(&file, format!("\n{} = '{}'\n", &flag[2..], taken.local_addr()?))?;
        let mut command = program(name)?;
        for (present, value) in good(name, dir.path())?.iter().filter(|(present, _)| *present != flag) {
            command.args([present, value.as_str()]);
        }
        let output = run(command.arg("--config").arg(&file)).await?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1) && said.contains("program.toml, line 2"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_seed_given_as_a_settings_file_is_named_as_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("seed.toml");
    fs::write(&file, "[[backends]]\nid = 'shop-1'\naddress = '10.0.0.5:3000'\ntags = ['a']\n")?;
    fails_with(2, CONTROL_PLANE, "--config", &file.to_string_lossy(), &["seed.toml, line 1", "--seed"]).await
}
