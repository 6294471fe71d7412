//! Which role each method asks for. A method that is not here is refused.

use super::admin::METRICS;
use crate::model::{Access, Role, Scope};

/// What a method asks of whoever calls it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    /// `/package.Service/Method`
    path: &'static str,
    role: Role,
    reach: Reach,
}

/// What a method reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// One resource, or those in the caller's scope: the use case checks which.
    Scoped,
    /// More than any scope has.
    Everything,
    /// Nothing that a scope limits.
    Nothing,
}

use self::Reach::{Everything, Nothing, Scoped};
use Role::{Admin, Operator, Viewer};

const fn method(path: &'static str, role: Role, reach: Reach) -> Permission {
    Permission { path, role, reach }
}

const PERMISSIONS: &[Permission] = &[
    method("/switchyard.v1.AuditService/ListChanges", Viewer, Everything),
    method("/switchyard.v1.AuditService/PurgeSecret", Admin, Everything),
    method("/switchyard.v1.BackendService/ListBackends", Viewer, Scoped),
    method("/switchyard.v1.BackendService/GetBackend", Viewer, Scoped),
    method("/switchyard.v1.BackendService/CreateBackend", Operator, Scoped),
    method("/switchyard.v1.BackendService/UpdateBackend", Operator, Scoped),
    method("/switchyard.v1.BackendService/DrainBackend", Operator, Scoped),
    method("/switchyard.v1.BackendService/DeleteBackend", Operator, Scoped),
    method("/switchyard.v1.CertificateService/ListCertificates", Viewer, Scoped),
    method("/switchyard.v1.CertificateService/GetCertificate", Viewer, Scoped),
    method("/switchyard.v1.CertificateService/CreateCertificate", Operator, Scoped),
    method("/switchyard.v1.CertificateService/UpdateCertificate", Operator, Scoped),
    method("/switchyard.v1.CertificateService/DeleteCertificate", Operator, Scoped),
    method("/switchyard.v1.CertificateService/GetIssuance", Viewer, Scoped),
    method("/switchyard.v1.CertificateService/WatchIssuance", Viewer, Scoped),
    method("/switchyard.v1.CertificateService/ListIssuances", Viewer, Scoped),
    method("/switchyard.v1.CertificateService/RenewCertificate", Operator, Scoped),
    method("/switchyard.v1.CertificateService/RevokeCertificate", Operator, Scoped),
    method("/switchyard.v1.CertificateService/GetInternalCa", Viewer, Nothing),
    method("/switchyard.v1.DnsProviderService/ListDnsProviders", Viewer, Nothing),
    method("/switchyard.v1.DnsProviderService/GetDnsProvider", Viewer, Nothing),
    method("/switchyard.v1.DnsProviderService/CreateDnsProvider", Admin, Everything),
    method("/switchyard.v1.DnsProviderService/UpdateDnsProvider", Admin, Everything),
    method("/switchyard.v1.DnsProviderService/DeleteDnsProvider", Admin, Everything),
    method("/switchyard.v1.DomainService/ListDomains", Viewer, Scoped),
    method("/switchyard.v1.DomainService/GetDomain", Viewer, Scoped),
    method("/switchyard.v1.DomainService/CreateDomain", Operator, Scoped),
    method("/switchyard.v1.DomainService/UpdateDomain", Operator, Scoped),
    method("/switchyard.v1.DomainService/DeleteDomain", Operator, Scoped),
    method("/switchyard.v1.DomainService/SwitchDomain", Operator, Scoped),
    // How far the edges are is what `--wait` shows.
    method("/switchyard.v1.EdgeService/ListEdges", Viewer, Nothing),
    method("/switchyard.v1.EdgeService/GetEdge", Viewer, Nothing),
    method("/switchyard.v1.EdgeService/WatchRevision", Viewer, Nothing),
    method("/switchyard.v1.EdgeService/UpdateEdge", Admin, Everything),
    method("/switchyard.v1.EdgeService/DeleteEdge", Admin, Everything),
    method("/switchyard.v1.InviteService/ListInvites", Admin, Everything),
    method("/switchyard.v1.InviteService/CreateInvite", Admin, Everything),
    method("/switchyard.v1.InviteService/DeleteInvite", Admin, Everything),
    // Accounts with CAs are the fleet's, not a domain's.
    method("/switchyard.v1.IssuerService/ListIssuers", Viewer, Nothing),
    method("/switchyard.v1.IssuerService/GetIssuer", Viewer, Nothing),
    method("/switchyard.v1.IssuerService/GetBudget", Viewer, Nothing),
    method("/switchyard.v1.IssuerService/CreateIssuer", Admin, Everything),
    method("/switchyard.v1.IssuerService/UpdateIssuer", Admin, Everything),
    method("/switchyard.v1.IssuerService/DeleteIssuer", Admin, Everything),
    method("/switchyard.v1.IssuerService/RotateAccount", Admin, Everything),
    method("/switchyard.v1.ServiceService/ListServices", Viewer, Scoped),
    method("/switchyard.v1.ServiceService/GetService", Viewer, Scoped),
    method("/switchyard.v1.ServiceService/CreateService", Operator, Scoped),
    method("/switchyard.v1.ServiceService/UpdateService", Operator, Scoped),
    method("/switchyard.v1.ServiceService/DeleteService", Operator, Scoped),
    method("/switchyard.v1.TokenService/GetCurrentToken", Viewer, Nothing),
    method("/switchyard.v1.TokenService/ListTokens", Admin, Everything),
    method("/switchyard.v1.TokenService/CreateToken", Admin, Everything),
    method("/switchyard.v1.TokenService/DeleteToken", Admin, Everything),
    method("/switchyard.v1.UnreadableService/ListUnreadable", Admin, Everything),
    method("/switchyard.v1.UnreadableService/GetUnreadable", Admin, Everything),
    method("/switchyard.v1.UnreadableService/DeleteUnreadable", Admin, Everything),
    // It names certificates.
    method(METRICS, Viewer, Everything),
    method("/grpc.health.v1.Health/Check", Viewer, Nothing),
    method("/grpc.health.v1.Health/Watch", Viewer, Nothing),
    method("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Viewer, Nothing),
    method("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Viewer, Nothing),
];

impl Permission {
    /// What the method of this path asks for; none for one that is not there.
    pub(super) fn of(path: &str) -> Option<&'static Self> {
        PERMISSIONS.iter().find(|permission| permission.path == path)
    }

    /// The name of the method: `SwitchDomain`.
    pub(super) fn method(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether somebody may call it.
    pub(super) fn check(&self, access: &Access) -> Result<(), Refused> {
        if access.role < self.role {
            return Err(Refused::Role { needed: self.role });
        }
        if self.reach == Everything && access.scope != Scope::Everything {
            return Err(Refused::Scope);
        }
        Ok(())
    }
}

/// Why somebody may not call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Their role does not reach.
    #[error("the role {} is needed: ask somebody who has an admin token for one", needed.as_str())]
    Role {
        /// What does.
        needed: Role,
    },
    /// Their scope does not.
    #[error("a token without a scope is needed")]
    Scope,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;
    use switchyard_proto::DESCRIPTORS;

    use super::*;
    use crate::model::Patterns;

    /// Every method of the API that is in the descriptors.
    fn methods(descriptors: &[u8], package: &str) -> BTreeSet<String> {
        let files = FileDescriptorSet::decode(descriptors).unwrap().file;
        files
            .iter()
            .filter(|file| file.package() == package)
            .flat_map(|file| &file.service)
            .flat_map(|service| {
                service.method.iter().map(move |it| format!("/{package}.{}/{}", service.name(), it.name()))
            })
            .collect()
    }

    #[test]
    fn every_method_has_a_role() {
        let mut all = methods(DESCRIPTORS, "switchyard.v1");
        all.extend(methods(tonic_health::pb::FILE_DESCRIPTOR_SET, "grpc.health.v1"));
        all.extend(methods(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, "grpc.reflection.v1"));
        all.extend(methods(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET, "grpc.reflection.v1alpha"));
        all.insert(METRICS.to_owned());
        let declared: BTreeSet<_> = PERMISSIONS.iter().map(|permission| permission.path.to_owned()).collect();
        assert_eq!(declared.len(), PERMISSIONS.len(), "none is declared twice");
        assert_eq!(declared, all);
    }

    #[test]
    fn a_role_may_do_what_the_one_before_may_and_a_scope_limits_it() {
        let access = |role, domains: &[&str]| Access {
            role,
            scope: Scope::new(Patterns::parse(domains).unwrap(), Patterns::default()),
        };
        let switch = Permission::of("/switchyard.v1.DomainService/SwitchDomain").unwrap();
        assert_eq!(switch.method(), "SwitchDomain");
        assert_eq!(switch.check(&access(Viewer, &[])), Err(Refused::Role { needed: Operator }));
        assert_eq!(switch.check(&access(Operator, &["*.example"])), Ok(()));
        let create = Permission::of("/switchyard.v1.TokenService/CreateToken").unwrap();
        assert_eq!(create.check(&access(Operator, &[])), Err(Refused::Role { needed: Admin }));
        assert_eq!(create.check(&access(Admin, &["*"])), Err(Refused::Scope));
        assert_eq!(create.check(&access(Admin, &[])), Ok(()));
        assert!(Permission::of("/switchyard.v1.DomainService/Unknown").is_none());
    }
}
