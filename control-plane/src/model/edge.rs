use switchyard_proto::vocab::{EdgeId, ResourceKey, Revision};

use super::Timestamp;

/// What is remembered about an edge while it is not connected; written coarsely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeRecord {
    /// Its id.
    pub id: EdgeId,
    /// The version of its program.
    pub version: String,
    /// What it has acknowledged.
    pub acknowledged_revision: Revision,
    /// When it acknowledged that.
    pub acknowledged_at: Option<Timestamp>,
    /// When it was heard of last.
    pub last_contact_at: Timestamp,
    /// What it could not apply: the newest, as many as it named.
    pub rejections: Vec<RejectionRecord>,
    /// How many it could not apply.
    pub rejections_total: u64,
}

/// A resource that an edge could not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionRecord {
    /// Which resource.
    pub key: ResourceKey,
    /// The revision of the version it rejected.
    pub revision: Revision,
    /// What is wrong with it, in the edge's words.
    pub reason: String,
}
