//! Whoever gives a wrong address, token or name, or has a wrong clock, is told so, and what to do.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use switchyard_proto::vocab::CONTROL_PLANE_NAME;
use switchyard_tests::{
    authority::Authority,
    database::Database,
    fleet::{Edge, Fleet},
    install_crypto_provider,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[tokio::test]
async fn the_command_line_names_the_token_that_it_lacks_or_that_is_refused() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let cli = fleet.cli();
    let at = format!("http://{}", fleet.control_plane.admin);
    let none = cli.clone().on_its_own();
    let missed = none.run(&["domain", "list", "--control-plane", &at]).await?;
    for words in
        ["/var/lib/switchyard/admin-token (", ".local/state/switchyard/admin-token (", "--control-plane-data-dir"]
    {
        ensure!(missed.code == 1 && missed.stderr.contains(words), "{words}: {missed:?}");
    }
    let data_dir = fleet.control_plane.data_dir.display().to_string();
    let found = none.run(&["domain", "list", "--control-plane", &at, "--control-plane-data-dir", &data_dir]).await?;
    ensure!(found.code == 0, "{found:?}");
    let elsewhere = fleet.dir().display().to_string();
    let wrong = none.run(&["domain", "list", "--control-plane", &at, "--control-plane-data-dir", &elsewhere]).await?;
    let file = format!("{elsewhere}/admin-token: ");
    ensure!(
        wrong.code == 1 && wrong.stderr.contains(&file) && wrong.stderr.contains("--control-plane-data-dir"),
        "{wrong:?}"
    );
    let unreadable = cli.clone().with_token_file("/nowhere".into()).run(&["domain", "list"]).await?;
    ensure!(unreadable.code == 1 && unreadable.stderr.contains("(SWITCHYARD_TOKEN_FILE)"), "{unreadable:?}");
    let refused = cli.with_token("sy_wrong").run(&["domain", "list"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("the token of SWITCHYARD_TOKEN"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn the_command_line_names_a_wrong_port_and_a_wrong_scheme() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let (admin, edges) = (fleet.control_plane.admin, fleet.control_plane.fleet);
    for (url, words) in [
        (format!("http://{edges}"), format!("use https://{edges}")),
        (format!("https://{admin}"), format!("use http://{admin}")),
        (format!("https://{edges}"), "a CA that is not trusted here".to_owned()),
    ] {
        let ended =
            fleet.cli().on_its_own().with_token("sy_any").run(&["domain", "list", "--control-plane", &url]).await?;
        ensure!(ended.code == 1 && ended.stderr.contains(&words), "{url}: {ended:?}");
    }
    Ok(())
}

/// What an edge logs with this message: the field of this name.
async fn logged(edge: &Edge, message: &str, field: &str) -> Result<String> {
    edge.process()?
        .log()
        .find(&format!("a record with {field}"), |record: &Value| {
            let is_it = record["message"].as_str().is_some_and(|text| text.starts_with(message));
            record[field].as_str().filter(|_| is_it).map(str::to_owned)
        })
        .await
}

const NO_CERTIFICATE: &str = "no certificate for this edge";

#[tokio::test]
async fn an_edge_names_a_wrong_port_and_a_wrong_fleet() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let token = fleet.control_plane.join_token().await?;
    let mut edge = Edge::new(fleet.dir(), "edge-1", fleet.control_plane.admin, &token, Vec::new())?;
    edge.start().await?;
    let hint = logged(&edge, NO_CERTIFICATE, "hint").await?;
    ensure!(hint.contains("fleet listener"), "{hint}");
    edge.terminate().await?;

    let other = Fleet::without_edges(Database::Sqlite).await?;
    let mut edge = Edge::new(fleet.dir(), "edge-2", other.control_plane.fleet, &token, Vec::new())?;
    edge.start().await?;
    let hint = logged(&edge, NO_CERTIFICATE, "hint").await?;
    ensure!(hint.contains("no control plane of this edge's fleet"), "{hint}");
    edge.terminate().await
}

#[tokio::test]
async fn an_edge_with_the_name_of_another_says_what_to_do() -> Result<()> {
    let fleet = Fleet::start(Database::Sqlite).await?;
    let token = fleet.control_plane.join_token().await?;
    let dir = fleet.dir().join("another");
    let mut edge = Edge::new(&dir, "edge-1", fleet.control_plane.fleet, &token, Vec::new())?;
    edge.start().await?;
    let hint = logged(&edge, NO_CERTIFICATE, "hint").await?;
    ensure!(hint.contains("--name") && hint.contains("switchyard edge remove edge-1"), "{hint}");
    edge.terminate().await
}

/// A server with a certificate that is valid from the year 2100 on, of a CA whose fingerprint is in the token.
async fn from_the_future() -> Result<(SocketAddr, String)> {
    let authority = Authority::generate()?;
    let issued = authority.issue_with(&[CONTROL_PLANE_NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2100, 1, 1);
        params.not_after = rcgen::date_time_ymd(2101, 1, 1);
    })?;
    let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, authority.der());
    let digits: String = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let acceptor = TlsAcceptor::from(Arc::new(issued.server_config(None)?));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            // It is the client that gives up.
            tokio::spawn(async move { acceptor.accept(stream).await.is_ok() });
        }
    });
    Ok((address, format!("k7.{}.{digits}", "A".repeat(43))))
}

#[tokio::test]
async fn an_edge_with_a_wrong_clock_says_so() -> Result<()> {
    install_crypto_provider();
    let dir = tempfile::tempdir()?;
    let (address, token) = from_the_future().await?;
    let mut edge = Edge::new(dir.path(), "edge-1", address, &token, Vec::new())?;
    edge.start().await?;
    let hint = logged(&edge, NO_CERTIFICATE, "hint").await?;
    ensure!(hint.contains("not valid yet") && hint.contains("clock of this machine"), "{hint}");
    let error = logged(&edge, NO_CERTIFICATE, "error").await?;
    ensure!(error.starts_with("connect: "), "the whole chain of causes: {error}");
    edge.terminate().await
}

#[tokio::test]
async fn a_bad_value_of_a_variable_of_the_command_line_is_named_by_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = switchyard_tests::process::program("switchyard")?;
    command.env("HOME", dir.path()).env("SWITCHYARD_CONTROL_PLANE", "ftp://nowhere").args(["domain", "list"]);
    let output = switchyard_tests::process::run(&mut command).await?;
    let said = String::from_utf8(output.stderr).context("text")?;
    ensure!(output.status.code() == Some(2) && said.starts_with("switchyard: SWITCHYARD_CONTROL_PLANE: "), "{said}");
    Ok(())
}
