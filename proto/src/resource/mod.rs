//! Resources: what the messages of `switchyard.v1` say, parsed once.
//!
//! What always holds: a value of one of these types is valid by itself. It comes out of its `parse`, which names the path of every field
//! that is wrong, or out of constructors that check the same bounds; so the control plane, the edges and the command line agree on what is
//! valid. `parse` knows no clock, and its bounds never become narrower: what was stored stays readable. `message` writes no default unless
//! it is asked to ([`Defaults`]), and defaults live in `parse` and never change: so a new field alters no resource that does not use it.
//!
//! Every field of a message is taken apart by name, so that a new one does not compile until somebody has decided what it means. What
//! depends on other resources or on the time is left to the programs.

mod acme;
mod backend;
mod backend_tls;
mod certificate;
mod dns_provider;
mod domain;
mod enumeration;
mod invalid;
mod issuer;
mod patch;
mod service;

pub use self::{
    acme::{AcmeSettings, ChallengeKind, HookUrl, InvalidHookUrl, OnDemand, TooManyIssuers},
    backend::{Backend, BackendState, InvalidTags, Tags},
    backend_tls::{BackendTls, BackendTrust, ClientCertificate},
    certificate::{
        CaBundle, CertificateSource, InvalidCaBundle, InvalidCertificate, PrivateKey, UploadField, certificate_pem,
        certificates_of_pem, certificates_pem, chain_of_pem, check_match, fingerprint_sha256, key_of_pem,
        parse_certificate, to_pkcs8,
    },
    dns_provider::{
        BaseUrl, CLOUDFLARE_API, DnsProvider, DnsSecret, DnsSettings, HookMode, InvalidDnsSettings, InvalidZones,
        TsigAlgorithm, TsigKey, Zones, provider_of,
    },
    domain::{ClientAuthentication, ClientCertificateMode, Domain, TlsVersion},
    enumeration::UnknownValue,
    invalid::{InvalidResource, Problem, Violation},
    issuer::{
        ACME_URL_BYTES_MAX, Account, Directory, Email, ExternalAccount, InvalidIssuer, Issuer, Name, Place, Rate,
        RateLimits, Thumbprint,
    },
    patch::{InvalidChange, Patch, new},
    service::{BackendProtocol, Balancing, InvalidTimeout, Service, Timeouts},
};

/// A resource that a message of `switchyard.v1` stands for.
pub trait Resource: Clone + PartialEq + Sized {
    /// The message.
    type Message: prost::Message + prost::Name + Clone + Default;

    /// What the message says. Fields that are computed when a resource is shown are ignored.
    ///
    /// # Errors
    ///
    /// Every field that is wrong, by its path in the message.
    fn parse(message: Self::Message) -> Result<Self, InvalidResource>;

    /// The message that says it, secrets included. What is computed when a resource is shown is not set.
    fn message(&self, defaults: Defaults) -> Self::Message;
}

/// Whether a message says what holds anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// It does not: the form that is stored and sent to edges.
    Omitted,
    /// It does: the form that people and programs are shown.
    Written,
}

impl Defaults {
    /// `value`, unless it is a default that is to be omitted.
    fn keep<T: PartialEq>(self, value: T, default: &T) -> Option<T> {
        (self == Self::Written || value != *default).then_some(value)
    }
}

#[cfg(test)]
mod tests;
