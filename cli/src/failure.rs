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
    #[error("{}", headline(.status))]
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

    /// The exit code of the program: 2 for wrong usage, 1 for all else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Assignment(InvalidAssignment::Value { error: InvalidText::Read(..), .. }) => 1,
            Self::Usage(_) | Self::Assignment(_) => 2,
            _ => 1,
        }
    }

    /// What to say after the headline, a line each: the fields that are wrong, the conditions that do not hold, what to do.
    pub(crate) fn details(&self) -> Vec<String> {
        match self {
            Self::Api { status, hint } => {
                let mut lines = violation_lines(status);
                lines.extend(hint.iter().map(|hint| format!("hint: {hint}")));
                lines
            }
            Self::Demo { log, .. } => log.clone(),
            _ => Vec::new(),
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

/// Code and message; for what happened on the way there, its first cause.
pub(crate) fn headline(status: &Status) -> String {
    let code = code_name(status.code());
    if let Some(error) = status.source() {
        return format!("{code}: the connection to the control plane broke: {}", first_cause(error));
    }
    let message = status.message();
    match &violations(status)[..] {
        [only] if message.contains(&only.description) && !message.contains(&only.place) => {
            format!("{code}: {}: {message}", only.place)
        }
        // What the message has to say is in the lines that follow.
        [_, _, ..] if is_told_by_message(status) => code.to_owned(),
        _ if message.is_empty() => code.to_owned(),
        _ => format!("{code}: {message}"),
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

/// One field that is wrong, or one condition that does not hold.
#[derive(Debug)]
struct Violation {
    /// The path of the field, or what the condition is about.
    place: String,
    description: String,
}

/// What the details of an error name; what is said twice, once.
fn violations(status: &Status) -> Vec<Violation> {
    let details = status.get_error_details();
    let fields = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
    let conditions = details.precondition_failure().map_or(&[][..], |failure| &failure.violations);
    let of =
        |place: &str, description: &str| Violation { place: place.to_owned(), description: description.to_owned() };
    let mut violations: Vec<Violation> = fields.iter().map(|it| of(&it.field, &it.description)).collect();
    for condition in conditions {
        if !violations.iter().any(|it| it.description == condition.description) {
            violations.push(of(&condition.subject, &condition.description));
        }
    }
    violations
}

/// Whether the message of an error holds all that its details say.
fn is_told_by_message(status: &Status) -> bool {
    violations(status).iter().all(|it| status.message().contains(&it.description))
}

/// A line for each violation, unless the headline holds it.
fn violation_lines(status: &Status) -> Vec<String> {
    let violations = violations(status);
    if violations.len() < 2 && is_told_by_message(status) {
        return Vec::new();
    }
    let line = |Violation { place, description }: &Violation| match place.as_str() {
        "" => format!("  {description}"),
        place => format!("  {place}: {description}"),
    };
    // What the headline says is not said again.
    violations.iter().filter(|it| it.description != status.message()).map(line).collect()
}

/// Whether a change is refused only unless it is forced.
pub(crate) fn requires_force(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == FORCE_REQUIRED)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation};

    use super::*;

    fn told(code: Code, message: &str, details: ErrorDetails) -> (String, Vec<String>) {
        let failure = Failure::from(Status::with_error_details(code, message, details));
        (failure.to_string(), failure.details())
    }

    fn two_fields() -> ErrorDetails {
        ErrorDetails::with_bad_request(vec![
            FieldViolation::new("domain.name", "an IP address is not a host name"),
            FieldViolation::new("domain.active_tag", "a tag is required"),
        ])
    }

    #[test]
    fn every_wrong_field_is_named_on_its_own_line() {
        let (headline, lines) = told(Code::InvalidArgument, "2 fields are wrong", two_fields());
        assert_eq!(headline, "INVALID_ARGUMENT: 2 fields are wrong");
        assert_eq!(
            lines,
            ["  domain.name: an IP address is not a host name", "  domain.active_tag: a tag is required"]
        );
    }

    #[test]
    fn conditions_that_do_not_hold_are_named() {
        let details =
            ErrorDetails::with_precondition_failure_violation("IN_USE", "services/shop", "backends refer to it");
        let (headline, lines) = told(Code::FailedPrecondition, "in use", details);
        assert_eq!(headline, "FAILED_PRECONDITION: in use");
        assert_eq!(lines, ["  services/shop: backends refer to it"]);
    }

    #[test]
    fn what_depends_on_something_is_listed_below_what_is_refused() {
        let message =
            "backends/a-2 is the last active backend of services/default with the tag a, used by domains/a.example";
        let mut details = ErrorDetails::new();
        details.set_precondition_failure(vec![
            PreconditionViolation::new("LAST_BACKEND", "backends/a-2", message),
            PreconditionViolation::new("DEPENDENT", "domains/a.example", "depends on backends/a-2"),
        ]);
        let (headline, lines) = told(Code::FailedPrecondition, message, details);
        assert_eq!(headline, format!("FAILED_PRECONDITION: {message}"));
        assert_eq!(lines, ["  domains/a.example: depends on backends/a-2"]);
    }

    #[test]
    fn what_message_and_details_both_say_is_said_once() {
        let message = "domain.name: an IP address is not a host name; domain.active_tag: a tag is required";
        let (headline, lines) = told(Code::InvalidArgument, message, two_fields());
        assert_eq!((headline.as_str(), lines.len()), ("INVALID_ARGUMENT", 2));

        let mut details = ErrorDetails::with_bad_request_violation("backend.service", "there is no services/nope");
        details.set_precondition_failure(vec![PreconditionViolation::new(
            "REFERENCE",
            "services/nope",
            "there is no services/nope",
        )]);
        let (headline, lines) = told(Code::FailedPrecondition, "there is no services/nope", details);
        assert_eq!(headline, "FAILED_PRECONDITION: backend.service: there is no services/nope");
        assert_eq!(lines, [""; 0]);
    }

    #[test]
    fn a_stale_etag_comes_with_a_hint() {
        let failure = Failure::of_write(Status::aborted("the etag is stale"), "switchyard domain get shop.example");
        let [hint] = &failure.details()[..] else { panic!("one line") };
        assert!(hint.starts_with("hint: ") && hint.contains("switchyard domain get shop.example"), "{hint}");
    }

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
