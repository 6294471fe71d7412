//! The least that a reverse proxy on Pingora can be, to tell what Pingora costs and what the edge adds: one thread, the
//! hosts of one table, backends in turn, forwarding headers.
//!
//! Usage: bare-pingora HTTP HTTPS BACKEND CHAIN KEY (addresses, and files in PEM)

use std::{
    collections::HashMap,
    env, fs,
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header::HOST};
use pingora_core::{
    Error, ErrorType,
    apps::HttpServerOptions,
    listeners::tls::TlsSettings,
    modules::http::HttpModules,
    protocols::http::v2::server::default_h2_options,
    server::{RunArgs, Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
use rustls::{
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

struct Pool {
    next: AtomicUsize,
    peers: Vec<HttpPeer>,
}

struct Bare {
    table: ArcSwap<HashMap<Box<str>, Arc<Pool>>>,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        session.set_keepalive(Some(75));
        let request = session.req_header();
        let host = match request.uri.host() {
            Some(host) => host,
            None => request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
        };
        let host = host.split(':').next().unwrap_or_default();
        let table = self.table.load();
        let pool = table.get(host).ok_or_else(|| Error::explain(ErrorType::HTTPStatus(404), "no such host"))?;
        let turn = pool.next.fetch_add(1, Relaxed) % pool.peers.len();
        Ok(Box::new(pool.peers[turn].clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> pingora_core::Result<()> {
        if let Some(address) = session.client_addr().and_then(|address| address.as_inet()) {
            let mut text = Vec::with_capacity(40);
            // Writing to memory does not fail.
            let _ = write!(text, "{}", address.ip());
            let value = HeaderValue::from_maybe_shared(Bytes::from(text));
            request.insert_header(FORWARDED_FOR, value.expect("an address is a valid header"))?;
        }
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        request.insert_header(FORWARDED_PROTO, HeaderValue::from_static(if tls { "https" } else { "http" }))?;
        if let Some(host) = request.headers.get(HOST).cloned() {
            request.insert_header(FORWARDED_HOST, host)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn main() -> Result<()> {
    aws_lc_rs::default_provider().install_default().ok().context("install the cryptography")?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [http, https, backend, chain, key] = &arguments[..] else {
        anyhow::bail!("HTTP HTTPS BACKEND CHAIN KEY");
    };
    let backend: SocketAddr = backend.parse()?;

    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let mut peer = HttpPeer::new(backend, false, String::new());
    peer.options.connection_timeout = Some(Duration::from_secs(3));
    peer.options.idle_timeout = Some(Duration::from_secs(60));
    let pool = Arc::new(Pool { next: AtomicUsize::new(0), peers: vec![peer] });
    let table = HashMap::from([("localhost".into(), pool)]);
    let bare = Bare { table: ArcSwap::from_pointee(table) };

    let mut service = http_proxy_service(&server.configuration, bare);
    let app = service.app_logic_mut().context("the service has its proxy")?;
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(Duration::from_secs(75));
    app.server_options = Some(options);
    app.h2_options = Some(default_h2_options());
    service.add_tcp(http);

    let chain = CertificateDer::pem_slice_iter(&fs::read(chain)?).collect::<Result<Vec<_>, _>>()?;
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(PrivateKeyDer::from_pem_file(key)?)?;
    let mut tls = TlsSettings::intermediate("", "").map_err(|error| anyhow::anyhow!("{error}"))?;
    tls.set_cert_resolver(Arc::new(OneCertificate(Arc::new(CertifiedKey::new(chain, key)))));
    tls.enable_h2();
    service.add_tls_with_settings(https, None, tls);

    server.add_service(service);
    server.run(RunArgs::default());
    Ok(())
}
