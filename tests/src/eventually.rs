//! Waiting for what must come to pass.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take: generous, for it is only ever used up by what fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(10);

/// Awaits that `condition` returns a value; until then, its error says what is missing.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let outcome = within(what, condition()).await?;
        match outcome {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() > deadline => {
                return Err(reason).with_context(|| format!("{what}: not within {DEADLINE:?}"));
            }
            Err(_) => sleep(INTERVAL).await,
        }
    }
}

/// Awaits a future that must end before the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(DEADLINE, future).await.with_context(|| format!("{what}: not within {DEADLINE:?}"))
}
