use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use switchyard_proto::resource::BackendProtocol;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use crate::support::{Edge, Origin, PATIENCE, Response, refusing, service, shop};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_tried_at_the_next_backend() {
    let origin = Origin::echo("alive").await;
    let (one, two) = (refusing().await, refusing().await);
    let edge = Edge::start(|edit| shop(edit, &[one, origin.address, two]));
    let mut client = edge.http1().await;
    for method in ["GET", "POST"].repeat(6) {
        let request = hyper::Request::builder().method(method).uri("/").header("host", "shop.example");
        let request = request.body(Full::new(Bytes::from("body"))).unwrap();
        let response = Response::read(client.send_request(request).await.unwrap()).await;
        assert_eq!((response.status, response.json("origin").as_str()), (200, Some("alive")));
        client.ready().await.unwrap();
    }
}

/// A backend that takes a request and closes without an answer.
async fn closing(requests: Arc<AtomicUsize>) -> Origin {
    Origin::raw(move |mut tcp| {
        let requests = requests.clone();
        async move {
            let mut request = [0; 4096];
            if tcp.read(&mut request).await.is_ok_and(|length| length > 0) {
                requests.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_be_done_twice_is_sent_twice() {
    let taken = Arc::new(AtomicUsize::new(0));
    let (closing, alive) = (closing(taken.clone()).await, Origin::echo("alive").await);
    let edge = Edge::start(|edit| shop(edit, &[closing.address, alive.address]));
    let mut statuses = [Vec::new(), Vec::new()];
    for (method, statuses) in ["GET", "POST"].into_iter().zip(&mut statuses) {
        // Each worker begins elsewhere and connections reach any: enough of them meet the closing backend first.
        let mut client = edge.http1().await;
        for _ in 0..4 {
            let request = hyper::Request::builder().method(method).uri("/").header("host", "shop.example");
            let request = request.body(Full::default()).unwrap();
            if client.ready().await.is_err() {
                client = edge.http1().await;
            }
            statuses.push(Response::read(client.send_request(request).await.unwrap()).await.status);
        }
    }
    let [mut get, mut post] = statuses;
    get.sort_unstable();
    post.sort_unstable();
    assert_eq!(get, [200, 200, 200, 200]);
    assert!(post.contains(&200) && post.contains(&502), "{post:?}");
    let sent_to_the_closing_one = taken.load(Ordering::SeqCst);
    assert!(sent_to_the_closing_one > post.iter().filter(|status| **status == 502).count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_backend_closed_costs_no_request() {
    // Answers one request on each connection, promises to keep it, and closes it.
    let origin = Origin::raw(|mut tcp| async move {
        let mut request = [0; 4096];
        if tcp.read(&mut request).await.is_ok() {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let mut client = edge.http1().await;
    for _ in 0..50 {
        let request = hyper::Request::get("/").header("host", "shop.example").body(Full::default()).unwrap();
        let response = Response::read(client.send_request(request).await.unwrap()).await;
        assert_eq!((response.status, response.body.as_str()), (200, "ok"));
        client.ready().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_not_completed() {
    let origin = Origin::raw(|mut tcp| async move {
        let mut request = [0; 4096];
        if tcp.read(&mut request).await.is_ok() {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        }
    })
    .await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let request = hyper::Request::get("/").header("host", "shop.example").body(Full::default()).unwrap();
    let whole = match edge.http1().await.send_request(request).await {
        Ok(response) => response.into_body().collect().await.map(|_| ()),
        // Nothing of it was sent yet.
        Err(error) => Err(error),
    };
    assert!(whole.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_refuses_what_is_new_and_waits_for_what_is_under_way() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let origin = {
        let (arrived, go) = (arrived.clone(), go.clone());
        let router = axum::Router::new().fallback(move || async move {
            arrived.notify_one();
            go.notified().await;
            "done"
        });
        Origin::serve(router).await
    };
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    // A connection that waits for a next request ends at once.
    let mut idle = edge.http1().await;
    let request = hyper::Request::get("/").header("host", "unknown.example").body(Full::default()).unwrap();
    Response::read(idle.send_request(request).await.unwrap()).await;

    let mut busy = edge.http1().await;
    let request = hyper::Request::get("/").header("host", "shop.example").body(Full::default()).unwrap();
    let under_way = tokio::spawn(async move { Response::read(busy.send_request(request).await.unwrap()).await });
    arrived.notified().await;

    edge.drain.begin();
    while edge.drain.connections() > 1 {
        tokio::task::yield_now().await;
    }
    while tokio::net::TcpStream::connect(edge.http).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    let response = under_way.await.unwrap();
    assert_eq!((response.status, response.body.as_str()), (200, "done"));
    tokio::time::timeout(PATIENCE, edge.drain.finished()).await.unwrap();
}

/// How an HTTP/2 backend says that it did not act on a request.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// `RST_STREAM` with `REFUSED_STREAM` (RFC 9113, section 8.7).
    Stream,
    /// `GOAWAY` without an error that names no stream (RFC 9113, section 6.8).
    Connection,
}

/// An HTTP/2 backend that refuses every request.
async fn refusing_http2(refusal: Refusal, refused: Arc<AtomicUsize>) -> Origin {
    Origin::raw(move |mut tcp| {
        let refused = refused.clone();
        async move {
            let mut preface = [0; 24];
            if tcp.read_exact(&mut preface).await.is_err() {
                return;
            }
            // Our settings, none, and the acknowledgement of the other side's.
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
            if tcp.write_all(&settings).await.is_err() {
                return;
            }
            let mut header = [0; 9];
            while tcp.read_exact(&mut header).await.is_ok() {
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
                if tcp.read_exact(&mut vec![0; length]).await.is_err() {
                    return;
                }
                if header[3] != 1 {
                    continue;
                }
                refused.fetch_add(1, Ordering::SeqCst);
                let mut frame = match refusal {
                    Refusal::Stream => vec![0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 7],
                    Refusal::Connection => vec![0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                };
                if let Refusal::Stream = refusal {
                    frame[5..9].copy_from_slice(&header[5..9]);
                }
                if tcp.write_all(&frame).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_refused_without_acting_on_it_is_sent_to_the_next() {
    let alive = Origin::echo("alive").await;
    for refusal in [Refusal::Stream, Refusal::Connection] {
        let refused = Arc::new(AtomicUsize::new(0));
        let refusing = refusing_http2(refusal, refused.clone()).await;
        let edge = Edge::start(|edit| {
            shop(edit, &[refusing.address, alive.address]);
            edit.put_service(service(BackendProtocol::Http2));
        });
        let mut client = edge.http1().await;
        for _ in 0..4 {
            client.ready().await.unwrap();
            let request = hyper::Request::post("/").header("host", "shop.example");
            let request = request.body(Full::new(Bytes::from("body"))).unwrap();
            let response = Response::read(client.send_request(request).await.unwrap()).await;
            assert_eq!(response.status, 200, "{refusal:?}: {}", response.body);
        }
        assert!(refused.load(Ordering::SeqCst) > 0, "{refusal:?} was never met");
    }
}
