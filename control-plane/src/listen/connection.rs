use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::quota::Share;

/// A connection of somebody who may belong here. It breaks unless it is admitted soon.
#[derive(Debug)]
pub struct Connection<S = Either<TcpStream, TlsStream<TcpStream>>> {
    stream: S,
    peer: SocketAddr,
    certificate: Option<CertificateDer<'static>>,
    admission: Admission,
    deadline: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

/// Whether a connection was admitted; clones share it.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Share>);

impl Admission {
    /// Lets the connection live on: a call on it has shown what it must.
    pub fn admit(&self) {
        self.0.admit();
    }
}

impl<S> Connection<S> {
    /// A connection that is to be admitted within `timeout`.
    pub(super) fn new(
        stream: S,
        peer: SocketAddr,
        share: Share,
        permit: OwnedSemaphorePermit,
        timeout: Duration,
    ) -> Self {
        let deadline = Some(Box::pin(sleep(timeout)));
        Self { stream, peer, certificate: None, admission: Admission(Arc::new(share)), deadline, _permit: permit }
    }

    /// With the certificate that the other side has shown.
    pub(super) fn with_certificate(self, certificate: Option<CertificateDer<'static>>) -> Self {
        Self { certificate, ..self }
    }

    /// Where it comes from.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The certificate that the other side has shown, and proven to have the key of.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// What admits it.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            if !self.admission.0.is_admitted() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.deadline = None;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::Semaphore,
    };

    use super::*;
    use crate::listen::quota::Quota;

    async fn connection(timeout: Duration) -> (Connection<DuplexStream>, DuplexStream) {
        let (here, there) = duplex(64);
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let share = Quota::default().take(peer.ip()).unwrap();
        (Connection::new(here, peer, share, permit, timeout), there)
    }

    #[tokio::test]
    async fn a_connection_that_is_not_admitted_breaks() {
        let (mut connection, mut there) = connection(Duration::from_millis(20)).await;
        // Talking does not help.
        there.write_all(b"hello").await.unwrap();
        let mut read = Vec::new();
        let error = connection.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_that_is_admitted_lives_on() {
        let (mut connection, mut there) = connection(Duration::from_millis(20)).await;
        connection.admission().admit();
        // Until the deadline has passed.
        while connection.deadline.is_some() {
            there.write_all(b"!").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'!');
            tokio::task::yield_now().await;
        }
        there.write_all(b"!").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'!');
    }
}
