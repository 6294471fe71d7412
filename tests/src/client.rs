//! An HTTP client for which every name leads to one listener.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use rustls::ClientConfig;
use serde_json::Value;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::client::IntoClientRequest};
use tonic::transport::{Channel, Endpoint};

use crate::{
    eventually::within,
    socket::{self, Connector},
};

/// A body to send.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// Sends requests over kept-alive connections, and never one a second time.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    inner: legacy::Client<Connector, Body>,
}

impl Client {
    /// HTTP/1.1 without TLS.
    pub fn http(listener: SocketAddr) -> Self {
        Self::new(Connector::plain(listener), false)
    }

    /// HTTP/2 without TLS, with prior knowledge.
    pub fn http2(listener: SocketAddr) -> Self {
        Self::new(Connector::plain(listener), true)
    }

    /// HTTPS, trusting one root (PEM), with HTTP/2 where the server agrees.
    pub fn https(listener: SocketAddr, root_pem: &str) -> Result<Self> {
        Ok(Self::new(Connector::tls(listener, root_pem, &["h2", "http/1.1"])?, false))
    }

    /// HTTPS that knows only HTTP/1.1.
    pub fn https1(listener: SocketAddr, root_pem: &str) -> Result<Self> {
        Ok(Self::new(Connector::tls(listener, root_pem, &["http/1.1"])?, false))
    }

    /// HTTPS as this says.
    pub fn https_with(listener: SocketAddr, config: ClientConfig) -> Self {
        Self::new(Connector::tls_with(listener, config), false)
    }

    fn new(connector: Connector, http2_only: bool) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new())
            .http2_only(http2_only)
            .retry_canceled_requests(false)
            .build(connector.clone());
        Self { connector, inner }
    }

    /// The same, with connections of its own.
    pub fn another(&self, http2_only: bool) -> Self {
        Self::new(self.connector.clone(), http2_only)
    }

    /// Sends a request; its URI is absolute, and says the name. The answer's body is still to come.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>> {
        let what = format!("an answer to {} {}", request.method(), request.uri());
        within(&what, self.inner.request(request)).await?.map_err(|error| anyhow::Error::new(error).context(what))
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&self, request: Request<Body>) -> Result<Answer> {
        let what = format!("the body of the answer to {} {}", request.method(), request.uri());
        let (head, body) = self.send(request).await?.into_parts();
        let body = within(&what, body.collect()).await?.context(what)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer {
            status: head.status,
            version: head.version,
            headers: head.headers,
            trailers,
            body: body.to_bytes(),
        })
    }

    /// Gets a URL, as in `http://shop.example/`.
    pub async fn get(&self, url: &str) -> Result<Answer> {
        self.exchange(Request::get(url).body(empty())?).await
    }

    /// Opens a WebSocket at a URL, as in `ws://shop.example/ws`.
    pub async fn websocket(&self, url: &str) -> Result<WebSocketStream<Box<dyn socket::Bytes>>> {
        let request = url.into_client_request()?;
        let host = request.uri().host().context("a URL with a host")?.to_owned();
        // As browsers do: a WebSocket is opened over HTTP/1.1.
        let socket = self.connector.with_alpn(&["http/1.1"]).connect(&host).await?;
        let (websocket, _) = within("a WebSocket opens", client_async(request, socket.into_stream())).await??;
        Ok(websocket)
    }

    /// A gRPC channel to a host.
    pub async fn grpc(&self, host: &str) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{host}"))?;
        within("a gRPC channel connects", endpoint.connect_with_connector(self.connector.clone()))
            .await?
            .context("connect")
    }
}

/// No body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// A body that is known beforehand.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its version.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its trailers.
    pub trailers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The value of a header, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The tag of the backend that answered, empty if none did.
    pub fn tag(&self) -> &str {
        self.header("x-tag")
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("JSON: {:?}", self.body))
    }
}
