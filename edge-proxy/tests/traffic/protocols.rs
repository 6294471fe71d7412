use axum::response::IntoResponse;
use futures::{SinkExt, StreamExt, stream};
use http_body_util::{Full, StreamBody};
use hyper::body::{Bytes, Frame};
use switchyard_proto::resource::BackendProtocol;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Edge, Origin, PATIENCE, Response, domain, http1_over, http2_over, service, shop};

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_chosen_by_name_exact_before_wildcard() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| {
        shop(edit, &[origin.address]);
        edit.put_domain(domain("*.shop.example", "a"));
    });
    edge.certify("shop.example");
    edge.certify("*.shop.example");
    for name in ["shop.example", "www.shop.example"] {
        let mut client = http1_over(edge.tls(name, "http/1.1").await.unwrap()).await;
        let request = hyper::Request::get("/").header("host", name).body(Full::<Bytes>::default()).unwrap();
        let response = Response::read(client.send_request(request).await.unwrap()).await;
        assert_eq!((response.status, response.json("x-forwarded-proto").as_str()), (200, Some("https")));
    }
    let refused = edge.tls("other.example", "http/1.1").await.unwrap_err();
    assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_over_tls_and_without() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    edge.certify("shop.example");
    let tls = edge.tls("shop.example", "h2").await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut clients = [("https", http2_over::<Full<Bytes>>(tls).await), ("http", http2_over(edge.tcp().await).await)];
    for (scheme, client) in &mut clients {
        let request = || {
            hyper::Request::get(format!("{scheme}://shop.example/x"))
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .body(Full::default())
                .unwrap()
        };
        // At the same time on one connection.
        let responses: Vec<_> = (0..20).map(|_| client.send_request(request())).collect();
        for response in responses {
            let response = Response::read(response.await.unwrap()).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.json("version"), "HTTP/1.1");
            assert_eq!(response.json("host"), "shop.example");
            assert_eq!(response.json("x-forwarded-proto"), *scheme);
            assert_eq!(response.json("cookie"), "a=1; b=2");
        }
    }
}

/// Answers as a gRPC server does: a message, and the status in trailers.
async fn grpc(request: axum::extract::Request) -> impl IntoResponse {
    let version = format!("{:?}", request.version());
    let te = request.headers().get("te").map_or(String::new(), |te| te.to_str().unwrap().to_owned());
    let message = Bytes::from(format!("{version} {te}"));
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "5".parse().unwrap());
    let frames = [Ok::<_, std::convert::Infallible>(Frame::data(message)), Ok(Frame::trailers(trailers))];
    let body = axum::body::Body::new(StreamBody::new(stream::iter(frames)));
    ([("content-type", "application/grpc")], body)
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_reaches_its_backend_over_http2_with_its_trailers() {
    let origin = Origin::serve(axum::Router::new().fallback(grpc)).await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    edge.certify("shop.example");
    let tls = edge.tls("shop.example", "h2").await.unwrap();
    for mut client in [http2_over::<Full<Bytes>>(tls).await, http2_over(edge.tcp().await).await] {
        let request = hyper::Request::post("https://shop.example/shop.Cart/Get")
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(b"\0\0\0\0\0")))
            .unwrap();
        let response = Response::read(client.send_request(request).await.unwrap()).await;
        assert_eq!((response.status, response.body.as_str()), (200, "HTTP/2.0 trailers"));
        assert_eq!(response.trailers.get("grpc-status").unwrap(), "5");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_decides_what_its_backends_speak() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    for (protocol, version) in [(BackendProtocol::Http2, "HTTP/2.0"), (BackendProtocol::Http1, "HTTP/1.1")] {
        edge.change(|edit| edit.put_service(service(protocol)));
        assert_eq!(edge.fetch("shop.example", "/").await.json("version"), version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_stays_open_through_changes_and_a_switch() {
    let echo = |tcp| async move {
        let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    };
    let origin = Origin::raw(echo).await;
    let edge = Edge::start(|edit| {
        shop(edit, &[origin.address]);
        edit.put_service(service(BackendProtocol::Http2));
    });
    let (mut socket, response) =
        tokio_tungstenite::client_async("ws://shop.example/live", edge.tcp().await).await.unwrap();
    assert_eq!(response.status(), 101);
    for round in 0..100 {
        edge.change(|edit| {
            edit.put_domain(domain(&format!("other-{round}.example"), "a"));
            if round == 50 {
                edit.put_domain(domain("shop.example", "b"));
            }
        });
        let text = Message::text(format!("message {round}"));
        socket.send(text.clone()).await.unwrap();
        let back = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(back, text);
    }
    assert_eq!(edge.fetch("shop.example", "/").await.status, 503);
}
