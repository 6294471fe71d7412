use std::{fmt, str::FromStr};

use tracing_subscriber::EnvFilter;

/// The levels that a record can have, and none.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Which records are written: a level, or directives for parts of the program, as in `info,tonic=debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// With directives for what would be noise. Of several, the most specific counts, and of two for the same the last: so people
    /// can still ask for what is quiet.
    pub(super) fn directives(&self, quiet: &str) -> String {
        match self.0.as_str() {
            // A directive that makes something quiet elsewhere would make it louder here.
            "off" | "error" => self.0.clone(),
            directives => format!("{quiet},{directives}"),
        }
    }
}

impl FromStr for LogFilter {
    type Err = InvalidLogFilter;

    fn from_str(text: &str) -> Result<Self, InvalidLogFilter> {
        // A single word that is no level would be taken for the name of a part of the program.
        let mut words = text.split(',').map(|directive| directive.rsplit('=').next().unwrap_or(directive).trim());
        if words.all(|word| LEVELS.contains(&word)) && EnvFilter::try_new(text).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidLogFilter { text: text.to_owned() })
        }
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text that is not a [`LogFilter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a log level; use error, warn, info, debug, trace or off, or directives as in info,tonic=debug"
)]
pub struct InvalidLogFilter {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_directives() {
        for good in ["info", "off", "info,tonic=debug", "warn,switchyard_control_plane::feed=trace"] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good:?}");
        }
        for bad in ["", "loud", "info,", "tonic=loud", "info,tonic"] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_off_is_not_made_louder_by_what_is_quiet() {
        let directives = |text: &str| text.parse::<LogFilter>().unwrap().directives("hickory_proto=error");
        assert_eq!(directives("off"), "off");
        assert_eq!(directives("error"), "error");
        assert_eq!(directives("info"), "hickory_proto=error,info");
    }
}
