//! The rules between resources, and those that depend on what is there already. Checked inside the transaction that makes
//! the change.

use switchyard_proto::vocab::{BackendId, CertificateId, HostPattern, IssuerId, ResourceKey, ServiceId, Tag};

use super::{
    AcmeSettings, Backend, BackendState, Certificate, CertificateSource, ChallengeKind, Dependents, Domain, Issuer,
    ObjectKey, Token,
};

/// A rule that a change would break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// A reference to a service that does not exist.
    #[error("there is no services/{service}: create it first")]
    NoSuchService {
        /// The missing service.
        service: ServiceId,
    },
    /// A service that something refers to cannot be deleted.
    #[error("services/{service} is used by {dependents}: delete or move what uses it first")]
    ServiceInUse {
        /// The service.
        service: ServiceId,
        /// What refers to it.
        dependents: Dependents,
    },
    /// The last active backend of a tag that domains are on.
    #[error(
        "backends/{backend} is the last active backend of services/{service} with the tag {tag}, used by {dependents}"
    )]
    LastBackend {
        /// The backend.
        backend: BackendId,
        /// Its service.
        service: ServiceId,
        /// The tag.
        tag: Tag,
        /// The domains that are on it.
        dependents: Dependents,
    },
    /// The last valid certificate of domains.
    #[error("certificates/{certificate} is the only valid certificate for {dependents}")]
    CertificateInUse {
        /// The certificate.
        certificate: CertificateId,
        /// The domains that would have none.
        dependents: Dependents,
    },
    /// The last issuer that is asked for domains which name none.
    #[error("issuers/{issuer} is the only issuer with a rank, used by {dependents}")]
    LastIssuer {
        /// The issuer.
        issuer: IssuerId,
        /// The domains that name none.
        dependents: Dependents,
    },
    /// The service that always exists cannot be deleted.
    #[error("services/{} always exists", ServiceId::DEFAULT)]
    DefaultService,
    /// A switch to a tag that no active backend carries.
    #[error("no active backend of services/{service} carries the tag {tag}: add one, or force the switch")]
    NoBackendForTag {
        /// The service of the domain.
        service: ServiceId,
        /// The tag.
        tag: Tag,
    },
    /// An id that belongs to the internal CA, or to ordered certificates.
    #[error(
        "names that begin with {} or {} belong to the control plane",
        Certificate::INTERNAL_PREFIX,
        Certificate::ACME_PREFIX
    )]
    ReservedCertificateId,
    /// A change to a certificate that the control plane takes care of.
    #[error("certificates/{certificate} is taken care of by the control plane: change the domain it is for")]
    ManagedCertificate {
        /// The certificate.
        certificate: CertificateId,
    },
    /// A reference to an issuer that does not exist.
    #[error("there is no issuers/{issuer}: create it first")]
    NoSuchIssuer {
        /// The missing issuer.
        issuer: IssuerId,
    },
    /// An issuer that a domain names cannot be deleted.
    #[error("issuers/{issuer} is named by {dependents}: change what names it first")]
    IssuerInUse {
        /// The issuer.
        issuer: IssuerId,
        /// The domains that name it.
        dependents: Dependents,
    },
    /// A name that no CA of the web signs.
    #[error(
        "no public CA signs {host}: {reason}; use an issuer with a root of its own (--root-ca-file) or the internal CA (--tls internal), or upload a certificate"
    )]
    NoPublicName {
        /// The name.
        host: HostPattern,
        /// Why.
        reason: &'static str,
    },
    /// A way to prove a name that does not fit it.
    #[error("{host} cannot be proven by {}: a wildcard only by dns-01", challenge.as_str())]
    WildcardChallenge {
        /// The name.
        host: HostPattern,
        /// The way.
        challenge: ChallengeKind,
    },
    /// A name that only a record of its zone proves, and nobody who sets one.
    #[error(
        "{host} is proven by a record of its zone, and no DNS provider has the zone: make one first (switchyard dns-provider), or have the certificate from elsewhere (--tls internal, --tls uploaded)"
    )]
    NoDnsProvider {
        /// The name.
        host: HostPattern,
    },
    /// Certificates on demand for a single name.
    #[error("{host} is a single name: only a wildcard has certificates on demand")]
    OnDemandName {
        /// The name.
        host: HostPattern,
    },
    /// Certificates on demand that nobody orders.
    #[error("the certificates of {host} are not ordered from a CA: certificates on demand need --tls acme")]
    OnDemandSource {
        /// The name.
        host: HostPattern,
    },
    /// Certificates on demand, proven in a way that takes longer than a client waits.
    #[error("names on demand cannot be proven by {}: only by http-01", challenge.as_str())]
    OnDemandChallenge {
        /// The way.
        challenge: ChallengeKind,
    },
    /// What cannot be read is deleted only when nothing refers to it.
    #[error("{user} refers to {object}: delete it or change it first")]
    UnreadableInUse {
        /// What cannot be read.
        object: ObjectKey,
        /// One of those that refer to it.
        user: ObjectKey,
    },
    /// The last token that can do everything cannot be revoked: nobody could make another.
    #[error("no other token can do everything and does not expire: make one first")]
    LastFullToken,
    /// There is no room for one more.
    #[error("there are at most {max} {what}: delete some first")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        max: usize,
    },
    /// A drain of a backend that is out of use.
    #[error("backends/{backend} is disabled: it gets no requests")]
    NothingToDrain {
        /// The backend.
        backend: BackendId,
    },
}

