//! Lets in who shows a token, and only to methods that their role allows. It is around the whole API, so that a method that
//! forgets to ask is not reached.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header::AUTHORIZATION};
use tokio::time::sleep;
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::{info, warn};

use super::{connection::ConnectInfo, permissions::Permission};
use crate::{
    app::{App, token},
    model::{Actor, Door},
};

/// How long a wrong token is thought about.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);
/// Wrong tokens of one address that are thought about at a time; during that, nothing more is taken from there.
const REFUSALS_PER_ADDRESS_MAX: usize = 16;
/// Addresses of which some are thought about at a time.
const REFUSALS_MAX: usize = 4_096;

/// Puts [`Authenticated`] around a service.
#[derive(Clone, Debug)]
pub(super) struct Authentication {
    app: Arc<App>,
    refusals: Refusals,
}

impl Authentication {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app, refusals: Refusals::default() }
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
            return Err(Status::unauthenticated(
                "a token is needed: show one with `authorization: Bearer TOKEN`; switchyard login keeps it",
            ));
        };
        let Some(token) = token::find(&self.app, secret) else {
            let address_text = address.map(|address| address.to_string()).unwrap_or_default();
            warn!(address = address_text, "a call with a token that is unknown, revoked or expired");
            let _refusal = self.refusals.begin(address);
            sleep(REFUSAL_DELAY).await;
            return Err(Status::unauthenticated("the token is unknown, revoked or expired: ask for another"));
        };
        if let Some(connection) = connection {
            connection.admission.admit();
        }
        let permission = Permission::of(path).ok_or_else(|| Status::unimplemented("there is no such method"))?;
        permission.check(&token.value.access).map_err(|refused| {
            info!(token = %token.value.id, method = permission.method(), "refused: {refused}");
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
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

/// The wrong tokens that are being thought about, by address; clones share it.
#[derive(Clone, Debug, Default)]
struct Refusals(Arc<Mutex<HashMap<Option<IpAddr>, usize>>>);

impl Refusals {
    /// Whether an address is listened to.
    fn check(&self, address: Option<IpAddr>) -> Result<(), Status> {
        let refusals = self.0.lock().expect("nobody panics with it");
        if refusals.get(&address).is_some_and(|count| *count >= REFUSALS_PER_ADDRESS_MAX) {
            return Err(Status::resource_exhausted("too many wrong tokens came from this address: try again later"));
        }
        if refusals.len() >= REFUSALS_MAX && !refusals.contains_key(&address) {
            return Err(Status::resource_exhausted("too many wrong tokens came: try again later"));
        }
        Ok(())
    }

    /// Takes one up, until what is returned is dropped.
    fn begin(&self, address: Option<IpAddr>) -> Refusal {
        *self.0.lock().expect("nobody panics with it").entry(address).or_default() += 1;
        Refusal { refusals: self.clone(), address }
    }
}

struct Refusal {
    refusals: Refusals,
    address: Option<IpAddr>,
}

impl Drop for Refusal {
    fn drop(&mut self) {
        let mut refusals = self.refusals.0.lock().expect("nobody panics with it");
        if let Some(count) = refusals.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                refusals.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tonic::Code;

    use super::*;

    #[test]
    fn an_address_that_guesses_is_not_listened_to_meanwhile() {
        let refusals = Refusals::default();
        let [one, other] = [1, 2].map(|last| Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))));
        let held: Vec<_> = (0..REFUSALS_PER_ADDRESS_MAX).map(|_| refusals.begin(one)).collect();
        assert_eq!(refusals.check(one).unwrap_err().code(), Code::ResourceExhausted);
        assert!(refusals.check(other).is_ok());
        drop(held);
        assert!(refusals.check(one).is_ok());
        assert!(refusals.0.lock().unwrap().is_empty(), "nothing is left of it");
    }
}
