use std::{fmt, sync::Arc};

use super::{
    labels::Labels,
    limits::{CERTIFICATE_ID_BYTES_MAX, ID_BYTES_MAX},
};

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
    /// Not what stands for labels.
    #[error("an id of this kind has {TICKET_KEYS_ID_DIGITS} hexadecimal digits, in lower case")]
    Digits,
}

/// Digits of the id of ticket keys.
const TICKET_KEYS_ID_DIGITS: usize = 32;

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

            /// The text, shared with everybody who asks.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
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

/// The id of the ticket keys of a scope class: what stands for the labels that its edges have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketKeysId(Arc<str>);

impl TicketKeysId {
    /// The id of the keys of edges with these labels: the first 16 bytes of the SHA-256 of their text.
    pub fn of(labels: &Labels) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, labels.to_string().as_bytes());
        let bytes = &hash.as_ref()[..TICKET_KEYS_ID_DIGITS / 2];
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// Parses an id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_id = text.len() == TICKET_KEYS_ID_DIGITS && text.bytes().all(is_digit);
        if is_id { Ok(Self(text.into())) } else { Err(InvalidId::Digits) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared with everybody who asks.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for TicketKeysId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TicketKeysId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
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
    fn the_id_of_ticket_keys_stands_for_labels() {
        let labels = |pairs: &[(&str, &str)]| {
            Labels::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
        };
        // The SHA-256 of nothing.
        let everywhere = TicketKeysId::of(&Labels::default());
        assert_eq!(everywhere.as_str(), "e3b0c44298fc1c149afbf4c8996fb924");
        assert_eq!(TicketKeysId::parse(everywhere.as_str()), Ok(everywhere));
        let one = TicketKeysId::of(&labels(&[("region", "eu"), ("role", "big")]));
        assert_eq!(one, TicketKeysId::of(&labels(&[("role", "big"), ("region", "eu")])));
        assert_ne!(one, TicketKeysId::of(&labels(&[("region", "eu")])));
        let digits = one.as_str();
        for bad in ["", "a", &digits[1..], &format!("{digits}0"), &digits.replace(|_| true, "A"), &"g".repeat(32)] {
            assert_eq!(TicketKeysId::parse(bad), Err(InvalidId::Digits), "{bad:?}");
        }
    }

    #[test]
    fn certificate_ids_hold_any_host_pattern() {
        let longest = format!("internal-*.{}", "a".repeat(251));
        assert_eq!(CertificateId::parse(&longest).unwrap().as_str(), longest);
    }
}
