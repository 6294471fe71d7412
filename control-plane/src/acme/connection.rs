use serde_json::Value;

use super::{
    error::{AcmeError, AcmeErrorKind},
    transport::{Transport, roots},
};
use crate::model::Issuer;

/// A CA whose directory was read: what every exchange with it begins with.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) transport: Transport,
    pub(super) directory: Value,
}

impl Connection {
    /// Reads the directory of a CA.
    ///
    /// # Errors
    ///
    /// The CA does not answer, or with something else.
    pub async fn open(issuer: &Issuer) -> Result<Self, AcmeError> {
        let transport = Transport::new(roots(issuer.roots.as_ref())).map_err(|error| {
            AcmeError::new(AcmeErrorKind::Unavailable, format!("no connection can be prepared: {error}"))
        })?;
        let answer = transport.get(issuer.directory.as_str()).await;
        let last = transport.last();
        let body = answer.map_err(|error| AcmeError::of(&error, last.status, last.retry_after))?;
        let directory: Value = serde_json::from_slice(&body).unwrap_or_default();
        // RFC 8555, section 7.1.1.
        let is_directory = ["newNonce", "newAccount", "newOrder"].iter().all(|field| directory[field].is_string());
        if is_directory {
            return Ok(Self { transport, directory });
        }
        let status = last.status.unwrap_or_default();
        let reason =
            format!("{} answers no ACME directory (status {status}): check the URL", issuer.directory.as_str());
        let kind = if status == 429 { AcmeErrorKind::RateLimited } else { AcmeErrorKind::Unavailable };
        Err(AcmeError { retry_after: last.retry_after, ..AcmeError::new(kind, reason) })
    }
}
