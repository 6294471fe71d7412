use crate::{
    v1 as wire,
    vocab::{HostPattern, Labels, ServiceId, Tag},
};

use super::{
    AcmeSettings, CaBundle, CertificateSource, Defaults, InvalidResource, OnDemand, Resource, enumeration::enumeration,
    invalid::Violations,
};

/// A host name, and where its traffic goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The name or names.
    pub host: HostPattern,
    /// Whose backends answer.
    pub service: ServiceId,
    /// Which of them: those that carry this tag.
    pub active_tag: Tag,
    /// The tag that was active before the last switch.
    pub previous_tag: Option<Tag>,
    /// Who takes care of its certificate.
    pub certificate_source: CertificateSource,
    /// Plain HTTP is redirected to HTTPS.
    pub http_to_https: bool,
    /// The labels that an edge must have to serve it.
    pub edge_selector: Labels,
    /// How clients prove themselves; `None`: they are not asked.
    pub client_authentication: Option<ClientAuthentication>,
    /// The oldest version of TLS that clients may use.
    pub minimum_tls_version: TlsVersion,
    /// How its certificate is ordered, if a CA is to take care of that.
    pub acme: AcmeSettings,
}

enumeration! {
    /// A version of TLS that is spoken.
    #[derive(Default)]
    pub enum TlsVersion of TlsVersion {
        /// RFC 5246.
        #[default]
        V12 = "1.2",
        /// RFC 8446.
        V13 = "1.3",
    }
}

/// How clients prove themselves to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthentication {
    /// The CAs that their certificates come from.
    pub authorities: CaBundle,
    /// Whether they must.
    pub mode: ClientCertificateMode,
}

enumeration! {
    /// Whether clients must have a certificate. One that is not from the CAs is always refused.
    pub enum ClientCertificateMode of ClientCertificateMode {
        /// Without one there is no connection.
        Required = "required",
        /// Without one requests have no identity.
        Optional = "optional",
    }
}

/// What holds when a domain says nothing.
const DEFAULT_SOURCE: CertificateSource = CertificateSource::Uploaded;

impl Domain {
    /// A domain with the defaults.
    pub fn new(host: HostPattern, service: ServiceId, active_tag: Tag) -> Self {
        Self {
            host,
            service,
            active_tag,
            previous_tag: None,
            certificate_source: DEFAULT_SOURCE,
            http_to_https: false,
            edge_selector: Labels::default(),
            client_authentication: None,
            minimum_tls_version: TlsVersion::default(),
            acme: AcmeSettings::default(),
        }
    }

    /// How the names below it get certificates of their own, if they do.
    pub fn on_demand(&self) -> Option<&OnDemand> {
        self.acme.on_demand.as_ref().filter(|_| self.certificate_source == CertificateSource::Acme)
    }

    /// The domain on another tag, remembering the present one. On the tag that is active it changes nothing.
    #[must_use]
    pub fn switched_to(&self, tag: Tag) -> Self {
        if tag == self.active_tag {
            return self.clone();
        }
        Self { previous_tag: Some(self.active_tag.clone()), active_tag: tag, ..self.clone() }
    }
}

impl Resource for Domain {
    type Message = wire::Domain;

    fn parse(message: wire::Domain) -> Result<Self, InvalidResource> {
        let wire::Domain {
            name,
            service,
            active_tag,
            previous_tag,
            tls,
            http_to_https,
            revision: _,
            etag: _,
            create_time: _,
            update_time: _,
            edge_selector,
        } = message;
        let mut violations = Violations::default();
        let host = violations.check("name", HostPattern::parse_resource_name(&name));
        let service = match service.as_str() {
            "" => Some(ServiceId::default_service()),
            name => violations.check("service", ServiceId::parse_resource_name(name)),
        };
        let active_tag = violations.check("active_tag", Tag::parse(&active_tag));
        let previous_tag = match previous_tag.as_str() {
            "" => Some(None),
            tag => violations.check("previous_tag", Tag::parse(tag)).map(Some),
        };
        let edge_selector = violations.check("edge_selector", Labels::new(edge_selector));
        let tls = violations.nested("tls", Tls::parse(tls.unwrap_or_default()));
        let domain = || {
            let Tls { certificate_source, client_authentication, minimum_version, acme } = tls?;
            Some(Self {
                host: host?,
                service: service?,
                active_tag: active_tag?,
                previous_tag: previous_tag?,
                certificate_source,
                http_to_https,
                edge_selector: edge_selector?,
                client_authentication,
                minimum_tls_version: minimum_version,
                acme,
            })
        };
        let domain = domain();
        violations.finish(domain)
    }

