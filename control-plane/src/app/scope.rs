//! What whoever acts may see and change, resource by resource. What they may do at all is decided before, by their role.

use switchyard_proto::vocab::{BackendId, CertificateId, HostPattern, ResourceKey, ResourceKind, ServiceId};
use tracing::info;

use super::AppError;
use crate::{
    feed::State,
    model::{Actor, Backend, Certificate, RejectionRecord, Scope},
};

/// What is said in place of a reason that names what is out of scope.
const REASON_OUT_OF_SCOPE: &str = "it depends on resources that are out of this token's scope";

/// They have to do with a domain.
pub(super) fn check_domain(actor: &Actor, host: &HostPattern) -> Result<(), AppError> {
    check(actor, actor.access.scope.has_domain(host), || host.to_resource_name())
}

/// They have to do with a service.
pub(super) fn check_service(actor: &Actor, service: &ServiceId) -> Result<(), AppError> {
    check(actor, actor.access.scope.has_service(service), || service.to_resource_name())
}

/// They have to do with the service of a backend. The backend is named, and not its service.
pub(super) fn check_backend(actor: &Actor, backend: &Backend) -> Result<(), AppError> {
    check(actor, actor.access.scope.has_service(&backend.service), || backend.id.to_resource_name())
}

/// They have to do with all names of a certificate.
pub(super) fn check_certificate(actor: &Actor, id: &CertificateId, names: &[HostPattern]) -> Result<(), AppError> {
    check(actor, actor.access.scope.has_certificate(names), || id.to_resource_name())
}

/// Whether a resource that is named somewhere is in scope, as far as that is known: one that is gone is not, unless its name says so.
pub(super) fn has_resource(scope: &Scope, state: &State, key: &ResourceKey) -> bool {
    if *scope == Scope::Everything {
        return true;
    }
    match key.kind {
        ResourceKind::Domain | ResourceKind::Challenge => has_host(scope, &key.id),
        ResourceKind::Service => ServiceId::parse(&key.id).is_ok_and(|id| scope.has_service(&id)),
        ResourceKind::Backend => {
            let backend = BackendId::parse(&key.id).ok().and_then(|id| state.backends().get(&id));
            backend.is_some_and(|stored| scope.has_service(&stored.value.service))
        }
        ResourceKind::Certificate => {
            let stored = CertificateId::parse(&key.id).ok().and_then(|id| state.certificates().get(&id));
            match stored {
                Some(stored) => scope.has_certificate(&stored.value.chain.dns_names),
                None => [Certificate::INTERNAL_PREFIX, Certificate::ACME_PREFIX]
                    .iter()
                    .filter_map(|prefix| key.id.strip_prefix(prefix))
                    .any(|host| has_host(scope, host)),
            }
        }
        ResourceKind::TicketKeys | ResourceKind::Unknown(_) => false,
    }
}

fn has_host(scope: &Scope, host: &str) -> bool {
    HostPattern::parse(host).is_ok_and(|host| scope.has_domain(&host))
}

/// Those of some rejections that are of resources in scope. Of their reasons, those that name others are left out.
pub(super) fn rejections(scope: &Scope, state: &State, all: &[RejectionRecord]) -> Vec<RejectionRecord> {
    if *scope == Scope::Everything {
        return all.to_vec();
    }
    let visible = all.iter().filter(|rejection| has_resource(scope, state, &rejection.key));
    visible
        .map(|rejection| {
            let RejectionRecord { key, revision, reason } = rejection.clone();
            let is_in_scope = |key| has_resource(scope, state, &key);
            let reason = if named(&reason).all(is_in_scope) { reason } else { REASON_OUT_OF_SCOPE.to_owned() };
            RejectionRecord { key, revision, reason }
        })
        .collect()
}

/// The resources that a text names, as `services/shop`.
fn named(text: &str) -> impl Iterator<Item = ResourceKey> {
    let words = text.split(|c: char| c.is_whitespace() || "\"'(),;".contains(c));
    words.filter_map(|word| {
        let (kind, id) = word.trim_end_matches([':', '.']).split_once('/')?;
        ResourceKey::new(kind, id).ok().filter(|key| !matches!(key.kind, ResourceKind::Unknown(_)))
    })
}

fn check(actor: &Actor, is_in_scope: bool, resource: impl FnOnce() -> String) -> Result<(), AppError> {
    if is_in_scope {
        return Ok(());
    }
    let resource = resource();
    info!(token = actor.name, method = actor.method, resource, "refused: out of the token's scope");
    Err(AppError::OutOfScope(resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_resources_by_their_names() {
        let text =
            "waits for domains/*.a.example: waits for services/web: 1/2, \"backends/b-1\" and/or https://x.example/";
        let names: Vec<_> = named(text).map(|key| key.to_string()).collect();
        assert_eq!(names, ["domains/*.a.example", "services/web", "backends/b-1"]);
    }
}
