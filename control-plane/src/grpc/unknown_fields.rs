//! Refuses calls whose request has fields that this version does not know: decoded, they would be lost without a word, and the call
//! would succeed without what it asks for.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use prost_reflect::MessageDescriptor;
use switchyard_proto::schema::{self, Partial};
use tonic::{Status, body::Body};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use tower::{Layer, Service};

use super::admin::REQUEST_BYTES_MAX;

/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Unknown fields that are named.
const NAMED_MAX: usize = 8;

/// Puts [`KnownFields`] around a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefuseUnknownFields;

impl<S> Layer<S> for RefuseUnknownFields {
    type Service = KnownFields<S>;

    fn layer(&self, inner: S) -> Self::Service {
        KnownFields { inner }
    }
}

/// A service that gets requests of which every field is known.
#[derive(Clone, Debug)]
pub(super) struct KnownFields<S> {
    inner: S,
}

impl<S, R> Service<Request<Body>> for KnownFields<S>
where
    S: Service<Request<Body>, Response = http::Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    R: Default,
{
    type Response = http::Response<R>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready, and not its clone.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let Some(message) = unary_request(request.uri().path()) else { return Box::pin(inner.call(request)) };
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            match read(body).await.and_then(|body| check(&message, &body).map(|()| body)) {
                Ok(body) => inner.call(Request::from_parts(parts, Body::new(Full::new(body)))).await,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

/// What a method of the API is called with, if that is a single message.
fn unary_request(path: &str) -> Option<MessageDescriptor> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = schema::pool().get_service_by_name(service)?;
    let method = service.methods().find(|it| it.name() == method)?;
    (!method.is_client_streaming()).then(|| method.input())
}

/// Reads a body that is as long as a message may be, at most.
async fn read(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, PREFIX_BYTES + REQUEST_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Status::out_of_range(format!("a request has at most {REQUEST_BYTES_MAX} bytes")))
        }
        Err(error) => Err(Status::from_error(error)),
    }
}

/// Checks a request as it was read. What is no whole message, or is compressed, is refused where it is decoded.
fn check(descriptor: &MessageDescriptor, read: &[u8]) -> Result<(), Status> {
    let Some(([0, length @ ..], rest)) = read.split_first_chunk::<PREFIX_BYTES>() else { return Ok(()) };
    let Some(encoded) = rest.get(..u32::from_be_bytes(*length) as usize) else { return Ok(()) };
    let Partial { unknown, .. } = Partial::decode(descriptor, encoded, NAMED_MAX);
    if unknown.is_empty() {
        return Ok(());
    }
    let violation = |path: &String| FieldViolation::new(path, "the control plane does not know this field");
    let details = ErrorDetails::with_bad_request(unknown.iter().map(violation).collect::<Vec<_>>());
    let text = format!(
        "{} has fields that this control plane ({}) does not know: {}; upgrade it, or call it with its own version of the API",
        descriptor.name(),
        env!("CARGO_PKG_VERSION"),
        unknown.join(", "),
    );
    Err(Status::with_error_details(tonic::Code::InvalidArgument, text, details))
}
