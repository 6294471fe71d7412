//! What each method requires. A method that is not here is refused.

use crate::model::{Access, Role, Scope};

/// Whether the program is alive.
pub const HEALTHZ: &str = "healthz";
/// Whether it can do all that it is for.
pub const READYZ: &str = "readyz";
/// What Prometheus asks for.
pub const METRICS: &str = "metrics";

/// A method, and what it requires of whoever calls it.
#[derive(Clone, Copy, Debug)]
pub struct Permission {
    /// `package.Service/Method`, or a word.
    method: &'static str,
    requirement: Requirement,
    kind: Kind,
}

/// What a method requires.
#[derive(Clone, Copy, Debug)]
enum Requirement {
    /// Nothing: it is for everybody.
    None,
    /// A token of this role, or of one that may do more.
    Token { role: Role, reach: Reach },
}

/// How a method answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Once.
    Unary,
    /// For as long as the caller wants to know.
    Stream,
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

const fn method(method: &'static str, role: Role, reach: Reach) -> Permission {
    Permission { method, requirement: Requirement::Token { role, reach }, kind: Kind::Unary }
}

const fn stream(method: &'static str, role: Role, reach: Reach) -> Permission {
    Permission { method, requirement: Requirement::Token { role, reach }, kind: Kind::Stream }
}

