//! The rules between resources, and those that depend on what is there already. Checked inside the transaction that makes
//! the change.

use switchyard_proto::vocab::{BackendId, CertificateId, ResourceKey, ServiceId, Tag};

use super::{Backend, BackendState, Certificate};

/// A rule that a change would break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// A reference to a service that does not exist.
    #[error("there is no services/{service}: create it first")]
    NoSuchService {
        /// The missing service.
        service: ServiceId,
    },
    /// A service that something refers to cannot be deleted.
    #[error("{user} uses services/{service}: delete it or move it first")]
    ServiceInUse {
        /// The service.
        service: ServiceId,
        /// One of those that refer to it.
        user: ResourceKey,
    },
    /// The service that always exists cannot be deleted.
    #[error("services/{} always exists", ServiceId::DEFAULT)]
    DefaultService,
    /// A switch to a tag that no active backend carries.
    #[error("no active backend of services/{service} carries the tag {tag}: add one, or force the switch")]
    NoBackendForTag {
        /// The service of the domain.
        service: ServiceId,
        /// The tag.
        tag: Tag,
    },
    /// An id that belongs to the internal CA.
    #[error("names that begin with {} belong to the internal CA", Certificate::INTERNAL_PREFIX)]
    ReservedCertificateId,
    /// A change to a certificate that the internal CA takes care of.
    #[error("certificates/{certificate} belongs to the internal CA: change the domain it is for")]
    InternalCertificate {
        /// The certificate.
        certificate: CertificateId,
    },
    /// A drain of a backend that is out of use.
    #[error("backends/{backend} is disabled: it gets no requests")]
    NothingToDrain {
        /// The backend.
        backend: BackendId,
    },
}

/// A switch needs an active backend with the new tag, unless forced.
pub fn can_switch_to<'a>(
    service: &ServiceId,
    tag: &Tag,
    backends_of_service: impl IntoIterator<Item = &'a Backend>,
) -> Result<(), BrokenRule> {
    let carries = |backend: &Backend| backend.state == BackendState::Active && backend.tags.contains(tag);
    if backends_of_service.into_iter().any(carries) {
        return Ok(());
    }
    Err(BrokenRule::NoBackendForTag { service: service.clone(), tag: tag.clone() })
}

/// People may not choose the ids of the internal CA's certificates.
pub fn can_upload_as(id: &CertificateId) -> Result<(), BrokenRule> {
    if id.as_str().starts_with(Certificate::INTERNAL_PREFIX) {
        return Err(BrokenRule::ReservedCertificateId);
    }
    Ok(())
}

/// A service can be deleted when nothing refers to it (`user`), and it is not the one that always exists.
pub fn can_delete_service(service: &ServiceId, user: Option<ResourceKey>) -> Result<(), BrokenRule> {
    if service.as_str() == ServiceId::DEFAULT {
        return Err(BrokenRule::DefaultService);
    }
    match user {
        Some(user) => Err(BrokenRule::ServiceInUse { service: service.clone(), user }),
        None => Ok(()),
    }
}

/// A backend that is out of use has nothing to drain; draining it would bring it nearer to use.
pub fn can_drain(backend: &Backend) -> Result<(), BrokenRule> {
    match backend.state {
        BackendState::Active | BackendState::Draining => Ok(()),
        BackendState::Disabled => Err(BrokenRule::NothingToDrain { backend: backend.id.clone() }),
    }
}
