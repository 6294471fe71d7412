use std::time::Instant;

use switchyard_proto::vocab::limits::QUESTIONS_MAX;
use tokio::sync::watch;

use super::{Awaited, NoCertificate, Question, Shared, Stream, Verdict};

/// A handshake that waits for a certificate. The last one of a name forgets it.
pub(super) struct Waiting<'a> {
    shared: &'a Shared,
    name: &'a str,
    verdict: watch::Receiver<Option<Verdict>>,
}

impl<'a> Waiting<'a> {
    /// Asks for a name, unless somebody does already.
    pub(super) fn begin(shared: &'a Shared, name: &'a str) -> Result<Self, NoCertificate> {
        let mut state = shared.state();
        if state.stream == Stream::Down {
            return Err(NoCertificate::NoStream);
        }
        if state.refused.has(name, Instant::now()) {
            return Err(NoCertificate::Refused);
        }
        if let Some(awaited) = state.awaited.get_mut(name) {
            awaited.handshakes += 1;
            return Ok(Self { shared, name, verdict: awaited.verdict.subscribe() });
        }
        if state.unanswered.len() >= QUESTIONS_MAX || shared.rate.check().is_err() {
            return Err(NoCertificate::TooManyQuestions);
        }
        let id = state.next_id;
        let question = Question { id, server_name: name.into() };
        shared.ask.try_send(question).map_err(|_| NoCertificate::TooManyQuestions)?;
        state.next_id += 1;
        state.unanswered.insert(id, name.into());
        let (sender, verdict) = watch::channel(None);
        state.awaited.insert(name.into(), Awaited { handshakes: 1, question: id, verdict: sender });
        Ok(Self { shared, name, verdict })
    }

    /// Waits until it is known that there will be none.
    pub(super) async fn ended(&mut self) -> NoCertificate {
        let no = |verdict: &Option<Verdict>| matches!(verdict, Some(Verdict::Refused | Verdict::NotNow));
        match self.verdict.wait_for(no).await.as_deref() {
            Ok(Some(Verdict::Refused)) => NoCertificate::Refused,
            // The sender is there for as long as this is.
            Ok(_) | Err(_) => NoCertificate::NotNow,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let Some(awaited) = state.awaited.get_mut(self.name) else { return };
        awaited.handshakes -= 1;
        if awaited.handshakes == 0 {
            let question = awaited.question;
            state.unanswered.remove(&question);
            state.awaited.remove(self.name);
        }
    }
}
