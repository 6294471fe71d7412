use std::{collections::HashMap, sync::Arc, time::Duration};

use switchyard_proto::vocab::CertificateId;
use tracing::warn;

use super::driver::{Step, StepError, Task, Timing};
use crate::{app::App, metrics::Metrics, model::Timestamp};

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
}

impl Task for Expiry {
    const TIMING: Timing = Timing {
        rest: Duration::ZERO,
        interval: Duration::from_secs(10 * 60),
        retry: Duration::from_secs(60),
        retry_max: Duration::from_secs(10 * 60),
    };

    async fn step(&mut self) -> Result<Step, StepError> {
        let now = self.app.clock.now();
        let state = self.app.feed.state();
        let ending = state.certificates().values().map(|stored| &stored.value);
        let ending: Vec<_> = ending.filter(|certificate| certificate.chain.is_ending(now)).collect();
        self.metrics
            .certificates_expiring(ending.iter().map(|certificate| (&certificate.id, certificate.chain.not_after)));
        let before = std::mem::take(&mut self.warned);
        let mut warnings = 0;
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
                warnings += 1;
            }
            self.warned.insert(certificate.id.clone(), said.unwrap_or(now));
        }
        Ok(if warnings > 0 { Step::did(format!("warned of certificates: {warnings}")) } else { Step::idle() })
    }
}
