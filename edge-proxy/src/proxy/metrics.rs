use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What all workers count, bound before the first request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: [Counter; CLASSES.len()],
    connections: Gauge,
    handshakes_failed: Counter,
    attempts_failed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    status: &'static str,
}

/// By the first digit of the status; the first for requests that were not answered.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let metrics = Self {
            requests: CLASSES.map(|status| requests.get_or_create(&RequestLabels { status }).clone()),
            connections: Gauge::default(),
            handshakes_failed: Counter::default(),
            attempts_failed: Counter::default(),
        };
        let Self { requests: _, connections, handshakes_failed, attempts_failed } = &metrics;
        registry.register("switchyard_edge_requests", "Requests that ended, by class of status", requests);
        registry.register("switchyard_edge_connections", "Connections of clients that are open", connections.clone());
        registry.register(
            "switchyard_edge_handshakes_failed",
            "Connections of clients that did not become TLS",
            handshakes_failed.clone(),
        );
        registry.register(
            "switchyard_edge_backend_attempts_failed",
            "Attempts to have a request answered by a backend that failed, repeated or not",
            attempts_failed.clone(),
        );
        metrics
    }

    /// Counts a request that was answered with `status`, or with nothing.
    pub(super) fn request_ended(&self, status: Option<u16>) {
        let class = usize::from(status.unwrap_or(0) / 100);
        // What a backend answers beyond 599 is an error of the server (RFC 9110, section 15).
        self.requests[class.min(CLASSES.len() - 1)].inc();
    }

    pub(super) fn attempt_failed(&self) {
        self.attempts_failed.inc();
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// Counts a connection while what it returns lives.
    pub(crate) fn connection_open(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }
}

/// One open connection.
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
