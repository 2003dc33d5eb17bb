//! When an entry holds: periods and recurrences of RFC 5545, as far as OCF uses them.

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Utc, Weekday};
use ciborium::Value;
use serde::{Deserialize, Serialize};

use super::read;
use crate::ocf::body::{self, Fault};

/// Longest period or rule, bytes.
const TEXT_BYTES_MAX: usize = 160;

/// Recurrences of one period.
const RECURRENCES_MAX: usize = 4;

/// Longest duration, seconds: a hundred years.
const SECONDS_MAX: i64 = 100 * 366 * 86_400;

/// When an access control entry holds: in the period, or in one that a rule repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    period: Period,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recurrence: Vec<Recurrence>,
}

impl Validity {
    pub(super) fn read(value: Value) -> Result<Self, Fault> {
        let mut found = None;
        let mut recurrence = Vec::new();
        for (name, value) in body::properties(value)? {
            match &*name {
                "period" => found = Some(Period::read(&read::text(&name, value)?)?),
                "recurrence" => {
                    for rule in read::array(&name, value, RECURRENCES_MAX)? {
                        recurrence.push(Recurrence::read(&read::text(&name, rule)?)?);
                    }
                }
                _ => {}
            }
        }
        let period = found.ok_or("validity has no period")?;
        if !recurrence.is_empty() && period.end - period.start > TimeDelta::days(1) {
            return Err("a period that recurs is longer than a day".into());
        }
        Ok(Self { period, recurrence })
    }

    pub(super) fn holds(&self, wall: DateTime<Utc>) -> bool {
        if self.recurrence.is_empty() {
            return self.period.contains(wall);
        }
        self.recurrence.iter().any(|rule| rule.repeats(&self.period, wall))
    }
}

/// From a moment to another, the second not included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    text: String,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Period {
    /// `start/end` or `start/duration` (RFC 5545 section 3.3.9).
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let parsed = (text.len() <= TEXT_BYTES_MAX).then_some(text).and_then(|text| {
            let (start, end) = text.split_once('/')?;
            let start = moment(start)?;
            let end = match end.strip_prefix(['P']) {
                Some(length) => start.checked_add_signed(duration(length)?)?,
                None => moment(end)?,
            };
            (start < end).then(|| Self { text: text.into(), start, end })
        });
        parsed.ok_or_else(|| {
            "a period is like 20260101T080000Z/20260101T170000Z or 20260101T080000Z/PT9H".into()
        })
    }

    pub(super) fn contains(&self, wall: DateTime<Utc>) -> bool {
        self.start <= wall && wall < self.end
    }
}

impl TryFrom<String> for Period {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        Self::read(&text)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.text
    }
}

/// A rule by which a period comes again (RFC 5545 section 3.3.10): daily or weekly, with INTERVAL,
/// BYDAY and UNTIL. Others are refused: a rule that is not understood must not open a door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recurrence {
    text: String,
    weekly: bool,
    interval: i64,
    days: Vec<Weekday>,
    until: Option<DateTime<Utc>>,
}

impl Recurrence {
    fn read(text: &str) -> Result<Self, Fault> {
        let parsed = (text.len() <= TEXT_BYTES_MAX).then(|| Self::parse(text)).flatten();
        parsed.ok_or_else(|| {
            "a recurrence is like FREQ=DAILY;BYDAY=MO,TU;UNTIL=20270101T000000Z; \
             only DAILY, WEEKLY, INTERVAL, BYDAY and UNTIL are understood"
                .into()
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut weekly = None;
        let (mut interval, mut days, mut until) = (1, vec![], None);
        for part in text.strip_prefix("RRULE:").unwrap_or(text).split(';') {
            match part.split_once('=')? {
                ("FREQ", "DAILY") => weekly = Some(false),
                ("FREQ", "WEEKLY") => weekly = Some(true),
                ("INTERVAL", number) => {
                    interval = number.parse().ok().filter(|n| (1..=366).contains(n))?;
                }
                ("BYDAY", names) => {
                    days = names.split(',').map(weekday).collect::<Option<_>>()?;
                }
                ("UNTIL", at) => until = Some(moment(at)?),
                _ => return None,
            }
        }
        Some(Self { text: text.into(), weekly: weekly?, interval, days, until })
    }

    fn repeats(&self, period: &Period, wall: DateTime<Utc>) -> bool {
        let day = (wall - period.start).num_seconds().div_euclid(86_400);
        if day < 0 {
            return false;
        }
        let start = period.start + TimeDelta::days(day);
        let within = wall - start < period.end - period.start;
        let in_time = self.until.is_none_or(|until| start <= until);
        let weekday = match self.days.as_slice() {
            [] => !self.weekly || day % 7 == 0,
            days => days.contains(&start.weekday()),
        };
        let since_monday = i64::from(period.start.weekday().num_days_from_monday());
        let turn = if self.weekly { (day + since_monday) / 7 } else { day };
        within && in_time && weekday && turn % self.interval == 0
    }
}

impl TryFrom<String> for Recurrence {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        Self::read(&text)
    }
}

impl From<Recurrence> for String {
    fn from(rule: Recurrence) -> Self {
        rule.text
    }
}

/// `20260101T080000Z`; without the Z it is taken as UTC too, for a device knows no other time.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S").ok().map(|time| time.and_utc())
}

