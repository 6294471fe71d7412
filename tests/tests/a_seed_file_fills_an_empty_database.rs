//! U4: the first start can load a file.

use std::fs;

use anyhow::{Result, ensure};
use switchyard_proto::v1::{CertificateSource, GetIssuerRequest, ListBackendsRequest, ListDomainsRequest};
use switchyard_tests::{
    database::Database,
    fleet::ControlPlane,
    on_both_databases,
    process::{program, run},
};
use tempfile::TempDir;

/// The configuration of the design that this began from, as it stands.
const EXAMPLE: &str = include_str!("../fixtures/example-config.toml");

/// A control plane that is to be seeded with a file; it is yet to be started.
fn seeded(database: Database, seed: &str) -> Result<(ControlPlane, TempDir)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("seed.toml");
    fs::write(&file, seed)?;
    let arguments = ["--orders", "off", "--seed", &file.to_string_lossy()].map(str::to_owned).into();
    Ok((ControlPlane::new(dir.path(), database, arguments)?, dir))
}

on_both_databases! {
    async fn the_example_configuration_is_accepted_as_it_stands(database: Database) -> Result<()> {
        let (mut control_plane, _dir) = seeded(database, EXAMPLE)?;
        control_plane.start().await?;
        let api = control_plane.api()?;
        let domain = api.get_domain("example.com").await?;
        ensure!(domain.active_tag == "a" && domain.http_to_https && domain.service == "services/default", "{domain:?}");
        let source = domain.tls.as_ref().map(|tls| tls.certificate_source());
        ensure!(source == Some(CertificateSource::Acme), "{domain:?}");
        let issuer = GetIssuerRequest { name: "issuers/letsencrypt".to_owned() };
        let issuer = api.issuers.clone().get_issuer(issuer).await?.into_inner();
        ensure!(issuer.email == "admin@example.com" && issuer.account.is_empty(), "{issuer:?}");
        ensure!(api.get_domain("api.example.com").await?.active_tag == "b", "the second one");
        let backends = api.backends.clone().list_backends(ListBackendsRequest::default()).await?.into_inner().backends;
        let backends: Vec<_> = backends.iter().map(|b| (&b.name[..], &b.address[..], b.tags.join(","))).collect();
        let expected = [
            ("backends/api-server", "192.168.1.100:8080", "a,b".to_owned()),
            ("backends/web-v1", "localhost:3001", "a".to_owned()),
            ("backends/web-v2", "localhost:3002", "b".to_owned()),
        ];
        ensure!(backends == expected, "{backends:?}");
        // What are settings of programs, or not of this version, is told, each by its key.
        for key in ["proxy.listen_addr", "lets_encrypt.cache_dir", "logging.file_path", "metrics.listen_addr", "health_check"] {
            control_plane.process()?.log().line(key).await?;
        }
        Ok(())
    }

    async fn a_second_start_ignores_the_file(database: Database) -> Result<()> {
        let (mut control_plane, dir) = seeded(database, EXAMPLE)?;
        control_plane.start().await?;
        let api = control_plane.api()?;
        api.delete_domain("example.com").await?;
        let revision = api.list_edges().await?.revision;
        control_plane.terminate().await?;
        fs::write(dir.path().join("seed.toml"), EXAMPLE.replace("api.example.com", "late.example.com"))?;
        control_plane.start().await?;
        let api = control_plane.api()?;
        let domains = api.domains.clone().list_domains(ListDomainsRequest::default()).await?.into_inner().domains;
        let names: Vec<&str> = domains.iter().map(|domain| domain.name.as_str()).collect();
        ensure!(names == ["domains/api.example.com"], "{names:?}");
        ensure!(api.list_edges().await?.revision == revision, "nothing has changed");
        control_plane.process()?.log().line("seed").await?;
        Ok(())
    }

    async fn a_file_with_a_fault_is_refused_with_line_and_column_and_changes_nothing(database: Database) -> Result<()> {
        let faults = [
            ("id = \"web-v2\"", "identity = \"web-v2\"", 43, 1, "identity"),
            ("enabled_backends_tag = \"b\"\n", "enabled_backends_tag = \"B b\"\n", 34, 24, "tag"),
            ("address = \"localhost:3002\"", "address = \"localhost\"", 44, 11, "address"),
            ("http_to_https = true\n\n[[backends]]", "http_to_https = 1\n\n[[backends]]", 35, 17, "boolean"),
            ("id = \"api-server\"", "id = \"web-v1\"", 48, 6, "web-v1"),
        ];
        for (text, fault, line, column, word) in faults {
            ensure!(EXAMPLE.contains(text), "{text}");
            let database = match &database {
                Database::Sqlite => Database::Sqlite,
                Database::Postgres { .. } => Database::postgres().await?,
            };
            let (mut control_plane, dir) = seeded(database, &EXAMPLE.replacen(text, fault, 1))?;
            let ended = control_plane.fail().await?;
            let said = String::from_utf8(ended.stderr)?;
            ensure!(ended.status.code() == Some(1), "{fault}: {said}");
            for word in ["seed.toml", word, &format!("line {line}, column {column}")] {
                ensure!(said.contains(word), "{fault}: {word} in {said}");
            }
            // Mended, the same file is loaded: the database is as empty as it was.
            fs::write(dir.path().join("seed.toml"), EXAMPLE)?;
            control_plane.start().await?;
            let api = control_plane.api()?;
            ensure!(api.get_domain("example.com").await?.active_tag == "a", "{fault}: it is loaded");
        }
        Ok(())
    }
}

#[tokio::test]
async fn every_setting_is_in_the_help() -> Result<()> {
    for name in ["switchyard-control-plane", "switchyard-edge-proxy", "switchyard"] {
        let output = run(program(name)?.arg("--help")).await?;
        let help = String::from_utf8(output.stdout)?;
        ensure!(output.status.success() && help.contains("SWITCHYARD_"), "{name}: {help}");
    }
    Ok(())
}
