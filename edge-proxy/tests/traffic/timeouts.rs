//! Each limit of a service means what it says, and no other.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use switchyard_proto::resource::{BackendProtocol, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{Edge, Origin, PATIENCE, Response, http1_over, service, shop};

/// The limit that a test is about.
const SHORT: Duration = Duration::from_secs(1);
/// Longer than that.
const PAUSE: Duration = Duration::from_millis(2_500);
/// The limits that it is not about: each another one, and longer than a test may take.
const CONNECT: Duration = Duration::from_secs(61);
const FIRST_BYTE: Duration = Duration::from_secs(67);
const IDLE: Duration = Duration::from_secs(71);

/// An edge with one backend, and these limits for the first byte and between two pieces.
fn edge(origin: &Origin, first_byte: Duration, idle: Duration) -> Edge {
    let mut limited = service(BackendProtocol::Http1);
    limited.settings.timeouts = Timeouts::new(CONNECT, first_byte, idle).unwrap();
    Edge::start(|edit| {
        shop(edit, &[origin.address]);
        edit.put_service(limited);
    })
}

/// Reads a head, and what else there is.
async fn head(tcp: &mut TcpStream) {
    let _ = tcp.read(&mut [0; 4096]).await;
}

/// Takes everything, and answers nothing.
async fn silent() -> Origin {
    Origin::raw(|mut tcp| async move { while tcp.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_begin_to_answer_in_time_gets_504() {
    let origin = silent().await;
    let edge = edge(&origin, SHORT, IDLE);
    let began = Instant::now();
    assert_eq!(edge.fetch("shop.example", "/").await.status, 504);
    assert!(began.elapsed() >= SHORT, "not before");
    let post = hyper::Request::post("/").header("host", "shop.example").body(Full::from("body")).unwrap();
    assert_eq!(Response::read(edge.http1().await.send_request(post).await.unwrap()).await.status, 504);
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_an_answer_may_be_further_apart_than_its_beginning() {
    let origin = Origin::raw(|mut tcp| async move {
        loop {
            head(&mut tcp).await;
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await;
            tokio::time::sleep(PAUSE).await;
            if tcp.write_all(b"other").await.is_err() {
                return;
            }
        }
    })
    .await;
    let edge = edge(&origin, SHORT, IDLE);
    // Also on a connection that was used before.
    for _ in 0..2 {
        let response = edge.fetch("shop.example", "/").await;
        assert_eq!((response.status, response.body.as_str()), (200, "firstother"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_its_time_is_not_counted() {
    let origin = Origin::raw(|mut tcp| async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n0\r\n\r\n") {
            if tcp.read_buf(&mut request).await.is_ok_and(|read| read == 0) {
                return;
            }
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let edge = edge(&origin, SHORT, IDLE);
    let pieces = futures::stream::unfold(0, |piece| async move {
        if piece > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        (piece < 2).then(|| (Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"piece"))), piece + 1))
    });
    let request =
        hyper::Request::post("/").header("host", "shop.example").body(StreamBody::new(Box::pin(pieces))).unwrap();
    let mut client = http1_over(edge.tcp().await).await;
    let response = Response::read(client.send_request(request).await.unwrap()).await;
    assert_eq!((response.status, response.body.as_str()), (200, "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stops_is_given_up_after_the_time_between_two_pieces() {
    let origin = Origin::raw(|mut tcp| async move {
        head(&mut tcp).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await;
        let _ = tcp.read(&mut [0; 1]).await;
    })
    .await;
    let edge = edge(&origin, SHORT, PAUSE);
    let request = hyper::Request::get("/").header("host", "shop.example").body(Full::<Bytes>::default()).unwrap();
    let whole = match edge.http1().await.send_request(request).await {
        Ok(response) => tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap().map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(whole.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_no_backend_opens_gets_504() {
    let origin = silent().await;
    let edge = edge(&origin, SHORT, IDLE);
    let opened = tokio_tungstenite::client_async("ws://shop.example/", edge.tcp().await);
    let refused = tokio::time::timeout(PATIENCE, opened).await.unwrap().unwrap_err();
    let tungstenite::Error::Http(response) = refused else { panic!("{refused:?}") };
    assert_eq!(response.status(), 504);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_is_open_may_be_silent_for_longer() {
    let origin = Origin::raw(|tcp| async move {
        let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            tokio::time::sleep(PAUSE).await;
            let _ = socket.send(message).await;
        }
    })
    .await;
    let edge = edge(&origin, SHORT, SHORT);
    let (mut socket, _) = tokio_tungstenite::client_async("ws://shop.example/", edge.tcp().await).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let back = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(back, Message::text("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_websocket_that_stops_is_given_up() {
    let origin = Origin::raw(|mut tcp| async move {
        head(&mut tcp).await;
        let _ = tcp.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nfirst").await;
        let _ = tcp.read(&mut [0; 1]).await;
    })
    .await;
    let edge = edge(&origin, FIRST_BYTE, SHORT);
    let mut client = edge.tcp().await;
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    // It ends, with what came or without.
    let _ = tokio::time::timeout(PATIENCE, client.read_to_end(&mut Vec::new())).await.expect("it ends");
}
