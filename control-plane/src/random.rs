//! Randomness by which work is spread over time, as an argument. Keys and names are none of its business.

use std::fmt::Debug;

/// Draws random numbers.
pub trait Random: Debug + Send + Sync {
    /// A number from 0 to 1.
    fn fraction(&self) -> f64;
}

/// The system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        // Without randomness everything is done a little later at the same time.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}
