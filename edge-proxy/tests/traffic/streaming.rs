use std::{sync::Arc, time::Duration};

use axum::extract::{Request, State};
use futures::{SinkExt, StreamExt, channel::mpsc};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use tokio::sync::{Mutex, mpsc as channel};

use crate::support::{Edge, Origin, PATIENCE, http1_over, http2_over, shop};

const MIB: usize = 1024 * 1024;
const UPLOAD_MIB: usize = 8;
/// More than the sockets on the way hold.
const DOWNLOAD_MIB: usize = 96;
/// A backend that has produced nothing for this time waits.
const STANDSTILL: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one() {
    let (send, receive) = channel::channel::<Result<&str, std::io::Error>>(1);
    let receive = Arc::new(Mutex::new(Some(receive)));
    let router = axum::Router::new().fallback(move || {
        let receive = receive.clone();
        async move {
            let receive = receive.lock().await.take().unwrap();
            let body = axum::body::Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receive));
            ([("content-type", "text/event-stream")], body)
        }
    });
    let origin = Origin::serve(router).await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let mut client = edge.http1().await;
    let request = hyper::Request::get("/").header("host", "shop.example").body(Full::default()).unwrap();
    send.send(Ok("data: 0\n\n")).await.unwrap();
    let mut events = client.send_request(request).await.unwrap().into_body();
    for next in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        // The next one is sent only when the last one is here.
        let frame = tokio::time::timeout(PATIENCE, events.frame()).await.unwrap().unwrap().unwrap();
        assert!(frame.into_data().unwrap().starts_with(b"data: "));
        send.send(Ok(next)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_arrives_while_it_is_sent() {
    let (seen, mut arrived) = channel::unbounded_channel::<usize>();
    let router = axum::Router::new().fallback(receive).with_state(seen);
    let origin = Origin::serve(router).await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    edge.certify("shop.example");
    for protocol in ["http/1.1", "h2"] {
        let tls = edge.tls("shop.example", protocol).await.unwrap();
        let (mut body, stream) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        let request = hyper::Request::post("https://shop.example/").header("host", "shop.example");
        let request = request.body(StreamBody::new(stream)).unwrap();
        let response = if protocol == "h2" {
            let mut client = http2_over(tls).await;
            tokio::spawn(async move { client.send_request(request).await })
        } else {
            let mut client = http1_over(tls).await;
            tokio::spawn(async move { client.send_request(request).await })
        };
        let mut total = 0;
        for _ in 0..UPLOAD_MIB {
            body.send(Ok(Frame::data(Bytes::from(vec![b'x'; MIB])))).await.unwrap();
            total += MIB;
            while tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap() < total {}
        }
        drop(body);
        let response = response.await.unwrap().unwrap();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(answer, (UPLOAD_MIB * MIB).to_string(), "{protocol}");
    }
}

/// Tells how much has come at every piece, and answers with the whole length.
async fn receive(State(seen): State<channel::UnboundedSender<usize>>, request: Request) -> String {
    let mut total = 0;
    let mut body = request.into_body().into_data_stream();
    while let Some(piece) = body.next().await {
        total += piece.unwrap().len();
        seen.send(total).unwrap();
    }
    total.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_waits_for_its_client() {
    let (produced, mut pieces) = channel::unbounded_channel();
    let router = axum::Router::new().fallback(move || {
        let produced = produced.clone();
        async move {
            let pieces = futures::stream::iter(0..DOWNLOAD_MIB).map(move |_| {
                produced.send(()).unwrap();
                Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; MIB]))
            });
            axum::body::Body::from_stream(pieces)
        }
    });
    let origin = Origin::serve(router).await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let mut client = edge.http1().await;
    let request = hyper::Request::get("/").header("host", "shop.example").body(Full::default()).unwrap();
    let mut body = client.send_request(request).await.unwrap().into_body();
    let mut received = body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    let mut unread = 0;
    while tokio::time::timeout(STANDSTILL, pieces.recv()).await.is_ok_and(|piece| piece.is_some()) {
        unread += 1;
    }
    assert!(unread < DOWNLOAD_MIB, "all of it is somewhere on the way to a client that does not read");
    while let Some(frame) = body.frame().await {
        received += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(received, DOWNLOAD_MIB * MIB);
}
