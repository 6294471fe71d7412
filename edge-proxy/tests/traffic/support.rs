//! An edge in this process, and what is on its two sides.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    extract::{Request, State},
    response::Json,
};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pingora_core::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, configuration::ServerConf};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Map, Value};
use switchyard_edge_proxy::{
    connection::TrustedNetworks,
    listen::{self, Drain, EdgeService, Handshakes, MissingCertificates, Sockets},
    on_demand::OnDemand,
    proxy::{AccessLog, Metrics, Settings, Worker},
    snapshot::{Certificate, Domain, Edit, LiveSnapshot, Service, Snapshot},
    tls,
};
use switchyard_proto::{
    resource::{self, Backend, BackendProtocol, Tags, Timeouts},
    vocab::{BackendAddress, BackendId, CertificateId, HostPattern, ServiceId, Tag},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const WORKERS: usize = 3;

/// What every await in these tests is given at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What backends of tests are given: each its own, so that none is taken for another.
const CONNECT: Duration = Duration::from_secs(18);
const FIRST_BYTE: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(22);

/// Three workers, as the program runs them.
pub(crate) struct Edge {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) drain: Drain,
    live: LiveSnapshot,
    issuer: CertifiedIssuer<'static, KeyPair>,
    ending: CancellationToken,
    workers: Option<thread::JoinHandle<()>>,
}

impl Edge {
    /// Serves what `change` puts in.
    pub(crate) fn start(change: impl FnOnce(&mut Edit)) -> Self {
        Self::start_trusting("", change)
    }

    /// Believes what clients of `trusted` say.
    pub(crate) fn start_trusting(trusted: &str, change: impl FnOnce(&mut Edit)) -> Self {
        // An error means that another test was first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let any = "127.0.0.1:0".parse().unwrap();
        let (http, https) = (listen::bind(any, WORKERS).unwrap(), listen::bind(any, WORKERS).unwrap());
        let [http_address, https_address] = [&http, &https].map(|sockets| sockets[0].local_addr().unwrap());
        let live = LiveSnapshot::new(Snapshot::default());
        let settings = Arc::new(Settings {
            trusted_networks: TrustedNetworks::new(trusted.split_whitespace().map(|n| n.parse().unwrap()).collect()),
            access_log: AccessLog::On,
            https_port: https_address.port(),
        });
        let metrics = Metrics::register(&mut Registry::default());
        let (on_demand, _) = OnDemand::new(live.clone());
        let handshakes = Handshakes {
            tls: tls::ServerConfigs::new(live.clone()).unwrap(),
            on_demand,
            missing: MissingCertificates::default(),
        };
        let drain = Drain::new();
        let service = |(index, (http, https))| {
            let worker = Worker { index, count: WORKERS };
            let sockets = Sockets { http, https };
            EdgeService::new(
                worker,
                sockets,
                handshakes.clone(),
                live.clone(),
                settings.clone(),
                metrics.clone(),
                drain.clone(),
            )
        };
        let services: Vec<_> = http.into_iter().zip(https).enumerate().map(service).collect();
        let ending = CancellationToken::new();
        let signal = Ending(ending.clone());
        let workers = thread::spawn(move || {
            let conf = ServerConf {
                grace_period_seconds: Some(0),
                graceful_shutdown_timeout_seconds: Some(0),
                ..ServerConf::default()
            };
            let mut server = Server::new_with_opt_and_conf(None, conf);
            server.bootstrap();
            for service in services {
                server.add_service(service);
            }
            server.run(RunArgs { shutdown_signal: Box::new(signal) });
        });
        let edge = Self {
            http: http_address,
            https: https_address,
            drain,
            live,
            issuer: issuer(),
            ending,
            workers: Some(workers),
        };
        edge.change(change);
        edge
    }

    /// Changes what is served.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Edit)) {
        let mut edit = self.live.load().edit();
        change(&mut edit);
        self.live.store(edit.finish());
    }

    /// Serves a certificate for `name` from now on.
    pub(crate) fn certify(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let names = vec![HostPattern::parse(name).unwrap()];
        let certificate = Certificate::parse(CertificateId::parse(name).unwrap(), names, chain, key).unwrap();
        self.change(|edit| edit.put_certificate(certificate));
    }

    /// A plain connection.
    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.http).await.unwrap()
    }

    /// A TLS connection for `name` that offers one protocol.
    pub(crate) async fn tls(
        &self,
        name: &str,
        protocol: &str,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(self.issuer.der())).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        let tcp = TcpStream::connect(self.https).await?;
        TlsConnector::from(Arc::new(config)).connect(name.to_owned().try_into().unwrap(), tcp).await
    }

    /// An HTTP/1.1 client without TLS.
    pub(crate) async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        http1_over(self.tcp().await).await
    }

    /// One `GET` over a new plain connection.
    pub(crate) async fn fetch(&self, host: &str, path: &str) -> Response {
        let request = hyper::Request::get(path).header("host", host).body(Full::default()).unwrap();
        Response::read(self.http1().await.send_request(request).await.unwrap()).await
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.ending.cancel();
        if let Some(workers) = self.workers.take() {
            let ended = workers.join();
            assert!(ended.is_ok() || thread::panicking(), "the workers panicked");
        }
    }
}

