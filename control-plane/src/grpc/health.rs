//! What those who watch over the program ask: `grpc.health.v1`, and `/readyz` for who speaks HTTP alone.

use axum::{Json, response::IntoResponse};
use http::StatusCode;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::admin::SERVICES;
use crate::health::Health;

/// Reports the health of all services, and of the program as a whole, until `ending` is cancelled: then nothing is served any more.
pub(super) async fn report(reporter: HealthReporter, mut health: watch::Receiver<Health>, ending: CancellationToken) {
    let set = async |status| {
        // The empty name is the program as a whole.
        for service in SERVICES.into_iter().chain([""]) {
            reporter.set_service_status(service, status).await;
        }
    };
    loop {
        let status = match *health.borrow_and_update() {
            Health::Serving => ServingStatus::Serving,
            Health::NotFollowing | Health::NotWriting | Health::NoSpace => ServingStatus::NotServing,
        };
        set(status).await;
        tokio::select! {
            () = ending.cancelled() => break,
            changed = health.changed() => if changed.is_err() { break },
        }
    }
    set(ServingStatus::NotServing).await;
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// 200 when everything works, else 503 with what does not.
pub(super) fn readiness(health: Health) -> impl IntoResponse {
    let reason = health.problem();
    let code = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Readiness { ready: reason.is_none(), reason }))
}
