//! S11: backends given by name, resolved by the edge.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use switchyard_tests::{
    client::Client,
    database::Database,
    dns::Dns,
    eventually::eventually,
    fleet::{Fleet, Plan},
    load::Load,
    on_both_databases,
    origin::Origin,
    port,
};

/// The name of the backend.
const NAME: &str = "backend.internal.example";

const URL: &str = "http://named.example/";

/// Addresses of this machine that nothing else uses, one port for both.
const OLD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const NEW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);

struct Named {
    fleet: Fleet,
    dns: Dns,
    port: u16,
}

impl Named {
    /// A domain whose backend has a name that is yet to be given addresses.
    async fn start(database: Database) -> Result<Self> {
        let dns = Dns::start().await?;
        let edge_arguments = vec!["--dns-server".to_owned(), dns.address.to_string()];
        let fleet = Fleet::start_with(database, Plan { edge_arguments, ..Plan::default() }).await?;
        Ok(Self { fleet, dns, port: port::free()?.port() })
    }

    async fn create(&self) -> Result<()> {
        let api = self.fleet.api()?;
        api.create_backend("named", "default", &format!("{NAME}:{}", self.port), &["a"]).await?;
        self.fleet.live(api.create_domain("named.example", "default", "a").await?.revision).await
    }

    async fn origin(&self, ip: Ipv4Addr) -> Result<Origin> {
        Origin::start_at(SocketAddr::from((ip, self.port)), &ip.to_string(), "a").await
    }

    /// Awaits that requests are answered by the backend at an address.
    async fn answered_by(&self, ip: Ipv4Addr) -> Result<()> {
        let client = Client::http(self.fleet.edge().http);
        eventually(&format!("{ip} answers"), async || {
            let answer = client.get(URL).await?;
            ensure!(answer.header("x-backend") == ip.to_string(), "{answer:?}");
            Ok(())
        })
        .await
    }
}

on_both_databases! {
    async fn a_backend_that_moves_in_dns_is_followed_without_a_failed_request(database: Database) -> Result<()> {
        let named = Named::start(database).await?;
        let (_old, new) = (named.origin(OLD).await?, named.origin(NEW).await?);
        named.dns.set(NAME, &[OLD])?;
        named.create().await?;
        named.answered_by(OLD).await?;
        let http = named.fleet.edge().http;
        let load = Load::start((0..4).map(|_| (Client::http(http), URL.to_owned())).collect());
        load.goes_on(5).await?;
        named.dns.set(NAME, &[NEW])?;
        named.answered_by(NEW).await?;
        load.goes_on(20).await?;
        load.stop().await?;
        drop(new);
        Ok(())
    }

    async fn the_last_good_answer_is_kept_while_dns_fails(database: Database) -> Result<()> {
        let named = Named::start(database).await?;
        let _old = named.origin(OLD).await?;
        named.dns.set(NAME, &[OLD])?;
        named.create().await?;
        named.answered_by(OLD).await?;
        let load = Load::start(vec![(Client::http(named.fleet.edge().http), URL.to_owned())]);
        named.dns.fail(NAME)?;
        // Long enough for the answer to have run out, and for the failure to have been seen.
        named.dns.asked_again(4).await?;
        load.goes_on(5).await?;
        load.stop().await?;
        Ok(())
    }

    async fn every_address_of_a_name_is_tried(database: Database) -> Result<()> {
        let named = Named::start(database).await?;
        let _new = named.origin(NEW).await?;
        // Nobody listens on the first.
        named.dns.set(NAME, &[OLD, NEW])?;
        named.create().await?;
        named.answered_by(NEW).await?;
        let client = Client::http(named.fleet.edge().http);
        for _ in 0..20 {
            let answer = client.get(URL).await?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        Ok(())
    }

    async fn a_name_that_leads_nowhere_is_a_clear_502(database: Database) -> Result<()> {
        let named = Named::start(database).await?;
        named.create().await?;
        let answer = Client::http(named.fleet.edge().http).get(URL).await?;
        ensure!(answer.status == 502, "{answer:?}");
        // Once it leads somewhere, traffic goes there.
        let _new = named.origin(NEW).await?;
        named.dns.set(NAME, &[NEW])?;
        named.answered_by(NEW).await
    }

    async fn localhost_needs_no_dns_server(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let origin = Origin::start("local", "a").await?;
        let api = fleet.api()?;
        api.create_backend("local", "default", &format!("localhost:{}", origin.address.port()), &["a"]).await?;
        fleet.live(api.create_domain("named.example", "default", "a").await?.revision).await?;
        eventually("localhost is resolved", async || {
            let answer = fleet.http().get(URL).await?;
            ensure!(answer.header("x-backend") == "local", "{answer:?}");
            Ok(())
        })
        .await
    }
}
