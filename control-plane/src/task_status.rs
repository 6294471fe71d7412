//! What the background tasks of this process do: written by their driver, read by the API.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::model::Timestamp;

/// Characters of each text in the status of a background task: reasons may quote what others have said.
const TEXT_LENGTH_MAX: usize = 500;

/// The status of each task; clones share it.
#[derive(Clone, Debug, Default)]
pub struct TaskStatuses(Arc<Mutex<BTreeMap<&'static str, TaskStatus>>>);

impl TaskStatuses {
    /// All of them, by name.
    pub fn list(&self) -> Vec<TaskStatus> {
        self.0.lock().expect("nobody panics with it").values().cloned().collect()
    }

    /// Changes the status of a task, which is a new one if there is none.
    pub fn update<T>(&self, name: &'static str, change: impl FnOnce(&mut TaskStatus) -> T) -> T {
        let mut statuses = self.0.lock().expect("nobody panics with it");
        change(statuses.entry(name).or_insert_with(|| TaskStatus::new(name)))
    }
}

/// What a task does, and what became of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub state: TaskState,
    /// When its last step ended.
    pub last_run_at: Option<Timestamp>,
    /// When its last step without a failure ended.
    pub last_success_at: Option<Timestamp>,
    /// What the last step that did something has done.
    pub last_action: Option<TaskAction>,
    /// What it waits for before it can go on.
    pub waiting_for: Option<String>,
    /// When it runs again, at the latest.
    pub next_run_at: Option<Timestamp>,
    /// Why its last step failed, if it did.
    pub failure: Option<String>,
    /// How many steps in a row have failed.
    pub consecutive_failures: u32,
    /// How many steps have failed in all.
    pub failures: u64,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Nothing, for want of a lease.
    Standby,
    /// A step.
    Running,
    /// It waits for a change, or for its time.
    Waiting,
    /// Its last step failed and is repeated after a pause.
    Failing,
}

/// What a step has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskAction {
    /// In words.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

impl TaskStatus {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            state: TaskState::Standby,
            last_run_at: None,
            last_success_at: None,
            last_action: None,
            waiting_for: None,
            next_run_at: None,
            failure: None,
            consecutive_failures: 0,
            failures: 0,
        }
    }

    /// The lease for it is not here (any more): what failed is somebody else's now.
    pub fn stand_by(&mut self) {
        self.state = TaskState::Standby;
        (self.waiting_for, self.next_run_at, self.failure) = (None, None, None);
        self.consecutive_failures = 0;
    }

    /// A step begins.
    pub fn start(&mut self) {
        self.state = TaskState::Running;
        self.next_run_at = None;
    }

    /// A step ended without a failure.
    pub fn succeed(&mut self, now: Timestamp, next: Timestamp, action: Option<String>, waiting_for: Option<String>) {
        self.state = TaskState::Waiting;
        (self.last_run_at, self.last_success_at, self.next_run_at) = (Some(now), Some(now), Some(next));
        if let Some(text) = action {
            self.last_action = Some(TaskAction { text: bounded(text), at: now });
        }
        self.waiting_for = waiting_for.map(bounded);
        (self.failure, self.consecutive_failures) = (None, 0);
    }

    /// A step failed.
    pub fn fail(&mut self, now: Timestamp, next: Timestamp, reason: String) {
        self.state = TaskState::Failing;
        (self.last_run_at, self.next_run_at) = (Some(now), Some(next));
        self.waiting_for = None;
        self.failure = Some(bounded(reason));
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.failures += 1;
    }
}

fn bounded(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_LENGTH_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reason_quotes_is_bounded() {
        let statuses = TaskStatuses::default();
        statuses.update("acme", |status| status.fail(Timestamp(1), Timestamp(2), "é".repeat(TEXT_LENGTH_MAX + 1)));
        let failure = statuses.list().pop().unwrap().failure.unwrap();
        assert_eq!(failure.chars().count(), TEXT_LENGTH_MAX + 1);
        assert!(failure.ends_with("é…"), "{failure}");
    }
}
