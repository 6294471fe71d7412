//! What time it is, and how it passes, as arguments.

use std::{
    fmt::Debug,
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;

use crate::model::Timestamp;

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now())
    }
}

/// Lets time pass.
pub trait Timer: Debug + Send + Sync {
    /// Ends after a pause.
    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()>;
}

/// The timer of the runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTimer;

impl Timer for SystemTimer {
    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(pause))
    }
}
