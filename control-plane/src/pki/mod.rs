//! Keys and certificates: the authorities that the control plane runs, and the chains that people upload.
//!
//! What always holds: the two authorities are apart, so that no certificate for a domain can ever speak for the control
//! plane. Every certificate that is issued has explicit dates and says itself what it is for. Where keys are kept is left
//! to `store`, what is issued when to `app`.

mod authority;
mod chain;
mod order;
mod request;

pub use switchyard_proto::{
    resource::{InvalidCertificate, UploadField, certificate_pem, certificates_pem},
    vocab::CONTROL_PLANE_NAME,
};

pub use authority::{Authority, AuthorityKind, IssueError, Issued};
pub use chain::{check_order, inspect, not_after, upload};
pub use order::{ends_at, issued, new_key, order_request};
pub use request::{CertificateRequest, InvalidCertificateRequest, edge_of};
