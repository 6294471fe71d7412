use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Joins the header and the beginning of the body of an answer in one packet, and in one TLS record.
const WRITE_BUFFER_BYTES: usize = 4096;
/// Unused buffers that a worker keeps. Only connections in the middle of a write have one.
const FREE_BUFFERS_MAX: usize = 64;

thread_local! {
    static FREE_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Like tokio's `BufWriter`, but a connection that has nothing to write has no buffer: the worker's connections take
/// turns with a few.
#[derive(Debug)]
pub(super) struct Buffered<T> {
    inner: T,
    /// Without capacity when there is nothing to write.
    buffer: Vec<u8>,
    written: usize,
}

impl<T> Buffered<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, buffer: Vec::new(), written: 0 }
    }

    pub(super) fn get_ref(&self) -> &T {
        &self.inner
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.buffer.capacity() == 0 {
            self.buffer =
                FREE_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(WRITE_BUFFER_BYTES));
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn give_back(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.written = 0;
        FREE_BUFFERS.with_borrow_mut(|free| {
            if buffer.capacity() > 0 && free.len() < FREE_BUFFERS_MAX {
                free.push(buffer);
            }
        });
    }
}

impl<T: AsyncWrite + Unpin> Buffered<T> {
    /// Hands on what is in the buffer, and gives the buffer back.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.buffer[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.give_back();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Buffered<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Buffered<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.buffer.len() + bytes.len() > WRITE_BUFFER_BYTES {
            ready!(self.poll_empty(cx))?;
        }
        if bytes.len() >= WRITE_BUFFER_BYTES {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if self.buffer.len() + length > WRITE_BUFFER_BYTES {
            ready!(self.poll_empty(cx))?;
        }
        if length >= WRITE_BUFFER_BYTES {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        }
        for piece in pieces {
            self.append(piece);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn free_buffers() -> usize {
        FREE_BUFFERS.with_borrow(Vec::len)
    }

    #[tokio::test]
    async fn small_writes_are_joined_and_large_ones_keep_their_place() {
        // The other side takes 100 bytes at a time.
        let (mut client, server) = tokio::io::duplex(100);
        let mut server = Buffered::new(server);
        let expected: Vec<u8> = (0..40_000_u32).map(|number| number as u8).collect();
        let sent = expected.clone();
        let writer = async move {
            let mut rest = &sent[..];
            for length in [1, 4000, 95, 1, 4096, 9, 16_384, 3].into_iter().cycle() {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                let (left, right) = piece.split_at(piece.len() / 3);
                server.write_all(left).await.unwrap();
                let mut right = IoSlice::new(right);
                while !right.is_empty() {
                    let written = server.write_vectored(&[right, IoSlice::new(&[])]).await.unwrap();
                    right.advance(written);
                }
                if after.is_empty() {
                    break;
                }
                rest = after;
            }
            server.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(writer, client.read_to_end(&mut received));
        read.unwrap();
        assert!(received == expected, "{} bytes came", received.len());
    }

    #[tokio::test]
    async fn a_connection_with_nothing_to_write_has_no_buffer() {
        let (_client, server) = tokio::io::duplex(1000);
        let mut server = Buffered::new(server);
        assert_eq!((server.buffer.capacity(), free_buffers()), (0, 0));
        server.write_all(b"answer").await.unwrap();
        assert_eq!(server.buffer.capacity(), WRITE_BUFFER_BYTES);
        server.flush().await.unwrap();
        assert_eq!((server.buffer.capacity(), free_buffers()), (0, 1));
        server.write_all(b"answer").await.unwrap();
        assert_eq!(free_buffers(), 0);
    }
}
