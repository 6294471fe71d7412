use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use crate::access::{Refusal, StreamPermit};

/// What is streamed, until the token that it was opened with is revoked or expires, or the program ends.
pub(super) struct EndingBody {
    inner: Body,
    revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
    /// Counts the stream as long as it lives.
    _permit: StreamPermit,
}

impl EndingBody {
    pub(super) fn new(inner: Body, permit: StreamPermit, ending: CancellationToken) -> Self {
        let (revoked, ending) = (Box::pin(permit.ended()), Box::pin(ending.cancelled_owned()));
        Self { inner, revoked, ending, is_over: false, _permit: permit }
    }

    /// Why it is to end now, if it is.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self.revoked.as_mut().poll(cx).is_ready() {
            return Poll::Ready(super::authentication::status(&Refusal::UnknownToken));
        }
        self.ending.as_mut().poll(cx).map(|()| Status::unavailable("the control plane ends"))
    }
}

impl HttpBody for EndingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(status) = self.poll_end(cx) {
            self.is_over = true;
            // Whoever streams is told to stop before the caller is.
            self.inner = Body::empty();
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
