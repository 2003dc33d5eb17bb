//! What a device does next: what is in flight, else the most important of what waits, else the oldest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cycle::Allowance;
use super::time::Time;

/// How important something is: 1 to 100, and lower numbers come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Priority(u8);

/// A priority that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a priority is a whole number from 1 (first) to 100 (last), not {0}")]
pub struct PriorityError(u64);

impl Default for Priority {
    fn default() -> Self {
        Self(10)
    }
}

impl TryFrom<u64> for Priority {
    type Error = PriorityError;

    fn try_from(number: u64) -> Result<Self, PriorityError> {
        match u8::try_from(number) {
            Ok(number @ 1..=100) => Ok(Self(number)),
            _ => Err(PriorityError(number)),
        }
    }
}

impl From<Priority> for u64 {
    fn from(priority: Priority) -> Self {
        priority.0.into()
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When something may begin: not before the one moment, not after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Interval {
    /// Nothing begins before.
    pub not_before: Option<Time>,
    /// What has not begun by then is expired.
    pub not_after: Option<Time>,
}

/// An interval that ends before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not_after lies before not_before: nothing could ever begin")]
pub struct EmptyInterval;

impl Interval {
    /// An interval with something in it.
    ///
    /// # Errors
    ///
    /// [`EmptyInterval`].
    pub fn new(not_before: Option<Time>, not_after: Option<Time>) -> Result<Self, EmptyInterval> {
        match (not_before, not_after) {
            (Some(from), Some(to)) if to < from => Err(EmptyInterval),
            _ => Ok(Self { not_before, not_after }),
        }
    }

    /// A day from now on: what an inventory request gets.
    pub fn a_day_from(now: Time) -> Self {
        let day = std::time::Duration::from_secs(86_400);
        Self { not_before: Some(now), not_after: Some(now + day) }
    }

    /// Whether it has not begun.
    pub fn is_ahead(&self, now: Time) -> bool {
        self.not_before.is_some_and(|from| now < from)
    }

    /// Whether it is over: what is still pending has expired, and a purge fails it.
    pub fn is_over(&self, now: Time) -> bool {
        self.not_after.is_some_and(|to| now > to)
    }
}

/// Something in a device's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<Id> {
    /// What the store calls it. Of two that are equally important and old, the smaller comes first.
    pub id: Id,
    /// How important it is.
    pub priority: Priority,
    /// When it was asked for.
    pub created: Time,
    /// When it may begin.
    pub interval: Interval,
    /// How far it is.
    pub standing: Standing,
    /// What is to be done.
    pub task: Task,
}

/// What a device is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To fetch so many bytes and install them.
    Software {
        /// How many.
        bytes: u64,
    },
    /// To say what is installed. That costs no bytes that anybody counts.
    Inventory,
}

impl Task {
    fn bytes(self) -> u64 {
        match self {
            Self::Software { bytes } => bytes,
            Self::Inventory => 0,
        }
    }
}

/// How far something in a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The device has begun.
    InFlight,
    /// It could begin.
    Ready,
    /// Its campaign does not let it begin yet; it does not stand in the way of others.
    Held,
}

/// What a device does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<Id> {
    /// Go on with this.
    Continue(Id),
    /// Begin this.
    Begin(Id),
    /// This comes first, and is larger than what is left of the cycle.
    Oversize {
        /// What does not fit.
        id: Id,
        /// How large it is.
        bytes: u64,
        /// How much is left.
        left: u64,
        /// When the next cycle begins.
        next: Option<Time>,
    },
    /// Nothing, and the first thing that is known to begin later does so then.
    Nothing {
        /// When to ask again.
        until: Option<Time>,
    },
}

/// What a device does next, of what is in its queue. The order of the entries does not matter.
pub fn next<Id: Copy + Ord>(entries: &[Entry<Id>], allowance: Allowance, now: Time) -> Next<Id> {
    let in_order = |standing: Standing| {
        let mut found: Vec<&Entry<Id>> =
            entries.iter().filter(|entry| entry.standing == standing).collect();
        found.sort_by_key(|entry| (entry.priority, entry.created, entry.id));
        found
    };
    if let Some(entry) = in_order(Standing::InFlight).first() {
        return Next::Continue(entry.id);
    }
    let mut oversize = None;
    for entry in in_order(Standing::Ready) {
        if entry.interval.is_ahead(now) || entry.interval.is_over(now) {
            continue;
        }
        let bytes = entry.task.bytes();
        if allowance.fits(bytes) {
            return Next::Begin(entry.id);
        }
        if let Allowance::Bytes { left, next, skip_oversize } = allowance {
            oversize.get_or_insert(Next::Oversize { id: entry.id, bytes, left, next });
            if !skip_oversize {
                break;
            }
        }
    }
    let later = entries.iter().filter(|entry| entry.interval.is_ahead(now));
    let until = later.filter_map(|entry| entry.interval.not_before).min();
    oversize.unwrap_or(Next::Nothing { until })
}

/// When a device was last tried, and whether trying again makes sense: for waking up what has something
/// to do. A device that is connected, or that was tried or went away within its reconnect interval,
/// is left alone.
pub fn is_to_be_woken(
    connected: Connected,
    last_tried: Option<Time>,
    reconnect_interval: std::time::Duration,
    now: Time,
) -> bool {
    connected == Connected::No
        && last_tried.is_none_or(|tried| now.since(tried) >= reconnect_interval)
}

