//! What whoever acts may see and change, resource by resource. What they may do at all is decided before, by their role.

use switchyard_proto::vocab::{CertificateId, HostPattern, ServiceId};

use super::AppError;
use crate::model::Actor;

/// They have to do with a domain.
pub(super) fn check_domain(actor: &Actor, host: &HostPattern) -> Result<(), AppError> {
    if actor.access.scope.has_domain(host) { Ok(()) } else { Err(AppError::OutOfScope(host.to_resource_name())) }
}

/// They have to do with a service, and so with its backends.
pub(super) fn check_service(actor: &Actor, service: &ServiceId) -> Result<(), AppError> {
    if actor.access.scope.has_service(service) { Ok(()) } else { Err(AppError::OutOfScope(service.to_resource_name())) }
}

/// They have to do with all names of a certificate.
pub(super) fn check_certificate(actor: &Actor, id: &CertificateId, names: &[HostPattern]) -> Result<(), AppError> {
    if actor.access.scope.has_certificate(names) { Ok(()) } else { Err(AppError::OutOfScope(id.to_resource_name())) }
}
