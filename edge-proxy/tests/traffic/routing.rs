use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;
use switchyard_proto::resource::{AcmeSettings, Backend, BackendState, CertificateSource, HookUrl, OnDemand};

use crate::support::{Edge, Origin, Response, backend, domain, loopback, refusing, shop};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_pool_of_the_active_tag() {
    let (a, b) = (Origin::echo("a").await, Origin::echo("b").await);
    let edge = Edge::start(|edit| {
        shop(edit, &[a.address]);
        edit.put_backend(backend("shop-b", b.address, "b"));
    });
    assert_eq!(edge.fetch("shop.example", "/").await.json("origin"), "a");
    edge.change(|edit| edit.put_domain(domain("shop.example", "b")));
    assert_eq!(edge.fetch("SHOP.Example.:81", "/").await.json("origin"), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_loses_no_request_and_none_begun_after_it_reaches_the_old_pool() {
    let (a, b) = (Origin::echo("a").await, Origin::echo("b").await);
    let edge = Edge::start(|edit| {
        shop(edit, &[a.address]);
        edit.put_backend(backend("shop-b", b.address, "b"));
    });
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(edge.http1().await);
    }
    for round in 0..20 {
        let (tag, origin) = if round % 2 == 0 { ("b", "b") } else { ("a", "a") };
        for client in &mut clients {
            client.ready().await.unwrap();
        }
        let during: Vec<_> = clients.iter_mut().map(|client| client.send_request(get("/"))).collect();
        edge.change(|edit| edit.put_domain(domain("shop.example", tag)));
        for response in during {
            assert_eq!(Response::read(response.await.unwrap()).await.status, 200);
        }
        for client in &mut clients {
            client.ready().await.unwrap();
            let after = Response::read(client.send_request(get("/")).await.unwrap()).await;
            assert_eq!(after.json("origin"), origin);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_take_turns_over_the_active_backends() {
    let origins = [Origin::echo("0").await, Origin::echo("1").await, Origin::echo("2").await];
    let edge = Edge::start(|edit| {
        shop(edit, &[origins[0].address, origins[1].address, origins[2].address]);
        edit.put_backend(Backend { state: BackendState::Draining, ..backend("shop-1", origins[1].address, "a") });
    });
    let mut client = edge.http1().await;
    let mut answered = [0; 3];
    for _ in 0..10 {
        let response = Response::read(client.send_request(get("/")).await.unwrap()).await;
        answered[response.json("origin").as_str().unwrap().parse::<usize>().unwrap()] += 1;
        client.ready().await.unwrap();
    }
    assert_eq!(answered, [5, 0, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_gets_404_and_never_another_domain() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    for host in ["other.example", "a.shop.example", "example", "127.0.0.1", "[::1]:80"] {
        let request = hyper::Request::get("/").header("host", host).header("accept", "application/json");
        let request = request.body(Full::default()).unwrap();
        let response = Response::read(edge.http1().await.send_request(request).await.unwrap()).await;
        assert_eq!((response.status, response.header("content-type")), (404, "application/json"));
        assert_eq!(response.json("request_id"), response.header("x-request-id"));
        assert!(!response.header("x-request-id").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_without_a_backend_gets_503_and_with_a_refusing_one_502() {
    let edge = Edge::start(|edit| shop(edit, &[]));
    assert_eq!(edge.fetch("shop.example", "/").await.status, 503);
    let refusing = refusing().await;
    edge.change(|edit| edit.put_backend(backend("shop-0", refusing, "a")));
    let response = edge.fetch("shop.example", "/").await;
    assert_eq!((response.status, response.header("content-type")), (502, "text/plain; charset=utf-8"));
    assert!(response.body.contains(response.header("x-request-id")), "{}", response.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_redirected_to_the_same_place() {
    let origin = Origin::echo("a").await;
    let mut redirected = domain("shop.example", "a");
    redirected.settings.http_to_https = true;
    let edge = Edge::start_trusting("127.0.0.0/8", |edit| {
        shop(edit, &[origin.address]);
        edit.put_domain(redirected);
    });
    // Whoever was sent to HTTPS before there is a certificate would find a failed handshake.
    assert_eq!(edge.fetch("shop.example", "/").await.status, 200);
    edge.certify("www.shop.example");
    assert_eq!(edge.fetch("shop.example", "/").await.status, 200, "that one is for another name");
    edge.certify("shop.example");
    let response = edge.fetch("Shop.example:8080", "/cart?id=1&x=%20").await;
    assert_eq!(response.status, 308);
    assert_eq!(response.header("location"), format!("https://shop.example:{}/cart?id=1&x=%20", edge.https.port()));

    // Who terminates TLS in front of this edge must be able to reach the domain.
    let request = hyper::Request::get("/").header("host", "shop.example").header("x-forwarded-proto", "https");
    let request = request.body(Full::default()).unwrap();
    let response = Response::read(edge.http1().await.send_request(request).await.unwrap()).await;
    assert_eq!((response.status, response.json("x-forwarded-proto")), (200, json!("https")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_on_demand_is_redirected_before_it_has_a_certificate() {
    let origin = Origin::echo("a").await;
    let mut sites = domain("*.sites.example", "a");
    sites.settings.http_to_https = true;
    sites.settings.certificate_source = CertificateSource::Acme;
    let on_demand = OnDemand { hook: HookUrl::parse("http://127.0.0.1:9/ask").unwrap() };
    sites.settings.acme = AcmeSettings::new(None, vec![], Some(on_demand)).unwrap();
    let edge = Edge::start(|edit| {
        shop(edit, &[origin.address]);
        edit.put_domain(sites);
    });
    assert_eq!(edge.fetch("a.sites.example", "/").await.status, 308, "its certificate is ordered when somebody comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_see_where_a_request_came_from_and_no_hop_by_hop_header() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let request = hyper::Request::get("/a/../b?c")
        .header("host", "shop.example:81")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-request-id", "claimed")
        .header("connection", "x-hop, keep-alive")
        .header("x-hop", "1")
        .header("te", "gzip")
        .header("proxy-authorization", "Basic eA==")
        .header("x-end-to-end", "1");
    let request = request.body(Full::default()).unwrap();
    let response = Response::read(edge.http1().await.send_request(request).await.unwrap()).await;
    assert_eq!(response.json("target"), "/a/../b?c");
    assert_eq!(response.json("host"), "shop.example:81");
    assert_eq!(response.json("x-forwarded-for"), loopback());
    assert_eq!(response.json("x-forwarded-proto"), "http");
    assert_eq!(response.json("x-forwarded-host"), "shop.example:81");
    assert_eq!(response.json("forwarded"), "for=127.0.0.1;host=\"shop.example:81\";proto=http");
    assert_eq!(response.json("x-request-id"), response.header("x-request-id"));
    assert_ne!(response.json("x-request-id"), "claimed");
    assert_eq!(response.json("x-end-to-end"), "1");
    assert!(response.json("traceparent").as_str().unwrap().starts_with("00-"));
    for hop in ["connection", "x-hop", "te", "keep-alive"] {
        assert!(response.json(hop).is_null(), "{hop} is {}", response.json(hop));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absolute_target_becomes_a_path_and_must_agree_with_the_host_header() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let ask = |host| hyper::Request::get("http://shop.example/x?y").header("host", host).body(Full::default()).unwrap();
    let response = Response::read(edge.http1().await.send_request(ask("shop.example")).await.unwrap()).await;
    assert_eq!((response.status, response.json("target")), (200, json!("/x?y")));
    assert_eq!(response.json("host"), "shop.example");
    let response = edge.http1().await.send_request(ask("other.example")).await.unwrap();
    assert_eq!(response.status(), 400);
}

fn get(path: &str) -> hyper::Request<Full<Bytes>> {
    hyper::Request::get(path).header("host", "shop.example").body(Full::default()).unwrap()
}
