//! What whoever acts may see and change, resource by resource. What they may do at all is decided before, by their role.

use switchyard_proto::vocab::{CertificateId, HostPattern, ServiceId};
use tracing::info;

use super::AppError;
use crate::model::Actor;

/// They have to do with a domain.
pub(super) fn check_domain(actor: &Actor, host: &HostPattern) -> Result<(), AppError> {
    check(actor, actor.access.scope.has_domain(host), || host.to_resource_name())
}

/// They have to do with a service, and so with its backends.
pub(super) fn check_service(actor: &Actor, service: &ServiceId) -> Result<(), AppError> {
    check(actor, actor.access.scope.has_service(service), || service.to_resource_name())
}

/// They have to do with all names of a certificate.
pub(super) fn check_certificate(actor: &Actor, id: &CertificateId, names: &[HostPattern]) -> Result<(), AppError> {
    check(actor, actor.access.scope.has_certificate(names), || id.to_resource_name())
}

fn check(actor: &Actor, is_in_scope: bool, resource: impl FnOnce() -> String) -> Result<(), AppError> {
    if is_in_scope {
        return Ok(());
    }
    let resource = resource();
    info!(token = actor.name, method = actor.method, resource, "refused: out of the token's scope");
    Err(AppError::OutOfScope(resource))
}
