//! The words of Switchyard as types: parsed once, valid ever after.
//!
//! What always holds: a value of one of these types came out of its `parse` and satisfies its bounds. Nothing here does
//! I/O, knows a message or refers to another resource; that is left to the programs.

mod address;
mod digest;
mod host;
mod id;
mod labels;
pub mod limits;
mod resource;
mod revision;
mod tag;

pub use address::{BackendAddress, BackendHost, InvalidBackendAddress};
pub use digest::Digest;
pub use host::{HostPattern, InvalidHostPattern, normalize_host};
pub use id::{
    BackendId, CertificateId, DnsProviderId, EdgeId, InvalidId, InviteId, IssuerId, ServiceId, TicketKeysId, TokenId,
};
pub use labels::{InvalidLabels, Labels};
pub use resource::{InvalidResourceKey, InvalidResourceName, ResourceKey, ResourceKind, UnknownKind};
pub use revision::Revision;
pub use tag::{InvalidTag, Tag};

/// The name of the control plane in the certificate that it shows to edges, whatever its address.
pub const CONTROL_PLANE_NAME: &str = "control-plane.switchyard.internal";

/// What the name of an edge in its certificate begins with; its id follows (a SPIFFE id).
pub const EDGE_URI_PREFIX: &str = "spiffe://switchyard/edge/";
