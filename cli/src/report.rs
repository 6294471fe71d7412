//! A failure as people and programs read it.

use std::error::Error;

use serde::Serialize;
use tonic::Status;
use tonic_types::StatusExt;

use crate::{
    failure::{Failure, code_name, first_cause},
    fields::Fields,
};

/// What is said of a failure. Programs read it as one JSON object.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    code: &'static str,
    message: String,
    /// The fields that are wrong, and the conditions that do not hold.
    violations: Vec<Violation>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The last lines of the log of a program that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<String>,
    /// What people are told first; programs have the code and the message.
    #[serde(skip)]
    headline: String,
    /// What they are told after that.
    #[serde(skip)]
    details: Vec<String>,
}

/// One field that is wrong, or one condition that does not hold.
#[derive(Debug, Serialize)]
struct Violation {
    /// The path of the field, or what the condition is about.
    #[serde(rename = "field")]
    place: String,
    /// How the command that was given writes that: `--tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<String>,
    description: String,
}

impl Violation {
    /// As people know it.
    fn shown(&self) -> &str {
        self.argument.as_deref().unwrap_or(&self.place)
    }
}

impl Report {
    /// What is said of a failure of a command that has these fields.
    pub(crate) fn new(failure: &Failure, fields: &Fields) -> Self {
        let code = failure.code();
        match failure {
            Failure::Api { status, hint } => {
                let violations = violations(status, fields);
                let message = match status.source() {
                    Some(error) => format!("the connection to the control plane broke: {}", first_cause(error)),
                    None => translated(status.message(), &violations),
                };
                let headline = headline_of(status, &message, &violations);
                let details = violation_lines(&message, &violations);
                Self { code, message, violations, hint: hint.clone(), log: Vec::new(), headline, details }
            }
            failure => {
                let log = if let Failure::Demo { log, .. } = failure { log.clone() } else { Vec::new() };
                let message = failure.to_string();
                Self {
                    code,
                    headline: message.clone(),
                    message,
                    violations: Vec::new(),
                    hint: None,
                    log,
                    details: Vec::new(),
                }
            }
        }
    }

    /// A headline, then a line for each field that is wrong, each condition that does not hold, and what to do.
    pub(crate) fn lines(&self) -> Vec<String> {
        let hint = self.hint.iter().map(|hint| format!("hint: {hint}"));
        [&self.headline].into_iter().chain(&self.details).chain(&self.log).cloned().chain(hint).collect()
    }
}

/// Code and message; for what happened on the way there, its first cause.
pub(crate) fn headline(status: &Status) -> String {
    Report::new(&Failure::from(status.clone()), &Fields::default()).headline
}

fn headline_of(status: &Status, message: &str, violations: &[Violation]) -> String {
    let code = code_name(status.code());
    match violations {
        _ if status.source().is_some() => format!("{code}: {message}"),
        [only] if message.contains(&only.description) && !message.contains(only.shown()) => {
            format!("{code}: {}: {message}", only.shown())
        }
        // What the message has to say is in the lines that follow.
        [_, _, ..] if is_told_by(message, violations) => code.to_owned(),
        _ if message.is_empty() => code.to_owned(),
        _ => format!("{code}: {message}"),
    }
}

/// A message that names fields by their paths, as people know them.
fn translated(message: &str, violations: &[Violation]) -> String {
    let part = |part: &str| {
        let found = violations.iter().find_map(|violation| {
            let rest = part.strip_prefix(&violation.place)?.strip_prefix(": ")?;
            Some(format!("{}: {rest}", violation.shown()))
        });
        found.unwrap_or_else(|| part.to_owned())
    };
    message.split("; ").map(part).collect::<Vec<_>>().join("; ")
}

/// What the details of an error name; what is said twice, once.
fn violations(status: &Status, fields: &Fields) -> Vec<Violation> {
    let details = status.get_error_details();
    let bad = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
    let conditions = details.precondition_failure().map_or(&[][..], |failure| &failure.violations);
    let field = |path: &str, description: &str| Violation {
        place: path.to_owned(),
        argument: fields.argument(path),
        description: description.to_owned(),
    };
    let mut violations: Vec<Violation> = bad.iter().map(|it| field(&it.field, &it.description)).collect();
    for condition in conditions {
        if !violations.iter().any(|it| it.description == condition.description) {
            let (place, description) = (condition.subject.clone(), condition.description.clone());
            violations.push(Violation { place, argument: None, description });
        }
    }
    violations
}

/// Whether the message of an error holds all that its details say.
fn is_told_by(message: &str, violations: &[Violation]) -> bool {
    violations.iter().all(|it| message.contains(&it.description))
}

/// A line for each violation, unless the headline holds it.
fn violation_lines(message: &str, violations: &[Violation]) -> Vec<String> {
    if violations.len() < 2 && is_told_by(message, violations) {
        return Vec::new();
    }
    let line = |violation: &Violation| match violation.shown() {
        "" => format!("  {}", violation.description),
        place => format!("  {place}: {}", violation.description),
    };
    // What the headline says is not said again.
    violations.iter().filter(|it| it.description != message).map(line).collect()
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation};

    use super::*;

    fn told(code: Code, message: &str, details: ErrorDetails) -> (String, Vec<String>) {
        let failure = Failure::from(Status::with_error_details(code, message, details));
        let mut lines = Report::new(&failure, &Fields::default()).lines();
        (lines.remove(0), lines)
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
        let [hint] = &Report::new(&failure, &Fields::default()).lines()[1..] else { panic!("one line") };
        assert!(hint.starts_with("hint: ") && hint.contains("switchyard domain get shop.example"), "{hint}");
    }

    #[test]
    fn programs_read_one_object() {
        let status = Status::with_error_details(Code::InvalidArgument, "2 fields are wrong", two_fields());
        let failure = Failure::Api { status: Box::new(status), hint: Some("try again".to_owned()) };
        let report = serde_json::to_value(Report::new(&failure, &Fields::default())).unwrap();
        let field = |field: &str, description: &str| serde_json::json!({"field": field, "description": description});
        let expected = serde_json::json!({
            "code": "INVALID_ARGUMENT",
            "message": "2 fields are wrong",
            "violations": [
                field("domain.name", "an IP address is not a host name"),
                field("domain.active_tag", "a tag is required"),
            ],
            "hint": "try again",
        });
        assert_eq!(report, expected);
        let report = serde_json::to_value(Report::new(&Failure::Usage("no".to_owned()), &Fields::default())).unwrap();
        assert_eq!(report, serde_json::json!({"code": "USAGE", "message": "no", "violations": []}));
    }
}
