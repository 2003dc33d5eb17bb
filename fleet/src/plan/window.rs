//! Weekly windows: when a device may fetch, and when it may install. In UTC, or in the device's own time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Time;

const MINUTES_A_DAY: i64 = 24 * 60;
const MINUTES_A_WEEK: i64 = 7 * MINUTES_A_DAY;
const MILLIS_A_MINUTE: i64 = 60_000;

/// How many windows a campaign may have of each kind.
pub const WINDOWS_MAX: usize = 64;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    /// Monday
    Monday,
    /// Tuesday
    Tuesday,
    /// Wednesday
    Wednesday,
    /// Thursday
    Thursday,
    /// Friday
    Friday,
    /// Saturday
    Saturday,
    /// Sunday
    Sunday,
}

/// A window that comes every week: from a minute of a day on, for so many minutes. It may go past
/// midnight, and past Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The day on which it opens.
    pub day: Day,
    /// The minute of that day at which it opens, 0 to 1439.
    pub minute: u16,
    /// How many minutes it stays open, 1 to 10080.
    pub minutes: u16,
}

/// Whose clock the windows are read on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The same moment everywhere.
    #[default]
    Utc,
    /// The time where the device is.
    Device,
}

/// How many minutes a device's clock is ahead of UTC. A device that did not say counts as UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i16);

/// When a campaign's devices may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Windows {
    /// Whose clock counts.
    pub clock: Clock,
    /// When they may begin to fetch; always, if there is none.
    pub download: Vec<Window>,
    /// When they may begin to install; always, if there is none.
    pub install: Vec<Window>,
}

/// A window that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// A minute that no day has.
    #[error("a window opens at minute 0 to 1439 of its day")]
    Minute,
    /// Too short or too long.
    #[error("a window is open for 1 to 10080 minutes, which is a week")]
    Length,
    /// Too many of them.
    #[error("a campaign has at most {WINDOWS_MAX} windows of a kind")]
    TooMany,
}

/// What a window is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// To begin to fetch.
    Download,
    /// To begin to install.
    Install,
}

impl Window {
    fn check(&self) -> Result<(), WindowError> {
        if i64::from(self.minute) >= MINUTES_A_DAY {
            Err(WindowError::Minute)
        } else if self.minutes == 0 || i64::from(self.minutes) > MINUTES_A_WEEK {
            Err(WindowError::Length)
        } else {
            Ok(())
        }
    }

    /// How many milliseconds ago it opened last.
    fn opened_ago(&self, local_millis: i64) -> i64 {
        // 1970 began on a Thursday.
        let since_monday = local_millis + 3 * MINUTES_A_DAY * MILLIS_A_MINUTE;
        let opens = self.day as i64 * MINUTES_A_DAY + i64::from(self.minute);
        (since_monday - opens * MILLIS_A_MINUTE).rem_euclid(MINUTES_A_WEEK * MILLIS_A_MINUTE)
    }

    fn is_open(&self, local_millis: i64) -> bool {
        self.opened_ago(local_millis) < i64::from(self.minutes) * MILLIS_A_MINUTE
    }

    /// How long until it opens the next time.
    fn opens_in(&self, local_millis: i64) -> i64 {
        MINUTES_A_WEEK * MILLIS_A_MINUTE - self.opened_ago(local_millis)
    }
}

impl Windows {
    /// Whether every window is one.
    ///
    /// # Errors
    ///
    /// A [`WindowError`].
    pub fn check(&self) -> Result<(), WindowError> {
        if self.download.len().max(self.install.len()) > WINDOWS_MAX {
            return Err(WindowError::TooMany);
        }
        self.download.iter().chain(&self.install).try_for_each(Window::check)
    }

