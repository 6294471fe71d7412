use std::{collections::HashMap, sync::Arc, time::Duration};

use switchyard_proto::vocab::CertificateId;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{app::App, metrics::Metrics, model::Timestamp};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How often it is said again of a certificate.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Warns about certificates that come to their end and were not replaced.
#[derive(Debug)]
pub struct Expiry {
    app: Arc<App>,
    metrics: Arc<Metrics>,
    /// When it was said last.
    warned: HashMap<CertificateId, Timestamp>,
}

impl Expiry {
    /// A reconciler that warns in the log and by a metric.
    pub fn new(app: Arc<App>, metrics: Arc<Metrics>) -> Self {
        Self { app, metrics, warned: HashMap::new() }
    }

    /// Runs until `ending` is cancelled.
    pub async fn run(mut self, ending: CancellationToken) {
        loop {
            self.look();
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = ending.cancelled() => return,
            }
        }
    }

    fn look(&mut self) {
        let now = self.app.clock.now();
        let state = self.app.feed.state();
        let ending = state.certificates().values().map(|stored| &stored.value);
        let ending: Vec<_> = ending.filter(|certificate| certificate.chain.is_ending(now)).collect();
        self.metrics
            .certificates_expiring(ending.iter().map(|certificate| (&certificate.id, certificate.chain.not_after)));
        let before = std::mem::take(&mut self.warned);
        for certificate in ending {
            let said = before.get(&certificate.id).copied().filter(|said| now < said.plus(AGAIN));
            if said.is_none() {
                let days = (certificate.chain.not_after.0 - now.0).div_euclid(24 * 60 * 60 * 1_000);
                warn!(
                    event = "certificate_expiring",
                    certificate = %certificate.id,
                    source = certificate.source.as_str(),
                    days,
                    "a certificate ends soon and was not replaced"
                );
            }
            self.warned.insert(certificate.id.clone(), said.unwrap_or(now));
        }
    }
}
