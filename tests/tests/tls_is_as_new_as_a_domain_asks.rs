//! C6: which versions of TLS a domain is served with, and with which key exchange.

use anyhow::{Context, Result, ensure};
use http::Request;
use rustls::{ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion, version};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use switchyard_tests::{
    client::{Client, empty},
    fleet::Fleet,
    on_both_databases,
    shop::{HOST, Shop},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a client trusts and speaks that knows these versions.
async fn config(fleet: &Fleet, versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(fleet.api()?.internal_ca().await?.as_bytes())?)?;
    let mut config =
        ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

on_both_databases! {
    async fn a_domain_is_served_with_its_oldest_version_and_newer_ones(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        let create = ["domain", "create", "modern.example", "--service", "shop", "--tag", "a", "--tls", "internal"];
        let created = cli.run(&[&create[..], &["--minimum-tls", "1.3", "--wait"]].concat()).await?;
        ensure!(created.code == 0, "{created:?}");
        let https = fleet.edge().https;
        let old = Client::https_with(https, config(&fleet, &[&version::TLS12]).await?);
        let new = Client::https_with(https, config(&fleet, &[&version::TLS13]).await?);
        ensure!(old.get(&format!("https://{HOST}/")).await?.tag() == "a", "1.2 is spoken unless something else is said");
        ensure!(new.get(&format!("https://{HOST}/")).await?.tag() == "a", "and 1.3");
        ensure!(old.get("https://modern.example/").await.is_err(), "not where 1.3 is asked for");
        ensure!(new.get("https://modern.example/").await?.tag() == "a", "which is spoken");

        let by_another = Request::get(format!("https://{HOST}/")).header("host", "modern.example").body(empty())?;
        ensure!(old.exchange(by_another).await?.status == 421, "nor by the connection of another domain");

        let shown = cli.run(&["domain", "get", "modern.example"]).await?.stdout;
        ensure!(shown.lines().any(|line| line.starts_with("tls.minimum_version:") && line.ends_with("1.3")), "{shown}");
        let updated = cli.run(&["domain", "update", "modern.example", "--minimum-tls", "1.2", "--wait"]).await?;
        ensure!(updated.code == 0, "{updated:?}");
        ensure!(old.get("https://modern.example/").await?.tag() == "a", "it is asked for no more");
        Ok(())
    }

    async fn the_key_exchange_is_safe_from_quantum_computers_where_the_client_knows_how(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let config = config(&fleet, &[&version::TLS13]).await?;
        let tcp = TcpStream::connect(fleet.edge().https).await?;
        let tls = TlsConnector::from(std::sync::Arc::new(config)).connect(ServerName::try_from(HOST)?, tcp).await?;
        let group = tls.get_ref().1.negotiated_key_exchange_group().context("a key exchange")?.name();
        ensure!(group == NamedGroup::X25519MLKEM768, "{group:?}");
        Ok(())
    }
}