    /// Whether a device may begin now; if not, when it may.
    ///
    /// # Errors
    ///
    /// The moment at which the next window opens.
    pub fn open(&self, activity: Activity, offset: Offset, now: Time) -> Result<(), Time> {
        let windows = match activity {
            Activity::Download => &self.download,
            Activity::Install => &self.install,
        };
        let ahead = match self.clock {
            Clock::Utc => 0,
            Clock::Device => i64::from(offset.0) * MILLIS_A_MINUTE,
        };
        // A year of slack at both ends of time keeps the sums below in range.
        let slack = 53 * MINUTES_A_WEEK * MILLIS_A_MINUTE;
        let local = now.as_millis().clamp(i64::MIN + slack, i64::MAX - slack) + ahead;
        if windows.is_empty() || windows.iter().any(|window| window.is_open(local)) {
            return Ok(());
        }
        let wait = windows.iter().map(|window| window.opens_in(local)).min().unwrap_or(0);
        Err(now + Duration::from_millis(wait.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21 was a Saturday; this is its midnight.
    const SATURDAY: i64 = 1_795_219_200;

    fn at(hours: i64, minutes: i64) -> Time {
        Time::from_secs(SATURDAY + hours * 3_600 + minutes * 60)
    }

    fn nights(clock: Clock) -> Windows {
        let night = Window { day: Day::Saturday, minute: 23 * 60, minutes: 120 };
        Windows { clock, download: vec![], install: vec![night] }
    }

    #[test]
    fn a_window_goes_past_midnight_and_comes_again_next_week() {
        let windows = nights(Clock::Utc);
        let open = |time| windows.open(Activity::Install, Offset(600), time);
        assert_eq!(open(at(22, 59)), Err(at(23, 0)));
        assert_eq!(open(at(23, 0)), Ok(()));
        assert_eq!(open(at(24, 59)), Ok(()));
        assert_eq!(open(at(25, 0)), Err(at(23 + 7 * 24, 0)));
        assert_eq!(open(at(23 + 7 * 24, 30)), Ok(()));
        assert_eq!(
            windows.open(Activity::Download, Offset(0), at(1, 0)),
            Ok(()),
            "no window, no limit"
        );
    }

    #[test]
    fn a_devices_own_time_counts_where_that_is_said() {
        let windows = nights(Clock::Device);
        let open = |offset, time| windows.open(Activity::Install, Offset(offset), time);
        // East of Greenwich night comes earlier.
        assert_eq!(open(60, at(22, 0)), Ok(()));
        assert_eq!(open(60, at(24, 0)), Err(at(22 + 7 * 24, 0)));
        assert_eq!(open(-300, at(23, 0)), Err(at(28, 0)));
        assert_eq!(open(-300, at(28, 0)), Ok(()));
    }

    #[test]
    fn a_window_that_is_none_is_refused() {
        let with = |minute, minutes| Windows {
            download: vec![Window { day: Day::Monday, minute, minutes }],
            ..Windows::default()
        };
        assert_eq!(with(1_440, 1).check(), Err(WindowError::Minute));
        assert_eq!(with(0, 0).check(), Err(WindowError::Length));
        assert_eq!(with(0, 10_081).check(), Err(WindowError::Length));
        assert_eq!(with(1_439, 10_080).check(), Ok(()));
        let many = Windows {
            install: vec![with(0, 1).download[0]; WINDOWS_MAX + 1],
            ..Windows::default()
        };
        assert_eq!(many.check(), Err(WindowError::TooMany));
    }

    proptest! {
        #[test]
        fn when_it_says_that_it_opens_it_is_open_and_not_before(
            now in prop_oneof![any::<i64>(), -1_000_000_000_000_i64..1_000_000_000_000],
            minute in 0_u16..1_440, minutes in 1_u16..=10_080, offset in -840_i16..=840,
        ) {
            let window = Window { day: Day::Sunday, minute, minutes };
            let windows = Windows { clock: Clock::Device, download: vec![window], install: vec![] };
            let open = |time| windows.open(Activity::Download, Offset(offset), time);
            let now = Time::from_millis(now);
            if let Err(opens) = open(now) {
                prop_assert!(opens > now || opens == Time::NEVER);
                if now.as_millis().unsigned_abs() < 1 << 60 {
                    prop_assert_eq!(open(opens), Ok(()));
                    prop_assert_eq!(open(Time::from_millis(opens.as_millis() - 1)), Err(opens));
                }
            }
        }
    }
}
