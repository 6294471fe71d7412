use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::HeaderName,
    response::{IntoResponse, Sse, sse::Event},
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle, time::interval};
use tokio_stream::{StreamExt, wrappers::IntervalStream};

use super::DemoFailure;

/// How often `/events` sends something.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);
const TAG_HEADER: HeaderName = HeaderName::from_static("x-demo-tag");

/// A small web server that says which backend it is. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) name: &'static str,
    pub(super) tag: &'static str,
    pub(super) address: SocketAddr,
    server: JoinHandle<()>,
}

/// What an origin says of itself.
#[derive(Clone, Copy, Debug)]
struct Identity {
    name: &'static str,
    tag: &'static str,
}

impl Origin {
    /// Starts to serve on a free port.
    pub(super) async fn start(name: &'static str, tag: &'static str) -> Result<Self, DemoFailure> {
        let failed = |error| DemoFailure::System { what: "a backend cannot listen", error };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let routes = Router::new().route("/events", get(events)).fallback(hello).with_state(Identity { name, tag });
        let server = tokio::spawn(async move {
            // Never returns: axum goes on after errors of the listener.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { name, tag, address, server })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn hello(State(Identity { name, tag }): State<Identity>) -> impl IntoResponse {
    ([(TAG_HEADER, tag)], format!("Hello from backend {name}, tag {tag}.\n"))
}

/// Server-sent events without end.
async fn events(State(Identity { name, tag }): State<Identity>) -> impl IntoResponse {
    let ticks = IntervalStream::new(interval(EVENT_INTERVAL));
    let events = ticks.map(move |_| Ok::<_, Infallible>(Event::default().data(format!("backend {name}, tag {tag}"))));
    ([(TAG_HEADER, tag)], Sse::new(events))
}
