use std::{fmt, sync::Arc};

use super::limits::{CERTIFICATE_ID_BYTES_MAX, ID_BYTES_MAX};

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing was given.
    #[error("an id is required")]
    Empty,
    /// Longer than this kind of id may be.
    #[error("an id of this kind has at most {0} characters")]
    TooLong(usize),
    /// A character that does not belong.
    #[error("an id consists of a-z, 0-9, '-', '_' and '.', and begins and ends with a letter or digit")]
    Characters,
}

/// Whether `text` consists of `a`-`z`, `0`-`9`, `-`, `_`, `.` and `extra`, with a letter, a digit or one of `extra` at both ends.
pub(super) fn is_word(text: &str, extra: &str) -> bool {
    let inner = |b: u8| end(b, extra) || matches!(b, b'-' | b'_' | b'.');
    fn end(b: u8, extra: &str) -> bool {
        b.is_ascii_lowercase() || b.is_ascii_digit() || extra.as_bytes().contains(&b)
    }
    match text.as_bytes() {
        [] => false,
        [only] => end(*only, extra),
        [first, middle @ .., last] => end(*first, extra) && middle.iter().all(|b| inner(*b)) && end(*last, extra),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes_max:expr, $extra:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses an id; case matters, and upper case is refused.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if text.is_empty() {
                    return Err(InvalidId::Empty);
                }
                if text.len() > $bytes_max {
                    return Err(InvalidId::TooLong($bytes_max));
                }
                if !is_word(text, $extra) {
                    return Err(InvalidId::Characters);
                }
                Ok(Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// The id of a service.
    ServiceId, ID_BYTES_MAX, ""
);
id!(
    /// The id of a DNS provider.
    DnsProviderId, ID_BYTES_MAX, ""
);
id!(
    /// The id of an issuer.
    IssuerId, ID_BYTES_MAX, ""
);
id!(
    /// The id of a backend.
    BackendId, ID_BYTES_MAX, ""
);
id!(
    /// The id of an edge.
    EdgeId, ID_BYTES_MAX, ""
);
id!(
    /// The id of an invitation.
    InviteId, ID_BYTES_MAX, ""
);
id!(
    /// The id of a token of the API.
    TokenId, ID_BYTES_MAX, ""
);
id!(
    /// The id of a certificate; `*` is allowed, so that it can be a host pattern.
    CertificateId, CERTIFICATE_ID_BYTES_MAX, "*"
);

impl ServiceId {
    /// The service that always exists.
    pub const DEFAULT: &str = "default";

    /// The service that always exists.
    pub fn default_service() -> Self {
        Self(Self::DEFAULT.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_lower_case_words() {
        assert_eq!(ServiceId::parse("shop").unwrap().as_str(), "shop");
        assert_eq!(BackendId::parse("web-v1").unwrap().as_str(), "web-v1");
        assert_eq!(ServiceId::parse(""), Err(InvalidId::Empty));
        assert_eq!(ServiceId::parse(&"s".repeat(64)), Err(InvalidId::TooLong(63)));
        for bad in ["Shop", "a/b", "-a", ".", "a ", "*"] {
            assert_eq!(ServiceId::parse(bad), Err(InvalidId::Characters), "{bad:?}");
        }
    }

    #[test]
    fn certificate_ids_hold_any_host_pattern() {
        let longest = format!("internal-*.{}", "a".repeat(251));
        assert_eq!(CertificateId::parse(&longest).unwrap().as_str(), longest);
    }
}
