//! When software may be installed: a time of day, every day.
//!
//! Days are those of UTC, which has no summer time: a window in local time would be an hour early or
//! late for half of the year anyway, unless the device knew the rules of its place.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

/// From one time of day to another, which may be after midnight. The end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: NaiveTime,
    to: NaiveTime,
}

impl Window {
    /// `HH:MM-HH:MM`, in UTC, or with an offset such as `+01:00` or `Z` for both.
    pub fn parse(text: &str) -> Option<Self> {
        let (times, offset) = text.split_at_checked("HH:MM-HH:MM".len())?;
        let (from, to) = times.split_once('-')?;
        let time = |text: &str| {
            let (hours, minutes) = two_numbers(text)?;
            NaiveTime::from_hms_opt(hours, minutes, 0)
        };
        let ahead = match offset.split_at_checked(1) {
            None => TimeDelta::zero(),
            Some(("Z", "")) => TimeDelta::zero(),
            Some((sign, text)) => {
                let (hours, minutes) = two_numbers(text).filter(|(h, m)| *h < 24 && *m < 60)?;
                let ahead = TimeDelta::minutes(i64::from(hours * 60 + minutes));
                match sign {
                    "+" => ahead,
                    "-" => -ahead,
                    _ => return None,
                }
            }
        };
        // Both wrap around midnight.
        let (from, to) = (time(from)? - ahead, time(to)? - ahead);
        (from != to).then_some(Self { from, to })
    }

    /// Whether it is open at this moment.
    pub fn is_open(self, wall: DateTime<Utc>) -> bool {
        let now = wall.time();
        if self.from < self.to {
            self.from <= now && now < self.to
        } else {
            self.from <= now || now < self.to
        }
    }

    /// When it opens next; the moment itself where it is open.
    pub fn opens(self, wall: DateTime<Utc>) -> DateTime<Utc> {
        if self.is_open(wall) {
            return wall;
        }
        let today = wall.date_naive().and_time(self.from).and_utc();
        if today >= wall {
            return today;
        }
        today.checked_add_signed(TimeDelta::days(1)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// `HH:MM`, two digits each.
fn two_numbers(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let (first, second) = text.split_once(':')?;
    Some((number(first)?, number(second)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_open_from_the_first_minute_to_the_last() {
        let window = Window::parse("02:00-04:30").unwrap();
        for (time, open) in [
            ("2026-01-09T01:59:59Z", false),
            ("2026-01-09T02:00:00Z", true),
            ("2026-01-09T04:29:59.999Z", true),
            ("2026-01-09T04:30:00Z", false),
            ("2026-01-09T23:00:00Z", false),
        ] {
            assert_eq!(window.is_open(at(time)), open, "{time}");
        }
    }

    #[test]
    fn it_may_go_over_midnight_in_utc_or_where_the_device_is() {
        for text in ["23:00-01:00", "00:00-02:00+01:00", "18:00-20:00-05:00", "23:00-01:00Z"] {
            let window = Window::parse(text).unwrap();
            assert!(window.is_open(at("2026-01-09T23:30:00Z")), "{text}");
            assert!(window.is_open(at("2026-01-09T00:59:59Z")), "{text}");
            assert!(!window.is_open(at("2026-01-09T01:00:00Z")), "{text}");
            assert!(!window.is_open(at("2026-01-09T22:59:59Z")), "{text}");
        }
    }

    #[test]
    fn it_opens_today_or_tomorrow_also_over_the_end_of_a_year_and_a_leap_second() {
        let window = Window::parse("02:00-04:30").unwrap();
        for (now, opens) in [
            ("2026-01-09T01:00:00Z", "2026-01-09T02:00:00Z"),
            ("2026-01-09T03:00:00Z", "2026-01-09T03:00:00Z"),
            ("2026-01-09T04:30:00Z", "2026-01-10T02:00:00Z"),
            ("2026-12-31T23:59:60Z", "2027-01-01T02:00:00Z"),
            ("2028-02-28T05:00:00Z", "2028-02-29T02:00:00Z"),
        ] {
            assert_eq!(window.opens(at(now)), at(opens), "{now}");
        }
    }

    #[test]
    fn what_is_not_a_window_is_refused() {
        for text in [
            "",
            "02:00",
            "2:00-4:00",
            "02:00-24:00",
            "02:60-03:00",
            "02:00-02:00",
            "02:00-04:00x",
            "02:00-04:00+1",
            "02:00-04:00+24:00",
            "02:00-04:00 ",
            "+2:00-04:00",
            "02:00–04:00",
        ] {
            assert_eq!(Window::parse(text), None, "{text:?}");
        }
    }
}
