use crate::{
    v1 as wire,
    vocab::{BackendAddress, BackendId, ServiceId, Tag, limits::BACKEND_TAGS_MAX},
};

use super::{Defaults, InvalidResource, Resource, enumeration::enumeration, invalid::Violations};

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

enumeration! {
    /// Whether a backend takes requests.
    pub enum BackendState of BackendState {
        /// It does.
        Active = "active",
        /// No new ones; those in flight finish.
        Draining = "draining",
        /// It is out of use.
        Disabled = "disabled",
    }
}

impl Backend {
    /// An active one.
    pub fn new(id: BackendId, service: ServiceId, address: BackendAddress, tags: Tags) -> Self {
        Self { id, service, address, tags, state: BackendState::Active }
    }
}

impl Resource for Backend {
    type Message = wire::Backend;

    fn parse(message: wire::Backend) -> Result<Self, InvalidResource> {
        let wire::Backend { name, service, address, tags, state, revision: _, etag: _, create_time: _, update_time: _ } =
            message;
        let mut violations = Violations::default();
        let id = violations.check("name", BackendId::parse_resource_name(&name));
        let service = match service.as_str() {
            "" => Some(ServiceId::default_service()),
            name => violations.check("service", ServiceId::parse_resource_name(name)),
        };
        let address = violations.check("address", BackendAddress::parse(&address));
        let tags = parse_tags(&mut violations, &tags);
        let state = violations.known("state", BackendState::from_message(state));
        let backend = || {
            let state = state?.unwrap_or(BackendState::Active);
            Some(Self { state, ..Self::new(id?, service?, address?, tags?) })
        };
        let backend = backend();
        violations.finish(backend)
    }

    fn message(&self, defaults: Defaults) -> wire::Backend {
        let Self { id, service, address, tags, state } = self;
        wire::Backend {
            name: id.to_resource_name(),
            service: defaults
                .keep(service, &&ServiceId::default_service())
                .map(ServiceId::to_resource_name)
                .unwrap_or_default(),
            address: address.to_string(),
            tags: tags.iter().map(ToString::to_string).collect(),
            state: defaults.keep(*state, &BackendState::Active).map(BackendState::to_message).unwrap_or_default(),
            revision: 0,
            etag: String::new(),
            create_time: None,
            update_time: None,
        }
    }
}

fn parse_tags(violations: &mut Violations, tags: &[String]) -> Option<Tags> {
    if tags.len() > BACKEND_TAGS_MAX {
        violations.invalid("tags", InvalidTags::TooMany);
        return None;
    }
    let parsed: Option<Vec<Tag>> = tags
        .iter()
        .enumerate()
        .map(|(index, tag)| violations.check(format!("tags[{index}]"), Tag::parse(tag)))
        .collect();
    violations.check("tags", Tags::new(parsed?))
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

    /// The tags in order.
    pub fn as_slice(&self) -> &[Tag] {
        &self.0
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
    use crate::resource::{Problem, UnknownValue};

    fn message() -> wire::Backend {
        wire::Backend {
            name: "backends/shop-1".into(),
            address: "10.0.0.5:3000".into(),
            tags: vec!["b".into(), "a".into()],
            ..wire::Backend::default()
        }
    }

    #[test]
    fn tags_are_a_bounded_set() {
        let tag = |text: &str| Tag::parse(text).unwrap();
        let tags = Tags::new(vec![tag("b"), tag("a"), tag("b")]).unwrap();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(tags.contains(&tag("a")) && !tags.contains(&tag("c")));
        assert_eq!(Tags::new(vec![]), Err(InvalidTags::None));
        assert_eq!(Tags::new((0..17).map(|n| tag(&n.to_string())).collect()), Err(InvalidTags::TooMany));
    }

    #[test]
    fn defaults_are_understood_and_not_written() {
        let backend = Backend::parse(message()).unwrap();
        assert_eq!((&backend.service, backend.state), (&ServiceId::default_service(), BackendState::Active));
        let stored = backend.message(Defaults::Omitted);
        assert_eq!((stored.service.as_str(), stored.state), ("", 0));
        let shown = backend.message(Defaults::Written);
        assert_eq!((shown.service.as_str(), shown.state()), ("services/default", wire::BackendState::Active));
        assert_eq!(Backend::parse(stored).unwrap(), Backend::parse(shown).unwrap());
    }

    #[test]
    fn a_bad_tag_is_refused_by_its_place() {
        let violation = |tags: Vec<String>| {
            let invalid = Backend::parse(wire::Backend { tags, ..message() }).unwrap_err();
            invalid.violations()[0].path.clone()
        };
        assert_eq!(violation(vec!["a".into(), "B".into()]), "tags[1]");
        assert_eq!(violation(vec!["a".into(); 17]), "tags");
        assert_eq!(violation(vec![]), "tags");
    }

    #[test]
    fn a_state_of_a_newer_version_is_told_from_a_wrong_one() {
        let invalid = Backend::parse(wire::Backend { state: 9_999, ..message() }).unwrap_err();
        assert!(invalid.is_unknown());
        assert_eq!(invalid.violations()[0].problem, Problem::Unknown(UnknownValue(9_999)));
        assert_eq!(invalid.to_string(), "state: this version does not know the value 9999");
    }
}
