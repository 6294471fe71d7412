//! H7: the control plane may be gone; what an edge has, it serves, and begins with again.

use std::fs;

use anyhow::{Result, ensure};
use switchyard_tests::{
    client::Client,
    eventually::eventually,
    fleet::Fleet,
    load::Load,
    on_both_databases,
    shop::{HOST, Shop},
};

on_both_databases! {
    async fn traffic_outlives_the_control_plane_and_the_edge_resumes_with_a_delta(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let root = fleet.api()?.internal_ca().await?;
        let (plain, secure) = (format!("http://{HOST}/"), format!("https://{HOST}/"));
        let (http, https) = (fleet.edge().http, fleet.edge().https);
        let load = Load::start(vec![(Client::http(http), plain.clone()), (Client::https(https, &root)?, secure.clone())]);
        load.goes_on(5).await?;

        fleet.control_plane.kill().await?;
        load.goes_on(20).await?;
        load.stop().await?;
        let before = fleet.edge().received().await?;

        fleet.edge_mut().kill().await?;
        fleet.edge_mut().start().await?;
        fleet.edge().configured().await?;
        ensure!(fleet.edge().received().await? == before, "it begins with what it had");
        ensure!(Client::http(http).get(&plain).await?.tag() == "a", "it serves HTTP from its disk");
        ensure!(Client::https(https, &root)?.get(&secure).await?.tag() == "a", "it serves HTTPS from its disk");

        fleet.control_plane.start().await?;
        let switched = fleet.api()?.switch_domain(HOST, "b").await?;
        eventually("the edge is back", async || {
            let edge = fleet.api()?.edge("edge-1").await?;
            ensure!(edge.acknowledged_revision >= switched.revision, "{edge:?}");
            Ok(())
        })
        .await?;
        ensure!(Client::http(http).get(&plain).await?.tag() == "b", "changes reach it again");
        ensure!(fleet.edge().batches("snapshot").await? == 0, "it has not been sent everything");
        ensure!(fleet.edge().batches("delta").await? >= 1, "it has been sent the difference");
        let edge = fleet.api()?.edge("edge-1").await?;
        ensure!(edge.snapshots_sent == 0 && edge.deltas_sent >= 1, "{edge:?}");
        Ok(())
    }

    async fn an_edge_that_was_away_gets_what_changed_meanwhile_as_a_delta(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        api.create_domain("leaving.example", "shop", "a").await?;
        let created = api.create_domain("staying.example", "shop", "a").await?;
        fleet.live(created.revision).await?;
        fleet.edge_mut().terminate().await?;

        eventually("the edge is listed as offline", async || {
            let edge = api.edge("edge-1").await?;
            ensure!(edge.state() == switchyard_proto::v1::EdgeState::Offline, "{edge:?}");
            Ok(())
        })
        .await?;
        api.delete_domain("leaving.example").await?;
        api.create_backend("shop-c", "shop", &shop.b.address(), &["c"]).await?;
        let revision = api.switch_domain("staying.example", "c").await?.revision;

        fleet.edge_mut().start().await?;
        eventually("the edge has caught up", async || {
            ensure!(api.edge("edge-1").await?.acknowledged_revision >= revision, "it has not");
            Ok(())
        })
        .await?;
        let client = fleet.http();
        ensure!(client.get("http://leaving.example/").await?.status == 404, "what was deleted is gone");
        ensure!(client.get("http://staying.example/").await?.header("x-backend") == "shop-b", "what changed has changed");
        ensure!(fleet.edge().batches("snapshot").await? == 0, "it has not been sent everything");
        Ok(())
    }

    async fn a_damaged_store_is_set_aside_and_the_edge_recovers(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let before = fleet.edge().received().await?;
        fleet.edge_mut().terminate().await?;
        let store = fleet.edge().state_dir.join("edge.redb");
        fs::write(&store, b"what no program has written")?;

        fleet.edge_mut().start().await?;
        fleet.edge().configured().await?;
        let warned = fleet.edge().process()?.log().find("a warning about the store", |record| {
            (record["level"] == "WARN" && record.to_string().contains("edge.redb")).then_some(())
        });
        warned.await?;
        let names: Vec<_> = fs::read_dir(&fleet.edge().state_dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        ensure!(names.iter().any(|name| name.starts_with("edge.redb.damaged")), "it is kept aside: {names:?}");
        ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.tag() == "a", "it serves");
        ensure!(fleet.edge().received().await? == before, "it has everything again");
        Ok(())
    }

    async fn a_restarted_control_plane_remembers_edges_that_are_away(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let acknowledged = fleet.api()?.edge("edge-1").await?.acknowledged_revision;
        fleet.edge_mut().terminate().await?;
        fleet.control_plane.terminate().await?;
        fleet.control_plane.start().await?;
        let edge = fleet.api()?.edge("edge-1").await?;
        ensure!(edge.state() == switchyard_proto::v1::EdgeState::Offline, "{edge:?}");
        ensure!(edge.acknowledged_revision == acknowledged, "{edge:?}");
        let ended = fleet.cli().run(&["switch", HOST, "--to", "b", "--wait", "--allow-offline"]).await?;
        ensure!(ended.code == 0 && ended.stdout.contains("edge-1   offline"), "it is listed: {ended:?}");
        Ok(())
    }
}

#[tokio::test]
async fn an_edge_that_never_had_a_configuration_listens_but_is_not_ready() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let dir = tempfile::tempdir()?;
    let nowhere = switchyard_tests::port::free()?;
    let token = format!("k7.{}.{}", "A".repeat(43), "0".repeat(64));
    let mut edge = switchyard_tests::fleet::Edge::new(dir.path(), "edge-1", nowhere, &token, Vec::new())?;
    edge.start().await?;
    let (status, body) = edge.ready().await?;
    ensure!(status == 503, "{status} {body}");
    ensure!(Client::http(edge.http).get("http://shop.example/").await?.status == 404, "it knows no host");
    ensure!(Client::http(edge.admin).get("http://localhost/healthz").await?.status == 200, "it is alive");
    edge.terminate().await
}
