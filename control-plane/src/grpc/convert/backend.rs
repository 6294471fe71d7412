use pbjson_types::FieldMask;
use switchyard_proto::{
    resource::{Defaults, InvalidTags, Resource as _},
    v1 as wire,
    vocab::{BackendAddress, BackendId, Revision, ServiceId, Tag, limits::BACKEND_TAGS_MAX},
};

use super::{Mask, Violations, etag, parse_etag, timestamp};
use crate::{
    app::{AppError, backend::BackendUpdate},
    model::{Backend, BackendState, Stored, Tags},
};

/// The paths of an update mask.
const PATHS: [&str; 4] = ["service", "address", "tags", "state"];

/// A backend as a message.
pub(in crate::grpc) fn message(stored: &Stored<Backend>) -> wire::Backend {
    let Stored { value, revision, created_at, updated_at } = stored;
    wire::Backend {
        revision: revision.0,
        etag: etag(*revision),
        create_time: Some(timestamp(*created_at)),
        update_time: Some(timestamp(*updated_at)),
        ..value.message(Defaults::Written)
    }
}

/// A backend to be created. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new(backend: Option<wire::Backend>) -> Result<Backend, AppError> {
    let backend = backend.ok_or_else(|| AppError::invalid("backend", "a backend is required"))?;
    Backend::parse(backend).map_err(|error| AppError::invalid_resource("backend", &error))
}

/// Which backend is to be changed, how, and the etag it must have.
pub(in crate::grpc) fn update(
    backend: Option<wire::Backend>,
    mask: Option<FieldMask>,
) -> Result<(BackendId, BackendUpdate, Option<Revision>), AppError> {
    let Fields { name, service, address, tags, state, etag } = Fields::take(backend)?;
    let mask = Mask::parse(mask, &PATHS)?;
    let mut violations = Violations::default();
    let id = violations.check("backend.name", BackendId::parse_resource_name(&name));
    let mut update = BackendUpdate::default();
    if mask.covers("service", !service.is_empty()) {
        update.service = violations.check("backend.service", ServiceId::parse_resource_name(&service));
    }
    if mask.covers("address", !address.is_empty()) {
        update.address = violations.check("backend.address", BackendAddress::parse(&address));
    }
    if mask.covers("tags", !tags.is_empty()) {
        update.tags = parse_tags(&mut violations, &tags);
    }
    if mask.covers("state", state != wire::BackendState::Unspecified) {
        update.state = violations.check("backend.state", parse_state(state));
    }
    violations.finish(id.map(|id| (id, update, parse_etag(&etag))))
}

fn parse_tags(violations: &mut Violations, tags: &[String]) -> Option<Tags> {
    if tags.len() > BACKEND_TAGS_MAX {
        violations.add("backend.tags", InvalidTags::TooMany);
        return None;
    }
    let parsed: Option<Vec<Tag>> = tags
        .iter()
        .enumerate()
        .map(|(index, tag)| violations.check(&format!("backend.tags[{index}]"), Tag::parse(tag)))
        .collect();
    violations.check("backend.tags", Tags::new(parsed?))
}

fn parse_state(state: wire::BackendState) -> Result<BackendState, &'static str> {
    match state {
        wire::BackendState::Active => Ok(BackendState::Active),
        wire::BackendState::Draining => Ok(BackendState::Draining),
        wire::BackendState::Disabled => Ok(BackendState::Disabled),
        wire::BackendState::Unspecified => Err("a state is required: active, draining or disabled"),
    }
}

/// What people may say of a backend.
struct Fields {
    name: String,
    service: String,
    address: String,
    tags: Vec<String>,
    state: wire::BackendState,
    etag: String,
}

impl Fields {
    fn take(backend: Option<wire::Backend>) -> Result<Self, AppError> {
        let backend = backend.ok_or_else(|| AppError::invalid("backend", "a backend is required"))?;
        let wire::Backend { name, service, address, tags, state, revision: _, etag, create_time: _, update_time: _ } =
            backend;
        let state = wire::BackendState::try_from(state)
            .map_err(|_| AppError::invalid("backend.state", "a state that this version does not know"))?;
        Ok(Self { name, service, address, tags, state, etag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire_backend() -> wire::Backend {
        wire::Backend {
            name: "backends/shop-1".into(),
            address: "10.0.0.5:3000".into(),
            tags: vec!["b".into(), "a".into()],
            ..wire::Backend::default()
        }
    }

    #[test]
    fn what_is_left_out_on_creation_has_its_default() {
        let backend = new(Some(wire_backend())).unwrap();
        assert_eq!(backend.service, ServiceId::default_service());
        assert_eq!(backend.state, BackendState::Active);
    }

    #[test]
    fn a_bad_tag_is_refused_by_its_place() {
        let bad = wire::Backend { tags: vec!["a".into(), "B".into()], ..wire_backend() };
        assert!(new(Some(bad)).unwrap_err().to_string().starts_with("backend.tags[1]: "));
        let many = wire::Backend { tags: vec!["a".into(); 17], ..wire_backend() };
        assert!(new(Some(many)).unwrap_err().to_string().starts_with("backend.tags: "));
    }

    #[test]
    fn tags_in_a_mask_cannot_be_taken_away_altogether() {
        let mask = Some(FieldMask { paths: vec!["tags".into()] });
        let none = wire::Backend { tags: vec![], ..wire_backend() };
        assert!(update(Some(none), mask).unwrap_err().to_string().starts_with("backend.tags: "));
    }

    #[test]
    fn a_state_of_another_version_is_refused() {
        let bad = wire::Backend { state: 99, ..wire_backend() };
        assert!(new(Some(bad)).unwrap_err().to_string().starts_with("backend.state: "));
    }
}
