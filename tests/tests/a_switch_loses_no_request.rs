//! W1, W3, W6: switching under load, with real clients.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt};
use switchyard_proto::v1::BackendState;
use switchyard_tests::{
    client::Client,
    eventually::within,
    fleet::{Fleet, Plan},
    load::Load,
    on_both_databases,
    origin::Origin,
    shop::{HOST, Shop},
};
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

const SWITCHES: usize = 20;

const UNRELATED_CHANGES: usize = 100;

/// What every client sends between two switches, at least.
const REQUESTS: usize = 5;

on_both_databases! {
    async fn twenty_switches_under_load_fail_no_request_and_none_goes_to_the_old_tag_afterwards(
        database: Database
    ) -> Result<()> {
        let fleet = Fleet::start_with(database, Plan { edges: 2, ..Plan::default() }).await?;
        let _shop = Shop::open(&fleet).await?;
        let root = fleet.api()?.internal_ca().await?;
        let mut clients = Vec::new();
        for edge in &fleet.edges {
            let (plain, secure) = (format!("http://{HOST}/"), format!("https://{HOST}/"));
            clients.push((Client::http(edge.http), plain.clone()));
            clients.push((Client::http(edge.http), plain));
            clients.push((Client::https(edge.https, &root)?, secure.clone()));
            clients.push((Client::https1(edge.https, &root)?, secure));
        }
        let load = Load::start(clients);
        load.goes_on(REQUESTS).await?;

        // The tag, and when nothing but it was right: from the return of one command to the start of the next.
        let mut phases = Vec::new();
        let cli = fleet.cli();
        for number in 0..SWITCHES {
            let tag = if number % 2 == 0 { "b" } else { "a" };
            let ended = cli.run(&["switch", HOST, "--to", tag, "--wait"]).await?;
            let live = Instant::now();
            ensure!(ended.code == 0, "switch {number}: {ended:?}");
            load.goes_on(REQUESTS).await?;
            phases.push((tag, live, Instant::now()));
        }

        let sent = load.stop().await?;
        for (tag, live, next) in phases {
            let during: Vec<_> = sent.iter().filter(|sent| sent.begun >= live && sent.ended <= next).collect();
            ensure!(during.len() >= 8 * REQUESTS, "{} requests while {tag} was live", during.len());
            let wrong = during.iter().find(|sent| sent.outcome.as_deref() != Ok(tag));
            ensure!(wrong.is_none(), "after the switch to {tag} had been reported: {wrong:?}");
        }
        Ok(())
    }

    async fn a_websocket_stays_open_through_a_hundred_unrelated_changes_and_a_switch(
        database: Database
    ) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let mut plain = fleet.http().websocket(&format!("ws://{HOST}/ws")).await?;
        let mut secure = fleet.https().await?.websocket(&format!("ws://{HOST}/ws")).await?;
        let mut answered_by_a = async |text: &str| -> Result<()> {
            for socket in [&mut plain, &mut secure] {
                socket.send(Message::text(text)).await?;
                let answer = within("the WebSocket answers", socket.next()).await?.context("the WebSocket is open")??;
                ensure!(answer == Message::text(format!("a:{text}")), "{answer:?}");
            }
            Ok(())
        };
        answered_by_a("before").await?;

        let other = Origin::start("other", "a").await?;
        api.create_service("other").await?;
        api.create_backend("other", "other", &other.address(), &["a"]).await?;
        let mut revision = 0;
        for number in 0..UNRELATED_CHANGES {
            revision = api.create_domain(&format!("d{number}.example"), "other", "a").await?.revision;
            if number % 20 == 0 {
                fleet.live(revision).await?;
                answered_by_a("meanwhile").await?;
            }
        }
        fleet.live(revision).await?;
        answered_by_a("after a hundred changes").await?;

        fleet.live(api.switch_domain(HOST, "b").await?.revision).await?;
        ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.tag() == "b", "new requests go to b");
        answered_by_a("after the switch").await
    }

    async fn a_request_in_flight_finishes_on_the_old_backend(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let shop = Shop::open(&fleet).await?;
        let client = fleet.http();
        let slow = tokio::spawn({
            let client = client.clone();
            async move { client.get(&format!("http://{HOST}/slow")).await }
        });
        shop.a.waiting(1).await?;
        fleet.live(fleet.api()?.switch_domain(HOST, "b").await?.revision).await?;
        ensure!(client.get(&format!("http://{HOST}/")).await?.tag() == "b", "new requests go to b");
        shop.a.release();
        let answer = slow.await??;
        ensure!(answer.status == 200 && answer.tag() == "a", "{answer:?}");
        Ok(())
    }

    async fn back_returns_to_the_tag_before_and_two_tags_toggle(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let (cli, client) = (fleet.cli(), fleet.http());
        let commands: [(&[&str], &str); 4] =
            [(&["--to", "b"], "b"), (&["--back"], "a"), (&[], "b"), (&["--back"], "a")];
        for (arguments, tag) in commands {
            let ended = cli.run(&[&["switch", HOST, "--wait"], arguments].concat()).await?;
            ensure!(ended.code == 0, "switch {arguments:?}: {ended:?}");
            ensure!(client.get(&format!("http://{HOST}/")).await?.tag() == tag, "switch {arguments:?} leads to {tag}");
        }
        let domain = fleet.api()?.get_domain(HOST).await?;
        ensure!(domain.active_tag == "a" && domain.previous_tag == "b", "{domain:?}");
        Ok(())
    }

    async fn a_switch_to_a_tag_without_active_backends_is_refused_unless_forced(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let (api, cli) = (fleet.api()?, fleet.cli());
        api.set_backend_state("shop-b", BackendState::Draining).await?;
        let refused = api.switch_domain(HOST, "b").await.err().context("the switch is refused")?;
        ensure!(refused.code() == Code::FailedPrecondition, "{refused:?}");
        let ended = cli.run(&["switch", HOST, "--to", "b", "--wait"]).await?;
        ensure!(ended.code == 1 && ended.stderr.contains("FAILED_PRECONDITION"), "{ended:?}");
        ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.tag() == "a", "nothing has changed");

        let ended = cli.run(&["switch", HOST, "--to", "b", "--force", "--wait"]).await?;
        ensure!(ended.code == 0, "{ended:?}");
        ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.status == 503, "b has no active backend");
        Ok(())
    }

    async fn a_retried_switch_changes_nothing(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let first = api.switch_domain(HOST, "b").await?;
        let second = api.switch_domain(HOST, "b").await?;
        ensure!(first == second, "{first:?} {second:?}");
        ensure!(api.list_edges().await?.revision == first.revision, "a retry is no revision");
        Ok(())
    }

    async fn a_drained_backend_gets_no_new_requests_and_finishes_those_it_has(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let shop = Shop::open(&fleet).await?;
        let second = Origin::start("shop-a2", "a").await?;
        let created = fleet.api()?.create_backend("shop-a2", "shop", &second.address(), &["a"]).await?;
        fleet.live(created.revision).await?;
        let url = format!("http://{HOST}/");
        let client = fleet.http();
        // Both take turns, so that one of two lands on the first.
        let slow: Vec<_> = (0..6)
            .map(|_| {
                let client = client.another(false);
                tokio::spawn(async move { client.get(&format!("http://{HOST}/slow")).await })
            })
            .collect();
        shop.a.waiting(1).await?;

        let ended = fleet.cli().run(&["backend", "drain", "shop-a", "--wait"]).await?;
        ensure!(ended.code == 0, "{ended:?}");
        for _ in 0..20 {
            let answer = client.get(&url).await?;
            ensure!(answer.header("x-backend") == "shop-a2", "{answer:?}");
        }
        shop.a.release();
        second.release();
        for slow in slow {
            let answer = slow.await??;
            ensure!(answer.status == 200, "{answer:?}");
        }
        Ok(())
    }
}