impl BrokenRule {
    /// What depends on the thing that the rule is about.
    pub fn dependents(&self) -> &[ResourceKey] {
        match self {
            Self::ServiceInUse { dependents, .. }
            | Self::LastBackend { dependents, .. }
            | Self::CertificateInUse { dependents, .. }
            | Self::LastIssuer { dependents, .. }
            | Self::IssuerInUse { dependents, .. } => dependents.named(),
            _ => &[],
        }
    }

    /// Whether the change is made if it is forced.
    pub fn can_be_forced(&self) -> bool {
        matches!(
            self,
            Self::LastBackend { .. }
                | Self::CertificateInUse { .. }
                | Self::LastIssuer { .. }
                | Self::NoBackendForTag { .. }
        )
    }
}

/// The tags that active backends of a service lose by a change of `old` to `new`, or its deletion.
pub fn lost_tags<'a>(old: &'a Backend, new: Option<&Backend>) -> Vec<&'a Tag> {
    if old.state != BackendState::Active {
        return Vec::new();
    }
    let stays = new.filter(|new| new.state == BackendState::Active && new.service == old.service);
    old.tags.iter().filter(|tag| !stays.is_some_and(|new| new.tags.contains(tag))).collect()
}

/// A switch needs an active backend with the new tag, unless forced.
pub fn can_switch_to<'a>(
    service: &ServiceId,
    tag: &Tag,
    backends_of_service: impl IntoIterator<Item = &'a Backend>,
) -> Result<(), BrokenRule> {
    let carries = |backend: &Backend| backend.state == BackendState::Active && backend.tags.contains(tag);
    if backends_of_service.into_iter().any(carries) {
        return Ok(());
    }
    Err(BrokenRule::NoBackendForTag { service: service.clone(), tag: tag.clone() })
}

/// A token can be revoked as long as somebody is left who can make another.
pub fn can_delete_token<'a>(token: &Token, all: impl IntoIterator<Item = &'a Token>) -> Result<(), BrokenRule> {
    if !token.is_full() || all.into_iter().any(|other| other.is_full() && other.id != token.id) {
        return Ok(());
    }
    Err(BrokenRule::LastFullToken)
}

/// There is a bound to everything.
pub fn can_add(what: &'static str, count: usize, max: usize) -> Result<(), BrokenRule> {
    if count < max { Ok(()) } else { Err(BrokenRule::TooMany { what, max }) }
}

/// Why no public CA signs a name, if none does: what is signed is below a public suffix (CA/Browser Forum, Baseline Requirements,
/// section 7.1.4.2.1).
pub fn why_private(host: &HostPattern) -> Option<&'static str> {
    let name = host.wildcard_suffix().unwrap_or(host.as_str());
    let last = name.rsplit('.').next().unwrap_or(name);
    // RFC 6761, RFC 6762, RFC 7686, RFC 8375 and RFC 9476; `test` and `example` are left to CAs for tests.
    match last {
        _ if !name.contains('.') => Some("it has a single label"),
        "local" | "localhost" | "internal" | "invalid" | "onion" | "alt" | "lan" | "home" | "corp" => {
            Some("names of its top-level domain are private")
        }
        _ if name == "home.arpa" || name.ends_with(".home.arpa") => Some("names below home.arpa are private"),
        _ => None,
    }
}

