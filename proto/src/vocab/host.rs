use std::{borrow::Cow, fmt, sync::Arc};

use super::limits::{HOST_BYTES_MAX, HOST_LABEL_BYTES_MAX};

/// The host names that a domain or a certificate is for: one exact name, or `*.` and a name, which stands for
/// every name with exactly one label more (RFC 9525, section 6.3).
///
/// Always in lower case, without a port or a final dot, IDNs as A-labels (RFC 5890, section 2.3.2.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern(Arc<str>);

impl HostPattern {
    /// Parses a pattern as people write it: any case, U-labels, one final dot allowed; an IP address is not a name.
    pub fn parse(text: &str) -> Result<Self, InvalidHostPattern> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if name.is_empty() {
            return Err(InvalidHostPattern::Empty);
        }
        // Before IDNA, whose cost grows with the text: no A-label form is shorter than half its U-label form.
        if name.len() > 4 * HOST_BYTES_MAX {
            return Err(InvalidHostPattern::TooLong);
        }
        if name.contains('*') {
            return Err(InvalidHostPattern::Wildcard);
        }
        let ascii = idna::domain_to_ascii_strict(name).map_err(|_| InvalidHostPattern::Characters)?;
        let full = if wildcard { format!("*.{ascii}") } else { ascii };
        let name = full.strip_prefix("*.").unwrap_or(&full);
        if full.len() > HOST_BYTES_MAX {
            return Err(InvalidHostPattern::TooLong);
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > HOST_LABEL_BYTES_MAX {
                return Err(InvalidHostPattern::Label);
            }
        }
        // RFC 1123, section 2.1: a top-level label is never numeric, so that a name is never an address.
        let last = name.rsplit('.').next().unwrap_or(name);
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidHostPattern::Address);
        }
        Ok(Self(full.into()))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows `*.`, if this is a wildcard.
    pub fn wildcard_suffix(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }

    /// The wildcard that stands for this name, among others; `None` for a wildcard, and for a name of one label.
    pub fn wildcard(&self) -> Option<Self> {
        let (label, zone) = self.0.split_once('.')?;
        (label != "*").then(|| Self(format!("*.{zone}").into()))
    }

    /// The text, shared with everybody who asks.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// Whether `host` (normalized, see [`normalize_host`]) is one of the names this stands for.
    pub fn matches(&self, host: &str) -> bool {
        match self.wildcard_suffix() {
            None => *self.0 == *host,
            Some(suffix) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
        }
    }

    /// Whether every name that `other` stands for is one that this stands for.
    pub fn covers(&self, other: &HostPattern) -> bool {
        self == other || (other.wildcard_suffix().is_none() && self.matches(other.as_str()))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The host of a `Host` header or an `:authority`, ready for a look-up: lower case, without port and final dot.
///
/// Allocates only if the client sent upper case. Returns `None` for what cannot be a host: nothing, user information, a
/// second port, a second final dot.
pub fn normalize_host(authority: &str) -> Option<Cow<'_, str>> {
    let host = match authority.rfind(':') {
        // An IPv6 literal ends with its bracket; a colon inside it does not begin a port.
        Some(colon) if !authority.ends_with(']') => {
            if !authority[colon + 1..].bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            &authority[..colon]
        }
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_literal = host.starts_with('[') && host.ends_with(']');
    let is_odd = host.bytes().any(|b| b == b'@' || (b == b':' && !is_literal)) || host.ends_with('.');
    if host.is_empty() || host.len() > HOST_BYTES_MAX || is_odd {
        return None;
    }
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Some(Cow::Owned(host.to_ascii_lowercase()))
    } else {
        Some(Cow::Borrowed(host))
    }
}

