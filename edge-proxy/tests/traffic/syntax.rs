use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Edge, Origin, PATIENCE, shop};

/// Sends bytes and returns all that comes back until the edge closes.
async fn exchange(edge: &Edge, request: &[u8]) -> String {
    let mut tcp = edge.tcp().await;
    tcp.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer)).await;
    assert!(
        matches!(ended, Ok(Ok(_))),
        "{ended:?} after {:?}: {:?}",
        String::from_utf8_lossy(request),
        String::from_utf8_lossy(&answer)
    );
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_parsers_could_read_in_two_ways_is_refused() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    for request in [
        &b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: shop.example\r\nHost: shop.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@shop.example\r\n\r\n",
        b"GET / HTTP/1.1\nHost: shop.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop.example\nX: y\r\n\r\n",
        b"GET /a HTTP/1.1 b HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = exchange(&edge, request).await;
        let shown = String::from_utf8_lossy(request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{shown:?} was answered {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spaces_in_a_target_mean_one_thing_to_backends() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let request = b"GET /a b HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    let answer = exchange(&edge, request).await;
    assert!(answer.contains("\"target\":\"/a%20b\""), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let answer = exchange(&edge, b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_even_with_requests_sent_ahead_unless_the_client_says_otherwise() {
    let origin = Origin::echo("a").await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let both = exchange(
        &edge,
        b"GET /1 HTTP/1.1\r\nHost: unknown.example\r\n\r\n\
          GET /2 HTTP/1.1\r\nHost: shop.example\r\n\r\n\
          GET /3 HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n",
    );
    let both = both.await;
    assert!(both.starts_with("HTTP/1.1 404 "), "{both}");
    assert!(both.contains("\"target\":\"/2\"") && both.contains("\"target\":\"/3\""), "{both}");

    let closed = exchange(&edge, b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await;
    assert!(closed.starts_with("HTTP/1.1 200 ") && closed.to_ascii_lowercase().contains("connection: close"));
}

/// Whatever of the next request comes along with one must be found again, whether the length of that one is easily told
/// or not; and a connection on which all is answered waits for the next request.
#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_ahead_are_answered_wherever_they_are_cut() {
    // It answers once it has the whole request: the rest of one that is answered before is not waited for.
    let answer = |request: axum::extract::Request| async move {
        let target = request.uri().to_string();
        axum::body::to_bytes(request.into_body(), 1000).await.unwrap();
        axum::Json(serde_json::json!({ "target": target }))
    };
    let origin = Origin::serve(axum::Router::new().fallback(answer)).await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let host = "Host: shop.example\r\n";
    let requests = [
        format!("GET /plain HTTP/1.1\r\n{host}\r\n"),
        format!("POST /length HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello"),
        format!("GET /a%20b HTTP/1.1\r\n{host}\r\n"),
        format!("POST /chunks HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        format!("GET /after HTTP/1.1\r\n{host}\r\n"),
    ];
    let targets = ["/plain", "/length", "/a%20b", "/chunks", "/after"];
    let all = requests.concat().into_bytes();
    for first in 0..requests.len() {
        // Begins with each of them, so that each is the first once, on a connection of which all is known.
        let start: usize = requests[..first].iter().map(String::len).sum();
        let ends: Vec<usize> = (first + 1..=requests.len()).map(|count| requests[..count].concat().len()).collect();
        for cut in (start..=all.len()).step_by(7) {
            let mut tcp = edge.tcp().await;
            let mut answers = String::new();
            // What has come whole is answered before the rest comes.
            let whole = ends.iter().filter(|end| **end <= cut).count();
            for (piece, wanted) in [(&all[start..cut], whole), (&all[cut..], ends.len())] {
                tcp.write_all(piece).await.unwrap();
                let is_enough = |answers: &str| answers.matches("\"target\":").count() >= wanted;
                while !is_enough(&answers) {
                    let mut buf = [0; 4096];
                    let read = tokio::time::timeout(PATIENCE, tcp.read(&mut buf)).await;
                    let read = read.unwrap_or_else(|_| panic!("from {first}, cut at {cut}: {answers}")).unwrap();
                    assert!(read > 0, "from {first}, cut at {cut}: {answers}");
                    answers.push_str(std::str::from_utf8(&buf[..read]).unwrap());
                }
            }
            let found: Vec<usize> = targets[first..]
                .iter()
                .filter_map(|target| answers.find(&format!("\"target\":\"{target}\"")))
                .collect();
            assert_eq!(found.len(), targets.len() - first, "from {first}, cut at {cut}: {answers}");
            assert!(found.is_sorted(), "from {first}, cut at {cut}: {answers}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_gets_an_answer_it_can_read() {
    let router = axum::Router::new().fallback(|| async {
        // Without a length.
        axum::body::Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>("streamed")]))
    });
    let origin = Origin::serve(router).await;
    let edge = Edge::start(|edit| shop(edit, &[origin.address]));
    let answer = exchange(&edge, b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n").await;
    let (header, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(header.starts_with("HTTP/1.") && header.contains(" 200 "), "{header}");
    assert!(!header.to_ascii_lowercase().contains("transfer-encoding"), "{header}");
    assert_eq!(body, "streamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_wants_is_answered_and_not_reset() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let edge = Edge::start(|_| {});
    let mut tcp = edge.tcp().await;
    let header = format!("POST / HTTP/1.1\r\nHost: unknown.example\r\nContent-Length: {LENGTH}\r\n\r\n");
    tcp.write_all(header.as_bytes()).await.unwrap();
    // All of it, before the answer is looked at.
    tcp.write_all(&vec![b'x'; LENGTH]).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404 "), "{:?}", String::from_utf8_lossy(&answer));
}
