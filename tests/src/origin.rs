//! Backends: real HTTP servers that say who they are.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{any, get, post},
};
use futures::{SinkExt, StreamExt, stream};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::BroadcastStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

/// The size of the pieces of a download.
const PIECE_BYTES: usize = 64 * 1024;

/// A backend. Stopped, it refuses connections, and those it had are cut; dropped, it does so soon.
///
/// | path | what it answers |
/// |---|---|
/// | `/headers` | the method, path, headers and TLS of the request, as JSON |
/// | `/echo` | the body, as it comes |
/// | `/upload` | how many bytes the body had, and their SHA-256 |
/// | `/download?bytes=N` | `N` bytes, in pieces |
/// | `/slow` | begins to answer once [`Origin::release`] is called |
/// | `/events` | server-sent events, one for each [`Origin::emit`] |
/// | `/ws` | a WebSocket that sends back what it gets, after its tag and a colon |
/// | others | its tag |
///
/// Every answer says `x-backend` and `x-tag`.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    // Aborts everything when it is dropped.
    server: JoinSet<()>,
}

struct Shared {
    name: HeaderValue,
    tag: HeaderValue,
    stopped: watch::Sender<bool>,
    released: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    events: broadcast::Sender<String>,
}

impl Origin {
    /// Starts a backend; `name` and `tag` are what its answers say.
    pub async fn start(name: &str, tag: &str) -> Result<Self> {
        Self::start_at("127.0.0.1:0".parse()?, name, tag).await
    }

    /// Starts a backend that speaks TLS.
    pub async fn start_tls(name: &str, tag: &str, config: ServerConfig) -> Result<Self> {
        Self::start_with("127.0.0.1:0".parse()?, name, tag, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    /// Starts a backend at an address.
    pub async fn start_at(address: SocketAddr, name: &str, tag: &str) -> Result<Self> {
        Self::start_with(address, name, tag, None).await
    }

    async fn start_with(address: SocketAddr, name: &str, tag: &str, tls: Option<TlsAcceptor>) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.parse()?,
            tag: tag.parse()?,
            stopped: watch::Sender::new(false),
            released: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
            events: broadcast::Sender::new(100),
        });
        let router = Router::new()
            .route("/headers", any(headers))
            .route("/echo", post(echo))
            .route("/upload", post(upload))
            .route("/download", get(download))
            .route("/slow", get(slow))
            .route("/events", get(events))
            .route("/ws", get(websocket))
            .fallback(who)
            .layer(axum::middleware::map_response_with_state(shared.clone(), sign))
            .with_state(shared.clone());
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr()?;
        let mut server = JoinSet::new();
        server.spawn(serve(listener, tls, router, shared.stopped.subscribe()));
        Ok(Self { address, shared, server })
    }

    /// Stops it: once this returns, it answers nobody any more.
    pub async fn stop(mut self) {
        self.shared.stopped.send_replace(true);
        while self.server.join_next().await.is_some() {}
    }

    /// Its address as a backend has it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Awaits that so many requests wait at `/slow`.
    pub async fn waiting(&self, requests: usize) -> Result<()> {
        let mut waiting = self.shared.waiting.subscribe();
        crate::eventually::within("requests wait", waiting.wait_for(|count| *count >= requests)).await??;
        Ok(())
    }

    /// Lets the requests at `/slow` be answered.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Sends an event to those who listen at `/events`; how many these are.
    pub fn emit(&self, event: &str) -> usize {
        self.shared.events.send(event.to_owned()).unwrap_or(0)
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(accept(stream, tls.clone(), router.clone()));
            }
            Some(_) = connections.join_next() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn accept(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    // What it is about to answer must not wait for more.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve_connection(stream, router).await };
    // A handshake that fails is the client's business.
    let Ok(stream) = tls.accept(stream).await else { return };
    let (_, session) = stream.get_ref();
    let facts = TlsFacts {
        server_name: session.server_name().unwrap_or_default().to_owned(),
        client_certificate: session.peer_certificates().is_some(),
    };
    serve_connection(stream, router.layer(axum::Extension(facts))).await;
}

