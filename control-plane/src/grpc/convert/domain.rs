use std::collections::BTreeMap;

use pbjson_types::FieldMask;
use switchyard_proto::{
    resource::{Defaults, Resource as _},
    v1 as wire,
    vocab::{HostPattern, InvalidResourceName, IssuerId, Labels, Revision, ServiceId, Tag},
};

use super::{Mask, Violations, certificate, etag, parse_etag, timestamp};
use crate::{
    app::{AppError, domain::DomainUpdate},
    model::{
        CaBundle, ChallengeKind, ClientAuthentication, ClientCertificateMode, Domain, HookUrl, OnDemand, Stored,
        TlsVersion,
    },
};

/// The paths of an update mask.
const PATHS: [&str; 12] = [
    "service",
    "active_tag",
    "tls",
    "tls.certificate_source",
    "tls.client_authentication",
    "tls.minimum_version",
    "tls.acme",
    "tls.acme.challenge",
    "tls.acme.issuers",
    "tls.acme.on_demand",
    "http_to_https",
    "edge_selector",
];

/// A domain as a message.
pub(in crate::grpc) fn message(stored: &Stored<Domain>) -> wire::Domain {
    let Stored { value, revision, created_at, updated_at } = stored;
    wire::Domain {
        revision: revision.0,
        etag: etag(*revision),
        create_time: Some(timestamp(*created_at)),
        update_time: Some(timestamp(*updated_at)),
        ..value.message(Defaults::Written)
    }
}

/// Certificates on demand; what is wrong with them is added.
fn parse_on_demand(message: wire::OnDemand, violations: &mut Violations) -> Option<OnDemand> {
    let wire::OnDemand { hook_url } = message;
    violations.check(HOOK_URL, HookUrl::parse(&hook_url)).map(|hook| OnDemand { hook })
}

fn parse_challenge(challenge: i32) -> Result<Option<ChallengeKind>, &'static str> {
    match wire::AcmeChallenge::try_from(challenge) {
        Ok(wire::AcmeChallenge::Unspecified) => Ok(None),
        Ok(wire::AcmeChallenge::Http01) => Ok(Some(ChallengeKind::Http01)),
        Ok(wire::AcmeChallenge::TlsAlpn01) => Ok(Some(ChallengeKind::TlsAlpn01)),
        Ok(wire::AcmeChallenge::Dns01) => Ok(Some(ChallengeKind::Dns01)),
        Err(_) => Err("a challenge that this version does not know"),
    }
}

fn parse_issuers(names: &[String]) -> Result<Vec<IssuerId>, InvalidResourceName> {
    names.iter().map(|name| IssuerId::parse_resource_name(name)).collect()
}

/// How clients are to prove themselves; what is wrong with it is added.
fn parse_client_authentication(
    message: wire::ClientAuthentication,
    violations: &mut Violations,
) -> Option<ClientAuthentication> {
    let wire::ClientAuthentication { ca_bundle_pem, mode } = message;
    let mode = match wire::ClientCertificateMode::try_from(mode) {
        Ok(wire::ClientCertificateMode::Unspecified | wire::ClientCertificateMode::Required) => {
            Ok(ClientCertificateMode::Required)
        }
        Ok(wire::ClientCertificateMode::Optional) => Ok(ClientCertificateMode::Optional),
        Err(_) => Err("a mode that this version does not know"),
    };
    let mode = violations.check("domain.tls.client_authentication.mode", mode);
    let authorities =
        violations.check("domain.tls.client_authentication.ca_bundle_pem", CaBundle::parse(&ca_bundle_pem));
    Some(ClientAuthentication { authorities: authorities?, mode: mode? })
}

/// The oldest version of TLS: 1.2 where nothing is said.
fn parse_version(version: wire::TlsVersion) -> TlsVersion {
    match version {
        wire::TlsVersion::Unspecified | wire::TlsVersion::V12 => TlsVersion::V12,
        wire::TlsVersion::V13 => TlsVersion::V13,
    }
}

/// A domain to be created. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new(domain: Option<wire::Domain>) -> Result<Domain, AppError> {
    let domain = domain.ok_or_else(|| AppError::invalid("domain", "a domain is required"))?;
    let domain = wire::Domain { previous_tag: String::new(), ..domain };
    Domain::parse(domain).map_err(|error| AppError::invalid_resource("domain", &error))
}

