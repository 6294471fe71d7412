use std::{sync::Arc, time::Duration};

use pingora_core::protocols::Digest;
use switchyard_proto::resource::Service;

use super::{deadline::Deadline, upstream::Exchange};

/// How long a request waits for its backend, beyond what Pingora sees to: for the answer to begin, and of a WebSocket that was not opened, for
/// each piece of the answer. Nothing of that holds for HTTP/2, where a connection cannot end for one of its requests.
#[derive(Debug, Default)]
pub(super) struct Patience {
    first_byte: Duration,
    idle: Option<Duration>,
    is_shared: bool,
    /// From the head of the request on, not from its end: what asks for an upgrade has no end.
    is_upgrade: bool,
    /// That of the connection, until it is known how the answer goes on.
    deadline: Option<Arc<Deadline>>,
    /// What it was set to last.
    set_to: u64,
}

impl Patience {
    pub(super) fn of(service: &Service, exchange: Exchange) -> Self {
        let is_upgrade = exchange == Exchange::WebSocket;
        Self {
            first_byte: service.timeouts.first_byte(),
            // Of others Pingora sees to that.
            idle: is_upgrade.then(|| service.timeouts.idle()),
            is_shared: exchange.is_over_http2(service.protocol),
            is_upgrade,
            deadline: None,
            set_to: 0,
        }
    }

    /// There is a connection, and the head of the request is sent next.
    pub(super) fn connected(&mut self, digest: Option<&Digest>) {
        self.deadline = digest.filter(|_| !self.is_shared).and_then(Deadline::of);
        if self.is_upgrade {
            self.request_sent();
        }
    }

    /// The whole request is sent, or about to be: the answer is next.
    pub(super) fn request_sent(&mut self) {
        if let Some(deadline) = &self.deadline {
            self.set_to = deadline.set(self.first_byte);
        }
    }

    /// The head of the answer is there.
    pub(super) fn answered(&mut self, is_upgraded: bool) {
        let Some(deadline) = self.deadline.take() else { return };
        match self.idle.filter(|_| !is_upgraded) {
            None => drop(deadline.clear()),
            Some(idle) => {
                self.set_to = deadline.set(idle);
                self.deadline = Some(deadline);
            }
        }
    }

    /// A piece of the body of the answer is there.
    pub(super) fn piece_came(&mut self) {
        if let Some((deadline, idle)) = self.deadline.as_ref().zip(self.idle) {
            self.set_to = deadline.set(idle);
        }
    }

    /// Whether the connection ended because the time was up.
    pub(super) fn is_over(&mut self) -> bool {
        self.deadline.take().is_some_and(|deadline| deadline.clear())
    }

    /// The request has come to its end; the connection may be used by another one already.
    pub(super) fn end(&mut self) {
        if let Some(deadline) = self.deadline.take() {
            deadline.unset(self.set_to);
        }
    }
}
