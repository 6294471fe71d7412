//! What callers are told when something is refused or fails: stable codes and texts, with google.rpc details. The chain of
//! causes is for the log.

use std::collections::HashMap;

use switchyard_process::chain;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};
use tracing::{error, warn};

use crate::{app::AppError, model::rules::BrokenRule, store::StoreError};

/// Of a change that is made if its request says `force`.
const FORCE_REQUIRED: &str = "FORCE_REQUIRED";

/// In the domain field of google.rpc.ErrorInfo.
const ERROR_DOMAIN: &str = "switchyard";

/// The status for an error of a call whose request holds the resource in the field `resource` (`domain`), or whose own
/// fields are meant (`None`).
pub(super) fn status(error: AppError, resource: Option<&str>) -> Status {
    let text = error.to_string();
    let path = |field: &str| match resource {
        Some(resource) => format!("{resource}.{field}"),
        None => field.to_owned(),
    };
    let of_field = |field: &str| {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation(path(field), text.clone());
        details
    };
    let (code, details) = match &error {
        AppError::Invalid(violations) => {
            let violations = violations
                .iter()
                .map(|violation| FieldViolation::new(violation.field.clone(), violation.description.clone()));
            (Code::InvalidArgument, ErrorDetails::with_bad_request(violations.collect::<Vec<_>>()))
        }
        AppError::NotFound(name) => (Code::NotFound, resource_info(ErrorDetails::new(), name, &text)),
        AppError::AlreadyExists(name) => (Code::AlreadyExists, resource_info(of_field("name"), name, &text)),
        AppError::StaleEtag { current } => {
            let mut details = of_field("etag");
            let metadata = HashMap::from([("etag".to_owned(), super::convert::etag(*current))]);
            details.set_error_info("STALE_ETAG", ERROR_DOMAIN, metadata);
            (Code::Aborted, details)
        }
        AppError::NotInvited => (Code::Unauthenticated, ErrorDetails::new()),
        AppError::NotEnrolled(name) => (Code::PermissionDenied, resource_info(ErrorDetails::new(), name, &text)),
        AppError::EdgeRemoved(name) => (Code::PermissionDenied, resource_info(ErrorDetails::new(), name, &text)),
        AppError::OutOfScope(name) => (Code::PermissionDenied, resource_info(ErrorDetails::new(), name, &text)),
        AppError::Rule(rule) => {
            let (kind, subject, field) = broken(rule);
            let mut details = field.map(of_field).unwrap_or_default();
            let mut violations = vec![PreconditionViolation::new(kind, subject.clone(), text.clone())];
            let dependents = rule.dependents().iter();
            violations
                .extend(dependents.map(|it| {
                    PreconditionViolation::new("DEPENDENT", it.to_string(), format!("depends on {subject}"))
                }));
            details.set_precondition_failure(violations);
            if rule.can_be_forced() {
                details.set_error_info(FORCE_REQUIRED, ERROR_DOMAIN, HashMap::new());
            }
            (Code::FailedPrecondition, details)
        }
        AppError::NotReached(_) => {
            warn!(error = chain(&error), "a call failed: the database is not read");
            return Status::unavailable("the database does not answer; try again");
        }
        AppError::Store(store @ StoreError::NoSpace(_)) => {
            warn!(error = chain(store), "a call failed: the database is full");
            return Status::unavailable(format!("{store}; nothing was changed"));
        }
        AppError::Store(store) if store.is_unavailable() => {
            warn!(error = chain(store), "a call failed: the database does not answer");
            return Status::unavailable("the database does not answer; try again");
        }
        AppError::Store(StoreError::Unreadable { name, .. } | StoreError::HistoryGone { name, .. }) => {
            error!(error = chain(&error), "a call failed: an object or its history cannot be read");
            let mut details = resource_info(ErrorDetails::new(), name, &text);
            details.set_precondition_failure(vec![PreconditionViolation::new(
                "UNREADABLE",
                name.clone(),
                text.clone(),
            )]);
            (Code::FailedPrecondition, details)
        }
        AppError::Store(_) | AppError::Issue(_) => {
            error!(error = chain(&error), "a call failed");
            return Status::internal("a defect of the control plane or its database; its log says more");
        }
    };
    Status::with_error_details(code, text, details)
}

fn resource_info(mut details: ErrorDetails, name: &str, text: &str) -> ErrorDetails {
    let kind = name.split('/').next().unwrap_or_default();
    details.set_resource_info(kind, name, "", text);
    details
}

