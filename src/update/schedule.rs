//! When to look again.
//!
//! An order's time is wall time. It is compared with the wall clock at every wake and never turned
//! into a duration once and for all: a clock step forward fires it, a step back does not lose it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Phase, Rules, State};
use crate::clock::Now;

/// A time this near to now, before or after, counts as now: clocks differ.
pub const NOW_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// The longest sleep while an order waits, so that a jump of the wall clock is noticed.
pub const WAKE_MAX: Duration = Duration::from_secs(60);

/// Whether the engine has something to do that nobody reports: the next stage of a job, or an order
/// whose time has come.
pub fn is_due(state: &State, rules: &Rules, now: Now) -> bool {
    match &state.phase {
        _ if waits_for_window(state, rules, now).is_some() => false,
        Phase::Available(stop) | Phase::Staged(stop) if stop.job.is_some() => true,
        phase => phase.job().is_none() && order_is_due(state, now),
    }
}

/// When the window opens that software which is ready to be installed waits for; `None` where nothing
/// waits for it.
pub fn waits_for_window(state: &State, rules: &Rules, now: Now) -> Option<DateTime<Utc>> {
    match (&state.phase, rules.window) {
        (Phase::Staged(stop), Some(window)) if stop.job.is_some() => {
            Some(window.opens(now.wall)).filter(|opens| *opens > now.wall)
        }
        _ => None,
    }
}

/// An order whose time is not later than now.
pub(super) fn order_is_due(state: &State, now: Now) -> bool {
    state.order.waiting && state.order.at <= now.wall
}

/// How long to sleep before the next look; `None` when only a report or a command can change
/// anything.
pub fn next_wake(state: &State, rules: &Rules, now: Now) -> Option<Duration> {
    if is_due(state, rules, now) {
        return Some(Duration::ZERO);
    }
    let at = match waits_for_window(state, rules, now) {
        Some(opens) => opens,
        None if state.order.waiting && state.phase.job().is_none() => state.order.at,
        None => return None,
    };
    let left = (at - now.wall).to_std().unwrap_or(Duration::ZERO);
    Some(left.min(WAKE_MAX))
}
