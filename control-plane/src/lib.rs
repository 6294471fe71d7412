//! The control plane: holds the fleet's configuration in a database, and streams every change of it to the edges.
//!
//! Layers, each knowing only what is to its right: `grpc → {access, app} → {store, feed} → model → vocab`. [`server`] alone
//! knows everybody.

pub mod access;
pub mod acme;
pub mod app;
pub mod clock;
pub mod config;
pub mod dns;
pub mod feed;
pub mod fleet;
pub mod grpc;
pub mod health;
pub mod listen;
pub mod metrics;
pub mod model;
pub mod on_demand;
pub mod pki;
pub mod random;
pub mod reconcile;
pub mod seal;
pub mod server;
pub mod store;
pub mod task_status;
