use std::{
    future::poll_fn,
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
    l4::socket::SocketAddr as PingoraAddress,
    raw_connect::ProxyDigest,
    tls::{ALPN, SslDigest},
};
use pingora_http::ResponseHeader;
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use super::write_buffer::Buffered;
use crate::connection::Connection;

/// From the first byte of a request's header to its last.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// What a client still sends after the last answer on its connection is read for this time.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// What a client that speaks HTTP/2 without TLS begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's connection, as Pingora takes it.
#[derive(Debug)]
pub(super) struct EdgeStream {
    inner: Inner,
    connection: Arc<Connection>,
    /// Bytes that were read from here beyond the last request whose length is known; none if that cannot be told.
    read_ahead: Option<u64>,
    header: HeaderProgress,
    /// Set once nothing more is sent.
    lingering: Option<Pin<Box<Sleep>>>,
    fd: RawFd,
    established: SystemTime,
    socket: Arc<SocketDigest>,
    tls: Option<Arc<SslDigest>>,
    proxy: Arc<ProxyDigest>,
}

#[derive(Debug)]
enum Inner {
    Plain { io: Buffered<TcpStream>, peeked: BytesMut },
    Tls(Box<Buffered<TlsStream<TcpStream>>>),
}

/// How far the header of the next request is. A header that comes in one piece costs no timer.
#[derive(Debug)]
enum HeaderProgress {
    /// Nothing of it has come, or there is nothing to wait for.
    None,
    /// Something has come, and perhaps all of it.
    Begun,
    /// Not all of it has come; the rest must before this is over.
    Awaited(Pin<Box<Sleep>>),
}

impl EdgeStream {
    pub(super) fn plain(tcp: TcpStream, peer: SocketAddr, connection: Connection) -> Self {
        let fd = tcp.as_raw_fd();
        Self::new(Inner::Plain { io: Buffered::new(tcp), peeked: BytesMut::new() }, fd, peer, connection, None)
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>, peer: SocketAddr, connection: Connection) -> Self {
        let (tcp, session) = tls.get_ref();
        let fd = tcp.as_raw_fd();
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
        let digest = Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()));
        if session.alpn_protocol() == Some(b"h2") {
            // Requests come interleaved there: Pingora's idle timeout of the connection bounds their headers.
            connection.header_complete();
        }
        Self::new(Inner::Tls(Box::new(Buffered::new(tls))), fd, peer, connection, Some(digest))
    }

    fn new(inner: Inner, fd: RawFd, peer: SocketAddr, connection: Connection, tls: Option<Arc<SslDigest>>) -> Self {
        let connection = Arc::new(connection);
        let socket = SocketDigest::from_raw_fd(fd);
        // It is empty: it was just made.
        let _ = socket.peer_addr.set(Some(PingoraAddress::Inet(peer)));
        // Pingora wants a response header beside the user data; nothing reads it.
        let unused = ResponseHeader::build_no_case(200, Some(0)).expect("200 is a status");
        Self {
            inner,
            read_ahead: Some(0),
            header: HeaderProgress::None,
            lingering: None,
            fd,
            established: SystemTime::now(),
            socket: Arc::new(socket),
            tls,
            proxy: Arc::new(ProxyDigest::new(Box::new(unused), Some(Box::new(connection.clone())))),
            connection,
        }
    }

    /// Whether HTTP/2 was agreed upon, or has been begun in the clear. Waits for as much as it takes to tell.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        if self.tls.is_some() {
            return Ok(matches!(self.selected_alpn_proto(), Some(ALPN::H2)));
        }
        let mut preface = [0; HTTP2_PREFACE.len()];
        Ok(self.try_peek(&mut preface).await? && preface == HTTP2_PREFACE)
    }

    /// Whether nothing of the next request has been read yet, so that it can be waited for with
    /// [`EdgeStream::readable`]. To be asked once after each request.
    pub(super) fn is_between_requests(&mut self) -> bool {
        let read = self.read_ahead.take();
        self.read_ahead = match (read, self.connection.request_bytes()) {
            (Some(read), Some(request)) => read.checked_sub(request),
            _ => None,
        };
        self.read_ahead == Some(0)
    }

    /// Waits until there is something to read, be it the end. Takes nothing.
    pub(super) async fn readable(&mut self) {
        poll_fn(|cx| match &mut self.inner {
            Inner::Plain { peeked, .. } if !peeked.is_empty() => Poll::Ready(()),
            // What is wrong shows when it is read.
            Inner::Plain { io, .. } => io.get_ref().poll_read_ready(cx).map(drop),
            Inner::Tls(io) => Pin::new(io.get_mut()).poll_fill_buf(cx).map(drop),
        })
        .await;
    }

    fn poll_read_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain { peeked, .. } if !peeked.is_empty() => {
                let taken = peeked.len().min(buf.remaining());
                buf.put_slice(&peeked[..taken]);
                peeked.advance(taken);
                if peeked.is_empty() {
                    *peeked = BytesMut::new();
                }
                Poll::Ready(Ok(()))
            }
            Inner::Plain { io, .. } => Pin::new(io).poll_read(cx, buf),
            Inner::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }

    /// Whether the header of the next request takes too long. Only asked when there is nothing to read.
    fn poll_header_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.connection.awaits_header() {
            self.header = HeaderProgress::None;
            return Poll::Pending;
        }
        if matches!(self.header, HeaderProgress::Begun) {
            self.header = HeaderProgress::Awaited(Box::pin(sleep(HEADER_TIMEOUT)));
        }
        match &mut self.header {
            HeaderProgress::Awaited(sleep) => sleep.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}

