//! The control plane from outside: its listeners and its program, with real clients and a real database.

#![expect(clippy::unwrap_used, reason = "a test that fails is to panic, in its helpers as well")]

mod api;
mod edge;
mod fleet;
mod on_demand;
mod program;
mod renewal;
mod support;
