//! A row of the database that cannot be read stops neither the control plane nor the edges: what they serve of it stays.

use anyhow::{Context, Result, ensure};
use http::Request;
use switchyard_proto::v1::ProgressState;
use switchyard_tests::{
    client::{Client, empty},
    eventually::eventually,
    fleet::Fleet,
    on_both_databases,
    shop::{HOST, Shop},
};
use tonic::Code;

/// Keeps a copy of a domain's document.
const COPY_DOMAIN: &str =
    "CREATE TABLE copy AS SELECT document FROM object WHERE kind = 'domains' AND id = 'shop.example'";
/// Cuts a domain's document short.
const DAMAGE_DOMAIN: &str = "UPDATE object SET document = substr(document, 1, length(document) - 1)
    WHERE kind = 'domains' AND id = 'shop.example'";
/// Puts the copy in its place.
const RESTORE_DOMAIN: &str =
    "UPDATE object SET document = (SELECT document FROM copy) WHERE kind = 'domains' AND id = 'shop.example'";
/// Cuts the documents of a token and of an edge short.
const DAMAGE_TOKEN_AND_EDGE: &str = "UPDATE object SET document = substr(document, 1, length(document) - 1)
    WHERE (kind = 'tokens' AND id = 'ci') OR (kind = 'edges' AND id = 'edge-1')";

/// How many rows of a kind the control plane cannot read, as its metrics say.
async fn withheld(fleet: &Fleet, kind: &str) -> Result<u64> {
    let token = format!("Bearer {}", fleet.control_plane.admin_token()?);
    let request = Request::get("http://localhost/metrics").header("authorization", token).body(empty())?;
    let answer = Client::http(fleet.control_plane.admin).exchange(request).await?;
    let series = format!("switchyard_withheld_resources{{kind=\"{kind}\"}} ");
    Ok(answer.text()?.lines().find_map(|line| line.strip_prefix(&series)).map_or(Ok(0), str::parse)?)
}

on_both_databases! {
    async fn a_damaged_domain_is_served_over_restarts_of_both_sides(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database.clone()).await?;
        let shop = Shop::open(&fleet).await?;
        let data_dir = fleet.control_plane.data_dir.clone();
        fleet.api()?.switch_domain(HOST, "b").await?;
        database.execute(&data_dir, COPY_DOMAIN).await?;
        fleet.live(fleet.api()?.switch_domain(HOST, "a").await?.revision).await?;
        fleet.control_plane.terminate().await?;
        database.execute(&data_dir, DAMAGE_DOMAIN).await?;
        fleet.control_plane.start().await?;
        ensure!(withheld(&fleet, "domains").await? == 1, "it is counted");
        let said = fleet.control_plane.process()?.log().line("row_unreadable").await?;
        ensure!(said.contains("domains/shop.example") && said.contains("WARN"), "{said}");

        let api = fleet.api()?;
        let url = format!("https://{HOST}/");
        for _ in 0..2 {
            ensure!(fleet.https().await?.get(&url).await?.tag() == "a", "the domain is served");
            let other = api.create_domain("other.example", "shop", "b").await?;
            fleet.live(other.revision).await?;
            ensure!(fleet.http().get("http://other.example/").await?.tag() == "b", "other changes go live");
            fleet.live(api.delete_domain("other.example").await?).await?;
            let edge = api.edge("edge-1").await?;
            // The control plane does not know any more what the domain uses: the edge keeps it, and says so.
            let keeps = |reason: &str| reason.contains("waits for domains/shop.example") || reason.contains("in use");
            ensure!(edge.rejections.iter().all(|rejection| keeps(&rejection.reason)), "{edge:?}");
            let is_rejected = edge.rejections.iter().any(|rejection| rejection.resource.starts_with("domains/"));
            ensure!(!is_rejected, "what cannot be read is no rejection: {edge:?}");
            fleet.edge_mut().kill().await?;
            fleet.edge_mut().start().await?;
            fleet.edge().configured().await?;
            eventually("the edge is connected", async || {
                let state = api.edge("edge-1").await?.state();
                ensure!(state == switchyard_proto::v1::EdgeState::Connected, "it is not: {state:?}");
                Ok(())
            })
            .await?;
        }
        let refused = api.switch_domain(HOST, "b").await.err().map(|status| status.code());
        ensure!(refused.is_some_and(|code| code != Code::Ok), "it is not written: {refused:?}");
        let missing = api.get_domain(HOST).await.err().map(|status| status.code());
        ensure!(missing == Some(Code::NotFound), "it is not shown as something that it is not: {missing:?}");

        // The pool that it uses stays at the edge, and a new edge has nothing of it.
        let deleted = api.delete_backend("shop-a").await?;
        eventually("the edge has that", async || {
            ensure!(api.edge("edge-1").await?.acknowledged_revision >= deleted, "not yet");
            Ok(())
        })
        .await?;
        ensure!(fleet.https().await?.get(&url).await?.tag() == "a", "what it uses stays");
        let fresh = fleet.new_edge("fresh", Vec::new()).await?;
        ensure!(Client::http(fresh.http).get(&format!("http://{HOST}/")).await?.status == 404, "it has nothing of it");

        // It is repaired by hand.
        fleet.control_plane.terminate().await?;
        database.execute(&data_dir, RESTORE_DOMAIN).await?;
        fleet.control_plane.start().await?;
        eventually("the edges have the restored domain", async || {
            for edge in [fleet.edge(), &fresh] {
                let answer = Client::http(edge.http).get(&format!("http://{HOST}/")).await?;
                ensure!(answer.tag() == "b", "{} has not: {answer:?}", edge.name);
            }
            Ok(())
        })
        .await?;
        ensure!(withheld(&fleet, "domains").await? == 0, "it is counted no more");
        let switched = fleet.api()?.create_domain("other.example", "shop", "b").await?;
        let progress = fleet.api()?.progress(switched.revision).await?;
        ensure!(progress.iter().all(|edge| edge.state() == ProgressState::Live), "{progress:?}");
        drop(shop);
        Ok(())
    }

    async fn a_damaged_token_or_edge_is_shut_out_and_nothing_else(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database.clone()).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        let created = cli.json(&["token", "create", "ci", "--role", "admin"]).await?;
        let token = created["secret"].as_str().context("a secret")?.to_owned();
        ensure!(cli.clone().with_token(&token).run(&["domain", "list"]).await?.code == 0, "it is good: {created}");
        let data_dir = fleet.control_plane.data_dir.clone();
        fleet.control_plane.terminate().await?;
        database.execute(&data_dir, DAMAGE_TOKEN_AND_EDGE).await?;
        fleet.control_plane.start().await?;
        ensure!(withheld(&fleet, "tokens").await? == 1 && withheld(&fleet, "edges").await? == 1, "both are counted");
        let refused = cli.clone().with_token(&token).run(&["domain", "list"]).await?;
        ensure!(refused.code != 0, "nobody gets in by it: {refused:?}");
        ensure!(cli.run(&["domain", "list"]).await?.code == 0, "the others do");
        let fresh = fleet.new_edge("fresh", Vec::new()).await?;
        let url = format!("http://{HOST}/");
        ensure!(Client::http(fresh.http).get(&url).await?.tag() == "a", "other edges are served");
        ensure!(fleet.http().get(&url).await?.tag() == "a", "the edge serves what it has");
        Ok(())
    }
}