struct Ending(CancellationToken);

#[async_trait]
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        self.0.cancelled().await;
        ShutdownSignal::GracefulTerminate
    }
}

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// An HTTP/1.1 client on a connection.
pub(crate) async fn http1_over<B>(io: impl AsyncStream) -> http1::SendRequest<B>
where
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (client, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    client
}

/// An HTTP/2 client on a connection.
pub(crate) async fn http2_over<B>(io: impl AsyncStream) -> http2::SendRequest<B>
where
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// What a connection is made of.
pub(crate) trait AsyncStream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static> AsyncStream for T {}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: http::HeaderMap,
}

impl Response {
    pub(crate) async fn read(response: hyper::Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let body = String::from_utf8(collected.to_bytes().into()).unwrap();
        Self { status: parts.status.as_u16(), headers: parts.headers, body, trailers }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A field of a JSON body.
    pub(crate) fn json(&self, field: &str) -> Value {
        serde_json::from_str::<Value>(&self.body).unwrap()[field].clone()
    }
}

/// An HTTP server, HTTP/1.1 and HTTP/2 without TLS, for as long as it lives.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Origin {
    /// One that answers with its name and what it was asked, as JSON.
    pub(crate) async fn echo(name: &'static str) -> Self {
        Self::serve(Router::new().fallback(echo).with_state(name)).await
    }

    pub(crate) async fn serve(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }

    /// One that speaks whatever `connection` speaks.
    pub(crate) async fn raw<F>(connection: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(connection(tcp));
            }
        });
        Self { address, task }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(State(name): State<&'static str>, request: Request) -> Json<Value> {
    let mut seen = Map::new();
    for (key, value) in request.headers() {
        let value = value.to_str().unwrap();
        let all = seen.get(key.as_str()).and_then(Value::as_str).map(|before| format!("{before} | {value}"));
        seen.insert(key.to_string(), all.unwrap_or_else(|| value.to_owned()).into());
    }
    seen.insert("origin".into(), name.into());
    seen.insert("method".into(), request.method().as_str().into());
    seen.insert("target".into(), request.uri().to_string().into());
    seen.insert("version".into(), format!("{:?}", request.version()).into());
    Json(Value::Object(seen))
}

/// An address that refuses connections: its listener is gone.
pub(crate) async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub(crate) fn domain(host: &str, tag: &str) -> Domain {
    let (host, tag) = (HostPattern::parse(host).unwrap(), Tag::parse(tag).unwrap());
    Domain::new(resource::Domain::new(host, ServiceId::parse("shop").unwrap(), tag)).unwrap()
}

pub(crate) fn service(protocol: BackendProtocol) -> Service {
    let timeouts = Timeouts::new(CONNECT, FIRST_BYTE, IDLE).unwrap();
    let service = resource::Service::new(ServiceId::parse("shop").unwrap());
    Service::new(resource::Service { protocol, timeouts, ..service }).unwrap()
}

pub(crate) fn backend(id: &str, address: SocketAddr, tag: &str) -> Backend {
    let address = BackendAddress::parse(&address.to_string()).unwrap();
    let tags = Tags::new(vec![Tag::parse(tag).unwrap()]).unwrap();
    Backend::new(BackendId::parse(id).unwrap(), ServiceId::parse("shop").unwrap(), address, tags)
}

/// `shop.example` with its pool `a`.
pub(crate) fn shop(edit: &mut Edit, backends: &[SocketAddr]) {
    edit.put_service(service(BackendProtocol::Automatic));
    edit.put_domain(domain("shop.example", "a"));
    for (number, address) in backends.iter().enumerate() {
        edit.put_backend(backend(&format!("shop-{number}"), *address, "a"));
    }
}

/// The loopback address, as text of the clients of these tests.
pub(crate) fn loopback() -> String {
    IpAddr::from([127, 0, 0, 1]).to_string()
}
