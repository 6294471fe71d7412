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

/// Arguments that would do.
fn good(name: &str, dir: &Path) -> Vec<(&'static str, String)> {
    let state = dir.join("state").to_string_lossy().into_owned();
    let any = || "127.0.0.1:0".to_owned();
    match name {
        CONTROL_PLANE => vec![("--data-dir", state), ("--admin", any()), ("--fleet", any())],
        _ => vec![
            ("--state-dir", state),
            ("--http", any()),
            ("--https", any()),
            ("--admin", any()),
            ("--control-plane", "https://127.0.0.1:1".to_owned()),
            ("--token", format!("k7.{}.{}", "A".repeat(43), "0".repeat(64))),
        ],
    }
}

/// Starts a program with one argument replaced or added; it must fail, and say `words` in one line.
async fn fails(name: &str, flag: &'static str, value: &str, words: &[&str]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut arguments = good(name, dir.path());
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
    ensure!(output.status.code() == Some(1), "{name} {flag} {value}: {}: {said}", output.status);
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
    let token = format!("k7.{}.{}", "A".repeat(43), "0".repeat(64));
    let mut first = Edge::new(dir.path(), "edge-1", port::free()?, &token, Vec::new())?;
    first.start().await?;
    fails(EDGE, "--http", &first.http.to_string(), &["in use"]).await?;
    fails(EDGE, "--https", &first.https.to_string(), &["in use"]).await?;
    let state = first.state_dir.to_string_lossy().into_owned();
    fails(EDGE, "--state-dir", &state, &[&state]).await
}

#[tokio::test]
async fn unreadable_files_are_named() -> Result<()> {
    for (name, flag) in [
        (CONTROL_PLANE, "--config"),
        (CONTROL_PLANE, "--seed"),
        (CONTROL_PLANE, "--master-key-file"),
        (EDGE, "--config"),
    ] {
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
        fails(name, "--config", &file.to_string_lossy(), &["program.toml", "no_such_setting", "line 3, column 3", ";"])
            .await?;
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
    for (flag, value) in good(CONTROL_PLANE, dir.path()) {
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
    fails(CONTROL_PLANE, "--database", "postgres://127.0.0.1:1/switchyard", &["--master-key-file"]).await?;
    fails(CONTROL_PLANE, "--admin", "0.0.0.0:0", &["loopback"]).await
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
    for (flag, value) in good(CONTROL_PLANE, dir.path()) {
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
