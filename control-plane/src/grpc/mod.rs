//! gRPC: the API on the admin listener, and what edges call on the fleet listener.
//!
//! What always holds: messages are taken apart and parsed in [`convert`], completely, before a use case sees anything;
//! errors leave as stable codes and texts with details. Nothing is decided here.

mod admin;
mod audit;
mod backend;
mod certificate;
mod convert;
mod domain;
mod edge;
mod fleet;
mod service;
mod status;

pub use admin::serve as serve_admin;
pub use fleet::serve as serve_fleet;

use tonic::Request;

use crate::model::{Actor, Door};

/// Who makes a call: whoever reaches loopback, until there are tokens.
fn caller<T>(request: &Request<T>, method: &'static str) -> Actor {
    let address = request.remote_addr().map(|address| address.ip().to_canonical());
    Actor { name: "local".to_owned(), door: Door::Grpc, address, method: Some(method) }
}
