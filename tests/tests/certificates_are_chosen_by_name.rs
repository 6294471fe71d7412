//! S1, C4: which certificate a client is shown, and which are refused.

use anyhow::{Context, Result, bail, ensure};
use switchyard_proto::v1::{Certificate, UpdateCertificateRequest};
use switchyard_tests::{
    authority::Authority,
    client::Client,
    fleet::Fleet,
    on_both_databases,
    origin::Origin,
    shop::{HOST, Shop},
    socket::Connector,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The fields that a status says are wrong.
fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map_or(&[][..], |request| &request.field_violations);
    violations.iter().map(|violation| violation.field.clone()).collect()
}

/// The first certificate that an edge shows for a name.
async fn shown(fleet: &Fleet, root: &str, name: &str) -> Result<Vec<u8>> {
    let socket = Connector::tls(fleet.edge().https, root, &[])?.connect(name).await?;
    Ok(socket.chain().first().context("a certificate")?.to_vec())
}

on_both_databases! {
    async fn internal_domains_are_trusted_by_clients_of_the_internal_ca_alone(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let url = format!("https://{HOST}/");
        ensure!(fleet.https().await?.get(&url).await?.tag() == "a", "it is trusted");
        let printed = fleet.cli().run(&["certificate", "ca"]).await?;
        ensure!(printed.code == 0, "{printed:?}");
        ensure!(Client::https(fleet.edge().https, &printed.stdout)?.get(&url).await?.tag() == "a", "as the CLI prints it");
        let stranger = Client::https(fleet.edge().https, &Authority::generate()?.pem())?;
        ensure!(stranger.get(&url).await.is_err(), "it is not trusted by others");
        Ok(())
    }

    async fn a_wildcard_domain_gets_an_internal_certificate_too(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let origin = Origin::start("wild", "a").await?;
        let api = fleet.api()?;
        api.create_backend("wild", "default", &origin.address(), &["a"]).await?;
        fleet.live(api.create_internal_domain("*.wild.example", "default", "a").await?.revision).await?;
        let client = fleet.https().await?;
        ensure!(client.get("https://any.wild.example/").await?.tag() == "a", "one label is covered");
        ensure!(client.get("https://wild.example/").await.is_err(), "the name without a label is not");
        Ok(())
    }

    async fn uploaded_certificates_are_shown_exact_before_wildcard(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let api = fleet.api()?;
        let authority = Authority::generate()?;
        let origin = Origin::start("uploaded", "a").await?;
        api.create_backend("uploaded", "default", &origin.address(), &["a"]).await?;
        api.create_domain("*.up.example", "default", "a").await?;
        let wildcard = authority.issue(&["*.up.example"])?;
        let exact = authority.issue(&["www.up.example"])?;
        api.create_certificate("wildcard", &wildcard.chain_pem, &wildcard.key_pem).await?;
        let uploaded = api.create_certificate("exact", &exact.chain_pem, &exact.key_pem).await?;
        fleet.live(uploaded.revision).await?;
        ensure!(uploaded.dns_names == ["www.up.example"], "{uploaded:?}");
        let client = Client::https(fleet.edge().https, &authority.pem())?;
        ensure!(client.get("https://other.up.example/").await?.tag() == "a", "by the wildcard");
        ensure!(client.get("https://www.up.example/").await?.tag() == "a", "by the exact name");
        ensure!(shown(&fleet, &authority.pem(), "other.up.example").await? == wildcard.chain[0].as_ref(), "the wildcard");
        ensure!(shown(&fleet, &authority.pem(), "www.up.example").await? == exact.chain[0].as_ref(), "the exact one");

        let renewed = authority.issue(&["www.up.example"])?;
        let certificate = Certificate {
            name: "certificates/exact".to_owned(), chain_pem: renewed.chain_pem.clone(), ..Certificate::default()
        };
        let request = UpdateCertificateRequest {
            certificate: Some(certificate), private_key_pem: renewed.key_pem.clone(),
            ..UpdateCertificateRequest::default()
        };
        let updated = api.certificates.clone().update_certificate(request).await?.into_inner();
        fleet.live(updated.revision).await?;
        ensure!(shown(&fleet, &authority.pem(), "www.up.example").await? == renewed.chain[0].as_ref(), "the new one");
        Ok(())
    }

    async fn a_name_without_a_certificate_is_refused_and_others_are_served(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let root = fleet.api()?.internal_ca().await?;
        ensure!(shown(&fleet, &root, "nobody.example").await.is_err(), "there is nothing to show");
        ensure!(fleet.https().await?.get(&format!("https://{HOST}/")).await?.status == 200, "others are served");
        Ok(())
    }

    async fn a_certificate_that_does_not_match_its_key_is_refused_with_the_field(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let api = fleet.api()?;
        let authority = Authority::generate()?;
        let (one, another) = (authority.issue(&["one.example"])?, authority.issue(&["one.example"])?);
        let before = api.list_edges().await?.revision;
        let leaf = one.chain_pem.split_inclusive("-----END CERTIFICATE-----\n").next().context("a leaf")?;
        let turned = authority.pem() + leaf;
        let cases = [
            ("a key of another certificate", &one.chain_pem, another.key_pem.as_str(), "private_key_pem"),
            ("no key", &one.chain_pem, "", "private_key_pem"),
            ("a key that is none", &one.chain_pem, "what is no PEM", "private_key_pem"),
            ("no chain", &String::new(), &one.key_pem, "certificate.chain_pem"),
            ("a chain in the wrong order", &turned, &one.key_pem, "certificate.chain_pem"),
        ];
        for (what, chain, key, field) in cases {
            let Err(status) = api.create_certificate("bad", chain, key).await else { bail!("{what} is accepted") };
            ensure!(status.code() == Code::InvalidArgument, "{what}: {status:?}");
            ensure!(fields(&status).contains(&field.to_owned()), "{what}: {:?}", fields(&status));
        }
        let reserved = api.create_certificate("internal-x.example", &one.chain_pem, &one.key_pem).await;
        ensure!(reserved.is_err_and(|status| status.code() == Code::InvalidArgument), "internal- is reserved");
        ensure!(api.list_edges().await?.revision == before, "nothing has changed");
        Ok(())
    }

    async fn private_keys_are_neither_returned_nor_logged_nor_stored_in_the_clear(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let issued = Authority::generate()?.issue(&["one.example"])?;
        let (chain, key) = (fleet.dir().join("chain.pem"), fleet.dir().join("key.pem"));
        std::fs::write(&chain, &issued.chain_pem)?;
        std::fs::write(&key, &issued.key_pem)?;
        let (chain, key) = (chain.to_string_lossy(), key.to_string_lossy());
        let cli = fleet.cli();
        let uploaded = cli.run(&["certificate", "upload", "one", "--chain", &chain, "--key", &key]).await?;
        ensure!(uploaded.code == 0, "{uploaded:?}");
        let secret = issued.key_pem.lines().nth(1).context("a line of the key")?;
        let shown = cli.json(&["certificate", "get", "one"]).await?.to_string();
        ensure!(!shown.contains(secret) && shown.contains("one.example"), "{shown}");
        for process in [fleet.control_plane.process()?, fleet.edge().process()?] {
            ensure!(!process.log().lines().iter().any(|line| line.contains(secret)), "it is in a log");
        }
        for entry in std::fs::read_dir(&fleet.control_plane.data_dir)? {
            let path = entry?.path();
            let bytes = std::fs::read(&path)?;
            let found = bytes.windows(issued.key_pkcs8.len()).any(|window| window == issued.key_pkcs8);
            ensure!(!found && !String::from_utf8_lossy(&bytes).contains(secret), "it is in {}", path.display());
        }
        Ok(())
    }
}
