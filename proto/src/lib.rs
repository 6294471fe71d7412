//! The contract between the programs: the messages and services of `switchyard/`, generated when this crate is built,
//! [`resource`], what these messages say, [`schema`], what is derived from their descriptors, and [`vocab`], the words that all
//! sides share.

/// The API that people and programs drive the fleet with.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, clippy::allow_attributes)]
pub mod v1 {
    tonic::include_proto!("switchyard.v1");
    include!(concat!(env!("OUT_DIR"), "/switchyard.v1.serde.rs"));
}

/// What edges and control planes say to each other.
pub mod fleet {
    /// Version 1.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, clippy::allow_attributes)]
    pub mod v1 {
        tonic::include_proto!("switchyard.fleet.v1");
        include!(concat!(env!("OUT_DIR"), "/switchyard.fleet.v1.serde.rs"));
    }
}

/// What the control plane's database keeps.
pub mod store {
    /// Version 1.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, clippy::allow_attributes)]
    pub mod v1 {
        tonic::include_proto!("switchyard.store.v1");
    }
}

mod bearer;
mod name_memory;
pub mod resource;
pub mod schema;
pub mod vocab;
mod warning;

pub use bearer::{Bearer, InvalidSecret};
pub use name_memory::NameMemory;
pub use warning::{WARNING_BYTES_MAX, WARNING_METADATA, WARNINGS_MAX, decode_warning, encode_warning};

/// The encoded `FileDescriptorSet` of all messages and services, with their comments and options: for gRPC reflection and for
/// [`schema`].
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
