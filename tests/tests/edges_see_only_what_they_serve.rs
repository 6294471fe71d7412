//! F4, X2: domains can be limited to edges by label, and an edge is sent what it serves, and no others.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use switchyard_proto::{
    fleet::v1::{Hello, Resource, SyncRequest, sync_request, sync_response},
    v1::ProgressState,
    vocab::ResourceKey,
};
use switchyard_tests::{
    client::Client,
    eventually::{eventually, within},
    fleet::{Edge, Fleet},
    fleet_client::Member,
    on_both_databases,
    shop::{HOST, Shop},
};

/// An edge of this region.
async fn edge_in(fleet: &Fleet, region: &str) -> Result<Edge> {
    let token = fleet.api()?.invite(1, &[("region", region)]).await?;
    let mut edge = Edge::new(fleet.dir(), region, fleet.control_plane.fleet, &token, Vec::new())?;
    edge.start().await?;
    edge.configured().await?;
    Ok(edge)
}

/// The names of everything that goes over the stream to a new edge of this region.
async fn sent_to(fleet: &Fleet, name: &str, region: &str) -> Result<BTreeSet<String>> {
    let token = fleet.api()?.invite(1, &[("region", region)]).await?;
    let member = Member::join(fleet.control_plane.fleet, &token, name).await?;
    let hello = Hello { version: "test".to_owned(), digest: vec![0; 16].into(), ..Hello::default() };
    let hello = SyncRequest { message: Some(sync_request::Message::Hello(hello)) };
    // It says nothing more, and so its stream ends after what it is sent first.
    let requests = tokio_stream::iter([hello]);
    let mut stream = member.connect(fleet.control_plane.fleet)?.sync(requests).await?.into_inner();
    let mut names = BTreeSet::new();
    loop {
        let message = within("a batch", stream.message()).await??.context("it is sent something")?;
        let Some(sync_response::Message::Batch(batch)) = message.message else { bail!("not a batch: {message:?}") };
        for encoded in batch.resources {
            let key = Resource::decode(encoded)?.key.context("a key")?;
            names.insert(ResourceKey::from_wire(&key)?.to_string());
        }
        names
            .extend(batch.removed.iter().filter_map(|key| ResourceKey::from_wire(key).ok()).map(|key| key.to_string()));
        if batch.last {
            return Ok(names);
        }
    }
}

async fn serves(edge: &Edge, host: &str) -> Result<bool> {
    Ok(Client::http(edge.http).get(&format!("http://{host}/")).await?.status == 200)
}

