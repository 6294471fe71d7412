use std::net::IpAddr;

use serde_json::{Map, Value};
use switchyard_proto::vocab::Revision;

use super::{ObjectKey, Origin, Timestamp};

/// What one revision did to one resource, as the history has it. Of secrets it only says which they are.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// Where it stands.
    pub place: HistoryPlace,
    /// The name of the resource: `domains/shop.example`. It may be of a kind that this version does not know.
    pub resource: String,
    /// Its fields before, by their path in the message (`tls.minimum_version`); none if it was created.
    pub old: Option<Map<String, Value>>,
    /// Its fields after; none if it was deleted.
    pub new: Option<Map<String, Value>>,
    /// The path of the field whose earlier secrets it deleted for good, if that is what it did: nothing else is different.
    pub purged: Option<String>,
    /// The name of whoever made the change.
    pub actor: String,
    /// Where they came in.
    pub origin: Origin,
    /// Where the call came from, if there was one.
    pub address: Option<IpAddr>,
    /// The method that was called, if one was.
    pub method: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Where an entry stands in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPlace {
    /// Its revision.
    pub revision: Revision,
    /// Its place among what this revision changed, from 0.
    pub position: u32,
}

/// Which entries of the history are asked for; what is not given asks for all.
#[derive(Clone, Debug, Default)]
pub struct HistoryFilter {
    /// Only those before this place.
    pub before: Option<HistoryPlace>,
    /// Only changes of this resource.
    pub resource: Option<ObjectKey>,
    /// Only changes by somebody of this name.
    pub actor: Option<String>,
    /// Only changes at or after this moment.
    pub since: Option<Timestamp>,
    /// Only changes before this moment.
    pub until: Option<Timestamp>,
}
