//! Times on the wire: RFC 3339 (schema format `date-time`).

use chrono::{DateTime, SecondsFormat, Utc};

/// As sent: in UTC, with `Z`, fractions of a second only where there are any.
pub(super) fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// As taken: any offset; the seconds may be missing, as in the examples of the draft
/// (`2030-01-09T14:30Z`).
pub(super) fn read(text: &str) -> Option<DateTime<Utc>> {
    /// Longest text taken, characters (the schema's `maxLength`).
    const CHARS_MAX: usize = 64;
    /// Length of `2030-01-09T14:30`.
    const MINUTES: usize = 16;
    if text.len() > CHARS_MAX {
        return None;
    }
    let parsed = DateTime::parse_from_rfc3339(text).or_else(|error| {
        let (minutes, offset) = text.split_at_checked(MINUTES).ok_or(error)?;
        DateTime::parse_from_rfc3339(&format!("{minutes}:00{offset}"))
    });
    parsed.ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_fractions_and_missing_seconds_are_read() {
        for (text, written_again) in [
            ("2030-01-09T14:30:00Z", "2030-01-09T14:30:00Z"),
            ("2030-01-09T14:30Z", "2030-01-09T14:30:00Z"),
            ("2030-01-09T14:30+02:00", "2030-01-09T12:30:00Z"),
            ("2030-01-09t14:30:07.500-01:00", "2030-01-09T15:30:07.500Z"),
        ] {
            assert_eq!(read(text).map(written).as_deref(), Some(written_again), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "now",
            "2030-01-09",
            "2030-01-09T14:30",
            "2030-13-09T14:30:00Z",
            "2030-01-09T25:30Z",
            "2030-01-09T14:30:00:00Z",
            "äöü2030-01-09T14:3Z",
            &"2".repeat(100),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
