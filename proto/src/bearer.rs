use std::fmt;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

/// Shows a secret with every call: `authorization: Bearer <secret>` (RFC 6750, section 2.1).
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Shows this secret.
    ///
    /// # Errors
    ///
    /// It has characters that metadata cannot have.
    pub fn new(secret: &str) -> Result<Self, InvalidSecret> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {secret}").parse().map_err(|_| InvalidSecret)?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }

    /// Shows nothing.
    pub fn none() -> Self {
        Self(None)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(redacted)")
    }
}

/// A text that cannot be a secret. It is not repeated: it may hold one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token: it has characters that none has")]
pub struct InvalidSecret;
