//! A moment, as a value. Nobody in the deciding rooms asks a clock what time it is.

use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in milliseconds since 1970-01-01T00:00Z. Wall time: it may jump.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// Later than every moment that is meant.
    pub const NEVER: Self = Self(i64::MAX);

    /// The moment that many milliseconds after 1970 began.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The moment that many seconds after 1970 began.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// Milliseconds since 1970 began.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970 began, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        let millis = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_wrap() {
        assert_eq!(Time::NEVER + Duration::MAX, Time::NEVER);
        let first = Time::from_millis(i64::MIN);
        assert_eq!(Time::NEVER.since(first), Duration::from_millis(u64::MAX));
        assert_eq!(first.since(Time::NEVER), Duration::ZERO);
        assert_eq!(Time::from_millis(-1).as_secs(), -1);
    }
}
