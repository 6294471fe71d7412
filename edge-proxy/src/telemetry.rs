//! Logs and counters.

use std::{error::Error, fmt, str::FromStr, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use switchyard_proto::vocab::Revision;
use tracing_subscriber::{
    EnvFilter,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

use crate::sync::BatchKind;

/// How log records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which records are written: a level, or directives for parts of the program, as in `info,access=off`.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = InvalidLogFilter;

    fn from_str(text: &str) -> Result<Self, InvalidLogFilter> {
        // A single word that is no level would be taken for the name of a part of the program.
        let words = text.split(',').map(|directive| directive.rsplit('=').next().unwrap_or(directive).trim());
        for word in words {
            if !["off", "error", "warn", "info", "debug", "trace"].contains(&word) {
                return Err(InvalidLogFilter { text: text.to_owned() });
            }
        }
        EnvFilter::try_new(text).map_err(|_| InvalidLogFilter { text: text.to_owned() })?;
        Ok(Self(text.to_owned()))
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text that is not a [`LogFilter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a log level; use error, warn, info, debug, trace or off, or directives as in info,access=off")]
pub struct InvalidLogFilter {
    text: String,
}

/// What Pingora says of every client that goes away or speaks no TLS is no news.
const QUIET: &str = "pingora_core=off,pingora_proxy=off,hickory_proto=error,hickory_resolver=error";

/// Begins to write logs, on standard error.
///
/// # Errors
///
/// The process has a subscriber already.
pub fn init(format: LogFormat, filter: &LogFilter) -> Result<(), TryInitError> {
    // Directives that come later win: what people ask for comes last.
    let registry = tracing_subscriber::registry().with(EnvFilter::new(format!("{QUIET},{}", filter.0)));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    }
}

/// An error with the chain of its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some errors say their cause themselves.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

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
    fn a_filter_is_a_level_or_directives() {
        for good in ["info", "off", "info,access=off", "warn,switchyard_edge_proxy::sync=trace"] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good:?}");
        }
        for bad in ["", "loud", "info,", "access=loud", "info,access"] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad:?}");
        }
    }

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
