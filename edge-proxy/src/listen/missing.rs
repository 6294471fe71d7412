use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use switchyard_proto::{NameMemory, vocab::HostPattern};
use tracing::warn;

/// Domains of which it is remembered that they were reported.
const REPORTED_MAX: usize = 10_000;
/// How often a domain is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Reports domains that clients ask for by TLS, and that have no certificate. Cheap to clone: all clones are the same one.
#[derive(Clone, Debug)]
pub struct MissingCertificates(Arc<Mutex<NameMemory>>);

impl Default for MissingCertificates {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(NameMemory::new(REPORTED_MAX))))
    }
}

impl MissingCertificates {
    /// A handshake for `server_name`, which belongs to `domain`, was refused.
    pub(super) fn report(&self, domain: &HostPattern, server_name: &str) {
        if self.is_due(domain, Instant::now()) {
            warn!(
                event = "certificate_missing",
                %domain,
                server_name,
                "a domain has no certificate; TLS handshakes for it are refused"
            );
        }
    }

    fn is_due(&self, domain: &HostPattern, now: Instant) -> bool {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = !reported.has(domain.as_str(), now);
        if is_due {
            reported.remember(domain.as_str(), now + REPORT_INTERVAL);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_reported_once_an_hour() {
        let missing = MissingCertificates::default();
        let [shop, other] = ["shop.example", "other.example"].map(|host| HostPattern::parse(host).unwrap());
        let now = Instant::now();
        assert!(missing.is_due(&shop, now) && !missing.clone().is_due(&shop, now + REPORT_INTERVAL / 2));
        assert!(missing.is_due(&other, now) && missing.is_due(&shop, now + REPORT_INTERVAL));
    }
}
