//! The edges: who is connected, what each one has, and the loop that brings each one to the newest revision.
//!
//! What always holds: an edge has at most one stream here, the newest it opened, and on it at most one batch that it has
//! not acknowledged. Nothing is queued for an edge: a slow one is sent the difference to the newest state when it is
//! ready for it.
//!
//! What is sent comes from `feed`; messages and transport are left to `grpc`.

mod certificate;
mod members;
mod message;
mod progress;
mod recorder;
mod schemas;
mod session;
mod view;

pub use certificate::{CertificateError, ServerCertificate};
pub use members::Members;
pub use message::{Ack, AckOutcome, Hello, Message, MessageError, Persistence, Rejections};
pub use progress::{Progress, Report, Required, Standing, Track, TrackError, Tracker};
pub use recorder::{Recorder, Written};
pub use session::{Deadlines, Session, SessionError};
pub use view::{Absence, Edge, Edges, FleetView, Incompatible, Link, Online};
