//! Connections to one listener, with TLS or without, whatever name they are for.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tower::Service;

/// What bytes are read from and written to.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// How to reach a listener.
#[derive(Clone)]
pub struct Connector {
    listener: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// Without TLS.
    pub fn plain(listener: SocketAddr) -> Self {
        Self { listener, tls: None }
    }

    /// With TLS, trusting one root (PEM), offering these protocols.
    pub fn tls(listener: SocketAddr, root_pem: &str, alpn: &[&str]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes())?)?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Self { listener, tls: Some(Arc::new(config)) })
    }

    /// With TLS as this says.
    pub fn tls_with(listener: SocketAddr, config: ClientConfig) -> Self {
        Self { listener, tls: Some(Arc::new(config)) }
    }

    /// The same, offering other protocols where there is TLS.
    pub fn with_alpn(&self, alpn: &[&str]) -> Self {
        let tls = self.tls.as_ref().map(|config| {
            let mut config = ClientConfig::clone(config);
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            Arc::new(config)
        });
        Self { listener: self.listener, tls }
    }

    /// Connects as if the name led to the listener.
    pub async fn connect(&self, name: &str) -> Result<Socket> {
        let stream =
            TcpStream::connect(self.listener).await.with_context(|| format!("connect to {}", self.listener))?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Socket::new(Box::new(stream), Vec::new(), false)) };
        let server = ServerName::try_from(name.to_owned())?;
        let stream = TlsConnector::from(config.clone())
            .connect(server, stream)
            .await
            .with_context(|| format!("TLS with {} as {name}", self.listener))?;
        let (_, session) = stream.get_ref();
        let chain =
            session.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect();
        let http2 = session.alpn_protocol() == Some(b"h2");
        Ok(Socket::new(Box::new(stream), chain, http2))
    }
}

/// For clients that ask by URI.
impl Service<Uri> for Connector {
    type Response = Socket;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Socket>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(uri.host().unwrap_or_default()).await.map_err(io::Error::other) })
    }
}

/// A connection.
pub struct Socket {
    io: TokioIo<Box<dyn Bytes>>,
    chain: Vec<CertificateDer<'static>>,
    http2: bool,
}

impl Socket {
    fn new(stream: Box<dyn Bytes>, chain: Vec<CertificateDer<'static>>, http2: bool) -> Self {
        Self { io: TokioIo::new(stream), chain, http2 }
    }

    /// What the server presented.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whether HTTP/2 was agreed upon.
    pub fn http2(&self) -> bool {
        self.http2
    }

    /// The stream, for protocols other than hyper's.
    pub fn into_stream(self) -> Box<dyn Bytes> {
        self.io.into_inner()
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
