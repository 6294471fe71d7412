//! What can go wrong, and what people are told about it.

use std::{error::Error, io, path::PathBuf};

use switchyard_proto::schema::{InvalidAssignment, InvalidText};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::address::Address;

/// The reason in google.rpc.ErrorInfo of what is refused only unless it is forced.
const FORCE_REQUIRED: &str = "FORCE_REQUIRED";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no connection to the control plane.
    #[error(
        "the control plane at {address} ({origin}) cannot be reached: {reason}; {}",
        advice.as_deref().unwrap_or(
            "start switchyard-control-plane there, or say where it is with --control-plane or SWITCHYARD_CONTROL_PLANE"
        )
    )]
    Unreachable { address: Box<Address>, origin: String, reason: String, advice: Option<String> },
    /// The control plane answered with an error, or the connection to it broke.
    #[error("{}: {}", code_name(.status.code()), .status.message())]
    Api { status: Box<Status>, hint: Option<String> },
    /// The control plane answered with something that its contract rules out.
    #[error("the control plane's answer makes no sense: {0}; do its version and this one's fit?")]
    Answer(&'static str),
    /// A file that was named cannot be used.
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    /// What `--set` or `--unset` says cannot be.
    #[error(transparent)]
    Assignment(#[from] InvalidAssignment),
    /// The command does not say enough, or asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// What was asked in the terminal was not confirmed.
    #[error("not confirmed: nothing was changed")]
    Declined,
    /// The result could not be written.
    #[error("the standard output cannot be written: {0}")]
    Output(#[source] io::Error),
    /// The result has no text in the format asked for.
    #[error("the result cannot be printed: {0}")]
    Format(String),
    /// The runtime could not be started.
    #[error("the asynchronous runtime does not start: {0}")]
    Runtime(#[source] io::Error),
    /// The demo.
    #[error("{text}")]
    Demo { text: String, log: Vec<String> },
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Api { status: Box::new(status), hint: None }
    }
}

impl Failure {
    /// The failure of a change. `look` is a command that shows how the resource is now.
    pub(crate) fn of_write(status: Status, look: &str) -> Self {
        let hint = match status.code() {
            Code::Aborted => Some(format!("somebody else changed it: look at it with `{look}`, then try again")),
            _ if requires_force(&status) => Some("`--force` does it all the same".to_owned()),
            code if is_unknown_outcome(code) => {
                Some(format!("it is not known whether the change was made: `{look}` shows it"))
            }
            _ => return status.into(),
        };
        Self::Api { status: Box::new(status), hint }
    }

    /// With something more to do, if it is the control plane's.
    pub(crate) fn with_hint(self, more: String) -> Self {
        match self {
            Self::Api { status, hint } => {
                let hint = hint.map_or_else(|| more.clone(), |hint| format!("{hint}; {more}"));
                Self::Api { status, hint: Some(hint) }
            }
            failure => failure,
        }
    }

    /// What programs know it by: the code of the API, or one of this program's own.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "UNREACHABLE",
            Self::Api { status, .. } => code_name(status.code()),
            Self::Answer(_) => "INVALID_ANSWER",
            Self::File { .. } => "FILE",
            Self::Assignment(_) | Self::Usage(_) => "USAGE",
            Self::Declined => "DECLINED",
            Self::Output(_) | Self::Format(_) => "OUTPUT",
            Self::Runtime(_) => "RUNTIME",
            Self::Demo { .. } => "DEMO",
        }
    }

    /// The exit code of the program: 2 for wrong usage, 1 for all else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Assignment(InvalidAssignment::Value { error: InvalidText::Read(..), .. }) => 1,
            Self::Usage(_) | Self::Assignment(_) => 2,
            _ => 1,
        }
    }
}

/// Whether a call that ended so may have had its effect.
pub(crate) fn is_unknown_outcome(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal)
}

/// `code` as the API's documentation writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The innermost of the chain of causes: what the operating system said, as a rule.
pub(crate) fn first_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(error) => match error.kind() {
            // Without the number that the operating system's text ends with.
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
            _ => error.to_string(),
        },
        None => cause.to_string(),
    }
}

/// Whether a change is refused only unless it is forced.
pub(crate) fn requires_force(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == FORCE_REQUIRED)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn what_can_be_forced_is_told_by_the_reason() {
        let status = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "switchyard", HashMap::new());
            Status::with_error_details(Code::FailedPrecondition, "in use", details)
        };
        assert!(requires_force(&status("FORCE_REQUIRED")));
        assert!(!requires_force(&status("STALE_ETAG")) && !requires_force(&Status::failed_precondition("in use")));
    }
}
