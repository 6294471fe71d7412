use std::time::SystemTime;

use clap::Args;
use switchyard_proto::v1::{ListTasksRequest, ListTasksResponse, Task};

use super::Session;
use crate::{
    failure::Failure,
    output::{Show, age, word},
    wait::Outcome,
};

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show the background tasks of the control plane instead: when each ran, what it did, and why it fails
    #[arg(long)]
    pub(super) tasks: bool,
}

/// Prints the background tasks of the control plane that is called.
pub(super) async fn run(session: &Session) -> Result<Outcome, Failure> {
    let response: ListTasksResponse = session.client.tasks().list_tasks(ListTasksRequest {}).await?.into_inner();
    session.output.list(&response, &response.tasks)?;
    Ok(Outcome::Done)
}

impl Show for Task {
    const PLURAL: &'static str = "tasks";
    const COLUMNS: &'static [&'static str] = &["TASK", "STATE", "LAST RUN", "NEXT RUN", "DETAIL"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            self.id.clone(),
            word(self.state().as_str_name(), "TASK_STATE_"),
            age(self.last_run_time.as_ref(), now),
            age(self.next_run_time.as_ref(), now),
            detail(self, now),
        ]
    }
}

/// Why a task fails; or else what it waits for; or else what it did last.
fn detail(task: &Task, now: SystemTime) -> String {
    let Task { failure, consecutive_failures, waiting_for, last_action, last_action_time, .. } = task;
    if !failure.is_empty() {
        return format!("failed {consecutive_failures} times in a row: {failure}");
    }
    if !waiting_for.is_empty() {
        return format!("waiting for {waiting_for}");
    }
    if last_action.is_empty() {
        return "-".to_owned();
    }
    format!("{last_action} ({})", age(last_action_time.as_ref(), now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::output::timestamp;

    #[test]
    fn a_failure_is_shown_before_what_a_task_waits_for_and_did() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(10);
        let did = Task {
            id: "acme".into(),
            last_action: "began an attempt for shop.example".into(),
            last_action_time: Some(timestamp(now - Duration::from_mins(5))),
            ..Task::default()
        };
        assert_eq!(detail(&Task::default(), now), "-");
        assert_eq!(detail(&did, now), "began an attempt for shop.example (5m ago)");
        let waiting = Task { waiting_for: "the first edge".into(), ..did };
        assert_eq!(detail(&waiting, now), "waiting for the first edge");
        let failing = Task { failure: "the database does not answer".into(), consecutive_failures: 3, ..waiting };
        assert_eq!(detail(&failing, now), "failed 3 times in a row: the database does not answer");
    }
}
