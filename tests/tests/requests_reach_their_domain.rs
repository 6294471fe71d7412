//! S1, S2, H3: which backend a request reaches, and what a client is told when it reaches none.

use anyhow::{Result, ensure};
use http::{Method, Request};
use switchyard_tests::{
    client::{Client, empty},
    fleet::Fleet,
    on_both_databases,
    origin::Origin,
    port,
    shop::{HOST, Shop},
};

/// Creates a service with one backend of tag `a`, named alike, and a domain on it.
async fn serve(fleet: &Fleet, name: &str, host: &str) -> Result<Origin> {
    let api = fleet.api()?;
    let origin = Origin::start(name, "a").await?;
    api.create_service(name).await?;
    api.create_backend(name, name, &origin.address(), &["a"]).await?;
    fleet.live(api.create_domain(host, name, "a").await?.revision).await?;
    Ok(origin)
}

on_both_databases! {
    async fn hosts_lead_to_their_domain_exact_before_wildcard(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _wildcard = serve(&fleet, "wildcard", "*.shop.example").await?;
        let _exact = serve(&fleet, "exact", "www.shop.example").await?;
        let _idn = serve(&fleet, "idn", "bücher.example").await?;
        let client = fleet.http();
        for (host, backend) in [
            ("www.shop.example", "exact"),
            ("WWW.Shop.Example", "exact"),
            ("www.shop.example.", "exact"),
            ("www.shop.example:8080", "exact"),
            ("other.shop.example", "wildcard"),
            ("xn--bcher-kva.example", "idn"),
        ] {
            let request = Request::get("http://ignored.example/").header("host", host).body(empty())?;
            let answer = client.exchange(request).await?;
            ensure!(answer.header("x-backend") == backend, "{host}: {answer:?}");
        }
        for host in ["shop.example", "a.b.shop.example", "example", "127.0.0.1", "[::1]:80"] {
            let request = Request::get("http://ignored.example/").header("host", host).body(empty())?;
            let answer = client.exchange(request).await?;
            ensure!(answer.status == 404 && answer.header("x-backend").is_empty(), "{host}: {answer:?}");
        }
        let http2 = Client::http2(fleet.edge().http).get("http://www.shop.example/").await?;
        ensure!(http2.header("x-backend") == "exact", ":authority: {http2:?}");
        Ok(())
    }

    async fn an_unknown_host_gets_a_404_page_in_the_form_it_accepts(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let client = fleet.http();
        for (accept, content_type) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
            ("application/json", "application/json"),
        ] {
            let request = Request::get("http://nobody.example/").header("accept", accept).body(empty())?;
            let answer = client.exchange(request).await?;
            ensure!(answer.status == 404, "{answer:?}");
            ensure!(answer.header("content-type").starts_with(content_type), "{answer:?}");
            let id = answer.header("x-request-id");
            ensure!(!id.is_empty() && answer.text()?.contains(id), "the body names the request: {answer:?}");
            if content_type == "application/json" {
                answer.json()?;
            } else {
                ensure!(answer.text()?.contains("<html"), "{answer:?}");
            }
        }
        let request = Request::builder().method(Method::HEAD).uri("http://nobody.example/").body(empty())?;
        let answer = client.exchange(request).await?;
        ensure!(answer.status == 404 && answer.body.is_empty(), "{answer:?}");
        Ok(())
    }

    async fn a_domain_without_backends_is_a_503_and_refused_backends_are_a_502(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let api = fleet.api()?;
        api.create_service("empty").await?;
        api.create_domain("empty.example", "empty", "a").await?;
        api.create_service("refused").await?;
        api.create_backend("refused", "refused", &port::free()?.to_string(), &["a"]).await?;
        fleet.live(api.create_domain("refused.example", "refused", "a").await?.revision).await?;
        for (host, status) in [("empty.example", 503), ("refused.example", 502)] {
            let request = Request::get(format!("http://{host}/")).header("accept", "application/json").body(empty())?;
            let answer = fleet.http().exchange(request).await?;
            ensure!(answer.status == status, "{host}: {answer:?}");
            let id = answer.header("x-request-id");
            ensure!(!id.is_empty() && answer.json()?.to_string().contains(id), "{host}: {answer:?}");
        }
        Ok(())
    }

    async fn a_request_id_is_in_the_answer_the_forwarded_request_and_the_log(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let answer = fleet.http().get(&format!("http://{HOST}/headers")).await?;
        let id = answer.header("x-request-id").to_owned();
        ensure!(!id.is_empty(), "{answer:?}");
        ensure!(answer.json()?["headers"]["x-request-id"][0] == id.as_str(), "{answer:?}");
        let another = fleet.http().get(&format!("http://{HOST}/")).await?;
        ensure!(another.header("x-request-id") != id, "every request has its own");

        let log = fleet.edge().process()?.log();
        let record = log.find("the access log of the request", |record| {
            (record["target"] == "access" && record.to_string().contains(&id)).then(|| record.clone())
        });
        let record = record.await?;
        ensure!(record["host"] == HOST && record["method"] == "GET" && record["path"] == "/headers", "{record}");
        ensure!(record["status"] == 200 && record["backend"] == "shop-a" && record["tag"] == "a", "{record}");
        Ok(())
    }

    async fn requests_take_turns_and_a_dead_backend_is_not_noticed_while_one_lives(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let dying = Origin::start("shop-a2", "a").await?;
        let api = fleet.api()?;
        fleet.live(api.create_backend("shop-a2", "shop", &dying.address(), &["a"]).await?.revision).await?;
        // HTTP/2, for one connection and so one worker: each has a rotation of its own.
        let client = Client::http2(fleet.edge().http);
        let mut seen = [0, 0];
        for _ in 0..20 {
            let answer = client.get(&format!("http://{HOST}/")).await?;
            seen[usize::from(answer.header("x-backend") == "shop-a2")] += 1;
        }
        ensure!(seen == [10, 10], "round robin: {seen:?}");
        dying.stop().await;
        for _ in 0..20 {
            let answer = client.get(&format!("http://{HOST}/")).await?;
            ensure!(answer.status == 200 && answer.header("x-backend") == "shop-a", "{answer:?}");
        }
        Ok(())
    }

    async fn a_deleted_domain_is_unknown_at_once(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let client = fleet.http();
        ensure!(client.get(&format!("http://{HOST}/")).await?.status == 200, "it is served");
        fleet.live(fleet.api()?.delete_domain(HOST).await?).await?;
        ensure!(client.get(&format!("http://{HOST}/")).await?.status == 404, "it is unknown on the same connection");
        Ok(())
    }
}
