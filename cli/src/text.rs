//! Values as people read them. Text from elsewhere cannot steer the terminal: control characters are shown escaped.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use pbjson_types::Timestamp;

/// Text that does nothing but be shown.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .fold(String::new(), |mut clean, c| {
            if c.is_control() {
                clean.extend(c.escape_default())
            } else {
                clean.push(c)
            }
            clean
        })
        .into()
}

/// The value of an enum, as people write it: `BACKEND_STATE_ACTIVE` is `active`.
pub(crate) fn word(value: &str, prefix: &str) -> String {
    value.strip_prefix(prefix).unwrap_or(value).to_ascii_lowercase().replace('_', "-")
}

/// Text, or a dash where there is none.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// How long ago a moment was, in its largest unit: `5m ago`.
pub(crate) fn age(moment: Option<&Timestamp>, now: SystemTime) -> String {
    match moment.and_then(system_time) {
        None => "-".to_owned(),
        Some(moment) => match now.duration_since(moment) {
            Ok(age) => format!("{} ago", largest_unit(age)),
            // What a clock that is a little ahead of this one calls now.
            Err(ahead) if ahead.duration() < Duration::from_secs(1) => "0s ago".to_owned(),
            Err(ahead) => format!("in {}", largest_unit(ahead.duration())),
        },
    }
}

/// A moment and how long ago it was: `2026-11-21T05:30:12Z (5m ago)`.
pub(crate) fn moment(moment: Option<&Timestamp>, now: SystemTime) -> String {
    match moment.and_then(system_time) {
        None => "-".to_owned(),
        Some(time) => format!("{} ({})", humantime::format_rfc3339_seconds(time), age(moment, now)),
    }
}

/// A short duration, as measured: `12 ms`, `1.3 s`.
pub(crate) fn took(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        _ if duration.subsec_millis() == 0 => format!("{} s", duration.as_secs()),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

fn largest_unit(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A moment as a message; moments before 1970 become 1970.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).expect("less than 1,000,000,000"),
    }
}

/// `None` for what the calendar of RFC 3339 does not hold.
fn system_time(timestamp: &Timestamp) -> Option<SystemTime> {
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = u64::try_from(timestamp.seconds).ok().filter(|seconds| *seconds < YEAR_10000)?;
    let nanos = u32::try_from(timestamp.nanos).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos.min(999_999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert!(matches!(clean("bücher"), Cow::Borrowed("bücher")));
    }

    #[test]
    fn moments_are_told_by_their_distance() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        assert_eq!(age(Some(&at(999_990)), now), "10s ago");
        assert_eq!(age(Some(&at(1_000_000 - 7_300)), now), "2h ago");
        assert_eq!(age(Some(&at(1_000_000 + 200_000)), now), "in 2d");
        assert_eq!(age(Some(&at(1_000_000)), now - Duration::from_millis(3)), "0s ago");
        assert_eq!(age(None, now), "-");
        assert_eq!(moment(Some(&at(999_990)), now), "1970-01-12T13:46:30Z (10s ago)");
        assert_eq!(moment(Some(&at(i64::MAX)), now), "-");
    }

    #[test]
    fn measured_times_have_their_unit() {
        assert_eq!(took(Duration::from_micros(12_345)), "12 ms");
        assert_eq!(took(Duration::from_secs(30)), "30 s");
        assert_eq!(took(Duration::from_millis(1_250)), "1.2 s");
    }

    #[test]
    fn enums_are_words() {
        assert_eq!(word("BALANCING_POLICY_ROUND_ROBIN", "BALANCING_POLICY_"), "round-robin");
    }
}
