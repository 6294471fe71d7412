use std::{fmt, sync::Arc};

use super::limits::ID_BYTES_MAX;

/// A word on a backend: 1 to 63 of `a`-`z`, `0`-`9`, `-`, `_` and `.`, beginning and ending with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Parses a tag; case matters, and upper case is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidTag> {
        if text.is_empty() {
            return Err(InvalidTag::Empty);
        }
        if text.len() > ID_BYTES_MAX {
            return Err(InvalidTag::TooLong);
        }
        if !super::id::is_word(text, "") {
            return Err(InvalidTag::Characters);
        }
        Ok(Self(text.into()))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is not a [`Tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTag {
    /// Nothing was given.
    #[error("a tag is required")]
    Empty,
    /// More than [`ID_BYTES_MAX`] bytes.
    #[error("a tag has at most {ID_BYTES_MAX} characters")]
    TooLong,
    /// A character that does not belong.
    #[error("a tag consists of a-z, 0-9, '-', '_' and '.', and begins and ends with a letter or digit")]
    Characters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_lower_case_words() {
        for good in ["a", "b2", "blue", "v1.2.3", "2026-11-21_1"] {
            assert_eq!(Tag::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(Tag::parse(""), Err(InvalidTag::Empty));
        assert_eq!(Tag::parse(&"x".repeat(64)), Err(InvalidTag::TooLong));
        for bad in ["A", "-a", "a-", "a b", "a/b", "ä", "a\n"] {
            assert_eq!(Tag::parse(bad), Err(InvalidTag::Characters), "{bad:?}");
        }
    }
}
