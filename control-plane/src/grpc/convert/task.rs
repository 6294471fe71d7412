use switchyard_proto::v1 as wire;

use super::timestamp;
use crate::task_status::{TaskAction, TaskState, TaskStatus};

/// The status of a background task as a message.
pub(in crate::grpc) fn message(status: TaskStatus) -> wire::Task {
    let TaskStatus {
        name,
        state,
        last_run_at,
        last_success_at,
        last_action,
        waiting_for,
        next_run_at,
        failure,
        consecutive_failures,
        failures,
    } = status;
    let (last_action, last_action_time) = match last_action {
        Some(TaskAction { text, at }) => (text, Some(timestamp(at))),
        None => (String::new(), None),
    };
    wire::Task {
        id: name.to_owned(),
        state: task_state(state).into(),
        last_run_time: last_run_at.map(timestamp),
        last_success_time: last_success_at.map(timestamp),
        last_action,
        last_action_time,
        waiting_for: waiting_for.unwrap_or_default(),
        next_run_time: next_run_at.map(timestamp),
        failure: failure.unwrap_or_default(),
        consecutive_failures,
        failures,
    }
}

fn task_state(state: TaskState) -> wire::TaskState {
    match state {
        TaskState::Standby => wire::TaskState::Standby,
        TaskState::Running => wire::TaskState::Running,
        TaskState::Waiting => wire::TaskState::Waiting,
        TaskState::Failing => wire::TaskState::Failing,
    }
}
