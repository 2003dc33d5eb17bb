//! What a data plan lets a device fetch: billing cycles, each with a pool of bytes. A cycle lasts until
//! the next one begins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::time::Time;

/// How many cycles a plan may have.
pub const CYCLES_MAX: usize = 1_000;

/// One billing cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cycle {
    /// How many bytes all devices of the plan may use together.
    pub pool: u64,
    /// How many they have used.
    pub used: u64,
}

impl Cycle {
    /// How many bytes are left.
    pub fn left(self) -> u64 {
        self.pool.saturating_sub(self.used)
    }
}

/// A data plan: cycles by the moment at which they begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whether updates that fit may pass one that does not.
    pub skip_oversize: bool,
    cycles: BTreeMap<Time, Cycle>,
}

/// Why a plan stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CycleError {
    /// There is a cycle that begins then.
    #[error("the plan has a billing cycle that begins then")]
    Exists,
    /// As many cycles as a plan may have.
    #[error("a plan has at most {CYCLES_MAX} billing cycles")]
    TooMany,
}

impl Plan {
    /// Adds a cycle in which nothing was used.
    ///
    /// # Errors
    ///
    /// [`CycleError::Exists`], [`CycleError::TooMany`].
    pub fn add(&mut self, start: Time, pool: u64) -> Result<(), CycleError> {
        if self.cycles.contains_key(&start) {
            return Err(CycleError::Exists);
        }
        if self.cycles.len() >= CYCLES_MAX {
            return Err(CycleError::TooMany);
        }
        self.cycles.insert(start, Cycle { pool, used: 0 });
        Ok(())
    }

    /// The cycle in force at a moment: the latest that has begun, and when it did.
    pub fn at(&self, now: Time) -> Option<(Time, Cycle)> {
        self.cycles.range(..=now).next_back().map(|(start, cycle)| (*start, *cycle))
    }

    /// When the next cycle begins.
    pub fn next_after(&self, now: Time) -> Option<Time> {
        let after = std::ops::Bound::Excluded(now);
        self.cycles.range((after, std::ops::Bound::Unbounded)).next().map(|(start, _)| *start)
    }

    /// Counts bytes that were sent at a moment, and returns the cycle as it is then. Before the first
    /// cycle there is nothing to count in.
    pub fn count(&mut self, at: Time, bytes: u64) -> Option<(Time, Cycle)> {
        let (start, cycle) = self.cycles.range_mut(..=at).next_back()?;
        cycle.used = cycle.used.saturating_add(bytes);
        Some((*start, *cycle))
    }

    /// The cycles that begin from one moment to another, both included.
    pub fn between(&self, from: Time, to: Time) -> impl Iterator<Item = (Time, Cycle)> {
        let found = (from <= to).then(|| self.cycles.range(from..=to));
        found.into_iter().flatten().map(|(start, cycle)| (*start, *cycle))
    }

    /// What a device of this plan may fetch now.
    pub fn allowance(&self, now: Time) -> Allowance {
        match self.at(now) {
            // A plan whose cycles have not begun says nothing about how much is too much.
            None => Allowance::Unlimited,
            Some((_, cycle)) => Allowance::Bytes {
                left: cycle.left(),
                next: self.next_after(now),
                skip_oversize: self.skip_oversize,
            },
        }
    }
}

/// What a device may fetch now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// As much as it likes: it has no plan, or one without a cycle.
    Unlimited,
    /// So many bytes.
    Bytes {
        /// What is left of the cycle.
        left: u64,
        /// When the next one begins.
        next: Option<Time>,
        /// Whether what fits may pass what does not.
        skip_oversize: bool,
    },
}

impl Allowance {
    /// Whether so many bytes fit. What is left may be used up to the last byte.
    pub fn fits(self, bytes: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Bytes { left, .. } => bytes <= left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> Time {
        Time::from_secs(n * 86_400)
    }

    #[test]
    fn a_cycle_lasts_until_the_next_begins() {
        let mut plan = Plan::default();
        plan.add(day(10), 100).unwrap();
        plan.add(day(20), 50).unwrap();
        assert_eq!(plan.at(day(9)), None);
        assert_eq!(plan.at(day(10)).unwrap().0, day(10));
        assert_eq!(plan.at(Time::from_millis(day(20).as_millis() - 1)).unwrap().0, day(10));
        assert_eq!(plan.at(day(20)).unwrap().0, day(20));
        assert_eq!(plan.at(day(999)).unwrap().0, day(20));
        assert_eq!((plan.next_after(day(10)), plan.next_after(day(20))), (Some(day(20)), None));
    }

    #[test]
    fn bytes_count_in_the_cycle_of_their_moment_and_never_wrap() {
        let mut plan = Plan::default();
        assert_eq!(plan.count(day(1), 5), None);
        plan.add(day(10), 100).unwrap();
        plan.add(day(20), 50).unwrap();
        assert_eq!(plan.count(day(9), 5), None);
        assert_eq!(plan.count(day(19), 60).unwrap().1.left(), 40);
        assert_eq!(plan.count(day(20), 60).unwrap().1, Cycle { pool: 50, used: 60 });
        assert_eq!(
            plan.allowance(day(20)),
            Allowance::Bytes { left: 0, next: None, skip_oversize: false }
        );
        assert_eq!(plan.count(day(20), u64::MAX).unwrap().1.used, u64::MAX);
        assert!(plan.allowance(day(10)).fits(40));
        assert!(!plan.allowance(day(10)).fits(41));
        assert!(plan.allowance(day(9)).fits(u64::MAX));
    }

    #[test]
    fn a_start_is_taken_once_and_a_thousand_cycles_are_the_most() {
        let mut plan = Plan::default();
        for n in 0..CYCLES_MAX {
            plan.add(day(n as i64), 1).unwrap();
        }
        assert_eq!(plan.add(day(5), 1), Err(CycleError::Exists));
        assert_eq!(plan.add(day(5_000), 1), Err(CycleError::TooMany));
        assert_eq!(plan.between(day(3), day(5)).count(), 3);
        assert_eq!(plan.between(day(5), day(3)).count(), 0);
    }
}