/// Where the certificate of a domain comes from that does not say it. What is said of orders asks for one.
pub fn default_source(domain: &Domain, is_uploaded: bool) -> CertificateSource {
    let says_how_to_order = domain.acme != AcmeSettings::default();
    match why_private(&domain.host) {
        _ if says_how_to_order => CertificateSource::Acme,
        _ if is_uploaded => CertificateSource::Uploaded,
        Some(_) => CertificateSource::Internal,
        None => CertificateSource::Acme,
    }
}

/// Whether an issuer may be asked for a certificate of a name. One whose directory is trusted by roots of its own is private, and may sign
/// any; public ones sign no private names.
pub fn may_sign(issuer: &Issuer, host: &HostPattern) -> bool {
    issuer.roots.is_some() || why_private(host).is_none()
}

/// What can be ordered from these issuers, in a way that proves the name.
pub fn can_order(host: &HostPattern, acme: &AcmeSettings, issuers: &[&Issuer]) -> Result<(), BrokenRule> {
    if let Some(reason) = why_private(host)
        && !issuers.iter().any(|issuer| may_sign(issuer, host))
    {
        return Err(BrokenRule::NoPublicName { host: host.clone(), reason });
    }
    if acme.on_demand.is_some() {
        return Ok(());
    }
    match acme.challenge {
        Some(challenge @ (ChallengeKind::Http01 | ChallengeKind::TlsAlpn01)) if host.wildcard_suffix().is_some() => {
            Err(BrokenRule::WildcardChallenge { host: host.clone(), challenge })
        }
        _ => Ok(()),
    }
}

/// What says that it is on demand is a wildcard, whose names prove themselves by HTTP-01: any edge answers that at once.
pub fn can_be_on_demand(domain: &Domain) -> Result<(), BrokenRule> {
    let Domain { host, certificate_source, acme, .. } = domain;
    match acme.challenge {
        _ if acme.on_demand.is_none() => Ok(()),
        _ if *certificate_source != CertificateSource::Acme => Err(BrokenRule::OnDemandSource { host: host.clone() }),
        _ if host.wildcard_suffix().is_none() => Err(BrokenRule::OnDemandName { host: host.clone() }),
        Some(challenge @ (ChallengeKind::TlsAlpn01 | ChallengeKind::Dns01)) => {
            Err(BrokenRule::OnDemandChallenge { challenge })
        }
        None | Some(ChallengeKind::Http01) => Ok(()),
    }
}

/// People may not choose the ids of the certificates that the control plane takes care of.
pub fn can_upload_as(id: &CertificateId) -> Result<(), BrokenRule> {
    if [Certificate::INTERNAL_PREFIX, Certificate::ACME_PREFIX].iter().any(|prefix| id.as_str().starts_with(prefix)) {
        return Err(BrokenRule::ReservedCertificateId);
    }
    Ok(())
}

/// A service can be deleted when it is not the one that always exists.
pub fn can_delete_service(service: &ServiceId) -> Result<(), BrokenRule> {
    if service.as_str() == ServiceId::DEFAULT { Err(BrokenRule::DefaultService) } else { Ok(()) }
}

