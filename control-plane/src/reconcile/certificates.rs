use std::{sync::Arc, time::Duration};

use switchyard_process::chain;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    app::{
        App,
        certificate::{self, Renewals},
    },
    fleet::ServerCertificate,
};

/// Between two looks: far less than a third of any lifetime.
const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Between two looks when the last one failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Replaces the certificates that this program issues, long before they expire: the internal CA's, and its own.
#[derive(Debug)]
pub struct Certificates {
    app: Arc<App>,
    own: Arc<ServerCertificate>,
}

impl Certificates {
    /// A reconciler of these.
    pub fn new(app: Arc<App>, own: Arc<ServerCertificate>) -> Self {
        Self { app, own }
    }

    /// Runs until `ending` is cancelled.
    pub async fn run(self, ending: CancellationToken) {
        loop {
            let pause = tokio::select! {
                pause = self.look() => pause,
                () = ending.cancelled() => return,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = ending.cancelled() => return,
            }
        }
    }

    async fn look(&self) -> Duration {
        let mut pause = INTERVAL;
        match self.own.renew_if_due(self.app.clock.now()) {
            Ok(true) => info!("the control plane's own certificate was replaced"),
            Ok(false) => {}
            Err(error) => {
                error!(error = chain(&error), "the control plane's own certificate was not replaced");
                pause = RETRY_INTERVAL;
            }
        }
        match certificate::renew_internal(&self.app).await {
            Ok(Renewals { renewed, failed }) => {
                if renewed > 0 {
                    info!(certificates = renewed, "the internal CA's certificates were replaced");
                }
                if failed > 0 {
                    pause = RETRY_INTERVAL;
                }
            }
            Err(error) => {
                error!(error = chain(&error), "the internal CA's certificates were not replaced");
                pause = RETRY_INTERVAL;
            }
        }
        pause
    }
}
