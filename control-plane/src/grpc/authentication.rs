//! Asks [`access`](crate::access) about each call. It is around the whole API, so that a method that forgets to ask is not reached.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
    request::Parts,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};

use super::{connection::ConnectInfo, ending_body::EndingBody};
use crate::{
    access::{Authenticator, Call, Grant, Refusal},
    model::Origin,
};

/// What the content type of gRPC begins with.
const GRPC_CONTENT_TYPE: &[u8] = b"application/grpc";

/// Puts [`Authenticated`] around a service.
#[derive(Clone, Debug)]
pub(super) struct Authentication {
    authenticator: Arc<Authenticator>,
    /// Ends what is streamed.
    ending: CancellationToken,
}

impl Authentication {
    pub(super) fn new(authenticator: Arc<Authenticator>, ending: CancellationToken) -> Self {
        Self { authenticator, ending }
    }

    /// Whether a call may be made. One that may lets its connection live on.
    async fn authorize(&self, request: &Parts) -> Result<Grant, Refusal> {
        let authorization = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let connection = ConnectInfo::of(&request.extensions);
        let path = request.uri.path();
        let call = Call {
            method: path.strip_prefix('/').unwrap_or(path),
            secret: authorization.and_then(|value| value.strip_prefix("Bearer ")),
            address: connection.map(|connection| connection.peer.ip().to_canonical()),
            origin: Origin::Grpc,
        };
        let decision = self.authenticator.authorize(call).await;
        let has_token = match &decision {
            Ok(grant) => grant.actor.is_some(),
            Err(refusal) => refusal.is_of_valid_token(),
        };
        if let Some(connection) = connection.filter(|_| has_token) {
            connection.admission.admit();
        }
        decision
    }
}

impl<S> Layer<S> for Authentication {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticated { inner, authentication: self.clone() }
    }
}

/// A service that is reached as [`Authenticator`] decides. Calls that show a token carry an [`Actor`](crate::model::Actor).
#[derive(Clone, Debug)]
pub(super) struct Authenticated<S> {
    inner: S,
    authentication: Authentication,
}

impl<S> Service<Request<Body>> for Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready, and not its clone.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let authentication = self.authentication.clone();
        Box::pin(async move {
            let (mut request, body) = request.into_parts();
            let Grant { actor, stream } = match authentication.authorize(&request).await {
                Ok(grant) => grant,
                Err(refusal) if is_grpc(&request) => return Ok(status(&refusal).into_http()),
                Err(refusal) => return Ok(plain(&refusal)),
            };
            // Methods have a service in their names.
            if request.uri.path().rfind('/') > Some(0) && !is_grpc(&request) {
                return Ok(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is called by gRPC"));
            }
            request.headers.remove(AUTHORIZATION);
            if let Some(actor) = actor {
                request.extensions.insert(actor);
            }
            let response = inner.call(Request::from_parts(request, body)).await?;
            Ok(match stream {
                None => response,
                Some(permit) => {
                    response.map(|body| Body::new(EndingBody::new(body, permit, authentication.ending.clone())))
                }
            })
        })
    }
}

fn is_grpc(request: &Parts) -> bool {
    request.headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(GRPC_CONTENT_TYPE))
}

/// A refusal of a gRPC call.
pub(super) fn status(refusal: &Refusal) -> Status {
    let (code, retry_after) = match refusal {
        Refusal::NoSuchMethod => (Code::Unimplemented, None),
        Refusal::NoToken | Refusal::UnknownToken => (Code::Unauthenticated, None),
        Refusal::TooManyFailures(it) => (Code::ResourceExhausted, Some(it.retry_after)),
        Refusal::RateExceeded(it) => (Code::ResourceExhausted, Some(it.retry_after)),
        Refusal::NotPermitted(_) => (Code::PermissionDenied, None),
        Refusal::TooManyStreams(_) => (Code::ResourceExhausted, None),
    };
    match retry_after {
        None => Status::new(code, refusal.to_string()),
        Some(_) => Status::with_error_details(code, refusal.to_string(), ErrorDetails::with_retry_info(retry_after)),
    }
}

/// A refusal for who does not speak gRPC.
fn plain(refusal: &Refusal) -> Response<Body> {
    let code = match refusal {
        Refusal::NoSuchMethod => return text(StatusCode::NOT_FOUND, "not found"),
        Refusal::NoToken | Refusal::UnknownToken => StatusCode::UNAUTHORIZED,
        Refusal::TooManyFailures(_) | Refusal::RateExceeded(_) | Refusal::TooManyStreams(_) => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Refusal::NotPermitted(_) => StatusCode::FORBIDDEN,
    };
    let mut response = text(code, &refusal.to_string());
    if code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn text(code: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::new(format!("{text}\n")));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message;
    use prost_types::FileDescriptorSet;
    use switchyard_proto::DESCRIPTORS;

    use crate::access::{HEALTHZ, METRICS, Permission, READYZ};

    /// Every method of the API that is in the descriptors, and whether it streams.
    fn methods(descriptors: &[u8], package: &str) -> BTreeMap<String, bool> {
        let files = FileDescriptorSet::decode(descriptors).unwrap().file;
        let services = files.iter().filter(|file| file.package() == package).flat_map(|file| &file.service);
        services
            .flat_map(|service| {
                let name = |method| format!("{package}.{}/{method}", service.name());
                service.method.iter().map(move |it| (name(it.name()), it.server_streaming()))
            })
            .collect()
    }

    #[test]
    fn every_method_has_a_permission() {
        let mut all = methods(DESCRIPTORS, "switchyard.v1");
        all.extend(methods(tonic_health::pb::FILE_DESCRIPTOR_SET, "grpc.health.v1"));
        all.extend(methods(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, "grpc.reflection.v1"));
        all.extend(methods(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET, "grpc.reflection.v1alpha"));
        all.extend([HEALTHZ, METRICS, READYZ].map(|word| (word.to_owned(), false)));
        let declared = Permission::all().iter().map(|it| (it.method().to_owned(), it.is_stream()));
        let declared: BTreeMap<_, _> = declared.collect();
        assert_eq!(declared.len(), Permission::all().len(), "none is declared twice");
        assert_eq!(declared, all);
    }
}
