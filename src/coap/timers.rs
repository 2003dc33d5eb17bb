//! Everything that has to happen later, in one list that is sorted by time.

use std::collections::BTreeMap;

use super::{Call, Peer};
use crate::clock::Instant;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// A confirmable message of ours went unanswered.
    Retransmit(Peer, u16),
    /// The answer to a multicast request has waited long enough.
    Leisure(u64),
    /// An observer should hear the present state again before it grows stale.
    Refresh(u64),
    /// Answers to a multicast request are no longer collected.
    Collect(Call),
    /// An acknowledged request of ours never got its response.
    Response(Call),
    /// An observation of ours has heard nothing for longer than its state is fresh.
    Stale(Call),
    /// Blocks of a Q-Block2 transfer are missing.
    Missing(Call),
}

/// Names a timer, so that it can be stopped.
pub(super) type TimerKey = (Instant, u64);

#[derive(Debug, Default)]
pub(super) struct Timers {
    list: BTreeMap<TimerKey, Timer>,
    serial: u64,
}

impl Timer {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Retransmit(..) => "retransmission",
            Self::Leisure(_) => "answer to a multicast request",
            Self::Refresh(_) => "refresh of an observation",
            Self::Collect(_) => "end of collecting answers",
            Self::Response(_) => "end of waiting for a response",
            Self::Stale(_) => "renewal of an observation",
            Self::Missing(_) => "blocks still missing",
        }
    }
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) -> TimerKey {
        self.serial += 1;
        self.list.insert((at, self.serial), timer);
        (at, self.serial)
    }

    pub(super) fn stop(&mut self, key: TimerKey) {
        self.list.remove(&key);
    }

    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        self.list.first_key_value().map(|((at, _), timer)| (*at, timer.reason()))
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let first = self.list.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}