/// The type and subject of a precondition failure, and the field that does not fit, if it is one.
fn broken(rule: &BrokenRule) -> (&'static str, String, Option<&'static str>) {
    match rule {
        BrokenRule::NoSuchService { service } => ("NO_SUCH_SERVICE", service.to_resource_name(), Some("service")),
        BrokenRule::ServiceInUse { service, dependents: _ } => ("SERVICE_IN_USE", service.to_resource_name(), None),
        BrokenRule::LastBackend { backend, service: _, tag: _, dependents: _ } => {
            ("LAST_BACKEND", backend.to_resource_name(), None)
        }
        BrokenRule::CertificateInUse { certificate, dependents: _ } => {
            ("CERTIFICATE_IN_USE", certificate.to_resource_name(), None)
        }
        BrokenRule::LastIssuer { issuer, dependents: _ } => ("LAST_ISSUER", issuer.to_resource_name(), None),
        BrokenRule::DefaultService => ("DEFAULT_SERVICE", "services/default".to_owned(), None),
        BrokenRule::NoBackendForTag { service, tag: _ } => {
            ("NO_BACKEND_FOR_TAG", service.to_resource_name(), Some("tag"))
        }
        BrokenRule::ReservedCertificateId => ("RESERVED_CERTIFICATE_ID", "certificates".to_owned(), Some("name")),
        BrokenRule::ManagedCertificate { certificate } => ("MANAGED_CERTIFICATE", certificate.to_resource_name(), None),
        BrokenRule::NoSuchIssuer { issuer } => ("NO_SUCH_ISSUER", issuer.to_resource_name(), Some("tls.acme.issuers")),
        BrokenRule::IssuerInUse { issuer, dependents: _ } => ("ISSUER_IN_USE", issuer.to_resource_name(), None),
        BrokenRule::NoPublicName { host, reason: _ } => ("NO_PUBLIC_NAME", host.to_resource_name(), Some("name")),
        BrokenRule::WildcardChallenge { host, challenge: _ } => {
            ("WILDCARD_CHALLENGE", host.to_resource_name(), Some("tls.acme.challenge"))
        }
        BrokenRule::NoDnsProvider { host } => ("NO_DNS_PROVIDER", host.to_resource_name(), Some("name")),
        BrokenRule::OnDemandName { host } => ("ON_DEMAND_NAME", host.to_resource_name(), Some("tls.acme.on_demand")),
        BrokenRule::OnDemandSource { host } => {
            ("ON_DEMAND_SOURCE", host.to_resource_name(), Some("tls.certificate_source"))
        }
        BrokenRule::OnDemandChallenge { challenge: _ } => {
            ("ON_DEMAND_CHALLENGE", "domains".to_owned(), Some("tls.acme.challenge"))
        }
        BrokenRule::UnreadableInUse { object, user: _ } => ("UNREADABLE_IN_USE", object.to_string(), None),
        BrokenRule::LastFullToken => ("LAST_FULL_TOKEN", "tokens".to_owned(), None),
        BrokenRule::TooMany { what, max: _ } => ("TOO_MANY", (*what).to_owned(), None),
        BrokenRule::NothingToDrain { backend } => ("NOTHING_TO_DRAIN", backend.to_resource_name(), None),
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::{Revision, ServiceId};

    use super::*;

    #[test]
    fn a_wrong_field_is_named_in_a_bad_request() {
        let status = status(AppError::invalid("domain.active_tag", "a tag is required"), Some("domain"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "domain.active_tag: a tag is required");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "domain.active_tag");
        assert_eq!(violations[0].description, "a tag is required");
    }

    #[test]
    fn a_missing_service_is_named_by_the_field_that_refers_to_it() {
        let rule = BrokenRule::NoSuchService { service: ServiceId::parse("shop").unwrap() };
        let status = status(rule.into(), Some("backend"));
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "backend.service");
        let failure = &status.get_details_precondition_failure().unwrap().violations[0];
        assert_eq!((failure.r#type.as_str(), failure.subject.as_str()), ("NO_SUCH_SERVICE", "services/shop"));
    }

    #[test]
    fn a_stale_etag_aborts_and_tells_the_present_one() {
        let status = status(AppError::StaleEtag { current: Revision(7) }, None);
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(status.get_details_error_info().unwrap().metadata["etag"], "7");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "etag");
    }

    #[test]
    fn what_is_missing_or_there_already_is_named() {
        let missing = status(AppError::NotFound("domains/a.example".into()), None);
        assert_eq!(missing.code(), Code::NotFound);
        let info = missing.get_details_resource_info().unwrap();
        assert_eq!((info.resource_type.as_str(), info.resource_name.as_str()), ("domains", "domains/a.example"));
        let there = status(AppError::AlreadyExists("domains/a.example".into()), Some("domain"));
        assert_eq!(there.code(), Code::AlreadyExists);
        assert_eq!(there.get_details_bad_request().unwrap().field_violations[0].field, "domain.name");
    }
}