/// Why a text is not a [`HostPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostPattern {
    /// Nothing was given.
    #[error("a host name is required")]
    Empty,
    /// More than [`HOST_BYTES_MAX`] bytes.
    #[error("a host name has at most {HOST_BYTES_MAX} bytes")]
    TooLong,
    /// `*` somewhere else than in a leading `*.`.
    #[error("a wildcard is only allowed as the whole first label, as in *.example.com")]
    Wildcard,
    /// Not a host name after IDNA (UTS #46) processing.
    #[error("not a host name: labels consist of letters, digits and inner hyphens")]
    Characters,
    /// An empty label, or one of more than [`HOST_LABEL_BYTES_MAX`] bytes.
    #[error("each label of a host name has 1 to {HOST_LABEL_BYTES_MAX} bytes")]
    Label,
    /// An IP address, or what could be taken for one.
    #[error("an IP address is not a host name")]
    Address,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> String {
        HostPattern::parse(text).unwrap().to_string()
    }

    #[test]
    fn a_wildcard_stands_for_the_names_right_below_its_zone() {
        let name = |text: &str| HostPattern::parse(text).unwrap();
        assert_eq!(name("a.shop.example").wildcard(), Some(name("*.shop.example")));
        assert_eq!(name("shop.example").wildcard(), Some(name("*.example")));
        assert_eq!((name("localhost").wildcard(), name("*.example").wildcard()), (None, None));
    }

    #[test]
    fn names_are_stored_in_one_form() {
        assert_eq!(pattern("Shop.Example."), "shop.example");
        assert_eq!(pattern("*.SHOP.example"), "*.shop.example");
        assert_eq!(pattern("bücher.example"), "xn--bcher-kva.example");
        assert_eq!(pattern("localhost"), "localhost");
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        for (text, why) in [
            ("", InvalidHostPattern::Empty),
            (".", InvalidHostPattern::Empty),
            ("*.", InvalidHostPattern::Wildcard),
            ("*", InvalidHostPattern::Wildcard),
            ("a.*.example", InvalidHostPattern::Wildcard),
            ("a*.example", InvalidHostPattern::Wildcard),
            ("a b.example", InvalidHostPattern::Characters),
            ("a_b.example", InvalidHostPattern::Characters),
            ("-a.example", InvalidHostPattern::Characters),
            ("a.example:80", InvalidHostPattern::Characters),
            ("[::1]", InvalidHostPattern::Characters),
            ("10.0.0.1", InvalidHostPattern::Address),
        ] {
            assert_eq!(HostPattern::parse(text), Err(why), "{text:?}");
        }
        assert!(HostPattern::parse("a..example").is_err());
        assert!(HostPattern::parse(&format!("{}.example", "a".repeat(64))).is_err());
        assert!(HostPattern::parse(&"a.".repeat(127)).is_ok());
        assert!(HostPattern::parse(&"a.".repeat(128)).is_err());
        assert_eq!(HostPattern::parse(&"ü".repeat(100_000)), Err(InvalidHostPattern::TooLong));
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let wildcard = HostPattern::parse("*.shop.example").unwrap();
        assert!(wildcard.matches("a.shop.example"));
        assert!(!wildcard.matches("shop.example"));
        assert!(!wildcard.matches("a.b.shop.example"));
        assert!(!wildcard.matches(".shop.example"));
        assert!(wildcard.covers(&HostPattern::parse("a.shop.example").unwrap()));
        assert!(wildcard.covers(&wildcard));
        assert!(!wildcard.covers(&HostPattern::parse("*.a.shop.example").unwrap()));
    }

    #[test]
    fn hosts_are_compared_without_case_port_and_final_dot() {
        assert_eq!(normalize_host("Shop.Example.:8443").as_deref(), Some("shop.example"));
        assert_eq!(normalize_host("[::1]:80").as_deref(), Some("[::1]"));
        assert_eq!(normalize_host("[::1]").as_deref(), Some("[::1]"));
        assert_eq!(normalize_host("a:b"), None);
        assert_eq!(normalize_host("user@shop.example"), None);
        assert_eq!(normalize_host(""), None);
        assert!(matches!(normalize_host("shop.example:80"), Some(Cow::Borrowed(_))));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(text in ".{0,300}") {
            if let Ok(parsed) = HostPattern::parse(&text) {
                prop_assert_eq!(HostPattern::parse(parsed.as_str()), Ok(parsed.clone()));
            }
            let _ = normalize_host(&text);
        }
    }
}
