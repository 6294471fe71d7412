use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use switchyard_proto::{resource::Backend, vocab::BackendId};

use super::BackendHandle;
use crate::peer_auth::BackendName;

/// The active backends of one service that carry one tag, by id.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    backends: Vec<Arc<PooledBackend>>,
}

/// A backend and what this process knows of it.
#[derive(Debug)]
pub struct PooledBackend {
    /// What it is.
    pub backend: Backend,
    /// The host of its address, as text.
    pub host: String,
    /// Whether it proved itself by the second name the last time.
    by_alternative_name: AtomicBool,
    /// How it is.
    pub handle: Arc<BackendHandle>,
}

impl PooledBackend {
    /// A backend, and what this process knows of it.
    pub fn new(backend: Backend, host: String, handle: Arc<BackendHandle>) -> Self {
        Self { backend, host, by_alternative_name: AtomicBool::default(), handle }
    }

    /// The name by which it proved itself the last time.
    pub fn name(&self) -> BackendName {
        if self.by_alternative_name.load(Ordering::Relaxed) { BackendName::Alternative } else { BackendName::First }
    }

    /// Notes the name by which it proved itself.
    pub fn proved(&self, name: BackendName) {
        let by_alternative_name = name == BackendName::Alternative;
        // It is read by all workers, and seldom changes.
        if self.by_alternative_name.load(Ordering::Relaxed) != by_alternative_name {
            self.by_alternative_name.store(by_alternative_name, Ordering::Relaxed);
        }
    }
}

impl Pool {
    /// Its backends, ordered by id.
    pub fn backends(&self) -> &[Arc<PooledBackend>] {
        &self.backends
    }

    /// Adds a backend, or replaces it.
    pub(crate) fn insert(&mut self, backend: Arc<PooledBackend>) {
        match self.position(&backend.backend.id) {
            Ok(at) => self.backends[at] = backend,
            Err(at) => self.backends.insert(at, backend),
        }
    }

    /// Takes a backend away.
    pub(crate) fn remove(&mut self, id: &BackendId) {
        if let Ok(at) = self.position(id) {
            self.backends.remove(at);
        }
    }

    fn position(&self, id: &BackendId) -> Result<usize, usize> {
        self.backends.binary_search_by(|pooled| pooled.backend.id.cmp(id))
    }
}