/// Which domain is to be changed, how, and the etag it must have.
pub(in crate::grpc) fn update(
    domain: Option<wire::Domain>,
    mask: Option<FieldMask>,
) -> Result<(HostPattern, DomainUpdate, Option<Revision>), AppError> {
    let fields = Fields::take(domain)?;
    let mask = Mask::parse(mask, &PATHS)?;
    let mut violations = Violations::default();
    let host = violations.check("domain.name", HostPattern::parse_resource_name(&fields.name));
    let mut update = DomainUpdate::default();
    if mask.covers("service", !fields.service.is_empty()) {
        update.service = violations.check("domain.service", ServiceId::parse_resource_name(&fields.service));
    }
    if mask.covers("active_tag", !fields.active_tag.is_empty()) {
        update.active_tag = violations.check("domain.active_tag", Tag::parse(&fields.active_tag));
    }
    let source = fields.certificate_source;
    if mask.covers("tls.certificate_source", source != wire::CertificateSource::Unspecified) {
        update.certificate_source = violations.check(SOURCE, certificate::parse_source(source));
    }
    if mask.covers("tls.client_authentication", fields.client_authentication.is_some()) {
        update.client_authentication = Some(
            fields.client_authentication.and_then(|message| parse_client_authentication(message, &mut violations)),
        );
    }
    if mask.covers("tls.minimum_version", fields.minimum_version != wire::TlsVersion::Unspecified) {
        update.minimum_tls_version = Some(parse_version(fields.minimum_version));
    }
    let has_acme = fields.acme.is_some();
    let wire::AcmeSettings { challenge, issuers, on_demand } = fields.acme.unwrap_or_default();
    if mask.covers("tls.acme.challenge", has_acme) {
        update.acme_challenge = violations.check(CHALLENGE, parse_challenge(challenge));
    }
    if mask.covers("tls.acme.issuers", has_acme) {
        update.acme_issuers = violations.check(ISSUERS, parse_issuers(&issuers));
    }
    if mask.covers("tls.acme.on_demand", on_demand.is_some()) {
        update.on_demand = Some(on_demand.and_then(|message| parse_on_demand(message, &mut violations)));
    }
    if mask.covers("http_to_https", fields.http_to_https) {
        update.http_to_https = Some(fields.http_to_https);
    }
    if mask.covers("edge_selector", !fields.edge_selector.is_empty()) {
        update.edge_selector = violations.check(SELECTOR, Labels::new(fields.edge_selector));
    }
    violations.finish(host.map(|host| (host, update, parse_etag(&fields.etag))))
}

const SOURCE: &str = "domain.tls.certificate_source";
const SELECTOR: &str = "domain.edge_selector";
const CHALLENGE: &str = "domain.tls.acme.challenge";
const ISSUERS: &str = "domain.tls.acme.issuers";
const HOOK_URL: &str = "domain.tls.acme.on_demand.hook_url";

/// What people may say of a domain.
struct Fields {
    name: String,
    service: String,
    active_tag: String,
    certificate_source: wire::CertificateSource,
    client_authentication: Option<wire::ClientAuthentication>,
    minimum_version: wire::TlsVersion,
    acme: Option<wire::AcmeSettings>,
    http_to_https: bool,
    edge_selector: BTreeMap<String, String>,
    etag: String,
}

impl Fields {
    fn take(domain: Option<wire::Domain>) -> Result<Self, AppError> {
        let domain = domain.ok_or_else(|| AppError::invalid("domain", "a domain is required"))?;
        let wire::Domain {
            name,
            service,
            active_tag,
            previous_tag: _,
            tls,
            http_to_https,
            revision: _,
            etag,
            create_time: _,
            update_time: _,
            edge_selector,
        } = domain;
        let wire::DomainTls { certificate_source, client_authentication, minimum_version, acme } =
            tls.unwrap_or_default();
        let minimum_version = wire::TlsVersion::try_from(minimum_version)
            .map_err(|_| AppError::invalid("domain.tls.minimum_version", "a version that this one does not know"))?;
        let certificate_source = wire::CertificateSource::try_from(certificate_source)
            .map_err(|_| AppError::invalid(SOURCE, "a certificate source that this version does not know"))?;
        Ok(Self {
            name,
            service,
            active_tag,
            certificate_source,
            client_authentication,
            minimum_version,
            acme,
            http_to_https,
            edge_selector,
            etag,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CertificateSource, Timestamp};

    fn wire_domain() -> wire::Domain {
        wire::Domain { name: "domains/Shop.Example".into(), active_tag: "a".into(), ..wire::Domain::default() }
    }

    #[test]
    fn what_is_left_out_on_creation_has_its_default() {
        let domain = new(Some(wire_domain())).unwrap();
        assert_eq!(domain.host.as_str(), "shop.example");
        assert_eq!(domain.service, ServiceId::default_service());
        assert_eq!(domain.certificate_source, CertificateSource::Uploaded);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let tls = Some(wire::DomainTls {
            certificate_source: wire::CertificateSource::Unspecified.into(),
            client_authentication: None,
            minimum_version: 0,
            acme: Some(wire::AcmeSettings {
                challenge: 9,
                issuers: vec!["letsencrypt".into()],
                on_demand: Some(wire::OnDemand::default()),
            }),
        });
        let bad = wire::Domain { name: "shop".into(), service: "shop".into(), tls, ..wire::Domain::default() };
        let Err(AppError::Invalid(violations)) = new(Some(bad)) else { panic!("it is not valid") };
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        let acme = ["domain.tls.acme.challenge", "domain.tls.acme.issuers", "domain.tls.acme.on_demand.hook_url"];
        assert_eq!(fields, [&["domain.name", "domain.service", "domain.active_tag"][..], &acme].concat());
    }

    #[test]
    fn an_update_speaks_of_the_fields_in_its_mask_alone() {
        let mask = Some(FieldMask { paths: vec!["http_to_https".into()] });
        let (_, update, etag) = update(Some(wire::Domain { etag: "7".into(), ..wire_domain() }), mask).unwrap();
        assert_eq!(update.active_tag, None);
        assert_eq!(update.http_to_https, Some(false));
        assert_eq!(etag, Some(Revision(7)));
    }

    #[test]
    fn a_domain_survives_the_way_out_and_in() {
        let domain = new(Some(wire_domain())).unwrap();
        let stored =
            Stored { value: domain.clone(), revision: Revision(3), created_at: Timestamp(0), updated_at: Timestamp(0) };
        assert_eq!(new(Some(message(&stored))).unwrap(), domain);
        assert_eq!(message(&stored).etag, "3");
    }
}