const PERMISSIONS: &[Permission] = &[
    method("switchyard.v1.AuditService/ListChanges", Viewer, Everything),
    method("switchyard.v1.AuditService/PurgeSecret", Admin, Everything),
    method("switchyard.v1.BackendService/ListBackends", Viewer, Scoped),
    method("switchyard.v1.BackendService/GetBackend", Viewer, Scoped),
    method("switchyard.v1.BackendService/CreateBackend", Operator, Scoped),
    method("switchyard.v1.BackendService/UpdateBackend", Operator, Scoped),
    method("switchyard.v1.BackendService/DrainBackend", Operator, Scoped),
    method("switchyard.v1.BackendService/DeleteBackend", Operator, Scoped),
    method("switchyard.v1.CertificateService/ListCertificates", Viewer, Scoped),
    method("switchyard.v1.CertificateService/GetCertificate", Viewer, Scoped),
    method("switchyard.v1.CertificateService/CreateCertificate", Operator, Scoped),
    method("switchyard.v1.CertificateService/UpdateCertificate", Operator, Scoped),
    method("switchyard.v1.CertificateService/DeleteCertificate", Operator, Scoped),
    method("switchyard.v1.CertificateService/GetIssuance", Viewer, Scoped),
    stream("switchyard.v1.CertificateService/WatchIssuance", Viewer, Scoped),
    method("switchyard.v1.CertificateService/ListIssuances", Viewer, Scoped),
    method("switchyard.v1.CertificateService/RenewCertificate", Operator, Scoped),
    method("switchyard.v1.CertificateService/RevokeCertificate", Operator, Scoped),
    method("switchyard.v1.CertificateService/GetInternalCa", Viewer, Nothing),
    method("switchyard.v1.DnsProviderService/ListDnsProviders", Viewer, Nothing),
    method("switchyard.v1.DnsProviderService/GetDnsProvider", Viewer, Nothing),
    method("switchyard.v1.DnsProviderService/CreateDnsProvider", Admin, Everything),
    method("switchyard.v1.DnsProviderService/UpdateDnsProvider", Admin, Everything),
    method("switchyard.v1.DnsProviderService/DeleteDnsProvider", Admin, Everything),
    method("switchyard.v1.DomainService/ListDomains", Viewer, Scoped),
    method("switchyard.v1.DomainService/GetDomain", Viewer, Scoped),
    method("switchyard.v1.DomainService/CreateDomain", Operator, Scoped),
    method("switchyard.v1.DomainService/UpdateDomain", Operator, Scoped),
    method("switchyard.v1.DomainService/DeleteDomain", Operator, Scoped),
    method("switchyard.v1.DomainService/SwitchDomain", Operator, Scoped),
    // How far the edges are is what `--wait` shows.
    method("switchyard.v1.EdgeService/ListEdges", Viewer, Nothing),
    method("switchyard.v1.EdgeService/GetEdge", Viewer, Nothing),
    stream("switchyard.v1.EdgeService/WatchRevision", Viewer, Nothing),
    method("switchyard.v1.EdgeService/UpdateEdge", Admin, Everything),
    method("switchyard.v1.EdgeService/DeleteEdge", Admin, Everything),
    method("switchyard.v1.InviteService/ListInvites", Admin, Everything),
    method("switchyard.v1.InviteService/CreateInvite", Admin, Everything),
    method("switchyard.v1.InviteService/DeleteInvite", Admin, Everything),
    // Accounts with CAs are the fleet's, not a domain's.
    method("switchyard.v1.IssuerService/ListIssuers", Viewer, Nothing),
    method("switchyard.v1.IssuerService/GetIssuer", Viewer, Nothing),
    method("switchyard.v1.IssuerService/GetBudget", Viewer, Nothing),
    method("switchyard.v1.IssuerService/CreateIssuer", Admin, Everything),
    method("switchyard.v1.IssuerService/UpdateIssuer", Admin, Everything),
    method("switchyard.v1.IssuerService/DeleteIssuer", Admin, Everything),
    method("switchyard.v1.IssuerService/RotateAccount", Admin, Everything),
    method("switchyard.v1.ServiceService/ListServices", Viewer, Scoped),
    method("switchyard.v1.ServiceService/GetService", Viewer, Scoped),
    method("switchyard.v1.ServiceService/CreateService", Operator, Scoped),
    method("switchyard.v1.ServiceService/UpdateService", Operator, Scoped),
    method("switchyard.v1.ServiceService/DeleteService", Operator, Scoped),
    // What tasks did and why they failed names domains.
    method("switchyard.v1.TaskService/ListTasks", Viewer, Everything),
    method("switchyard.v1.TokenService/GetCurrentToken", Viewer, Nothing),
    method("switchyard.v1.TokenService/ListTokens", Admin, Everything),
    method("switchyard.v1.TokenService/CreateToken", Admin, Everything),
    method("switchyard.v1.TokenService/DeleteToken", Admin, Everything),
    method("switchyard.v1.UnreadableService/ListUnreadable", Admin, Everything),
    method("switchyard.v1.UnreadableService/GetUnreadable", Admin, Everything),
    method("switchyard.v1.UnreadableService/DeleteUnreadable", Admin, Everything),
    // It names certificates.
    method(METRICS, Viewer, Everything),
    stream("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Viewer, Nothing),
    stream("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Viewer, Nothing),
    // Of those who watch over the program, which have no token.
    Permission { method: HEALTHZ, requirement: Requirement::None, kind: Kind::Unary },
    Permission { method: READYZ, requirement: Requirement::None, kind: Kind::Unary },
    Permission { method: "grpc.health.v1.Health/Check", requirement: Requirement::None, kind: Kind::Unary },
    Permission { method: "grpc.health.v1.Health/Watch", requirement: Requirement::None, kind: Kind::Stream },
];

impl Permission {
    /// What a method requires; none for one that is not there. It is named as in its descriptor, `switchyard.v1.DomainService/SwitchDomain`,
    /// or by one of the words of this module.
    pub fn of(method: &str) -> Option<&'static Self> {
        PERMISSIONS.iter().find(|permission| permission.method == method)
    }

    /// All of them.
    pub fn all() -> &'static [Self] {
        PERMISSIONS
    }

    /// The whole name of the method.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The last part of its name: `SwitchDomain`.
    pub fn name(&self) -> &'static str {
        self.method.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it answers for as long as the caller wants to know.
    pub fn is_stream(&self) -> bool {
        self.kind == Kind::Stream
    }

    /// Whether it can be called with a token only.
    pub fn needs_token(&self) -> bool {
        matches!(self.requirement, Requirement::Token { .. })
    }

    /// Whether somebody may call it.
    ///
    /// # Errors
    ///
    /// Their role or their scope does not suffice.
    pub fn check(&self, access: &Access) -> Result<(), NotPermitted> {
        let Requirement::Token { role, reach } = self.requirement else { return Ok(()) };
        if access.role < role {
            return Err(NotPermitted::Role { needed: role });
        }
        if reach == Everything && access.scope != Scope::Everything {
            return Err(NotPermitted::Scope);
        }
        Ok(())
    }
}

/// Why somebody may not call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// Their role does not suffice.
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
    use super::*;
    use crate::model::Patterns;

    #[test]
    fn a_role_may_do_what_the_one_before_may_and_a_scope_limits_it() {
        let access = |role, domains: &[&str]| Access {
            role,
            scope: Scope::new(Patterns::parse(domains).unwrap(), Patterns::default()),
        };
        let switch = Permission::of("switchyard.v1.DomainService/SwitchDomain").unwrap();
        assert_eq!(switch.name(), "SwitchDomain");
        assert_eq!(switch.check(&access(Viewer, &[])), Err(NotPermitted::Role { needed: Operator }));
        assert_eq!(switch.check(&access(Operator, &["*.example"])), Ok(()));
        let create = Permission::of("switchyard.v1.TokenService/CreateToken").unwrap();
        assert_eq!(create.check(&access(Operator, &[])), Err(NotPermitted::Role { needed: Admin }));
        assert_eq!(create.check(&access(Admin, &["*"])), Err(NotPermitted::Scope));
        assert_eq!(create.check(&access(Admin, &[])), Ok(()));
        assert!(Permission::of("switchyard.v1.DomainService/Unknown").is_none());
    }
}
