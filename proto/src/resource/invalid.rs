use std::fmt::{self, Display};

use super::UnknownValue;

/// What is wrong with a message: every field that is, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidResource(Vec<Violation>);

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the message: `tls.acme.issuers`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Its value is not valid: what is wrong, and what is right.
    Invalid(String),
    /// Its value has a meaning that only a newer version knows.
    Unknown(UnknownValue),
}

impl InvalidResource {
    /// A single field.
    pub fn field(path: impl Into<String>, problem: impl Display) -> Self {
        Self(vec![Violation { path: path.into(), problem: Problem::Invalid(problem.to_string()) }])
    }

    /// What is wrong, field by field.
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }

    /// Whether a newer version may know what this one does not.
    pub fn is_unknown(&self) -> bool {
        self.0.iter().any(|violation| matches!(violation.problem, Problem::Unknown(_)))
    }
}

impl Display for InvalidResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Violation { path, problem }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{path}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidResource {}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => f.write_str(text),
            Self::Unknown(unknown) => unknown.fmt(f),
        }
    }
}

/// Collects what is wrong with a message while its fields are parsed.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    /// What was made of a field, unless it is wrong.
    pub(super) fn check<T, E: Display>(&mut self, path: impl Into<String>, result: Result<T, E>) -> Option<T> {
        self.add(path, result.map_err(|error| Problem::Invalid(error.to_string())))
    }

    /// What was made of a text, if there is one; `None` if it is wrong.
    #[expect(clippy::option_option, reason = "wrong, absent and there are three things")]
    pub(super) fn optional<T, E: Display>(
        &mut self,
        path: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        if text.is_empty() { Some(None) } else { self.check(path, parse(text)).map(Some) }
    }

    /// What was made of an enumeration, unless its value is unknown.
    pub(super) fn known<T>(&mut self, path: &str, result: Result<T, UnknownValue>) -> Option<T> {
        self.add(path, result.map_err(Problem::Unknown))
    }

    /// What was made of a message within this one, unless something in it is wrong.
    pub(super) fn nested<T>(&mut self, path: &str, result: Result<T, InvalidResource>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(InvalidResource(violations)) => {
                self.0.extend(
                    violations.into_iter().map(|Violation { path: inner, problem }| Violation {
                        path: format!("{path}.{inner}"),
                        problem,
                    }),
                );
                None
            }
        }
    }

    /// Adds what is wrong between fields.
    pub(super) fn invalid(&mut self, path: &str, problem: impl Display) {
        self.0.push(Violation { path: path.to_owned(), problem: Problem::Invalid(problem.to_string()) });
    }

    fn add<T>(&mut self, path: impl Into<String>, result: Result<T, Problem>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.0.push(Violation { path: path.into(), problem });
                None
            }
        }
    }

    /// The value, unless something is wrong. It is there then: whatever keeps it from being made was added.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, InvalidResource> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(InvalidResource(self.0)),
        }
    }
}
