use std::fmt::Display;

use crate::app::{AppError, FieldViolation};

/// What is wrong with the fields of a request: all of it, so that it can be corrected at once.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Adds what is wrong with a field.
    pub(super) fn add(&mut self, field: impl Into<String>, description: impl Display) {
        self.0.push(FieldViolation::new(field, description));
    }

    /// Takes what was made of a field, or adds what is wrong with it.
    pub(super) fn check<T, E: Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error);
                None
            }
        }
    }

    /// The value, unless something is wrong. It is there then: whatever keeps it from being made was added.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, AppError> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(AppError::Invalid(self.0)),
        }
    }
}