/// A backend that is out of use has nothing to drain; draining it would bring it nearer to use.
pub fn can_drain(backend: &Backend) -> Result<(), BrokenRule> {
    match backend.state {
        BackendState::Active | BackendState::Draining => Ok(()),
        BackendState::Disabled => Err(BrokenRule::NothingToDrain { backend: backend.id.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::BackendAddress;

    use super::*;
    use crate::model::{HookUrl, OnDemand, Tags};

    fn backend(tag: &str, state: BackendState) -> Backend {
        let id = BackendId::parse("shop-1").unwrap();
        let address = BackendAddress::parse("10.0.0.5:3000").unwrap();
        let tags = Tags::new(vec![Tag::parse(tag).unwrap()]).unwrap();
        Backend { state, ..Backend::new(id, ServiceId::default_service(), address, tags) }
    }

    #[test]
    fn only_an_active_backend_with_the_tag_allows_a_switch() {
        let service = ServiceId::default_service();
        let tag = Tag::parse("b").unwrap();
        let unfit = [backend("a", BackendState::Active), backend("b", BackendState::Draining)];
        let refused = can_switch_to(&service, &tag, &unfit).unwrap_err();
        assert_eq!(refused, BrokenRule::NoBackendForTag { service: service.clone(), tag: tag.clone() });
        assert!(can_switch_to(&service, &tag, &[]).is_err());
        assert_eq!(can_switch_to(&service, &tag, &[backend("b", BackendState::Active)]), Ok(()));
    }

    #[test]
    fn certificates_on_demand_are_for_wildcards_that_prove_themselves_by_http() {
        let check = |host: &str, certificate_source, challenge| {
            let on_demand = OnDemand { hook: HookUrl::parse("http://127.0.0.1:9000/ask").unwrap() };
            let host = HostPattern::parse(host).unwrap();
            can_be_on_demand(&Domain {
                certificate_source,
                acme: AcmeSettings::new(challenge, vec![], Some(on_demand)).unwrap(),
                ..Domain::new(host, ServiceId::default_service(), Tag::parse("a").unwrap())
            })
        };
        let acme = CertificateSource::Acme;
        assert_eq!(check("*.sites.example", acme, None), Ok(()));
        assert_eq!(check("*.sites.example", acme, Some(ChallengeKind::Http01)), Ok(()));
        let [sites, shop] = ["*.sites.example", "shop.example"].map(|host| HostPattern::parse(host).unwrap());
        assert_eq!(check("shop.example", acme, None), Err(BrokenRule::OnDemandName { host: shop }));
        let uploaded = check("*.sites.example", CertificateSource::Uploaded, None);
        assert_eq!(uploaded, Err(BrokenRule::OnDemandSource { host: sites }));
        let challenge = ChallengeKind::Dns01;
        assert_eq!(check("*.sites.example", acme, Some(challenge)), Err(BrokenRule::OnDemandChallenge { challenge }));
    }

    #[test]
    fn a_domain_has_its_certificate_from_where_its_name_can_have_one() {
        let source = |host: &str, is_uploaded| {
            let host = HostPattern::parse(host).unwrap();
            let domain = Domain::new(host, ServiceId::default_service(), Tag::parse("a").unwrap());
            let ordered = Domain {
                acme: AcmeSettings::new(Some(ChallengeKind::Http01), vec![], None).unwrap(),
                ..domain.clone()
            };
            assert_eq!(default_source(&ordered, is_uploaded), CertificateSource::Acme);
            default_source(&domain, is_uploaded)
        };
        assert_eq!(source("shop.example", false), CertificateSource::Acme);
        assert_eq!(source("*.shop.example", false), CertificateSource::Acme);
        for private in ["shop", "shop.localhost", "nas.lan", "printer.home.arpa", "db.corp", "*.svc.internal"] {
            assert_eq!(source(private, false), CertificateSource::Internal, "{private}");
        }
        assert_eq!(source("shop.example", true), CertificateSource::Uploaded);
    }

    #[test]
    fn an_active_backend_takes_its_tags_with_it() {
        let active = backend("a", BackendState::Active);
        let a = Tag::parse("a").unwrap();
        assert_eq!(lost_tags(&active, None), [&a]);
        assert_eq!(lost_tags(&active, Some(&backend("a", BackendState::Draining))), [&a]);
        assert_eq!(lost_tags(&active, Some(&backend("b", BackendState::Active))), [&a]);
        let moved = Backend { service: ServiceId::parse("other").unwrap(), ..active.clone() };
        assert_eq!(lost_tags(&active, Some(&moved)), [&a]);
        let none: [&Tag; 0] = [];
        assert_eq!(lost_tags(&active, Some(&active)), none);
        assert_eq!(lost_tags(&backend("a", BackendState::Draining), None), none);
    }

    #[test]
    fn the_default_service_is_not_deleted() {
        assert_eq!(can_delete_service(&ServiceId::parse("shop").unwrap()), Ok(()));
        assert_eq!(can_delete_service(&ServiceId::default_service()), Err(BrokenRule::DefaultService));
    }

    #[test]
    fn a_backend_that_is_out_of_use_is_not_brought_back_by_draining() {
        assert_eq!(can_drain(&backend("a", BackendState::Active)), Ok(()));
        assert_eq!(can_drain(&backend("a", BackendState::Draining)), Ok(()));
        assert!(can_drain(&backend("a", BackendState::Disabled)).is_err());
    }

    #[test]
    fn the_control_planes_ids_are_its_own() {
        assert!(can_upload_as(&CertificateId::parse("acme-shop.example").unwrap()).is_err());
        assert!(can_upload_as(&CertificateId::parse("internal-shop.example").unwrap()).is_err());
        assert_eq!(can_upload_as(&CertificateId::parse("shop.example").unwrap()), Ok(()));
    }
}
