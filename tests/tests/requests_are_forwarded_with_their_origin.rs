//! S5, S6: what backends are told about the client, and what is kept from them.

use anyhow::{Context, Result, ensure};
use http::Request;
use serde_json::Value;
use switchyard_proto::v1::{CertificateSource, Domain, DomainTls};
use switchyard_tests::{
    api::domain,
    client::{Client, empty},
    fleet::{Fleet, Plan},
    on_both_databases,
    shop::{HOST, Shop},
};

/// What the backend sees of a request with these headers.
async fn seen(client: &Client, scheme: &str, headers: &[(&str, &str)]) -> Result<Value> {
    let mut request = Request::get(format!("{scheme}://{HOST}/headers?a=b%20c&d"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.exchange(request.body(empty())?).await?;
    ensure!(answer.status == 200, "{answer:?}");
    answer.json()
}

/// The only value of a header that the backend saw.
fn header(seen: &Value, name: &str) -> Result<String> {
    let values = seen["headers"][name].as_array().with_context(|| format!("{name} in {seen}"))?;
    ensure!(values.len() == 1, "{name} once in {seen}");
    Ok(values[0].as_str().unwrap_or_default().to_owned())
}

const CLAIMS: [(&str, &str); 5] = [
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "elsewhere.example"),
    ("forwarded", "for=203.0.113.9;proto=https"),
    ("x-request-id", "11111111-2222-3333-4444-555555555555"),
];

on_both_databases! {
    async fn backends_learn_who_asked_and_how(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        for (client, scheme) in [(fleet.http(), "http"), (fleet.https().await?, "https")] {
            let seen = seen(&client, scheme, &[]).await?;
            ensure!(seen["uri"] == "/headers?a=b%20c&d", "the path and query are as they were sent: {seen}");
            ensure!(header(&seen, "host")? == HOST, "{seen}");
            ensure!(header(&seen, "x-forwarded-for")? == "127.0.0.1", "{seen}");
            ensure!(header(&seen, "x-forwarded-proto")? == scheme, "{seen}");
            ensure!(header(&seen, "x-forwarded-host")? == HOST, "{seen}");
            let forwarded = header(&seen, "forwarded")?.to_lowercase();
            for part in ["for=127.0.0.1", &format!("proto={scheme}"), &format!("host={HOST}")] {
                ensure!(forwarded.contains(part), "{part} in {forwarded}");
            }
            let trace = header(&seen, "traceparent")?;
            ensure!(trace.len() == 55 && trace.starts_with("00-"), "a trace is begun: {trace}");
        }
        Ok(())
    }

    async fn what_a_client_claims_is_not_believed(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let seen = seen(&fleet.http(), "http", &CLAIMS).await?;
        ensure!(header(&seen, "x-forwarded-for")? == "127.0.0.1", "{seen}");
        ensure!(header(&seen, "x-forwarded-proto")? == "http", "{seen}");
        ensure!(header(&seen, "x-forwarded-host")? == HOST, "{seen}");
        ensure!(!seen.to_string().contains("203.0.113.9"), "{seen}");
        ensure!(header(&seen, "x-request-id")? != CLAIMS[4].1, "{seen}");
        Ok(())
    }

    async fn what_a_trusted_network_claims_is_carried_on(database: Database) -> Result<()> {
        let edge_arguments = vec!["--trusted-network".to_owned(), "127.0.0.0/8".to_owned()];
        let fleet = Fleet::start_with(database, Plan { edge_arguments, ..Plan::default() }).await?;
        let _shop = Shop::open(&fleet).await?;
        let seen = seen(&fleet.http(), "http", &CLAIMS).await?;
        ensure!(header(&seen, "x-forwarded-for")? == "203.0.113.9, 127.0.0.1", "{seen}");
        ensure!(header(&seen, "x-forwarded-proto")? == "https", "{seen}");
        ensure!(header(&seen, "x-forwarded-host")? == "elsewhere.example", "{seen}");
        ensure!(header(&seen, "forwarded")?.contains("for=203.0.113.9"), "{seen}");
        ensure!(header(&seen, "x-request-id")? == CLAIMS[4].1, "{seen}");
        Ok(())
    }

    async fn headers_of_one_hop_stay_on_it(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let headers = [
            ("connection", "keep-alive, x-of-this-hop"),
            ("x-of-this-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eDp5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip"),
            ("x-of-all-hops", "1"),
        ];
        let seen = seen(&fleet.http(), "http", &headers).await?;
        for name in ["x-of-this-hop", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"] {
            ensure!(seen["headers"].get(name).is_none(), "{name} in {seen}");
        }
        ensure!(header(&seen, "x-of-all-hops")? == "1", "{seen}");
        Ok(())
    }

    async fn a_trace_is_continued(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let seen = seen(&fleet.http(), "http", &[("traceparent", trace), ("tracestate", "a=1")]).await?;
        ensure!(header(&seen, "traceparent")?.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{seen}");
        ensure!(header(&seen, "tracestate")? == "a=1", "{seen}");
        Ok(())
    }

    async fn plain_http_is_redirected_to_https_where_a_domain_says_so(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let tls = DomainTls { certificate_source: CertificateSource::Internal.into(), client_authentication: None, minimum_version: 0, acme: None };
        let secure = Domain { http_to_https: true, tls: Some(tls), ..domain("secure.example", "shop", "a") };
        fleet.live(fleet.api()?.create(secure).await?.revision).await?;

        let answer = fleet.http().get("http://secure.example/path?a=b%20c").await?;
        ensure!(answer.status == 308, "{answer:?}");
        let port = fleet.edge().https.port();
        ensure!(answer.header("location") == format!("https://secure.example:{port}/path?a=b%20c"), "{answer:?}");
        let answer = fleet.https().await?.get("https://secure.example/").await?;
        ensure!(answer.status == 200 && answer.tag() == "a", "{answer:?}");
        ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.status == 200, "others are not redirected");

        let open = Domain { http_to_https: false, ..domain("secure.example", "shop", "a") };
        fleet.live(fleet.api()?.update_domain(open, "http_to_https").await?.revision).await?;
        ensure!(fleet.http().get("http://secure.example/").await?.status == 200, "it is redirected no more");
        Ok(())
    }
}