impl AsyncRead for EdgeStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match self.poll_read_inner(cx, buf) {
            Poll::Ready(read) => {
                let length = (buf.filled().len() - before) as u64;
                self.read_ahead = self.read_ahead.map(|bytes| bytes + length);
                if !self.connection.awaits_header() {
                    self.header = HeaderProgress::None;
                } else if matches!(self.header, HeaderProgress::None) && length > 0 {
                    self.header = HeaderProgress::Begun;
                }
                Poll::Ready(read)
            }
            Poll::Pending => {
                ready!(self.poll_header_deadline(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain { io, .. } => Pin::new(io).poll_write(cx, buf),
            Inner::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain { io, .. } => Pin::new(io).poll_write_vectored(cx, bufs),
            Inner::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Plain { io, .. } => io.is_write_vectored(),
            Inner::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain { io, .. } => Pin::new(io).poll_flush(cx),
            Inner::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    /// Says that nothing more is sent, and takes for a while what the client still sends: closing on it resets the
    /// connection, and may take the answer from the client that says why (RFC 9112, section 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(match &mut self.inner {
                Inner::Plain { io, .. } => Pin::new(io).poll_shutdown(cx),
                Inner::Tls(io) => Pin::new(io).poll_shutdown(cx),
            })?;
        }
        let lingering = self.lingering.get_or_insert_with(|| Box::pin(sleep(LINGER_TIMEOUT)));
        if lingering.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut discarded = [0; 4096];
            let mut discarded = ReadBuf::new(&mut discarded);
            let read = ready!(self.poll_read_inner(cx, &mut discarded));
            if read.is_err() || discarded.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[async_trait]
impl Shutdown for EdgeStream {
    async fn shutdown(&mut self) {
        // The other side may be gone already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for EdgeStream {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for EdgeStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match &self.inner {
            Inner::Plain { .. } => None,
            Inner::Tls(io) => match io.get_ref().get_ref().1.alpn_protocol()? {
                b"h2" => Some(ALPN::H2),
                b"http/1.1" => Some(ALPN::H1),
                _ => None,
            },
        }
    }
}

impl GetTimingDigest for EdgeStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest { established_ts: self.established, ..TimingDigest::default() })]
    }
}

impl GetProxyDigest for EdgeStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.proxy.clone())
    }
}

impl GetSocketDigest for EdgeStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}

#[async_trait]
impl Peek for EdgeStream {
    /// Reads ahead until it is clear whether the client begins HTTP/2. Saying that it cannot be known would force
    /// HTTP/2 on everybody.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let Inner::Plain { io, peeked } = &mut self.inner else { return Ok(false) };
        let read = async {
            while peeked.len() < buf.len() && HTTP2_PREFACE.starts_with(peeked) {
                if io.read_buf(peeked).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
            }
            Ok(())
        };
        timeout(HEADER_TIMEOUT, read).await??;
        if peeked.starts_with(HTTP2_PREFACE) {
            self.connection.header_complete();
        }
        let taken = peeked.len().min(buf.len());
        buf[..taken].copy_from_slice(&peeked[..taken]);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::connection::{Transport, TrustedNetworks};

    async fn pair() -> (TcpStream, EdgeStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, peer) = listener.accept().await.unwrap();
        let connection = Connection::new(peer.ip(), &TrustedNetworks::default(), Transport::Plain);
        (client, EdgeStream::plain(tcp, peer, connection))
    }

    #[tokio::test]
    async fn a_header_that_has_begun_must_end_and_a_body_need_not() {
        let (mut client, mut stream) = pair().await;
        let connection = stream.connection.clone();
        let mut buf = [0; 64];
        // From here on time passes when nothing else happens.
        tokio::time::pause();
        let mut trickled = 0;
        let error = loop {
            client.write_all(b"x").await.unwrap();
            match stream.read(&mut buf).await {
                Ok(length) => trickled += length,
                Err(error) => break error,
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            if trickled == 60 {
                panic!("a header may trickle for more than {HEADER_TIMEOUT:?}");
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        connection.header_complete();
        let waited = timeout(10 * HEADER_TIMEOUT, stream.read(&mut buf)).await;
        assert!(!matches!(waited, Ok(Err(_))), "a body has no deadline here: {waited:?}");
    }

    #[tokio::test]
    async fn a_short_request_is_not_waited_for_as_the_beginning_of_http2() {
        let (mut client, mut stream) = pair().await;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut preface = [0; 24];
        assert!(stream.try_peek(&mut preface).await.unwrap());
        assert_ne!(preface, HTTP2_PREFACE);
        let mut read = [0; 18];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"GET / HTTP/1.0\r\n\r\n");
    }

    #[tokio::test]
    async fn the_preface_of_http2_is_recognized_in_pieces_and_kept() {
        let (mut client, mut stream) = pair().await;
        let write = async {
            for piece in HTTP2_PREFACE.chunks(5) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut preface = [0; 24];
        let (_, peeked) = tokio::join!(write, stream.try_peek(&mut preface));
        assert!(peeked.unwrap());
        assert_eq!(preface, HTTP2_PREFACE);
        assert!(!stream.connection.awaits_header());
        let mut read = [0; 24];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, HTTP2_PREFACE);
    }
}