on_both_databases! {
    async fn a_domain_goes_where_its_selector_says_and_takes_what_it_uses_along(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let shop = Shop::open(&fleet).await?;
        let (api, cli) = (fleet.api()?, fleet.cli());
        // Older than everything that follows.
        api.create_service("private").await?;
        api.create_backend("private-1", "private", &shop.a.address(), &["a"]).await?;
        let (eu, us) = (edge_in(&fleet, "eu").await?, edge_in(&fleet, "us").await?);
        let create = ["domain", "create", "eu.example", "--service", "private", "--tag", "a", "--tls", "internal"];
        let created = cli.run(&[&create[..], &["--edge-label", "region=eu", "--wait"]].concat()).await?;
        ensure!(created.code == 0 && created.stdout.contains("live on 1 of 1"), "{created:?}");
        ensure!(serves(&eu, "eu.example").await? && !serves(&us, "eu.example").await?, "only where it belongs");
        ensure!(serves(&eu, HOST).await? && serves(&us, HOST).await?, "others are everywhere");

        let private = ["backends/private-1", "certificates/internal-eu.example", "domains/eu.example", "services/private"];
        let seen = sent_to(&fleet, "eu-2", "eu").await?;
        ensure!(private.iter().all(|name| seen.contains(*name)), "{seen:?}");
        let ticket_keys = |seen: &BTreeSet<String>| -> Vec<String> {
            seen.iter().filter(|name| name.starts_with("ticketKeys/")).cloned().collect()
        };
        let of_eu = ticket_keys(&seen);
        let seen = sent_to(&fleet, "us-2", "us").await?;
        let of_us = ticket_keys(&seen);
        ensure!(of_eu.len() == 1 && of_us.len() == 1 && of_eu != of_us, "each its own: {of_eu:?} {of_us:?}");
        ensure!(seen.contains(&format!("domains/{HOST}")), "{seen:?}");
        ensure!(!seen.iter().any(|name| private.contains(&name.as_str()) || name.contains("eu")), "{seen:?}");
        ensure!(!seen.contains("services/default"), "what no domain refers to goes nowhere: {seen:?}");

        // They do not come back, and are not to be waited for.
        for edge in ["eu-2", "us-2"] {
            api.delete_edge(edge).await?;
        }

        // The selector changes: what it uses leaves one edge and comes to the other, however old it is.
        let moved = cli.run(&["domain", "update", "eu.example", "--edge-label", "region=us", "--wait"]).await?;
        ensure!(moved.code == 0, "{moved:?}");
        ensure!(!serves(&eu, "eu.example").await? && serves(&us, "eu.example").await?, "it has moved");
        let everywhere = cli.run(&["domain", "update", "eu.example", "--all-edges", "--wait"]).await?;
        ensure!(everywhere.code == 0, "{everywhere:?}");
        ensure!(serves(&eu, "eu.example").await? && serves(&us, "eu.example").await?, "it is everywhere");

        // Both have what a fresh edge of theirs has.
        let fresh = sent_to(&fleet, "eu-3", "eu").await?;
        ensure!(private.iter().all(|name| fresh.contains(*name)), "{fresh:?}");
        Ok(())
    }

    async fn an_edge_that_is_labelled_anew_serves_what_goes_with_that(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let (api, cli) = (fleet.api()?, fleet.cli());
        let mut edge = edge_in(&fleet, "us").await?;
        let create = ["domain", "create", "eu.example", "--service", "shop", "--tag", "a", "--edge-label", "region=eu", "--tls", "uploaded"];
        ensure!(cli.run(&create).await?.code == 0, "it is created");
        ensure!(!serves(&edge, "eu.example").await?, "not here");
        let labelled = cli.run(&["edge", "label", "us", "region=eu", "role=big", "--wait"]).await?;
        ensure!(labelled.code == 0 && labelled.stdout.contains("live on 1 of 1"), "{labelled:?}");
        ensure!(serves(&edge, "eu.example").await? && serves(&edge, HOST).await?, "it serves what goes with its labels");
        let labelled = cli.run(&["edge", "label", "us", "region-", "--wait"]).await?;
        ensure!(labelled.code == 0, "{labelled:?}");
        ensure!(!serves(&edge, "eu.example").await? && serves(&edge, HOST).await?, "and no longer");

        // Labelled while it was away, with its memory of what it saw before.
        edge.terminate().await?;
        let relabelled = cli.json(&["edge", "label", "us", "region=eu"]).await?;
        ensure!(relabelled["labels"]["region"] == "eu", "{relabelled}");
        edge.start().await?;
        eventually("it serves what goes with its labels", async || {
            ensure!(serves(&edge, "eu.example").await?, "not yet");
            Ok(())
        })
        .await?;
        let newest = api.list_edges().await?.revision;
        let progress = api.progress(newest).await?;
        ensure!(progress.iter().all(|edge| edge.state() == ProgressState::Live), "{progress:?}");
        Ok(())
    }

    async fn an_edge_that_is_removed_had_the_keys_of_what_it_served(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        for region in ["eu", "us"] {
            let (host, label) = (format!("{region}.example"), format!("region={region}"));
            let create = ["domain", "create", &host, "--service", "shop", "--tag", "a", "--tls", "internal"];
            ensure!(cli.run(&[&create[..], &["--edge-label", &label]].concat()).await?.code == 0, "{host}");
        }
        sent_to(&fleet, "lost", "eu").await?;
        let removed = cli.json(&["edge", "remove", "lost"]).await?.to_string();
        ensure!(removed.contains("internal-eu.example") && !removed.contains("internal-us.example"), "{removed}");
        Ok(())
    }
}
