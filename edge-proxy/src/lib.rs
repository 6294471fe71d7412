//! The edge proxy: serves what the fleet's configuration says, from memory and its own disk, and learns of changes from
//! a control plane. It needs none to go on.
//!
//! Traffic is served by [`listen`], [`tls`], [`verify`], [`proxy`], [`balance`] and [`snapshot`], on one thread for each worker. The rest
//! runs beside it, on threads of its own: [`sync`] learns what to serve, [`resolve`] where backends are. [`server`] alone
//! knows everybody.

pub mod admin;
pub mod balance;
pub mod config;
pub mod connection;
pub mod identity;
pub mod listen;
pub mod on_demand;
pub mod peer_auth;
pub mod proxy;
pub mod resolve;
pub mod server;
pub mod snapshot;
pub mod sync;
pub mod tls;
