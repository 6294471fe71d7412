use std::sync::Arc;

use switchyard_proto::{
    v1,
    vocab::{HostPattern, IssuerId, Labels, ResourceKey, ResourceKind, ServiceId, Tag},
};

use super::{Document, Invalid, Secrets, certificate, optional, pem, word};
use crate::model::{
    AcmeSettings, CaBundle, CertificateSource, ChallengeKind, ClientAuthentication, ClientCertificateMode, Domain,
    HookUrl, Object, ObjectKey, ObjectKind, OnDemand, Resource, Stored, TlsVersion,
};

impl Document for Domain {
    const KIND: ObjectKind = ObjectKind::Served(ResourceKind::Domain);
    type Id = HostPattern;
    type Message = v1::Domain;

    fn key_of(id: &HostPattern) -> ObjectKey {
        ResourceKey::domain(id).into()
    }

    fn id(&self) -> &HostPattern {
        &self.host
    }

    fn message(&self) -> v1::Domain {
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
        let tls = v1::DomainTls {
            certificate_source: match certificate_source {
                CertificateSource::Uploaded => v1::CertificateSource::Unspecified,
                source => certificate::source(*source),
            }
            .into(),
            client_authentication: client_authentication.as_ref().map(client_authentication_message),
            minimum_version: match minimum_tls_version {
                TlsVersion::V12 => v1::TlsVersion::Unspecified,
                TlsVersion::V13 => v1::TlsVersion::V13,
            }
            .into(),
            acme: (*acme != AcmeSettings::default()).then(|| acme_message(acme)),
        };
        v1::Domain {
            name: host.to_resource_name(),
            service: service.to_resource_name(),
            active_tag: active_tag.to_string(),
            previous_tag: previous_tag.as_ref().map(ToString::to_string).unwrap_or_default(),
            tls: (tls != v1::DomainTls::default()).then_some(tls),
            http_to_https: *http_to_https,
            edge_selector: edge_selector.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ..v1::Domain::default()
        }
    }

    fn parse(message: v1::Domain, _: &mut Secrets) -> Result<Self, Invalid> {
        let v1::Domain {
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
        let v1::DomainTls { certificate_source, client_authentication, minimum_version, acme } =
            tls.unwrap_or_default();
        Ok(Self {
            host: HostPattern::parse_resource_name(&name)?,
            service: ServiceId::parse_resource_name(&service)?,
            active_tag: Tag::parse(&active_tag)?,
            previous_tag: optional(&previous_tag, Tag::parse)?,
            certificate_source: match word("tls.certificate_source", certificate_source)? {
                v1::CertificateSource::Unspecified => CertificateSource::Uploaded,
                source => certificate::parse_source(source)?,
            },
            http_to_https,
            edge_selector: Labels::new(edge_selector)?,
            client_authentication: client_authentication.map(parse_client_authentication).transpose()?,
            minimum_tls_version: match word("tls.minimum_version", minimum_version)? {
                v1::TlsVersion::Unspecified | v1::TlsVersion::V12 => TlsVersion::V12,
                v1::TlsVersion::V13 => TlsVersion::V13,
            },
            acme: parse_acme(acme.unwrap_or_default())?,
        })
    }

    fn references(&self) -> Vec<ObjectKey> {
        let issuers = self.acme.issuers().iter().map(ObjectKey::issuer);
        std::iter::once(ResourceKey::service(&self.service).into()).chain(issuers).collect()
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Served(Resource::Domain(stored))
    }
}

fn client_authentication_message(authentication: &ClientAuthentication) -> v1::ClientAuthentication {
    let ClientAuthentication { authorities: CaBundle(certificates), mode } = authentication;
    let mode = match mode {
        ClientCertificateMode::Required => v1::ClientCertificateMode::Unspecified,
        ClientCertificateMode::Optional => v1::ClientCertificateMode::Optional,
    };
    v1::ClientAuthentication { ca_bundle_pem: pem::of_certificates(certificates), mode: mode.into() }
}

fn parse_client_authentication(message: v1::ClientAuthentication) -> Result<ClientAuthentication, Invalid> {
    let v1::ClientAuthentication { ca_bundle_pem, mode } = message;
    Ok(ClientAuthentication {
        authorities: CaBundle(pem::certificates(&ca_bundle_pem)?),
        mode: match word("tls.client_authentication.mode", mode)? {
            v1::ClientCertificateMode::Unspecified | v1::ClientCertificateMode::Required => {
                ClientCertificateMode::Required
            }
            v1::ClientCertificateMode::Optional => ClientCertificateMode::Optional,
        },
    })
}

fn acme_message(acme: &AcmeSettings) -> v1::AcmeSettings {
    let challenge = match acme.challenge {
        None => v1::AcmeChallenge::Unspecified,
        Some(ChallengeKind::Http01) => v1::AcmeChallenge::Http01,
        Some(ChallengeKind::TlsAlpn01) => v1::AcmeChallenge::TlsAlpn01,
        Some(ChallengeKind::Dns01) => v1::AcmeChallenge::Dns01,
    };
    v1::AcmeSettings {
        challenge: challenge.into(),
        issuers: acme.issuers().iter().map(IssuerId::to_resource_name).collect(),
        on_demand: acme.on_demand.as_ref().map(|OnDemand { hook }| v1::OnDemand { hook_url: hook.as_str().to_owned() }),
    }
}

fn parse_acme(message: v1::AcmeSettings) -> Result<AcmeSettings, Invalid> {
    let v1::AcmeSettings { challenge, issuers, on_demand } = message;
    let challenge = match word("tls.acme.challenge", challenge)? {
        v1::AcmeChallenge::Unspecified => None,
        v1::AcmeChallenge::Http01 => Some(ChallengeKind::Http01),
        v1::AcmeChallenge::TlsAlpn01 => Some(ChallengeKind::TlsAlpn01),
        v1::AcmeChallenge::Dns01 => Some(ChallengeKind::Dns01),
    };
    let issuers = issuers.iter().map(|name| IssuerId::parse_resource_name(name)).collect::<Result<_, _>>()?;
    let on_demand = on_demand.map(|v1::OnDemand { hook_url }| HookUrl::parse(&hook_url).map(|hook| OnDemand { hook }));
    Ok(AcmeSettings::new(challenge, issuers, on_demand.transpose()?)?)
}
