//! What holds while the database is away, after it was restored, and when it is shared.

use std::fs;

use anyhow::{Context, Result, ensure};
use switchyard_tests::{
    api::Api,
    cable::Cable,
    database::Database,
    eventually::eventually,
    fleet::{ControlPlane, Fleet},
    install_crypto_provider, on_both_databases,
    shop::{HOST, Shop},
};
use tonic::Code;

on_both_databases! {
    async fn edges_ahead_of_a_restored_database_are_sent_everything(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database.clone()).await?;
        let _shop = Shop::open(&fleet).await?;
        let data_dir = fleet.control_plane.data_dir.clone();
        fleet.control_plane.terminate().await?;
        database.back_up(&data_dir).await?;
        fleet.control_plane.start().await?;
        let api = fleet.api()?;
        api.create_domain("lost.example", "shop", "a").await?;
        api.switch_domain(HOST, "b").await?;
        let newest = api.delete_backend("shop-a").await?;
        eventually("the edge has it", async || {
            ensure!(api.edge("edge-1").await?.acknowledged_revision == newest, "it has not");
            Ok(())
        })
        .await?;
        ensure!(fleet.http().get("http://lost.example/").await?.status == 503, "it has no backend any more");

        fleet.control_plane.terminate().await?;
        database.restore(&data_dir).await?;
        fleet.control_plane.start().await?;
        let client = fleet.http();
        eventually("the edge serves what was restored", async || {
            ensure!(client.get("http://lost.example/").await?.status == 404, "what was made since is gone");
            ensure!(client.get(&format!("http://{HOST}/")).await?.tag() == "a", "it is as it was");
            // It is counted when it is on the disk: traffic does not wait for that.
            ensure!(fleet.edge().batches("snapshot").await? == 2, "at first, and now");
            Ok(())
        })
        .await?;
        // Revisions that were given twice mean what the database says.
        let api = fleet.api()?;
        fleet.live(api.switch_domain(HOST, "b").await?.revision).await?;
        ensure!(client.get(&format!("http://{HOST}/")).await?.tag() == "b", "changes reach it");
        let fresh = fleet.new_edge("fresh", Vec::new()).await?;
        ensure!(fresh.received().await? == fleet.edge().received().await?, "both have the same");
        Ok(())
    }
}

/// A Postgres database behind a cable.
async fn cabled() -> Result<(Database, Cable)> {
    install_crypto_provider();
    let Database::Postgres { url } = Database::postgres().await? else { unreachable!("it is Postgres") };
    let (user, rest) = url.split_once('@').context("a URL with a user")?;
    let (server, name) = rest.split_once('/').context("a URL with a database")?;
    let cable = Cable::to(server.parse()?).await?;
    Ok((Database::Postgres { url: format!("{user}@{}/{name}", cable.address) }, cable))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_away_reads_go_on_and_writes_are_unavailable() -> Result<()> {
    let (database, cable) = cabled().await?;
    let fleet = Fleet::start(database).await?;
    let _shop = Shop::open(&fleet).await?;
    let api = fleet.api()?;
    // Joining is a change, too; but an edge that has joined may have nothing yet.
    let mut fresh = fleet.new_edge("fresh", Vec::new()).await?;
    fresh.terminate().await?;
    fs::remove_file(fresh.state_dir.join("edge.redb"))?;
    cable.cut();
    ensure!(api.get_domain(HOST).await?.active_tag == "a", "reads come from memory");
    let refused = api.switch_domain(HOST, "b").await.err().context("writes fail")?;
    ensure!(refused.code() == Code::Unavailable, "{refused:?}");
    ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.tag() == "a", "traffic flows");
    fresh.start().await?;
    fresh.configured().await?;
    ensure!(fresh.received().await? == fleet.edge().received().await?, "even a new edge gets everything");

    cable.mend();
    let switched = eventually("writes go on", async || Ok(api.switch_domain(HOST, "b").await?)).await?;
    fleet.live(switched.revision).await?;
    ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.tag() == "b", "and reach the edges");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_control_planes_on_one_postgres_work_as_one() -> Result<()> {
    install_crypto_provider();
    let database = Database::postgres().await?;
    let other_dir = tempfile::tempdir()?;
    let mut other = ControlPlane::new(other_dir.path(), database.clone(), Vec::new())?;
    // Both find the database empty.
    let (fleet, started) = tokio::join!(Fleet::without_edges(database), other.start());
    let mut fleet = fleet?;
    started?;
    // One of them made the first token, and wrote it down.
    let file = fleet.control_plane.data_dir.join("admin-token");
    if !file.exists() {
        fs::copy(other.data_dir.join("admin-token"), &file)?;
    }
    let edge = fleet.new_edge("edge-1", Vec::new()).await?;
    fleet.edges.push(edge);
    let _shop = Shop::open(&fleet).await?;

    let api = Api::new(other.admin, &fleet.control_plane.admin_token()?)?;
    eventually("the other one follows", async || Ok(api.get_domain(HOST).await?)).await?;
    let switched = api.switch_domain(HOST, "b").await?;
    let client = fleet.http();
    eventually("a change at one reaches the edges of the other", async || {
        ensure!(client.get(&format!("http://{HOST}/")).await?.tag() == "b", "not yet");
        Ok(())
    })
    .await?;
    ensure!(fleet.api()?.get_domain(HOST).await? == switched, "both say the same");
    Ok(())
}
