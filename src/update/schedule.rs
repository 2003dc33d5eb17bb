//! When to look again.
//!
//! An order's time is wall time. It is compared with the wall clock at every wake and never turned
//! into a duration once and for all: a clock step forward fires it, a step back does not lose it.

use std::time::Duration;

use chrono::TimeDelta;

use super::{Phase, State};
use crate::clock::Now;

/// A time this near to now, before or after, counts as now: clocks differ.
pub const NOW_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// The longest sleep while an order waits, so that a jump of the wall clock is noticed.
pub const WAKE_MAX: Duration = Duration::from_secs(60);

/// Whether the engine has something to do that nobody reports: the next stage of a job, or an order
/// whose time has come.
pub fn is_due(state: &State, now: Now) -> bool {
    match &state.phase {
        Phase::Available(stop) | Phase::Staged(stop) if stop.job.is_some() => true,
        phase => phase.job().is_none() && order_is_due(state, now),
    }
}

/// An order whose time is not later than now.
pub(super) fn order_is_due(state: &State, now: Now) -> bool {
    state.order.waiting && state.order.at <= now.wall
}

/// How long to sleep before the next look; `None` when only a report or a command can change
/// anything.
pub fn next_wake(state: &State, now: Now) -> Option<Duration> {
    if is_due(state, now) {
        return Some(Duration::ZERO);
    }
    if !state.order.waiting || state.phase.job().is_some() {
        return None;
    }
    let left = (state.order.at - now.wall).to_std().unwrap_or(Duration::ZERO);
    Some(left.min(WAKE_MAX))
}
