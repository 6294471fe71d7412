use std::{future::ready, sync::Arc};

use futures::{Stream, StreamExt};
use switchyard_proto::{
    fleet::v1::SyncResponse,
    vocab::{EdgeId, limits::QUESTIONS_MAX},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, warn};

use super::convert::fleet::{Question, Said, answer};
use crate::{
    fleet::{Message, MessageError},
    on_demand::{OnDemand, Verdict},
};

/// The questions of one edge. They are answered beside everything else, each by a task that ends with the stream.
pub(super) struct Questions {
    on_demand: OnDemand,
    edge: EdgeId,
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
    answers: mpsc::Sender<SyncResponse>,
    gone: CancellationToken,
}

impl Questions {
    /// Those of an edge, and the answers to them.
    pub(super) fn new(on_demand: OnDemand, edge: EdgeId, tasks: TaskTracker) -> (Self, mpsc::Receiver<SyncResponse>) {
        let (answers, answered) = mpsc::channel(QUESTIONS_MAX);
        let permits = Arc::new(Semaphore::new(QUESTIONS_MAX));
        (Self { on_demand, edge, tasks, permits, answers, gone: CancellationToken::new() }, answered)
    }

    /// Takes the questions out of what the edge says.
    pub(super) fn apart(
        self,
        said: impl Stream<Item = Result<Said, MessageError>>,
    ) -> impl Stream<Item = Result<Message, MessageError>> {
        let with_the_stream = self.gone.clone().drop_guard();
        said.filter_map(move |said| {
            let _ = &with_the_stream;
            ready(match said {
                Ok(Said::Message(message)) => Some(Ok(message)),
                Ok(Said::Question(question)) => {
                    self.take(question);
                    None
                }
                Err(error) => Some(Err(error)),
            })
        })
    }

    fn take(&self, Question { id, name }: Question) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            warn!("the edge asks more at a time than it may");
            return;
        };
        let (on_demand, edge, answers, gone) =
            (self.on_demand.clone(), self.edge.clone(), self.answers.clone(), self.gone.clone());
        let task = async move {
            let verdict = match &name {
                Some(name) => tokio::select! {
                    verdict = on_demand.ask(&edge, name) => verdict,
                    () = gone.cancelled() => return,
                },
                None => Verdict::Refused,
            };
            // There is room, unless the edge takes nothing; or it is gone.
            let _ = answers.try_send(answer(id, verdict));
            drop(permit);
        };
        self.tasks.spawn(task.in_current_span());
    }
}
