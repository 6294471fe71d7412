//! Medians and their spread.

use std::{fmt, time::Duration};

/// What several rounds measured of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(Vec<f64>);

impl Values {
    /// Adds what one round measured.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// Adds a time, in milliseconds.
    pub(crate) fn push_ms(&mut self, time: Duration) {
        self.push(time.as_secs_f64() * 1e3);
    }

    /// The one in the middle, the lower one of two; 0 if there is none.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The smallest value that at least this part of all is not above.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let rank = (part * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    /// The largest.
    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }
}

/// The median, and the smallest and largest value.
impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (self.0.first().copied().unwrap_or(0.0), self.max());
        write!(f, "{} ({}–{})", rounded(self.median()), rounded(min), rounded(max))
    }
}

/// Three significant digits, or all of those before the point.
pub(crate) fn rounded(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_and_has_its_spread() {
        let mut values = Values::default();
        for value in [3.0, 100.0, 1.0, 20.0, 2.0] {
            values.push(value);
        }
        assert_eq!(values.to_string(), "3.00 (1.00–100)");
        assert_eq!((values.quantile(0.99), values.max()), (100.0, 100.0));
        assert_eq!(Values::default().median(), 0.0);
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(
            [0.123, 9.994, 9.996, 45.67, 99.96, 12345.6].map(rounded),
            ["0.12", "9.99", "10.0", "45.7", "100", "12346"]
        );
    }
}
