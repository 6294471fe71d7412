//! gRPC: the API on the admin listener, and what edges call on the fleet listener.
//!
//! What always holds: messages are taken apart and parsed in [`convert`], completely, before a use case sees anything;
//! errors leave as stable codes and texts with details. Nothing is decided here.

mod admin;
mod audit;
mod authentication;
mod backend;
mod certificate;
mod connection;
mod convert;
mod dns_provider;
mod domain;
mod edge;
mod ending_body;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod invite;
mod issuer;
mod pages;
mod questions;
mod service;
mod status;
mod task;
mod token;
mod unknown_fields;
mod unreadable;
mod warnings;

pub use admin::{Api, serve as serve_admin};
pub use fleet::serve as serve_fleet;

use tonic::{Request, Status};

use crate::model::Actor;

/// Who makes a call, as the authentication found.
fn caller<T>(request: &Request<T>) -> Result<Actor, Status> {
    request.extensions().get().cloned().ok_or_else(|| Status::internal("a call that nobody authenticated"))
}
