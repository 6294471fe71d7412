//! The resources as they are: parsed, valid, plain. Those that the messages of `switchyard.v1` stand for are parsed by
//! [`switchyard_proto::resource`]; here is what only the control plane knows.
//!
//! What always holds: a value that exists is valid by itself; what it may say about other resources is in [`rules`], and
//! nowhere else. No I/O, no messages, no SQL: the layers around convert.

mod access;
mod budget;
mod certificate;
mod challenge;
mod dns;
mod edge;
mod enrolment;
mod history;
mod issuance;
mod issuer;
mod object;
pub mod rules;
mod stored;
mod tickets;
mod token;
mod who;

pub use access::{Access, InvalidPattern, Pattern, Patterns, Role, Scope};
pub use budget::{Exhausted, IssuerUse, Limit, Per, UseKind, Used, registered_domain};
pub use certificate::{Certificate, CertificateChain};
pub use challenge::{Challenge, KeyAuthorizationDigest};
pub use dns::{
    BaseUrl, CLOUDFLARE_API, DnsProvider, DnsSecret, DnsSettings, HookMode, InvalidDnsSettings, InvalidZones,
    TsigAlgorithm, TsigKey, Zones, provider_of,
};
pub use edge::{EdgeRecord, RejectionRecord};
pub use enrolment::{EdgeKey, Enrolment, Invite};
pub use history::{HistoryEntry, HistoryFilter, HistoryPlace};
pub use issuance::{Issuance, Lease, Order, Phase, Renewal};
pub use issuer::{
    ACME_URL_BYTES_MAX, Account, Directory, Email, ExternalAccount, InvalidIssuer, Issuer, Name, Rate, RateLimits,
    Thumbprint,
};
pub use object::{ObjectKey, ObjectKind};
pub use stored::{Object, Resource, Stored, Timestamp};
pub use switchyard_proto::resource::{
    AcmeSettings, Backend, BackendProtocol, BackendState, BackendTls, BackendTrust, Balancing, CaBundle,
    CertificateSource, ChallengeKind, ClientAuthentication, ClientCertificate, ClientCertificateMode, Domain, HookUrl,
    OnDemand, PrivateKey, Service, Tags, Timeouts, TlsVersion, fingerprint_sha256,
};
pub use tickets::{
    Due, FreshTicketKey, InvalidTicketKeys, TicketKey, TicketKeyName, TicketKeyRole, TicketKeys, TicketSecret,
    ticket_key_parts,
};
pub use token::{Secret, SecretHash, Token};
pub use who::{Actor, Door, EdgeIdentity};
