use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
};

use anyhow::Result;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use crate::cores;

const SMALL: Bytes = Bytes::from_static(&[b's'; 1024]);
static LARGE: [u8; 1 << 20] = [b'l'; 1 << 20];

/// Starts the backend of all proxies, on a thread of its own that lives as long as the program: `/small` is 1 KiB,
/// `/large` 1 MiB, `/echo` a WebSocket that sends back what it gets.
pub(super) fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("backend".into()).spawn(move || runtime.block_on(serve(listener)))?;
    Ok(address)
}

async fn serve(listener: TcpListener) -> Result<()> {
    cores::bind(cores::LOAD)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).with_upgrades();
        // A proxy that breaks a connection shows in what it answers.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    match request.uri().path() {
        "/small" => *response.body_mut() = Full::new(SMALL),
        "/large" => *response.body_mut() = Full::new(Bytes::from_static(&LARGE)),
        "/echo" => {
            let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
            let Some(accept) = key.and_then(|key| HeaderValue::try_from(key).ok()) else {
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return Ok(response);
            };
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                let (mut sink, mut messages) = socket.split();
                while let Some(Ok(message)) = messages.next().await {
                    if message.is_binary() && sink.send(message).await.is_err() {
                        return;
                    }
                }
            });
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}
