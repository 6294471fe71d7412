//! What operators and their monitoring ask an edge: whether it is alive, whether it is ready, and its counters.

use std::{io, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::sync::{Configuration, Link, Standing, Status};

/// The media type of <https://github.com/prometheus/OpenMetrics>, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Admin {
    registry: Arc<Registry>,
    status: watch::Receiver<Status>,
    standing: watch::Receiver<Standing>,
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    revision: u64,
    /// 32 hexadecimal digits.
    digest: String,
    /// Resources that are not served as they were received.
    rejected: usize,
    /// Whether there is a stream to a control plane.
    connected: bool,
    /// Whether the edge was removed from the fleet: it serves what it has, and learns of no change.
    removed: bool,
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `ending` is cancelled.
///
/// # Errors
///
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    status: watch::Receiver<Status>,
    standing: watch::Receiver<Standing>,
    ending: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin { registry, status, standing });
    axum::serve(listener, router).with_graceful_shutdown(ending.cancelled_owned()).await
}

/// 200 when there is a configuration to serve, else 503. The listeners accept before this can be asked.
async fn ready(State(admin): State<Admin>) -> Response {
    let Status { revision, digest, rejected, configuration, link } = *admin.status.borrow();
    let ready = configuration == Configuration::Loaded;
    let removed = *admin.standing.borrow() == Standing::Removed;
    let (digest, connected) = (format!("{digest:?}"), link == Link::Up);
    let body = Readiness { ready, revision: revision.0, digest, rejected, connected, removed };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
