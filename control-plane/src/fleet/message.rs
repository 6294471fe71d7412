use switchyard_proto::{
    schema::KnownSchema,
    vocab::{Digest, Revision},
};

use crate::model::RejectionRecord;

/// What an edge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First: what it has.
    Hello(Hello),
    /// Then: what became of a batch.
    Ack(Ack),
}

/// What an edge has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of its program.
    pub version: String,
    /// The revision of what it has received.
    pub revision: Revision,
    /// The digest of what it has received.
    pub digest: Digest,
    /// What it cannot serve of it.
    pub rejections: Rejections,
    /// How many resources it knows to be withheld.
    pub withheld: u64,
    /// What it knows of resources, if it says so.
    pub schema: Option<KnownSchema>,
}

/// What an edge cannot serve of what it has received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Those that it names, of the newest revisions.
    pub named: Vec<RejectionRecord>,
    /// How many there are; at least as many as are named.
    pub total: u64,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The revision of the batch.
    pub revision: Revision,
    /// What the edge did with it.
    pub outcome: AckOutcome,
    /// What it cannot serve of everything it has received.
    pub rejections: Rejections,
    /// Whether the batch is on its disk.
    pub persistence: Persistence,
}

/// What an edge did with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// Received, and served but for the rejections.
    Applied,
    /// Nothing: the digest after it would not have been the batch's.
    DigestMismatch,
}

/// Whether what an edge serves is on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// It is.
    #[default]
    Persisted,
    /// The disk refused it.
    NotPersisted,
}

/// Why there is no next message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// What came cannot be understood.
    #[error("{0}")]
    Invalid(String),
}