/// Whether a device is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// It is.
    Yes,
    /// It is not.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW: Time = Time::from_secs(1_000_000);

    fn entry(id: u32, priority: u64, created: i64) -> Entry<u32> {
        Entry {
            id,
            priority: priority.try_into().unwrap(),
            created: Time::from_secs(created),
            interval: Interval::default(),
            standing: Standing::Ready,
            task: Task::Software { bytes: 100 },
        }
    }

    fn left(left: u64) -> Allowance {
        Allowance::Bytes { left, next: Some(NOW + Duration::from_secs(5)), skip_oversize: false }
    }

    #[test]
    fn a_priority_is_1_to_100_and_10_unless_said() {
        assert_eq!(u64::from(Priority::default()), 10);
        for (number, good) in [(0, false), (1, true), (100, true), (101, false), (u64::MAX, false)]
        {
            assert_eq!(Priority::try_from(number).is_ok(), good, "{number}");
            let json = serde_json::from_str::<Priority>(&number.to_string());
            assert_eq!(json.is_ok(), good, "{number}");
        }
        for text in ["-1", "1.5", "\"1\"", "1e400"] {
            assert!(serde_json::from_str::<Priority>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_in_flight_comes_first_then_the_smaller_number_then_the_older() {
        let mut entries = vec![entry(1, 10, 5), entry(2, 9, 9), entry(3, 9, 8), entry(4, 50, 1)];
        assert_eq!(next(&entries, Allowance::Unlimited, NOW), Next::Begin(3));
        entries[3].standing = Standing::InFlight;
        assert_eq!(next(&entries, left(0), NOW), Next::Continue(4));
        assert_eq!(next::<u32>(&[], left(0), NOW), Next::Nothing { until: None });
        assert_eq!(
            next(&[entry(2, 1, 1), entry(1, 1, 1)], Allowance::Unlimited, NOW),
            Next::Begin(1)
        );
    }

    #[test]
    fn nothing_begins_outside_its_interval() {
        let mut first = entry(1, 1, 1);
        let (before, after) =
            (NOW + Duration::from_millis(1), Time::from_millis(NOW.as_millis() - 1));
        for (interval, begins) in [
            ((Some(before), None), false),
            ((Some(NOW), None), true),
            ((None, Some(after)), false),
            ((None, Some(NOW)), true),
            ((Some(NOW), Some(NOW)), true),
        ] {
            first.interval = Interval::new(interval.0, interval.1).unwrap();
            let expected = if begins { Next::Begin(1) } else { Next::Begin(2) };
            assert_eq!(next(&[first.clone(), entry(2, 2, 2)], Allowance::Unlimited, NOW), expected);
            assert_eq!(first.interval.is_over(NOW), interval.1 == Some(after));
        }
        first.interval = Interval::new(Some(before), None).unwrap();
        assert_eq!(
            next(&[first], Allowance::Unlimited, NOW),
            Next::Nothing { until: Some(before) }
        );
        assert_eq!(Interval::new(Some(before), Some(NOW)), Err(EmptyInterval));
    }

    #[test]
    fn what_is_too_large_blocks_the_queue_unless_the_plan_lets_others_pass() {
        let mut entries = vec![entry(1, 1, 1), entry(2, 2, 2)];
        entries[1].task = Task::Software { bytes: 40 };
        let blocked = Next::Oversize {
            id: 1,
            bytes: 100,
            left: 99,
            next: Some(NOW + Duration::from_secs(5)),
        };
        assert_eq!(next(&entries, left(99), NOW), blocked);
        assert_eq!(next(&entries, left(100), NOW), Next::Begin(1));
        let passing = |left| Allowance::Bytes { left, next: None, skip_oversize: true };
        assert_eq!(next(&entries, passing(99), NOW), Next::Begin(2));
        let both = Next::Oversize { id: 1, bytes: 100, left: 39, next: None };
        assert_eq!(next(&entries, passing(39), NOW), both);
        entries[1].task = Task::Inventory;
        assert_eq!(next(&entries, passing(0), NOW), Next::Begin(2));
    }

    #[test]
    fn what_its_campaign_holds_does_not_stand_in_the_way() {
        let mut entries = vec![entry(1, 1, 1), entry(2, 2, 2)];
        entries[0].standing = Standing::Held;
        entries[0].task = Task::Software { bytes: 1_000_000 };
        assert_eq!(next(&entries, left(100), NOW), Next::Begin(2));
    }

    #[test]
    fn a_device_is_woken_once_an_interval_and_not_while_it_is_there() {
        let interval = Duration::from_secs(60);
        let ago = |seconds| Some(Time::from_secs(NOW.as_secs() - seconds));
        assert!(is_to_be_woken(Connected::No, None, interval, NOW));
        assert!(is_to_be_woken(Connected::No, ago(60), interval, NOW));
        assert!(!is_to_be_woken(Connected::No, ago(59), interval, NOW));
        assert!(!is_to_be_woken(Connected::Yes, None, interval, NOW));
    }

    proptest! {
        #[test]
        fn nobody_is_passed_by_what_is_less_important(
            specs in proptest::collection::vec((1_u64..4, 0_i64..4, 0_u64..200), 0..8), budget in 0_u64..200,
        ) {
            let mut entries = vec![];
            for (id, (priority, created, bytes)) in (0_u32..).zip(specs) {
                let mut entry = entry(id, priority, created);
                entry.task = Task::Software { bytes };
                entries.push(entry);
            }
            let place = |id: u32| entries.iter().find(|e| e.id == id).map(|e| (e.priority, e.created, e.id)).unwrap();
            let first = entries.iter().map(|e| (e.priority, e.created, e.id)).min();
            match next(&entries, left(budget), NOW) {
                Next::Begin(id) | Next::Oversize { id, .. } => prop_assert_eq!(Some(place(id)), first),
                other => prop_assert!(entries.is_empty(), "{other:?}"),
            }
        }
    }
}
