use std::future::Future;

use tokio::{sync::watch, task::JoinHandle};

/// Wakes the followers. Ends its listener, if there is one, when it is dropped.
#[derive(Debug)]
pub(super) struct Wakeup {
    sender: watch::Sender<()>,
    listener: Option<JoinHandle<()>>,
}

impl Wakeup {
    /// Wakes followers of this process only.
    pub(super) fn local() -> Self {
        Self { sender: watch::Sender::new(()), listener: None }
    }

    /// Wakes followers also when `listen` says so.
    pub(super) fn listening<F>(listen: impl FnOnce(watch::Sender<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let sender = watch::Sender::new(());
        let listener = tokio::spawn(listen(sender.clone()));
        Self { sender, listener: Some(listener) }
    }

    /// The means to wake from elsewhere.
    pub(super) fn sender(&self) -> watch::Sender<()> {
        self.sender.clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.sender.subscribe()
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}
