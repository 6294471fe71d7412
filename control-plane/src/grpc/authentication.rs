//! Lets in who shows a token, and only to methods that their role allows. It is around the whole API, so that a method that
//! forgets to ask is not reached.

use std::{
    convert::Infallible,
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{info, warn};

use super::{admin::METRICS, connection::ConnectInfo, permissions::Permission, rates::Rates, refusals::Refusals};
use crate::{
    app::{App, token},
    model::{Actor, Door},
};

/// Puts [`Authenticated`] around a service.
#[derive(Clone, Debug)]
pub(super) struct Authentication {
    app: Arc<App>,
    refusals: Refusals,
    rates: Rates,
}

impl Authentication {
    pub(super) fn new(app: Arc<App>, token_rate: NonZeroU32) -> Self {
        Self { app, refusals: Refusals::default(), rates: Rates::new(token_rate) }
    }

    /// Who makes a call, if they may.
    async fn admit(
        &self,
        path: &str,
        authorization: Option<&str>,
        connection: Option<&ConnectInfo>,
    ) -> Result<Actor, Status> {
        let address = connection.map(|connection| connection.peer.ip().to_canonical());
        self.refusals.check(address)?;
        let Some(secret) = authorization.and_then(|value| value.strip_prefix("Bearer ")) else {
            info!(
                address = address.map(|address| address.to_string()),
                method = path,
                "refused: a call without a token"
            );
            return Err(Status::unauthenticated(
                "a token is needed: show one with `authorization: Bearer TOKEN`; switchyard login keeps it",
            ));
        };
        let Some(token) = token::find(&self.app, secret) else {
            let address_text = address.map(|address| address.to_string()).unwrap_or_default();
            warn!(address = address_text, "a call with a token that is unknown, revoked or expired");
            self.refusals.think(address).await;
            return Err(Status::unauthenticated("the token is unknown, revoked or expired: ask for another"));
        };
        if let Some(connection) = connection {
            connection.admission.admit();
        }
        self.rates.count(&token.value.id)?;
        let permission = Permission::of(path).ok_or_else(|| Status::unimplemented("there is no such method"))?;
        permission.check(&token.value.access).map_err(|refused| {
            info!(token = %token.value.id, method = permission.method(), "refused: the role of the token does not reach");
            Status::permission_denied(refused.to_string())
        })?;
        Ok(Actor {
            name: token.value.id.to_string(),
            door: Door::Grpc,
            access: token.value.access.clone(),
            address,
            method: Some(permission.method()),
        })
    }
}

impl<S> Layer<S> for Authentication {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticated { inner, authentication: self.clone() }
    }
}

/// A service that is reached with a token only. Calls that get there carry an [`Actor`].
#[derive(Clone, Debug)]
pub(super) struct Authenticated<S> {
    inner: S,
    authentication: Authentication,
}

/// A refusal for who does not speak gRPC.
fn refusal(status: &Status) -> Response<Body> {
    let code = match status.code() {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::FORBIDDEN,
    };
    let mut response = Response::new(Body::new(format!("{}\n", status.message())));
    *response.status_mut() = code;
    response
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The one that is ready, and not its clone.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let authentication = self.authentication.clone();
        Box::pin(async move {
            let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            let connection = ConnectInfo::of(request.extensions());
            match authentication.admit(request.uri().path(), authorization, connection).await {
                Ok(actor) => {
                    request.headers_mut().remove(AUTHORIZATION);
                    request.extensions_mut().insert(actor);
                    inner.call(request).await
                }
                Err(status) if request.uri().path() == METRICS => Ok(refusal(&status)),
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
