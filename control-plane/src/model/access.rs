use std::fmt;

use switchyard_proto::vocab::{
    HostPattern, ServiceId,
    limits::{HOST_BYTES_MAX, SCOPE_PATTERNS_MAX},
};
use wildmatch::WildMatch;

/// What somebody may do; each may do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Viewer,
    /// Change domains, services, backends and certificates.
    Operator,
    /// Decide who belongs: edges and tokens.
    Admin,
}

impl Role {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role that a word stands for; see [`Role::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.as_str() == word)
    }
}

/// What somebody may do, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What they may do.
    pub role: Role,
    /// With what.
    pub scope: Scope,
}

impl Access {
    /// Everything.
    pub const EVERYTHING: Self = Self { role: Role::Admin, scope: Scope::Everything };
}

/// The resources that somebody has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everything,
    /// Those that one of these patterns matches.
    Patterns {
        /// Of domains; certificates belong to the domains that they name.
        domains: Patterns,
        /// Of services; backends belong to theirs.
        services: Patterns,
    },
}

impl Scope {
    /// The scope of these patterns: everything, if there are none.
    pub fn new(domains: Patterns, services: Patterns) -> Self {
        if domains.is_empty() && services.is_empty() { Self::Everything } else { Self::Patterns { domains, services } }
    }

    /// Whether it is that of everything.
    pub fn is_everything(&self) -> bool {
        *self == Self::Everything
    }

    /// Whether a domain belongs to it.
    pub fn has_domain(&self, host: &HostPattern) -> bool {
        match self {
            Self::Everything => true,
            Self::Patterns { domains, .. } => domains.matches(host.as_str()),
        }
    }

    /// Whether a zone, or a domain that was registered, is that of domains that belong to it: it is matched itself, or what a pattern
    /// matches is in it.
    pub fn has_zone(&self, zone: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Patterns { domains, .. } => domains.matches(zone) || domains.are_in(zone),
        }
    }

    /// Whether a certificate of these names belongs to it.
    pub fn has_certificate(&self, names: &[HostPattern]) -> bool {
        names.iter().all(|name| self.has_domain(name))
    }

    /// Whether a service belongs to it.
    pub fn has_service(&self, service: &ServiceId) -> bool {
        match self {
            Self::Everything => true,
            Self::Patterns { services, .. } => services.matches(service.as_str()),
        }
    }

    /// The patterns of domains and of services; none for everything.
    pub fn patterns(&self) -> (&[Pattern], &[Pattern]) {
        match self {
            Self::Everything => (&[], &[]),
            Self::Patterns { domains, services } => (&domains.0, &services.0),
        }
    }
}

/// Some patterns: not too many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Takes patterns.
    ///
    /// # Errors
    ///
    /// One is no pattern, or there are too many.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, InvalidPattern> {
        if texts.len() > SCOPE_PATTERNS_MAX {
            return Err(InvalidPattern::TooMany);
        }
        texts.iter().map(|text| Pattern::parse(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything that one of them matches is in a zone.
    fn are_in(&self, zone: &str) -> bool {
        let is_in = |text: &str| text.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'));
        self.0.iter().any(|pattern| is_in(&pattern.to_string()))
    }

    fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.0.matches(text))
    }
}

/// A text in which `*` stands for any characters, dots included.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(WildMatch);

/// Texts are equal or not.
impl Eq for Pattern {}

impl Pattern {
    fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"*-_.".contains(&byte);
        if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.bytes().all(known) {
            return Err(InvalidPattern::Text);
        }
        Ok(Self(WildMatch::new(text)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why texts are no patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// One is not of the form.
    #[error("a pattern has 1 to {HOST_BYTES_MAX} of a-z, 0-9, '-', '_', '.', and '*' for any of them")]
    Text,
    /// There are more than anybody needs.
    #[error("there are at most {SCOPE_PATTERNS_MAX} patterns")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(domains: &[&str], services: &[&str]) -> Scope {
        Scope::new(Patterns::parse(domains).unwrap(), Patterns::parse(services).unwrap())
    }

    fn host(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    #[test]
    fn a_scope_is_what_its_patterns_match() {
        let shop = scope(&["shop.example", "*.shop.example"], &["shop-*"]);
        for inside in ["shop.example", "a.shop.example", "a.b.shop.example", "*.shop.example"] {
            assert!(shop.has_domain(&host(inside)), "{inside}");
        }
        for outside in ["ashop.example", "shop.example.org", "example"] {
            assert!(!shop.has_domain(&host(outside)), "{outside}");
        }
        assert!(shop.has_certificate(&[host("shop.example"), host("a.shop.example")]));
        assert!(!shop.has_certificate(&[host("shop.example"), host("other.example")]));
        assert!(shop.has_service(&ServiceId::parse("shop-web").unwrap()));
        assert!(!shop.has_service(&ServiceId::default_service()));
    }

    #[test]
    fn a_zone_belongs_to_a_scope_that_has_domains_in_it() {
        let shop = scope(&["*.shop.example", "www.store.example"], &[]);
        for zone in ["shop.example", "store.example", "a.shop.example", "example"] {
            assert!(shop.has_zone(zone), "{zone}");
        }
        for zone in ["op.example", "other.example", "b.store.example"] {
            assert!(!shop.has_zone(zone), "{zone}");
        }
        assert!(scope(&["*"], &[]).has_zone("shop.example") && !scope(&[], &["*"]).has_zone("shop.example"));
    }

    #[test]
    fn no_patterns_mean_everything_and_patterns_of_one_kind_nothing_of_the_other() {
        assert_eq!(scope(&[], &[]), Scope::Everything);
        let domains = scope(&["*"], &[]);
        assert!(domains.has_domain(&host("shop.example")) && !domains.has_service(&ServiceId::default_service()));
    }

    #[test]
    fn patterns_are_bounded() {
        for bad in ["", "Shop", "a b", "a?b", &"a".repeat(HOST_BYTES_MAX + 1)] {
            assert_eq!(Patterns::parse(&[bad]), Err(InvalidPattern::Text), "{bad:?}");
        }
        assert_eq!(Patterns::parse(&["a"; SCOPE_PATTERNS_MAX + 1]), Err(InvalidPattern::TooMany));
    }
}
