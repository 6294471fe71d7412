//! X2: the master key can be replaced while everything runs, and nothing is lost; without it nothing starts, and that is said.

use anyhow::{Context, Result, ensure};
use switchyard_proto::v1::{BackendClientCertificate, BackendTls, CreateServiceRequest, Service};
use switchyard_tests::{authority::Authority, fleet::Fleet, key_file, on_both_databases, shop::Shop};

on_both_databases! {
    async fn rekeying_while_changes_are_made_loses_nothing(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        for number in 0..5 {
            api.create_internal_domain(&format!("before-{number}.example"), "shop", "a").await?;
        }
        let client = Authority::generate()?.issue(&["edges.example"])?;
        let tls = BackendTls {
            client_certificate: Some(BackendClientCertificate {
                chain_pem: client.chain_pem, private_key_pem: client.key_pem, ..BackendClientCertificate::default()
            }),
            ..BackendTls::default()
        };
        let strict = Service { name: "services/strict".to_owned(), tls: Some(tls), ..Service::default() };
        let request = CreateServiceRequest { service: Some(strict), validate_only: false };
        api.services.clone().create_service(request).await?;
        let (old, new) = (fleet.control_plane.master_key_file(), fleet.dir().join("new-key"));
        key_file::write(&new, &"7e".repeat(32))?;
        fleet.control_plane.terminate().await?;
        fleet.control_plane.set_keys(new.clone(), Some(old.clone()));
        fleet.control_plane.start().await?;

        let api = fleet.api()?;
        let changes = async {
            for number in 0..10 {
                api.create_internal_domain(&format!("during-{number}.example"), "shop", "a").await?;
                api.delete_domain(&format!("before-{}.example", number / 3)).await.ok();
            }
            anyhow::Ok(())
        };
        let (changed, rekeyed) = tokio::join!(changes, fleet.control_plane.rekey());
        changed?;
        let rekeyed = rekeyed?;
        ensure!(rekeyed.status.success(), "{rekeyed:?}");

        // The old one is not needed any more: a new edge gets every key.
        fleet.control_plane.terminate().await?;
        fleet.control_plane.set_keys(new, None);
        fleet.control_plane.start().await?;
        let fresh = fleet.new_edge("fresh", Vec::new()).await?;
        fleet.live(fleet.api()?.list_edges().await?.revision).await?;
        let client = switchyard_tests::client::Client::https(fresh.https, &fleet.api()?.internal_ca().await?)?;
        for name in ["before-4", "during-0", "during-9"] {
            ensure!(client.get(&format!("https://{name}.example/")).await?.status == 200, "{name}");
        }

        // And opens nothing.
        fleet.control_plane.terminate().await?;
        fleet.control_plane.set_keys(old, None);
        let failed = fleet.control_plane.fail().await?;
        let said = String::from_utf8(failed.stderr)?;
        let line = said.lines().find(|line| line.contains("another master key")).with_context(|| said.clone())?;
        ensure!(!failed.status.success() && line.contains("--master-key-file"), "{said}");
        ensure!(!fleet.control_plane.rekey().await?.status.success(), "nor is anything sealed under it");
        Ok(())
    }
}
