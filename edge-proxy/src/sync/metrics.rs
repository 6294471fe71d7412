use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use switchyard_proto::vocab::Revision;

use super::BatchKind;

/// Counters of the change feed.
#[derive(Clone, Debug, Default)]
pub struct SyncMetrics {
    batches: Family<KindLabel, Counter>,
    revision: Gauge<u64, AtomicU64>,
    rejected: Gauge,
    unverified: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl SyncMetrics {
    /// Makes the counters and shows them under `switchyard_edge_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        // Both are there from the beginning, at 0.
        for kind in [BatchKind::Delta, BatchKind::Snapshot] {
            drop(metrics.batches.get_or_create(&KindLabel { kind: kind.as_str() }));
        }
        registry.register(
            "switchyard_edge_batches",
            "Batches of configuration that were applied: differences, and everything",
            metrics.batches.clone(),
        );
        registry.register(
            "switchyard_edge_revision",
            "The revision of the configuration that was received",
            metrics.revision.clone(),
        );
        registry.register(
            "switchyard_edge_rejected_resources",
            "Resources that are not served as they were received",
            metrics.rejected.clone(),
        );
        registry.register(
            "switchyard_edge_unverified_services",
            "Services to whose backends TLS is spoken without verifying their certificates",
            metrics.unverified.clone(),
        );
        metrics
    }

    /// One batch was applied.
    pub(crate) fn batch(&self, kind: BatchKind) {
        self.batches.get_or_create(&KindLabel { kind: kind.as_str() }).inc();
    }

    /// How far this edge is.
    pub(crate) fn position(&self, revision: Revision, rejected: usize, unverified: usize) {
        self.revision.set(revision.0);
        self.unverified.set(i64::try_from(unverified).unwrap_or(i64::MAX));
        self.rejected.set(i64::try_from(rejected).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_batches_are_counted_from_zero() {
        let mut registry = Registry::default();
        let metrics = SyncMetrics::register(&mut registry);
        metrics.batch(BatchKind::Delta);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("switchyard_edge_batches_total{kind=\"delta\"} 1"), "{text}");
        assert!(text.contains("switchyard_edge_batches_total{kind=\"snapshot\"} 0"), "{text}");
    }
}