/// What a TLS connection says of the client.
#[derive(Clone)]
struct TlsFacts {
    server_name: String,
    client_certificate: bool,
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let server = auto::Builder::new(TokioExecutor::new());
    // A connection that breaks is the client's business.
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

async fn sign(State(shared): State<Arc<Shared>>, mut response: Response) -> Response {
    response.headers_mut().insert("x-backend", shared.name.clone());
    response.headers_mut().insert("x-tag", shared.tag.clone());
    response
}

async fn who(State(shared): State<Arc<Shared>>) -> Vec<u8> {
    shared.tag.as_bytes().to_vec()
}

async fn headers(request: Request) -> Response {
    let (head, _) = request.into_parts();
    let mut headers = Map::new();
    for (name, value) in &head.headers {
        let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(json!(String::from_utf8_lossy(value.as_bytes())));
        }
    }
    let version = format!("{:?}", head.version);
    let seen = json!({
        "method": head.method.as_str(), "uri": head.uri.to_string(), "version": version, "headers": headers,
        "tls": head.extensions.get::<TlsFacts>().map(|facts| json!({
            "server_name": facts.server_name, "client_certificate": facts.client_certificate,
        })),
    });
    axum::Json(seen).into_response()
}

async fn echo(body: Body) -> Body {
    body
}

async fn upload(body: Body) -> Result<String, StatusCode> {
    let mut bytes = 0;
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        bytes += piece.len();
        hash.update(&piece);
    }
    Ok(format!("{bytes} {:?}", hash.finish()))
}

async fn download(Query(query): Query<HashMap<String, String>>) -> Result<Body, StatusCode> {
    let bytes = query.get("bytes").and_then(|text| text.parse().ok());
    let mut left: usize = bytes.ok_or(StatusCode::BAD_REQUEST)?;
    let pieces = std::iter::from_fn(move || {
        let piece = left.min(PIECE_BYTES);
        left -= piece;
        (piece > 0).then(|| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; piece])))
    });
    Ok(Body::from_stream(stream::iter(pieces)))
}

async fn slow(State(shared): State<Arc<Shared>>) -> Vec<u8> {
    let mut released = shared.released.subscribe();
    shared.waiting.send_modify(|count| *count += 1);
    // The sender is in `shared`.
    let _ = released.wait_for(|released| *released).await;
    who(State(shared)).await
}

async fn events(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let events = BroadcastStream::new(shared.events.subscribe());
    Sse::new(events.map(|event| event.map(|text| Event::default().data(text)))).keep_alive(KeepAlive::default())
}

async fn websocket(State(shared): State<Arc<Shared>>, headers: HeaderMap, mut request: Request) -> Response {
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else { return StatusCode::BAD_REQUEST.into_response() };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let tag = String::from_utf8_lossy(shared.tag.as_bytes());
            if socket.send(Message::text(format!("{tag}:{text}"))).await.is_err() {
                return;
            }
        }
    });
    let upgraded = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")];
    (StatusCode::SWITCHING_PROTOCOLS, upgraded, [(header::SEC_WEBSOCKET_ACCEPT, accept)]).into_response()
}

/// A gRPC backend: the standard health service, which knows the service `shop`.
pub struct GrpcOrigin {
    /// Where it listens.
    pub address: SocketAddr,
    health: tonic_health::server::HealthReporter,
    _server: JoinSet<()>,
}

impl GrpcOrigin {
    /// The service whose health it knows.
    pub const SERVICE: &str = "shop";

    /// Starts it; the service is well.
    pub async fn start() -> Result<Self> {
        let (health, service) = tonic_health::server::health_reporter();
        health.set_service_status(Self::SERVICE, tonic_health::ServingStatus::Serving).await;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It is ended by being aborted.
            let _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Ok(Self { address, health, _server: server })
    }

    /// Changes how the service is.
    pub async fn set_health(&self, status: tonic_health::ServingStatus) {
        self.health.set_service_status(Self::SERVICE, status).await;
    }
}
