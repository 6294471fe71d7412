//! Certificates on demand: a handshake for a name without a certificate waits while the control plane is asked for one.
//!
//! What always holds: what is remembered, what is asked and who waits are bounded, whatever names clients think up; a name is asked for
//! once at a time, by whichever worker; without a stream to a control plane nobody waits. How a question travels is left to `sync`, who
//! asks to `listen`; the certificate comes as any other, with the live snapshot.

mod waiting;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use switchyard_proto::{NameMemory, vocab::limits::QUESTIONS_MAX};
use tokio::sync::{Semaphore, mpsc, watch};

use self::waiting::Waiting;
use crate::snapshot::LiveSnapshot;

/// How long a handshake waits for a certificate.
const CERTIFICATE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes that wait for a certificate at a time. Further ones are refused.
const HANDSHAKES_WAITING_MAX: usize = 1_024;
/// Questions in a second.
const QUESTIONS_PER_SECOND_MAX: NonZeroU32 = NonZeroU32::new(50).unwrap();
/// Names of which it is remembered that they are to have no certificate.
const NAMES_REFUSED_MAX: usize = 10_000;
/// How long that is remembered.
const REFUSED_LIFETIME: Duration = Duration::from_secs(60);

/// What the control plane says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The certificate comes with the live snapshot, if all goes well.
    Coming,
    /// The name is to have none.
    Refused,
    /// There is none for now.
    NotNow,
}

/// A question to the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The answer has the same.
    pub id: u64,
    /// The name, in lower case.
    pub server_name: Box<str>,
}

/// Waits for certificates. Cheap to clone: all clones are the same one.
#[derive(Clone, Debug)]
pub struct OnDemand(Arc<Shared>);

/// Takes questions to the control plane, and answers back.
#[derive(Debug)]
pub struct Questions {
    shared: Arc<Shared>,
    asked: mpsc::Receiver<Question>,
}

#[derive(Debug)]
struct Shared {
    live: LiveSnapshot,
    permits: Semaphore,
    rate: DefaultDirectRateLimiter,
    ask: mpsc::Sender<Question>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stream: Stream,
    next_id: u64,
    /// The names that handshakes wait for.
    awaited: HashMap<Box<str>, Awaited>,
    /// The questions that are not answered yet.
    unanswered: HashMap<u64, Box<str>>,
    refused: NameMemory,
}

/// Whether there is a stream to a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Up,
    Down,
}

/// A name that handshakes wait for.
#[derive(Debug)]
struct Awaited {
    handshakes: usize,
    question: u64,
    verdict: watch::Sender<Option<Verdict>>,
}

impl OnDemand {
    /// Waits for certificates to appear in `live`.
    pub fn new(live: LiveSnapshot) -> (Self, Questions) {
        let (ask, asked) = mpsc::channel(QUESTIONS_MAX);
        let shared = Arc::new(Shared {
            live,
            permits: Semaphore::new(HANDSHAKES_WAITING_MAX),
            rate: RateLimiter::direct(Quota::per_second(QUESTIONS_PER_SECOND_MAX)),
            ask,
            state: Mutex::new(State {
                stream: Stream::Down,
                next_id: 0,
                awaited: HashMap::new(),
                unanswered: HashMap::new(),
                refused: NameMemory::new(NAMES_REFUSED_MAX),
            }),
        });
        (Self(shared.clone()), Questions { shared, asked })
    }

    /// Waits until there is a certificate for a name, in lower case, or it is known that there will be none soon.
    ///
    /// # Errors
    ///
    /// There will be none soon.
    pub async fn certificate(&self, server_name: &str) -> Result<(), NoCertificate> {
        let _permit = self.0.permits.try_acquire().map_err(|_| NoCertificate::TooManyWait)?;
        let mut waiting = Waiting::begin(&self.0, server_name)?;
        let mut changes = self.0.live.changes();
        let appears = async {
            loop {
                changes.borrow_and_update();
                if self.0.live.load().certificate(server_name).is_some() {
                    return Ok(());
                }
                tokio::select! {
                    // The snapshot is held here, so it does not go away.
                    _ = changes.changed() => {}
                    reason = waiting.ended() => return Err(reason),
                }
            }
        };
        tokio::time::timeout(CERTIFICATE_TIMEOUT, appears).await.unwrap_or(Err(NoCertificate::TooLate))
    }
}

impl Questions {
    /// There is a stream from now on.
    pub fn open(&mut self) {
        self.shared.state().stream = Stream::Up;
    }

    /// There is none any more: what was asked is not answered.
    pub fn close(&mut self) {
        let mut state = self.shared.state();
        state.stream = Stream::Down;
        for (_, name) in std::mem::take(&mut state.unanswered) {
            state.tell(&name, Verdict::NotNow);
        }
        // Nothing is asked while the state is held.
        while self.asked.try_recv().is_ok() {}
    }

    /// The next question.
    pub async fn next(&mut self) -> Question {
        self.asked.recv().await.expect("what asks is held here")
    }

    /// Takes an answer, if there was such a question.
    pub fn answer(&self, id: u64, verdict: Verdict) {
        let mut state = self.shared.state();
        let Some(name) = state.unanswered.remove(&id) else { return };
        if verdict == Verdict::Refused {
            state.refused.remember(&name, Instant::now() + REFUSED_LIFETIME);
        }
        state.tell(&name, verdict);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

impl State {
    fn tell(&self, name: &str, verdict: Verdict) {
        if let Some(awaited) = self.awaited.get(name) {
            awaited.verdict.send_replace(Some(verdict));
        }
    }
}

/// Why there is no certificate for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCertificate {
    /// The name is to have none.
    #[error("the name is to have no certificate")]
    Refused,
    /// Whoever decides says nothing, or too much was asked.
    #[error("there is no certificate for the name now")]
    NotNow,
    /// There is no control plane to ask.
    #[error("there is no stream to a control plane that could be asked")]
    NoStream,
    /// Too much is asked.
    #[error("too many names are asked for")]
    TooManyQuestions,
    /// Too many wait.
    #[error("too many handshakes wait for a certificate")]
    TooManyWait,
    /// It takes too long.
    #[error("the certificate did not come in time")]
    TooLate,
}

#[cfg(test)]
mod tests;
