use switchyard_proto::vocab::{HostPattern, IssuerId, Labels, ServiceId, Tag, limits::DOMAIN_ISSUERS_MAX};

use super::{CaBundle, CertificateSource, ChallengeKind, OnDemand};

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

/// How the certificate of a domain is ordered from a CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeSettings {
    /// How its names prove themselves; `None`: as fits.
    pub challenge: Option<ChallengeKind>,
    /// Each name below the wildcard has a certificate of its own; `None`: the domain has one.
    pub on_demand: Option<OnDemand>,
    issuers: Vec<IssuerId>,
}

impl AcmeSettings {
    /// With these issuers, in this order; none: those that have a rank.
    pub fn new(
        challenge: Option<ChallengeKind>,
        issuers: Vec<IssuerId>,
        on_demand: Option<OnDemand>,
    ) -> Result<Self, TooManyIssuers> {
        if issuers.len() > DOMAIN_ISSUERS_MAX {
            return Err(TooManyIssuers);
        }
        Ok(Self { challenge, on_demand, issuers })
    }

    /// The issuers that it names, in order.
    pub fn issuers(&self) -> &[IssuerId] {
        &self.issuers
    }
}

/// A domain names too many issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a domain names at most {DOMAIN_ISSUERS_MAX} issuers")]
pub struct TooManyIssuers;

/// A version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    V12,
    /// RFC 8446.
    V13,
}

impl TlsVersion {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }

    /// The version that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::V12, Self::V13].into_iter().find(|version| version.as_str() == word)
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

/// Whether clients must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificateMode {
    /// Without one there is no connection.
    Required,
    /// Without one requests have no identity.
    Optional,
}

impl ClientCertificateMode {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }

    /// The mode that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Required, Self::Optional].into_iter().find(|mode| mode.as_str() == word)
    }
}

impl Domain {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switching_remembers_the_old_tag_and_switching_back_returns() {
        let [a, b] = ["a", "b"].map(|tag| Tag::parse(tag).unwrap());
        let on_a = Domain {
            host: HostPattern::parse("shop.example").unwrap(),
            service: ServiceId::default_service(),
            active_tag: a.clone(),
            previous_tag: None,
            certificate_source: CertificateSource::Uploaded,
            http_to_https: false,
            edge_selector: Labels::default(),
            client_authentication: None,
            minimum_tls_version: TlsVersion::default(),
            acme: AcmeSettings::default(),
        };
        assert_eq!(on_a.switched_to(a.clone()), on_a);
        let on_b = on_a.switched_to(b.clone());
        assert_eq!((on_b.active_tag.clone(), on_b.previous_tag.clone()), (b.clone(), Some(a.clone())));
        let back = on_b.switched_to(a.clone());
        assert_eq!((back.active_tag, back.previous_tag), (a, Some(b)));
    }
}
