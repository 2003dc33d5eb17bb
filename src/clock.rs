//! This room reads the time: the only file that does.
//!
//! Rooms that decide take [`Now`] as an argument. Wall time says *when* something was asked for and
//! may jump in both directions; monotonic time measures *how long* and never goes back, but starts
//! anew with every process.

use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// One reading of both clocks, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Civil time. Not trusted to be right, nor to grow.
    pub wall: DateTime<Utc>,
    /// Time since some moment before the process did anything of interest. Never goes back.
    pub mono: Instant,
}

/// A point on the monotonic clock, in nanoseconds since an origin that only this process knows.
///
/// Unlike [`std::time::Instant`] it can be made from nothing, so that a simulator can hand out time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The point that lies `elapsed` after the origin.
    pub const fn at(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long before `self` the `earlier` point lies; zero when it does not lie before.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// Reads both clocks.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
pub fn now() -> Now {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(std::time::Instant::now);
    Now { wall: std::time::SystemTime::now().into(), mono: Instant(origin.elapsed()) }
}