/// What follows the P: `1W`, `1DT12H`, `T30M` (RFC 5545 section 3.3.6).
fn duration(text: &str) -> Option<TimeDelta> {
    let (mut seconds, mut number, mut in_time) = (0_i64, None::<i64>, false);
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit.into())?);
            continue;
        }
        if c == 'T' && !in_time && number.is_none() {
            in_time = true;
            continue;
        }
        let unit = match (c, in_time) {
            ('W', false) => 7 * 86_400,
            ('D', false) => 86_400,
            ('H', true) => 3600,
            ('M', true) => 60,
            ('S', true) => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let whole = number.is_none() && (1..=SECONDS_MAX).contains(&seconds);
    whole.then(|| TimeDelta::seconds(seconds))
}

fn weekday(name: &str) -> Option<Weekday> {
    Some(match name {
        "MO" => Weekday::Mon,
        "TU" => Weekday::Tue,
        "WE" => Weekday::Wed,
        "TH" => Weekday::Thu,
        "FR" => Weekday::Fri,
        "SA" => Weekday::Sat,
        "SU" => Weekday::Sun,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_period_ends_by_time_or_by_duration() {
        for (text, end) in [
            ("20260105T080000Z/20260105T170000Z", "2026-01-05T17:00:00Z"),
            ("20260105T080000Z/PT9H", "2026-01-05T17:00:00Z"),
            ("20260105T080000Z/P1DT1H30M", "2026-01-06T09:30:00Z"),
            ("20260105T080000/P2W", "2026-01-19T08:00:00Z"),
        ] {
            let period = Period::read(text).unwrap();
            assert_eq!(period.end, at(end), "{text}");
            assert!(period.contains(period.start) && !period.contains(period.end));
        }
        for text in [
            "",
            "20260105T080000Z",
            "20260105T080000Z/20260105T080000Z",
            "20260105T080000Z/P",
            "20260105T080000Z/P1H",
            "20260105T080000Z/PT99999999999999999999H",
            "99991231T000000Z/P99W",
            "20260105T080000Z/PT1",
        ] {
            assert!(Period::read(text).is_err() || text.starts_with("9999"), "{text}");
        }
    }

    #[test]
    fn a_rule_repeats_a_period_and_no_other_rule_is_taken() {
        // 2026-01-05 is a Monday.
        let period = Period::read("20260105T220000Z/PT4H").unwrap();
        let holds =
            |rule: &str, time: &str| Recurrence::read(rule).unwrap().repeats(&period, at(time));
        assert!(holds("FREQ=DAILY", "2026-02-01T23:00:00Z"));
        assert!(holds("RRULE:FREQ=DAILY", "2026-02-02T01:59:59Z"), "past midnight");
        assert!(!holds("FREQ=DAILY", "2026-02-02T02:00:00Z"));
        assert!(!holds("FREQ=DAILY", "2026-01-04T23:00:00Z"), "before it began");
        assert!(!holds("FREQ=DAILY;UNTIL=20260110T000000Z", "2026-01-11T23:00:00Z"));
        assert!(holds("FREQ=DAILY;INTERVAL=2", "2026-01-07T23:00:00Z"));
        assert!(!holds("FREQ=DAILY;INTERVAL=2", "2026-01-06T23:00:00Z"));
        assert!(holds("FREQ=WEEKLY", "2026-01-12T23:00:00Z"));
        assert!(!holds("FREQ=WEEKLY", "2026-01-13T23:00:00Z"));
        assert!(holds("FREQ=WEEKLY;BYDAY=MO,WE", "2026-01-14T23:00:00Z"));
        assert!(!holds("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE", "2026-01-14T23:00:00Z"));
        assert!(holds("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE", "2026-01-21T23:00:00Z"));
        for rule in ["", "FREQ=YEARLY", "FREQ=DAILY;COUNT=3", "FREQ=DAILY;BYDAY=XX", "BYDAY=MO"] {
            assert!(Recurrence::read(rule).is_err(), "{rule}");
        }
    }
}
