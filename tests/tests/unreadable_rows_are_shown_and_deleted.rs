//! A row of the database that cannot be read is listed, shown and deleted through the API; edges drop it, and the history shows it.

use anyhow::{Result, ensure};
use switchyard_proto::v1::ListUnreadableRequest;
use switchyard_tests::{
    eventually::eventually,
    fleet::Fleet,
    on_both_databases,
    shop::{HOST, Shop},
};
use tonic::Code;

/// Cuts a domain's document short, and adds a row of a kind that does not exist.
const DAMAGE: [&str; 2] = [
    "UPDATE object SET document = substr(document, 1, length(document) - 1) WHERE kind = 'domains' AND id = 'shop.example'",
    "INSERT INTO object SELECT 'gadgets', 'Shop/1', document, 1, 1, 1 FROM object WHERE kind = 'services' AND id = 'shop'",
];
const NAME: &str = "domains/shop.example";

on_both_databases! {
    async fn a_damaged_domain_is_shown_and_deleted_and_edges_drop_it(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database.clone()).await?;
        let _shop = Shop::open(&fleet).await?;
        let data_dir = fleet.control_plane.data_dir.clone();
        fleet.control_plane.terminate().await?;
        for statement in DAMAGE {
            database.execute(&data_dir, statement).await?;
        }
        fleet.control_plane.start().await?;
        let cli = fleet.cli();
        let list = async || {
            let listed = cli.json(&["unreadable", "list"]).await?;
            let rows = listed["unreadable"].as_array().cloned().unwrap_or_default();
            Ok::<_, anyhow::Error>(rows.iter().map(|row| row["resource"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>())
        };
        ensure!(list().await? == [NAME, "gadgets/Shop/1"], "{:?}", list().await?);
        let table = cli.run(&["unreadable", "list"]).await?.stdout;
        ensure!(table.lines().count() == 3 && table.contains("of a kind that this version does not know"), "{table}");

        let shown = cli.json(&["unreadable", "show", NAME]).await?;
        let document = &shown["document"];
        ensure!(document["format"] == 1 && document["undecodedHexadecimal"].is_string(), "{shown}");
        ensure!(shown["reason"].as_str().is_some_and(|it| !it.is_empty()) && shown["etag"].is_string(), "{shown}");
        let table = cli.run(&["unreadable", "show", "gadgets/Shop/1"]).await?.stdout;
        ensure!(table.contains("undecoded:") && table.contains("gadgets/Shop/1"), "{table}");

        // Nobody but an admin without a scope, and nothing but what cannot be read.
        for scope in [&["--role", "operator"][..], &["--role", "admin", "--domain", "*.example"]] {
            let name = format!("{}-1", scope[1]);
            let token = cli.json(&[&["token", "create", &name][..], scope].concat()).await?;
            let other = cli.clone().with_token(token["secret"].as_str().unwrap_or_default());
            for command in [&["unreadable", "list"][..], &["unreadable", "show", NAME], &["unreadable", "delete", NAME]] {
                let refused = other.run(command).await?;
                ensure!(refused.code == 1 && refused.stderr.contains("token"), "{command:?}: {refused:?}");
            }
        }
        let refused = cli.run(&["unreadable", "delete", "services/shop"]).await?;
        ensure!(refused.code == 1 && refused.stderr.contains("there is no unreadable services/shop"), "{refused:?}");
        let refused = cli.run(&["unreadable", "delete", "shop"]).await?;
        ensure!(refused.code == 1 && refused.stderr.contains("KIND/ID: "), "{refused:?}");
        let stale = cli.run(&["unreadable", "delete", NAME, "--etag", "999"]).await?;
        ensure!(stale.code == 1 && stale.stderr.contains("etag"), "{stale:?}");

        let url = format!("http://{HOST}/");
        let checked = cli.run(&["unreadable", "delete", NAME, "--dry-run"]).await?;
        ensure!(checked.code == 0 && checked.stdout.contains("would be deleted"), "{checked:?}");
        ensure!(fleet.http().get(&url).await?.tag() == "a", "the edge serves what it has");

        eventually("the edge is connected", async || {
            let state = fleet.api()?.edge("edge-1").await?.state();
            ensure!(state == switchyard_proto::v1::EdgeState::Connected, "it is not: {state:?}");
            Ok(())
        })
        .await?;
        let deleted = cli.run(&["unreadable", "delete", NAME, "--wait"]).await?;
        ensure!(deleted.code == 0, "{deleted:?}");
        ensure!(fleet.http().get(&url).await?.status == 404, "the edge has dropped it");
        let deleted = cli.json(&["unreadable", "delete", "gadgets/Shop/1"]).await?;
        ensure!(deleted["revision"].is_string(), "{deleted}");
        ensure!(list().await?.is_empty(), "nothing is left");

        let audit = cli.json(&["audit", NAME, "--limit", "1"]).await?;
        let change = &audit["changes"][0];
        ensure!(change["kind"] == "CHANGE_KIND_DELETED" && change["actor"] == "admin", "{audit}");
        ensure!(change["method"] == "DeleteUnreadable", "{audit}");
        let created = fleet.api()?.create_internal_domain(HOST, "shop", "b").await?;
        fleet.live(created.revision).await?;
        ensure!(fleet.http().get(&url).await?.tag() == "b", "its name is free again");
        Ok(())
    }

    async fn what_something_refers_to_is_not_deleted(database: Database) -> Result<()> {
        let mut fleet = Fleet::without_edges(database.clone()).await?;
        let _shop = Shop::open(&fleet).await?;
        let data_dir = fleet.control_plane.data_dir.clone();
        fleet.control_plane.terminate().await?;
        let damage = "UPDATE object SET document = substr(document, 1, 1) WHERE kind = 'services' AND id = 'shop'";
        database.execute(&data_dir, damage).await?;
        fleet.control_plane.start().await?;
        let refused = fleet.cli().run(&["unreadable", "delete", "services/shop"]).await?;
        let expected = "domains/shop.example refers to services/shop: delete it or change it first";
        ensure!(refused.code == 1 && refused.stderr.contains(expected), "{refused:?}");
        let mut api = fleet.api()?;
        let page = api.unreadable.list_unreadable(ListUnreadableRequest { page_size: -1, ..Default::default() }).await;
        ensure!(page.is_err_and(|status| status.code() == Code::InvalidArgument), "no page is of this size");
        Ok(())
    }
}
