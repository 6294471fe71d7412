use http::Uri;

use crate::{
    v1 as wire,
    vocab::{
        HostPattern, IssuerId,
        limits::{DOMAIN_ISSUERS_MAX, HOOK_URL_BYTES_MAX},
    },
};

use super::{InvalidResource, enumeration::enumeration, invalid::Violations};

/// How the certificate of a domain is ordered from a CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeSettings {
    /// How its names prove themselves; `None`: as fits.
    pub challenge: Option<ChallengeKind>,
    /// Each name below the wildcard has a certificate of its own; `None`: the domain has one.
    pub on_demand: Option<OnDemand>,
    issuers: Vec<IssuerId>,
}

enumeration! {
    /// How a name proves itself to a CA.
    pub enum ChallengeKind of AcmeChallenge {
        /// By an answer over plain HTTP.
        Http01 = "http-01",
        /// By a certificate over TLS.
        TlsAlpn01 = "tls-alpn-01",
        /// By a record of its zone.
        Dns01 = "dns-01",
    }
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

    pub(super) fn parse(message: wire::AcmeSettings) -> Result<Self, InvalidResource> {
        let wire::AcmeSettings { challenge, issuers, on_demand } = message;
        let mut violations = Violations::default();
        let challenge = violations.known("challenge", ChallengeKind::from_message(challenge));
        let issuers = issuers.iter().map(|name| IssuerId::parse_resource_name(name)).collect::<Result<Vec<_>, _>>();
        let issuers = violations.check("issuers", issuers);
        let on_demand = match on_demand {
            None => Some(None),
            Some(message) => violations.nested("on_demand", OnDemand::parse(message)).map(Some),
        };
        let settings = match (challenge, issuers, on_demand) {
            (Some(challenge), Some(issuers), Some(on_demand)) => {
                violations.check("issuers", Self::new(challenge, issuers, on_demand))
            }
            _ => None,
        };
        violations.finish(settings)
    }

    pub(super) fn message(&self) -> wire::AcmeSettings {
        let Self { challenge, on_demand, issuers } = self;
        wire::AcmeSettings {
            challenge: challenge.map(ChallengeKind::to_message).unwrap_or_default(),
            issuers: issuers.iter().map(IssuerId::to_resource_name).collect(),
            on_demand: on_demand.as_ref().map(OnDemand::message),
        }
    }
}

/// A domain names too many issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a domain names at most {DOMAIN_ISSUERS_MAX} issuers")]
pub struct TooManyIssuers;

/// Each name below a wildcard gets a certificate of its own when it is first asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDemand {
    /// Who says whether.
    pub hook: HookUrl,
}

impl OnDemand {
    fn parse(message: wire::OnDemand) -> Result<Self, InvalidResource> {
        let wire::OnDemand { hook_url } = message;
        let hook = HookUrl::parse(&hook_url).map_err(|error| InvalidResource::field("hook_url", error))?;
        Ok(Self { hook })
    }

    fn message(&self) -> wire::OnDemand {
        let Self { hook } = self;
        wire::OnDemand { hook_url: hook.as_str().to_owned() }
    }
}

/// Where it is asked whether a name is to have a certificate: an `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookUrl(String);
impl HookUrl {
    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidHookUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidHookUrl::Form)?;
        let host = uri.host().unwrap_or_default();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() {
            return Err(InvalidHookUrl::Form);
        }
        // They would be shown to whoever may read the domain.
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(InvalidHookUrl::Credentials);
        }
        if text.len() > HOOK_URL_BYTES_MAX { Err(InvalidHookUrl::Length) } else { Ok(Self(text.to_owned())) }
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL that asks for a name.
    pub fn asking_for(&self, name: &HostPattern) -> String {
        // A host name has no character that is to be encoded (RFC 3986, section 2.3).
        let separator = if self.0.contains('?') { '&' } else { '?' };
        format!("{}{separator}domain={name}", self.0)
    }
}

/// A text that is not the URL of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHookUrl {
    /// It is no URL, or of another scheme.
    #[error("a URL of a hook is http://HOST/PATH or https://HOST/PATH")]
    Form,
    /// It has a user or a password.
    #[error("a URL of a hook has no user and no password")]
    Credentials,
    /// It is too long.
    #[error("a URL of a hook has at most {HOOK_URL_BYTES_MAX} bytes")]
    Length,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_asked_for_one_name() {
        let name = HostPattern::parse("shop.sites.example").unwrap();
        for (hook, asked) in [
            ("http://127.0.0.1:9000/ask", "http://127.0.0.1:9000/ask?domain=shop.sites.example"),
            ("https://hook.example", "https://hook.example?domain=shop.sites.example"),
            ("https://hook.example/?key=1", "https://hook.example/?key=1&domain=shop.sites.example"),
        ] {
            assert_eq!(HookUrl::parse(hook).unwrap().asking_for(&name), asked);
        }
    }

    #[test]
    fn what_is_no_url_of_a_hook_is_refused() {
        for bad in ["", "ask", "/ask", "ftp://hook.example/", "hook.example:80", "http://", "http://hook.example/a b"] {
            assert_eq!(HookUrl::parse(bad), Err(InvalidHookUrl::Form), "{bad:?}");
        }
        assert_eq!(HookUrl::parse("http://user:secret@hook.example/"), Err(InvalidHookUrl::Credentials));
        let long = format!("http://hook.example/{}", "a".repeat(HOOK_URL_BYTES_MAX));
        assert_eq!(HookUrl::parse(&long), Err(InvalidHookUrl::Length));
    }
}
