use std::{sync::Arc, time::Duration};

use tracing::info;

use super::driver::{Step, StepError, Task, Timing};
use crate::{
    app::{
        App,
        certificate::{self, Renewals},
    },
    clock::Clock,
    fleet::ServerCertificate,
};

/// Far more often than a third of any lifetime.
const TIMING: Timing = Timing {
    rest: Duration::ZERO,
    interval: Duration::from_secs(60 * 60),
    retry: Duration::from_secs(10),
    retry_max: Duration::from_secs(10 * 60),
};

/// Replaces the certificates that the internal CA issued, long before they expire.
#[derive(Debug)]
pub struct InternalCertificates {
    app: Arc<App>,
}

impl InternalCertificates {
    /// A reconciler of those that `app` has.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

impl Task for InternalCertificates {
    const TIMING: Timing = TIMING;

    async fn step(&mut self) -> Result<Step, StepError> {
        let Renewals { renewed, failed } = certificate::renew_internal(&self.app).await?;
        if renewed > 0 {
            info!(certificates = renewed, "the internal CA's certificates were replaced");
        }
        match (renewed, failed) {
            (0, 0) => Ok(Step::idle()),
            (renewed, 0) => Ok(Step::did(format!("replaced certificates: {renewed}"))),
            (_, failed) => Err(StepError::Renewals { failed }),
        }
    }
}

/// Replaces the certificate that the control plane shows to edges, long before it expires.
#[derive(Debug)]
pub struct OwnCertificate {
    certificate: Arc<ServerCertificate>,
    clock: Arc<dyn Clock>,
}

impl OwnCertificate {
    /// A reconciler of this one.
    pub fn new(certificate: Arc<ServerCertificate>, clock: Arc<dyn Clock>) -> Self {
        Self { certificate, clock }
    }
}

impl Task for OwnCertificate {
    const TIMING: Timing = TIMING;

    async fn step(&mut self) -> Result<Step, StepError> {
        if !self.certificate.renew_if_due(self.clock.now())? {
            return Ok(Step::idle());
        }
        info!("the control plane's own certificate was replaced");
        Ok(Step::did("replaced the certificate"))
    }
}
