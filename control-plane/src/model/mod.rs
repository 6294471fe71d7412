//! The resources as they are: parsed, valid, plain.
//!
//! What always holds: a value that exists is valid by itself; what it may say about other resources is in [`rules`], and
//! nowhere else. No I/O, no messages, no SQL: the layers around convert.

mod access;
mod backend;
mod backend_tls;
mod budget;
mod certificate;
mod challenge;
mod dns;
mod domain;
mod edge;
mod enrolment;
mod history;
mod issuance;
mod issuer;
mod object;
mod on_demand;
pub mod rules;
mod service;
mod stored;
mod tickets;
mod token;
mod who;

pub use access::{Access, InvalidPattern, Pattern, Patterns, Role, Scope};
pub use backend::{Backend, BackendState, InvalidTags, Tags};
pub use backend_tls::{BackendTls, BackendTrust, ClientCertificate};
pub use budget::{Exhausted, IssuerUse, Limit, Per, UseKind, Used, registered_domain};
pub use certificate::{CaBundle, Certificate, CertificateChain, CertificateSource, PrivateKey, fingerprint_sha256};
pub use challenge::{Challenge, ChallengeKind, KeyAuthorizationDigest};
pub use dns::{
    BaseUrl, CLOUDFLARE_API, DnsProvider, DnsSecret, DnsSettings, HookMode, InvalidDnsSettings, InvalidZones,
    TsigAlgorithm, TsigKey, Zones, provider_of,
};
pub use domain::{AcmeSettings, ClientAuthentication, ClientCertificateMode, Domain, TlsVersion};
pub use edge::{EdgeRecord, RejectionRecord};
pub use enrolment::{EdgeKey, Enrolment, Invite};
pub use history::{HistoryEntry, HistoryFilter, HistoryPlace};
pub use issuance::{Issuance, Lease, Order, Phase, Renewal};
pub use issuer::{
    ACME_URL_BYTES_MAX, Account, Directory, Email, ExternalAccount, InvalidIssuer, Issuer, Name, Rate, RateLimits,
    Thumbprint,
};
pub use object::{ObjectKey, ObjectKind};
pub use on_demand::{HookUrl, InvalidHookUrl, OnDemand};
pub use service::{BackendProtocol, Balancing, InvalidTimeout, Service, Timeouts};
pub use stored::{Object, Resource, Stored, Timestamp};
pub use tickets::{
    Due, FreshTicketKey, InvalidTicketKeys, TicketKey, TicketKeyName, TicketKeyRole, TicketKeys, TicketSecret,
    ticket_key_parts,
};
pub use token::{Secret, SecretHash, Token};
pub use who::{Actor, Door, EdgeIdentity};
