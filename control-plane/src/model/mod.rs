//! The resources as they are: parsed, valid, plain. Those that the messages of `switchyard.v1` stand for are parsed by
//! [`switchyard_proto::resource`]; here is what only the control plane knows.
//!
//! What always holds: a value that exists is valid by itself; what it may say about other resources is in [`rules`], and
//! nowhere else. No I/O, no messages, no SQL: the layers around convert.

mod access;
mod actor;
mod budget;
mod certificate;
mod challenge;
mod dependents;
mod edge;
mod enrolment;
mod history;
mod issuance;
mod network;
mod object;
pub mod rules;
mod stored;
mod tickets;
mod token;

pub use access::{Access, InvalidPattern, Pattern, Patterns, Role, Scope};
pub use actor::{Actor, EdgeIdentity, Origin};
pub use budget::{Exhausted, IssuerUse, Limit, Per, UseKind, Used, registered_domain};
pub use certificate::{Certificate, CertificateChain};
pub use challenge::{Challenge, KeyAuthorizationDigest};
pub use dependents::Dependents;
pub use edge::{EdgeRecord, RejectionRecord};
pub use enrolment::{EdgeKey, Enrolment, Invite};
pub use history::{HistoryEntry, HistoryFilter, HistoryPlace};
pub use issuance::{Issuance, Lease, Order, Phase, Renewal};
pub use network::Network;
pub use object::{ObjectKey, ObjectKind};
pub use stored::{Object, Resource, Stored, Timestamp};
pub use switchyard_proto::resource::{
    Account, AcmeSettings, Backend, BackendProtocol, BackendState, BackendTls, BackendTrust, Balancing, BaseUrl,
    CaBundle, CertificateSource, ChallengeKind, ClientAuthentication, ClientCertificate, ClientCertificateMode,
    Directory, DnsProvider, DnsSecret, DnsSettings, Domain, Email, ExternalAccount, HookMode, HookUrl, Issuer, Name,
    OnDemand, Place, PrivateKey, Rate, RateLimits, Service, Tags, Thumbprint, Timeouts, TlsVersion, TsigAlgorithm,
    TsigKey, Zones, fingerprint_sha256, provider_of,
};
pub use tickets::{
    Due, FreshTicketKey, InvalidTicketKeys, TicketKey, TicketKeyName, TicketKeyRole, TicketKeys, TicketSecret,
    ticket_key_parts,
};
pub use token::{Secret, SecretHash, Token};
