//! What the control plane counts of itself, for Prometheus.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use switchyard_proto::vocab::CertificateId;

use crate::model::Timestamp;

/// Certificates that are told of one by one; the rest is only counted.
const CERTIFICATES_MAX: usize = 1_000;

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    expiring: Gauge<i64, AtomicI64>,
    expiry: Family<CertificateLabels, Gauge<i64, AtomicI64>>,
    withheld: Family<KindLabels, Gauge<i64, AtomicI64>>,
    task_run: Family<TaskLabels, Gauge<i64, AtomicI64>>,
    task_success: Family<TaskLabels, Gauge<i64, AtomicI64>>,
    task_failures: Family<TaskLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

impl Metrics {
    /// Metrics of which nothing was counted yet.
    #[expect(clippy::new_without_default, reason = "there is one for each process, made in one place")]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("switchyard");
        let (expiring, expiry, withheld) = (Gauge::default(), Family::default(), Family::default());
        registry.register(
            "certificates_expiring",
            "Certificates that end in 30 days, or in a third of a shorter lifetime, and were not replaced",
            expiring.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When each of these ends, since 1970",
            Unit::Seconds,
            expiry.clone(),
        );
        registry.register(
            "withheld_resources",
            "Resources of each kind that are in the database and cannot be read: edges keep what they serve of them",
            withheld.clone(),
        );
        let (task_run, task_success, task_failures) = (Family::default(), Family::default(), Family::default());
        registry.register_with_unit(
            "task_last_run_timestamp",
            "When the last step of each background task ended, since 1970",
            Unit::Seconds,
            task_run.clone(),
        );
        registry.register_with_unit(
            "task_last_success_timestamp",
            "When the last step of each background task that did not fail ended, since 1970",
            Unit::Seconds,
            task_success.clone(),
        );
        registry.register("task_failures", "Steps of each background task that failed", task_failures.clone());
        Self { registry, expiring, expiry, withheld, task_run, task_success, task_failures }
    }

    /// Takes note of a background task that does not run: when it ran says nothing any more.
    pub fn task_stands_by(&self, task: &'static str) {
        for family in [&self.task_run, &self.task_success] {
            family.remove(&TaskLabels { task });
        }
        drop(self.task_failures.get_or_create(&TaskLabels { task }));
    }

    /// Takes note of a step of a background task.
    pub fn task_succeeded(&self, task: &'static str, now: Timestamp) {
        for family in [&self.task_run, &self.task_success] {
            family.get_or_create(&TaskLabels { task }).set(now.0.div_euclid(1_000));
        }
    }

    /// Takes note of a step of a background task that failed.
    pub fn task_failed(&self, task: &'static str, now: Timestamp) {
        self.task_run.get_or_create(&TaskLabels { task }).set(now.0.div_euclid(1_000));
        self.task_failures.get_or_create(&TaskLabels { task }).inc();
    }

    /// Takes note of the certificates that come to their end.
    pub fn certificates_expiring<'a>(&self, ending: impl Iterator<Item = (&'a CertificateId, Timestamp)>) {
        self.expiry.clear();
        let mut count = 0;
        for (id, not_after) in ending {
            if count < CERTIFICATES_MAX as i64 {
                let labels = CertificateLabels { certificate: id.to_string() };
                self.expiry.get_or_create(&labels).set(not_after.0.div_euclid(1_000));
            }
            count += 1;
        }
        self.expiring.set(count);
    }

    /// Takes note of what the database has and cannot be read: the kind of each.
    pub fn withheld<'a>(&self, kinds: impl Iterator<Item = &'a str>) {
        self.withheld.clear();
        for kind in kinds {
            self.withheld.get_or_create(&KindLabels { kind: kind.to_owned() }).inc();
        }
    }

    /// All of them, in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_counted_by_kind_until_it_can() {
        let metrics = Metrics::new();
        metrics.withheld(["domains", "tokens", "domains"].into_iter());
        let text = metrics.text();
        assert!(text.contains("switchyard_withheld_resources{kind=\"domains\"} 2\n"), "{text}");
        assert!(text.contains("switchyard_withheld_resources{kind=\"tokens\"} 1\n"), "{text}");
        metrics.withheld([].into_iter());
        assert!(!metrics.text().contains("kind="), "{}", metrics.text());
    }

    #[test]
    fn what_ends_no_more_is_told_no_more() {
        let metrics = Metrics::new();
        let id = CertificateId::parse("shop").unwrap();
        metrics.certificates_expiring([(&id, Timestamp(1_800_000_000_000))].into_iter());
        let text = metrics.text();
        assert!(text.contains("switchyard_certificates_expiring 1\n"), "{text}");
        let line = "switchyard_certificate_expiry_timestamp_seconds{certificate=\"shop\"} 1800000000\n";
        assert!(text.contains(line), "{text}");
        metrics.certificates_expiring([].into_iter());
        assert!(metrics.text().contains("switchyard_certificates_expiring 0\n"));
        assert!(!metrics.text().contains("shop"));
    }
}
