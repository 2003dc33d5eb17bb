//! When to look again.
//!
//! An order's time is wall time. It is compared with the wall clock at every wake and never turned
//! into a duration once and for all: a clock step forward fires it, a step back does not lose it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Door, Phase, Rules, Standing, State};
use crate::clock::Now;

/// A time this near to now, before or after, counts as now: clocks differ.
pub const NOW_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// The longest sleep while an order waits, so that a jump of the wall clock is noticed.
pub const WAKE_MAX: Duration = Duration::from_secs(60);

/// The shortest sleep: nothing is due now.
const WAKE_MIN: Duration = Duration::from_millis(1);

/// Whether the engine has something to do that nobody reports: the next stage of a job, or an order
/// whose time has come.
pub fn is_due(state: &State, rules: &Rules, now: Now) -> bool {
    due(state, rules, now).is_some()
}

/// What is to be done at a tick.
pub(super) enum Due {
    /// The job under way goes on.
    GoOn,
    /// The order that waits at this door begins.
    Begin(Door),
    /// It should have begun, and the device is busy; or it has been for too long.
    Late(Door),
}

/// What is to be done now, if anything.
pub(super) fn due(state: &State, rules: &Rules, now: Now) -> Option<Due> {
    let stops = matches!(state.phase, Phase::Available(_) | Phase::Staged(_));
    let busy = state.phase.job().is_some();
    if stops && busy && waits_for_window(state, rules, now).is_none() {
        return Some(Due::GoOn);
    }
    let orders = state.waiting().filter(|order| order.at <= now.wall);
    if busy {
        let late = |order: &&Standing| match order.due_since {
            Some(since) => is_too_late(since, rules, now),
            None => true,
        };
        return orders.into_iter().find(late).map(|order| Due::Late(order.origin.door.clone()));
    }
    // The one that has waited longest.
    orders.min_by_key(|order| order.at).map(|order| Due::Begin(order.origin.door.clone()))
}

/// An order that was due while the device was busy. A clock that was put back since counts as no time.
fn is_too_late(since: DateTime<Utc>, rules: &Rules, now: Now) -> bool {
    (now.wall - since).to_std().is_ok_and(|waited| waited >= rules.lateness_max)
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

/// How long to sleep before the next look; `None` when only a report or a command can change
/// anything.
pub fn next_wake(state: &State, rules: &Rules, now: Now) -> Option<Duration> {
    if is_due(state, rules, now) {
        return Some(Duration::ZERO);
    }
    let busy = state.phase.job().is_some();
    let orders = state.waiting().map(|order| match order.due_since.filter(|_| busy) {
        Some(since) => since + rules.lateness_max,
        None => order.at,
    });
    let at = orders.chain(waits_for_window(state, rules, now)).min()?;
    let left = (at - now.wall).to_std().unwrap_or(Duration::ZERO);
    // Nothing is due: what a clock that was put back makes look so is looked at again later.
    Some(left.clamp(WAKE_MIN, WAKE_MAX))
}
