use switchyard_proto::vocab::{BackendAddress, BackendId, ServiceId, Tag, limits::BACKEND_TAGS_MAX};

/// One address that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its id.
    pub id: BackendId,
    /// The service it belongs to.
    pub service: ServiceId,
    /// Where it listens.
    pub address: BackendAddress,
    /// The pools of the service it belongs to.
    pub tags: Tags,
    /// Whether it takes requests.
    pub state: BackendState,
}

/// Whether a backend takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// It does.
    Active,
    /// No new ones; those in flight finish.
    Draining,
    /// It is out of use.
    Disabled,
}

impl BackendState {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }

    /// The state that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Draining, Self::Disabled].into_iter().find(|state| state.as_str() == word)
    }
}

/// The tags of a backend: 1 to [`BACKEND_TAGS_MAX`], sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// Takes tags in any order; the same tag twice counts once.
    pub fn new(mut tags: Vec<Tag>) -> Result<Self, InvalidTags> {
        tags.sort();
        tags.dedup();
        match tags.len() {
            0 => Err(InvalidTags::None),
            1..=BACKEND_TAGS_MAX => Ok(Self(tags)),
            _ => Err(InvalidTags::TooMany),
        }
    }

    /// The tags in order.
    pub fn iter(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter()
    }

    /// Whether `tag` is among them.
    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.binary_search(tag).is_ok()
    }
}

/// Why some tags are no [`Tags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTags {
    /// No tag.
    #[error("a backend carries at least one tag: without one no domain can reach it")]
    None,
    /// More than [`BACKEND_TAGS_MAX`].
    #[error("a backend carries at most {BACKEND_TAGS_MAX} tags")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_bounded_set() {
        let tag = |text: &str| Tag::parse(text).unwrap();
        let tags = Tags::new(vec![tag("b"), tag("a"), tag("b")]).unwrap();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(tags.contains(&tag("a")) && !tags.contains(&tag("c")));
        assert_eq!(Tags::new(vec![]), Err(InvalidTags::None));
        assert_eq!(Tags::new((0..17).map(|n| tag(&n.to_string())).collect()), Err(InvalidTags::TooMany));
    }
}
