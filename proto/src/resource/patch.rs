use super::{Defaults, InvalidResource, Resource};
use crate::schema::{self, InvalidPatch, Mask, dynamic, typed};

/// A change of a resource, as somebody asks for it. The same for every way to ask.
#[derive(Clone, Debug)]
pub struct Patch<R: Resource> {
    change: R::Message,
    mask: Mask,
}

impl<R: Resource> Patch<R> {
    /// The change that a message and a mask over its fields ask for; see [`schema::patch`]. Which resource it is about, the caller knows:
    /// the name in the message is not read.
    pub fn new(change: R::Message, mask: Mask) -> Self {
        Self { change, mask }
    }

    /// The change that makes a resource this one: `PUT`.
    pub fn to(new: &R) -> Self {
        Self::new(new.message(Defaults::Omitted), Mask::Replace)
    }

    /// The resource as the change makes it.
    ///
    /// # Errors
    ///
    /// Names everything that is wrong with the change, or with what it makes.
    pub fn apply(&self, old: &R) -> Result<R, InvalidChange> {
        let stored = dynamic(&old.message(Defaults::Omitted));
        let mut change = dynamic(&self.change);
        if let Some(name) = stored.get_field_by_name(NAME) {
            change.set_field_by_name(NAME, name.into_owned());
        }
        let patched = schema::patch(&stored, &change, &self.mask)?;
        Ok(R::parse(typed(&patched))?)
    }
}

/// The field that says which resource it is.
const NAME: &str = "name";

/// A resource that somebody asks to create. What is for output only is ignored (AIP-203).
///
/// # Errors
///
/// Every field that is wrong, by its path in the message.
pub fn new<R: Resource>(message: &R::Message) -> Result<R, InvalidResource> {
    R::parse(typed(&schema::input(&dynamic(message))))
}

/// Why a resource cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// The change itself is wrong.
    #[error(transparent)]
    Patch(#[from] InvalidPatch),
    /// What it makes is wrong.
    #[error(transparent)]
    Resource(#[from] InvalidResource),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        resource::{Domain, TlsVersion},
        v1 as wire,
        vocab::{HostPattern, ServiceId, Tag},
    };

    fn domain() -> Domain {
        let host = HostPattern::parse("shop.example").unwrap();
        Domain::new(host, ServiceId::parse("shop").unwrap(), Tag::parse("a").unwrap())
    }

    fn patched(change: wire::Domain, paths: &[&str]) -> Result<Domain, InvalidChange> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Patch::new(change, Mask::of(paths)).apply(&domain())
    }

    #[test]
    fn a_change_is_made_by_its_mask_and_checked_as_a_whole() {
        let change = wire::Domain { active_tag: "b".into(), http_to_https: true, ..Default::default() };
        let given = patched(change.clone(), &[]).unwrap();
        assert_eq!((given.active_tag.as_str(), given.http_to_https, &given.service), ("b", true, &domain().service));
        assert_eq!(patched(change.clone(), &["http_to_https"]).unwrap().active_tag.as_str(), "a");
        let Err(InvalidChange::Resource(invalid)) = patched(wire::Domain::default(), &["active_tag"]) else {
            panic!("a domain has an active tag");
        };
        assert_eq!(invalid.violations()[0].path, "active_tag");
        assert!(matches!(patched(change, &["sevrice"]), Err(InvalidChange::Patch(_))));
    }

    #[test]
    fn what_is_for_output_only_is_not_taken_from_a_request() {
        let request = wire::Domain { previous_tag: "b".into(), revision: 7, ..domain().message(Defaults::Written) };
        assert_eq!(new::<Domain>(&request), Ok(domain()));
        let whole = patched(request, &["*"]).unwrap();
        assert_eq!(whole, domain());
        let newer = wire::DomainTls { minimum_version: TlsVersion::V13.to_message(), ..Default::default() };
        let newer = wire::Domain { tls: Some(newer), ..domain().message(Defaults::Omitted) };
        assert_eq!(new::<Domain>(&newer).unwrap().minimum_tls_version, TlsVersion::V13);
    }
}
