//! The values in the history: readable without this program, and without secrets.

use std::time::Duration;

use serde_json::{Value, json};

use switchyard_proto::vocab::{BackendHost, Labels};

use super::rows::limits_column;
use crate::model::{
    Access, Backend, BackendTrust, Certificate, CertificateChain, Challenge, ChallengeKind, DnsProvider, Domain,
    Enrolment, Invite, Issuer, Name, Pattern, Service, TicketKey, TicketKeys, Token, fingerprint_sha256,
};

/// A resource as the history shows it.
pub(super) trait Recorded {
    fn recorded(&self) -> Value;
}

impl Recorded for Domain {
    fn recorded(&self) -> Value {
        let Self {
            host,
            service,
            active_tag,
            previous_tag,
            certificate_source,
            http_to_https,
            edge_selector,
            client_authentication,
            minimum_tls_version,
            acme,
        } = self;
        json!({
            "host": host.as_str(),
            "service": service.as_str(),
            "active_tag": active_tag.as_str(),
            "previous_tag": previous_tag.as_ref().map(|tag| tag.as_str()),
            "certificate_source": certificate_source.as_str(),
            "http_to_https": http_to_https,
            "edge_selector": labels_value(edge_selector),
            "minimum_tls_version": minimum_tls_version.as_str(),
            "acme_challenge": acme.challenge.map(ChallengeKind::as_str),
            "acme_issuers": acme.issuers().iter().map(|id| id.as_str()).collect::<Vec<_>>(),
            "on_demand_hook": acme.on_demand.as_ref().map(|it| it.hook.as_str()),
            "client_certificates": client_authentication.as_ref().map(|it| it.mode.as_str()),
            "client_authorities_sha256": client_authentication.as_ref().map(|it| fingerprints(it.authorities.certificates())),
        })
    }
}

impl Recorded for Service {
    fn recorded(&self) -> Value {
        let Self { id, balancing, protocol, timeouts, tls } = self;
        let millis = |duration: Duration| duration.as_millis() as u64;
        let name = |name: Option<&BackendHost>| name.map(ToString::to_string);
        json!({
            "id": id.as_str(),
            "balancing": balancing.as_str(),
            "protocol": protocol.as_str(),
            "connect_timeout_ms": millis(timeouts.connect()),
            "first_byte_timeout_ms": millis(timeouts.first_byte()),
            "idle_timeout_ms": millis(timeouts.idle()),
            "tls": tls.as_ref().map(|tls| tls.trust.as_str()),
            "tls_authorities_sha256": tls.as_ref().and_then(|tls| match &tls.trust {
                BackendTrust::Authorities(bundle) => Some(fingerprints(bundle.certificates())),
                BackendTrust::System | BackendTrust::Anybody => None,
            }),
            "tls_server_name": name(tls.as_ref().and_then(|tls| tls.server_name.as_ref())),
            "tls_alternative_name": name(tls.as_ref().and_then(|tls| tls.alternative_name.as_ref())),
            "tls_client_chain_sha256":
                tls.as_ref().and_then(|tls| tls.client_certificate.as_ref()).map(|it| fingerprints(&it.chain)),
        })
    }
}

fn fingerprints(certificates: &[Vec<u8>]) -> Vec<String> {
    certificates.iter().map(|der| fingerprint_sha256(der)).collect()
}

impl Recorded for Backend {
    fn recorded(&self) -> Value {
        let Self { id, service, address, tags, state } = self;
        json!({
            "id": id.as_str(),
            "service": service.as_str(),
            "address": address.to_string(),
            "tags": tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(),
            "state": state.as_str(),
        })
    }
}

impl Recorded for Certificate {
    fn recorded(&self) -> Value {
        let Self { id, source, chain, private_key: _ } = self;
        let CertificateChain { certificates: _, dns_names, issuer, fingerprint_sha256, not_before, not_after } = chain;
        json!({
            "id": id.as_str(),
            "source": source.as_str(),
            "dns_names": dns_names.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            "issuer": issuer,
            "fingerprint_sha256": fingerprint_sha256,
            "not_before": not_before.0,
            "not_after": not_after.0,
        })
    }
}

impl Recorded for Challenge {
    fn recorded(&self) -> Value {
        let Self { host, http_01, tls_alpn_01 } = self;
        let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        json!({
            "host": host.as_str(),
            "http_01_thumbprint": http_01.as_ref().map(|thumbprint| thumbprint.as_str()),
            "tls_alpn_01_digest": tls_alpn_01.as_ref().map(|digest| hexadecimal(digest.as_bytes())),
        })
    }
}

impl Recorded for DnsProvider {
    fn recorded(&self) -> Value {
        let Self { id, zones, settings } = self;
        json!({
            "id": id.as_str(),
            "zones": zones.iter().map(|zone| zone.as_str()).collect::<Vec<_>>(),
            "provider": settings.provider(),
        })
    }
}

impl Recorded for TicketKeys {
    fn recorded(&self) -> Value {
        let key = |key: &TicketKey| {
            let TicketKey { name, secret: _, role, created_at, since } = key;
            json!({ "name": name.to_string(), "role": role.as_str(), "created_at": created_at.0, "since": since.0 })
        };
        json!({
            "id": self.id().as_str(),
            "labels": labels_value(self.labels()),
            "keys": self.keys().iter().map(key).collect::<Vec<_>>(),
        })
    }
}

impl Recorded for Issuer {
    fn recorded(&self) -> Value {
        let Self { id, directory, roots, email, external_account, profile, preferred_chain, place: _, limits, account } =
            self;
        json!({
            "id": id.as_str(),
            "directory": directory.as_str(),
            "roots_sha256": roots.as_ref().map(|roots| fingerprints(roots.certificates())),
            "email": email.as_ref().map(|email| email.as_str()),
            "external_account": external_account.as_ref().map(|it| it.key_id.as_str()),
            "profile": profile.as_ref().map(Name::as_str),
            "preferred_chain": preferred_chain.as_ref().map(Name::as_str),
            "rank": self.rank(),
            "limits": serde_json::from_str::<Value>(&limits_column(limits)).unwrap_or_default(),
            "account": account.as_ref().map(|account| &account.url),
            "account_thumbprint": account.as_ref().map(|account| account.thumbprint.as_str()),
        })
    }
}

impl Recorded for Token {
    fn recorded(&self) -> Value {
        let Self { id, hash: _, access, expires_at } = self;
        let Access { role, scope } = access;
        let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (domains, services) = scope.patterns();
        json!({
            "id": id.as_str(),
            "role": role.as_str(),
            "domains": texts(domains),
            "services": texts(services),
            "expires_at": expires_at.map(|at| at.0),
        })
    }
}

impl Recorded for Enrolment {
    fn recorded(&self) -> Value {
        let Self { id, key, labels } = self;
        json!({ "id": id.as_str(), "key_sha256": key.to_string(), "labels": labels_value(labels) })
    }
}

impl Recorded for Invite {
    fn recorded(&self) -> Value {
        let Self { id, hash: _, labels, uses, expires_at } = self;
        json!({
            "id": id.as_str(),
            "labels": labels_value(labels),
            "uses": uses,
            "expires_at": expires_at.0,
        })
    }
}

/// Labels as a JSON object.
pub(super) fn labels_value(labels: &Labels) -> Value {
    labels.iter().collect()
}