    fn message(&self, defaults: Defaults) -> wire::Domain {
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
        let tls = wire::DomainTls {
            certificate_source: defaults
                .keep(*certificate_source, &DEFAULT_SOURCE)
                .map(CertificateSource::to_message)
                .unwrap_or_default(),
            client_authentication: client_authentication.as_ref().map(|it| it.message(defaults)),
            minimum_version: defaults
                .keep(*minimum_tls_version, &TlsVersion::default())
                .map(TlsVersion::to_message)
                .unwrap_or_default(),
            acme: (*acme != AcmeSettings::default()).then(|| acme.message()),
        };
        wire::Domain {
            name: host.to_resource_name(),
            service: defaults
                .keep(service, &&ServiceId::default_service())
                .map(ServiceId::to_resource_name)
                .unwrap_or_default(),
            active_tag: active_tag.to_string(),
            previous_tag: previous_tag.as_ref().map(ToString::to_string).unwrap_or_default(),
            tls: (tls != wire::DomainTls::default()).then_some(tls),
            http_to_https: *http_to_https,
            revision: 0,
            etag: String::new(),
            create_time: None,
            update_time: None,
            edge_selector: edge_selector.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }
}

/// The TLS settings of a domain, before they are part of it.
struct Tls {
    certificate_source: CertificateSource,
    client_authentication: Option<ClientAuthentication>,
    minimum_version: TlsVersion,
    acme: AcmeSettings,
}

impl Tls {
    fn parse(message: wire::DomainTls) -> Result<Self, InvalidResource> {
        let wire::DomainTls { certificate_source, client_authentication, minimum_version, acme } = message;
        let mut violations = Violations::default();
        let source = violations.known("certificate_source", CertificateSource::from_message(certificate_source));
        let client_authentication = match client_authentication {
            None => Some(None),
            Some(message) => violations.nested("client_authentication", ClientAuthentication::parse(message)).map(Some),
        };
        let version = violations.known("minimum_version", TlsVersion::from_message(minimum_version));
        let acme = violations.nested("acme", AcmeSettings::parse(acme.unwrap_or_default()));
        let tls = || {
            Some(Self {
                certificate_source: source?.unwrap_or(DEFAULT_SOURCE),
                client_authentication: client_authentication?,
                minimum_version: version?.unwrap_or_default(),
                acme: acme?,
            })
        };
        let tls = tls();
        violations.finish(tls)
    }
}

impl ClientAuthentication {
    fn parse(message: wire::ClientAuthentication) -> Result<Self, InvalidResource> {
        let wire::ClientAuthentication { ca_bundle_pem, mode } = message;
        let mut violations = Violations::default();
        let authorities = violations.check("ca_bundle_pem", CaBundle::parse(&ca_bundle_pem));
        let mode = violations.known("mode", ClientCertificateMode::from_message(mode));
        let parsed = || {
            let mode = mode?.unwrap_or(ClientCertificateMode::Required);
            Some(Self { authorities: authorities?, mode })
        };
        let parsed = parsed();
        violations.finish(parsed)
    }

    fn message(&self, defaults: Defaults) -> wire::ClientAuthentication {
        let Self { authorities, mode } = self;
        let mode = defaults.keep(*mode, &ClientCertificateMode::Required);
        wire::ClientAuthentication {
            ca_bundle_pem: authorities.pem(),
            mode: mode.map(ClientCertificateMode::to_message).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> wire::Domain {
        wire::Domain { name: "domains/Shop.Example".into(), active_tag: "a".into(), ..wire::Domain::default() }
    }

    #[test]
    fn defaults_are_understood_and_not_written() {
        let domain = Domain::parse(message()).unwrap();
        assert_eq!(domain.host.as_str(), "shop.example");
        assert_eq!(domain.service, ServiceId::default_service());
        assert_eq!(domain.certificate_source, CertificateSource::Uploaded);
        let stored = domain.message(Defaults::Omitted);
        assert_eq!((stored.tls.as_ref(), stored.service.as_str()), (None, ""));
        let shown = domain.message(Defaults::Written);
        assert_eq!(shown.tls.as_ref().unwrap().minimum_version(), wire::TlsVersion::V12);
        for message in [stored, shown] {
            assert_eq!(Domain::parse(message).unwrap(), domain);
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let tls = Some(wire::DomainTls {
            certificate_source: 9_999,
            client_authentication: Some(wire::ClientAuthentication { ca_bundle_pem: "x".into(), mode: 9_999 }),
            minimum_version: 9_999,
            acme: Some(wire::AcmeSettings {
                challenge: 9_999,
                issuers: vec!["letsencrypt".into()],
                on_demand: Some(wire::OnDemand::default()),
            }),
        });
        let bad = wire::Domain { name: "shop".into(), service: "shop".into(), tls, ..wire::Domain::default() };
        let invalid = Domain::parse(bad).unwrap_err();
        let paths: Vec<_> = invalid.violations().iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "name",
                "service",
                "active_tag",
                "tls.certificate_source",
                "tls.client_authentication.ca_bundle_pem",
                "tls.client_authentication.mode",
                "tls.minimum_version",
                "tls.acme.challenge",
                "tls.acme.issuers",
                "tls.acme.on_demand.hook_url"
            ]
        );
    }

    #[test]
    fn switching_remembers_the_old_tag_and_switching_back_returns() {
        let [a, b] = ["a", "b"].map(|tag| Tag::parse(tag).unwrap());
        let host = HostPattern::parse("shop.example").unwrap();
        let on_a = Domain::new(host, ServiceId::default_service(), a.clone());
        assert_eq!(on_a.switched_to(a.clone()), on_a);
        let on_b = on_a.switched_to(b.clone());
        assert_eq!((on_b.active_tag.clone(), on_b.previous_tag.clone()), (b.clone(), Some(a.clone())));
        let back = on_b.switched_to(a.clone());
        assert_eq!((back.active_tag, back.previous_tag), (a, Some(b)));
    }
}
