use std::fmt;

use switchyard_proto::{
    resource::{InvalidChange, InvalidResource, Violation},
    schema::InvalidPatch,
    vocab::Revision,
};

use crate::{feed::NotReached, model::rules::BrokenRule, pki::IssueError, store::StoreError};

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field in the request: `domain.active_tag`.
    pub field: String,
    /// What is wrong, and what is right.
    pub description: String,
}

impl FieldViolation {
    /// Says of a field what is wrong with it.
    pub fn new(field: impl Into<String>, description: impl fmt::Display) -> Self {
        Self { field: field.into(), description: description.to_string() }
    }
}

/// Why a use case was refused or failed. Nothing was changed, but for [`StoreError::Unavailable`] at a commit.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The input is wrong, whatever is there already.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldViolation>),
    /// There is no such resource.
    #[error("there is no {0}")]
    NotFound(String),
    /// There is one already.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// Somebody else changed it meanwhile.
    #[error("the etag is stale: the resource was changed at revision {current}")]
    StaleEtag {
        /// The present etag.
        current: Revision,
    },
    /// Whoever asks to join was not invited.
    #[error("the invitation is unknown, used up, revoked or expired: ask for another (switchyard edge invite)")]
    NotInvited,
    /// No edge of this name and key belongs to the fleet.
    #[error("{0} does not belong to the fleet, or has another key: it was removed, or never joined")]
    NotEnrolled(String),
    /// An edge with this key was removed.
    #[error(
        "{0}: an edge with this key was removed from the fleet, and the key is not accepted again: delete identity.json in its state directory, and start it with a new invitation"
    )]
    EdgeRemoved(String),
    /// Whoever acts has nothing to do with this resource.
    #[error("{0} is out of this token's scope")]
    OutOfScope(String),
    /// A rule between resources does not allow it.
    #[error(transparent)]
    Rule(#[from] BrokenRule),
    /// The database does not do what it should.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What there is could not be read in time.
    #[error(transparent)]
    NotReached(#[from] NotReached),
    /// A certificate could not be issued.
    #[error("issue a certificate")]
    Issue(#[from] IssueError),
}

impl AppError {
    /// One wrong field.
    pub fn invalid(field: impl Into<String>, description: impl fmt::Display) -> Self {
        Self::Invalid(vec![FieldViolation::new(field, description)])
    }

    /// Everything that is wrong with a change of the resource that is `field` of the request.
    pub fn invalid_change(field: &str, invalid: &InvalidChange) -> Self {
        match invalid {
            InvalidChange::Resource(invalid) => Self::invalid_resource(field, invalid),
            InvalidChange::Patch(InvalidPatch(violations)) => Self::Invalid(
                violations
                    .iter()
                    .map(|violation| match violation.path() {
                        _ if violation.is_of_mask() => FieldViolation::new("update_mask", violation),
                        "" => FieldViolation::new(field, violation),
                        path => FieldViolation::new(format!("{field}.{path}"), violation),
                    })
                    .collect(),
            ),
        }
    }

    /// Every wrong field of a message that is `field` of the request.
    pub fn invalid_resource(field: &str, invalid: &InvalidResource) -> Self {
        let violation = |it: &Violation| FieldViolation::new(format!("{field}.{}", it.path), &it.problem);
        Self::Invalid(invalid.violations().iter().map(violation).collect())
    }
}

fn list(violations: &[FieldViolation]) -> String {
    violations
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect::<Vec<_>>()
        .join("; ")
}
