//! Between messages and the model. Resources of the API are parsed by [`switchyard_proto::resource`], all by the functions of
//! [`resource`]; other messages are taken apart field by field, so that a new field does not compile until somebody has decided what it
//! means.

pub(super) mod audit;
pub(super) mod certificate;
pub(super) mod edge;
pub(super) mod fleet;
pub(super) mod invite;
pub(super) mod issuance;
pub(super) mod issuer;
pub(super) mod resource;
pub(super) mod service;
pub(super) mod task;
pub(super) mod token;
pub(super) mod unreadable;
mod violations;

use std::fmt::Display;

use switchyard_proto::vocab::Revision;

use self::violations::Violations;
use crate::{
    app::{AppError, Force, Mode},
    model::Timestamp,
};

/// A moment as a message.
pub(super) fn timestamp(time: Timestamp) -> pbjson_types::Timestamp {
    let (seconds, milliseconds) = (time.0.div_euclid(1_000), time.0.rem_euclid(1_000));
    let milliseconds = i32::try_from(milliseconds).expect("a remainder of 1,000 fits");
    pbjson_types::Timestamp { seconds, nanos: milliseconds * 1_000_000 }
}

/// A moment of a message; none for what no calendar holds.
pub(super) fn parse_timestamp(time: &pbjson_types::Timestamp) -> Option<Timestamp> {
    let pbjson_types::Timestamp { seconds, nanos } = time;
    let millis = u32::try_from(*nanos).ok().filter(|nanos| *nanos < 1_000_000_000)? / 1_000_000;
    Some(Timestamp(seconds.checked_mul(1_000)?.checked_add(i64::from(millis))?))
}

/// The etag of a resource: the revision that changed it last.
pub(super) fn etag(revision: Revision) -> String {
    revision.to_string()
}

/// The revision that an etag stands for; none if it is empty. One that is no etag of ours is as stale as one can be.
pub(super) fn parse_etag(etag: &str) -> Option<Revision> {
    if etag.is_empty() { None } else { Some(Revision(etag.parse().unwrap_or(0))) }
}

/// Whether a request is only to be checked.
pub(super) fn mode(validate_only: bool) -> Mode {
    if validate_only { Mode::ValidateOnly } else { Mode::Commit }
}

/// Whether a change is made that leaves domains without something.
pub(super) fn force(force: bool) -> Force {
    if force { Force::Yes } else { Force::No }
}

/// What a request says of one resource: its name.
pub(super) fn name<T, E: Display>(name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, AppError> {
    parse(name).map_err(|error| AppError::invalid("name", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_1970_have_positive_nanoseconds() {
        assert_eq!(timestamp(Timestamp(1_500)), pbjson_types::Timestamp { seconds: 1, nanos: 500_000_000 });
        assert_eq!(parse_timestamp(&timestamp(Timestamp(-1))), Some(Timestamp(-1)));
        assert_eq!(timestamp(Timestamp(-1)), pbjson_types::Timestamp { seconds: -1, nanos: 999_000_000 });
    }

    #[test]
    fn an_etag_that_is_none_of_ours_is_stale() {
        assert_eq!(parse_etag(""), None);
        assert_eq!(parse_etag(&etag(Revision(7))), Some(Revision(7)));
        assert_eq!(parse_etag("W/\"x\""), Some(Revision::ZERO));
    }
}
