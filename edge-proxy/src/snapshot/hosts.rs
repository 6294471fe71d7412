use std::sync::Arc;

use switchyard_proto::vocab::HostPattern;

/// Values by host pattern. A look-up of a host allocates nothing and hashes it once for each kind of pattern.
#[derive(Clone, Debug)]
pub(super) struct HostTable<V: Clone> {
    exact: imbl::HashMap<Arc<str>, V>,
    /// By what follows `*.`.
    wildcard: imbl::HashMap<Arc<str>, V>,
}

impl<V: Clone> HostTable<V> {
    /// The value of the pattern that is exactly this host.
    pub(super) fn exact(&self, host: &str) -> Option<&V> {
        self.exact.get(host)
    }

    /// The value of the wildcard that stands for this host.
    pub(super) fn wildcard(&self, host: &str) -> Option<&V> {
        if self.wildcard.is_empty() {
            return None;
        }
        let (label, suffix) = host.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(suffix) }
    }

    /// The value of the pattern itself.
    pub(super) fn pattern(&self, pattern: &HostPattern) -> Option<&V> {
        match pattern.wildcard_suffix() {
            Some(suffix) => self.wildcard.get(suffix),
            None => self.exact.get(pattern.as_str()),
        }
    }

    /// Returns what it replaces.
    pub(super) fn insert(&mut self, pattern: &HostPattern, value: V) -> Option<V> {
        match pattern.wildcard_suffix() {
            Some(suffix) => self.wildcard.insert(suffix.into(), value),
            None => self.exact.insert(pattern.as_str().into(), value),
        }
    }

    pub(super) fn remove(&mut self, pattern: &HostPattern) -> Option<V> {
        match pattern.wildcard_suffix() {
            Some(suffix) => self.wildcard.remove(suffix),
            None => self.exact.remove(pattern.as_str()),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.exact.values().chain(self.wildcard.values())
    }
}

impl<V: Clone> Default for HostTable<V> {
    fn default() -> Self {
        Self { exact: imbl::HashMap::default(), wildcard: imbl::HashMap::default() }
    }
}
