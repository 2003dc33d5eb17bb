//! How fast a campaign may go: so many starts a minute, so many bytes a second. What is allowed
//! gathers while it is not used, up to a limit, so that a quiet night is not followed by a flood.

use serde::{Deserialize, Serialize};

use super::time::Time;

/// An allowance that refills with time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// What is in it, in thousandths. Below zero when more was taken than there was.
    level: i64,
    /// When that was so; nothing before the first use.
    at: Option<Time>,
}

/// How fast a bucket refills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units that come in `millis`.
    units: u64,
    millis: u64,
    /// The most that gathers.
    most: u64,
}

impl Rate {
    /// So many a minute; a tenth of that, one at least, may come at once.
    pub fn per_minute(units: u32) -> Self {
        Self { units: units.into(), millis: 60_000, most: (u64::from(units) / 10).max(1) }
    }

    /// So many a second; ten seconds' worth may come at once.
    pub fn per_second(units: u64) -> Self {
        let units = units.min(1 << 40);
        Self { units, millis: 1_000, most: units.saturating_mul(10).max(1) }
    }

    fn most(self) -> i64 {
        i64::try_from(self.most).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000)
    }
}

impl Bucket {
    fn level(&self, rate: Rate, now: Time) -> i64 {
        let Some(at) = self.at else { return rate.most() };
        let elapsed = now.since(at).as_millis();
        let came = elapsed.saturating_mul(rate.units.into()).saturating_mul(1_000)
            / u128::from(rate.millis);
        self.level.saturating_add(i64::try_from(came).unwrap_or(i64::MAX)).min(rate.most())
    }

    /// Whether one more may be taken now: for units that come one by one there has to be a whole one,
    /// for bytes anything at all. If not, when.
    ///
    /// # Errors
    ///
    /// The moment at which it may.
    pub fn ready(&self, rate: Rate, needed: Needed, now: Time) -> Result<(), Time> {
        let needed = match needed {
            Needed::One => 1_000,
            Needed::Some => 1,
        };
        let missing = needed - self.level(rate, now);
        if missing <= 0 {
            return Ok(());
        }
        if rate.units == 0 {
            return Err(Time::NEVER);
        }
        let units = u128::from(rate.units) * 1_000;
        let wait = (u128::from(missing.unsigned_abs()) * u128::from(rate.millis)).div_ceil(units);
        Err(now + std::time::Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Takes so many, whether they are there or not.
    pub fn take(&mut self, rate: Rate, units: u64, now: Time) {
        let level = self.level(rate, now);
        let units = i64::try_from(units).unwrap_or(i64::MAX).saturating_mul(1_000);
        // A clock that was set back refills nothing twice.
        let at = self.at.map_or(now, |at| at.max(now));
        *self = Self { level: level.saturating_sub(units), at: Some(at) };
    }
}

/// How much there has to be before something may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// A whole unit.
    One,
    /// More than nothing: what is taken may be larger than the bucket.
    Some,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn starts_come_at_their_rate_after_a_first_few_at_once() {
        let rate = Rate::per_minute(60);
        let mut bucket = Bucket::default();
        let mut now = Time::from_secs(1_000);
        for _ in 0..6 {
            assert_eq!(bucket.ready(rate, Needed::One, now), Ok(()));
            bucket.take(rate, 1, now);
        }
        for _ in 0..100 {
            let next = bucket.ready(rate, Needed::One, now).unwrap_err();
            assert_eq!(next.since(now).as_millis(), 1_000);
            assert!(
                bucket.ready(rate, Needed::One, Time::from_millis(next.as_millis() - 1)).is_err()
            );
            now = next;
            bucket.take(rate, 1, now);
        }
    }

    #[test]
    fn bytes_that_were_taken_ahead_are_waited_for() {
        let rate = Rate::per_second(1_000);
        let mut bucket = Bucket::default();
        let now = Time::from_secs(5);
        bucket.take(rate, 20_000, now);
        let next = bucket.ready(rate, Needed::Some, now).unwrap_err();
        assert_eq!(next.since(now).as_millis(), 10_001);
    }

    proptest! {
        #[test]
        fn in_no_minute_there_are_more_than_the_rate_and_a_tenth(
            rate in 1_u32..200, gaps in proptest::collection::vec(0_u64..3_000, 1..200),
        ) {
            let mut bucket = Bucket::default();
            let (mut now, mut starts) = (Time::from_secs(0), vec![]);
            for gap in gaps {
                now = now + std::time::Duration::from_millis(gap);
                while bucket.ready(Rate::per_minute(rate), Needed::One, now).is_ok() {
                    bucket.take(Rate::per_minute(rate), 1, now);
                    starts.push(now);
                }
            }
            for (n, first) in starts.iter().enumerate() {
                let minute = starts[n..].iter().take_while(|at| at.since(*first).as_millis() < 60_000).count();
                prop_assert!(minute as u32 <= rate + (rate / 10).max(1));
            }
        }

        #[test]
        fn nothing_overflows(level in any::<u64>(), rate in any::<u64>(), now in any::<i64>(), later in any::<i64>()) {
            let mut bucket = Bucket::default();
            bucket.take(Rate::per_second(rate), level, Time::from_millis(now));
            let _ = bucket.ready(Rate::per_second(rate), Needed::Some, Time::from_millis(later));
            bucket.take(Rate::per_second(rate), level, Time::from_millis(later));
        }
    }
}
