//! What ends before its end: cancelled by its door, dropped, or forgotten in a reset.

use super::state::Stop;
use super::step::{announced, ended, roll_back};
use super::{
    Cancel, Draft, Effect, Expected, Failure, JobId, Outcome, Phase, Refusal, Rules, Standing,
    State, Step,
};
use crate::clock::Now;

/// Stops what is a door's own and has not been switched to. All of it, or nothing where that is too
/// late: who is told that it stopped must be able to rely on it.
pub(super) fn cancelled(
    state: &State,
    wish: Cancel,
    rules: &Rules,
    now: Now,
) -> Result<Step, Refusal> {
    let Cancel { origin, job: only, draft } = wish;
    let meant = |id: JobId| only.is_none_or(|only| only == id);
    let job = state.phase.job();
    let own = job.filter(|job| job.origin.door == origin.door && meant(job.id)).cloned();
    let waiting = state
        .standing(&origin.door)
        .filter(|standing| standing.waiting && meant(standing.id))
        .cloned();
    match (&own, &waiting, only, job) {
        (None, None, Some(only), _) => return Err(Refusal::NoSuchOrder(only)),
        (None, None, None, Some(job)) => {
            return Err(Refusal::NotYours { door: job.origin.door.clone() });
        }
        (Some(_), ..) if state.phase.is_past_the_switch() => {
            let version = state.phase.offer().map(|offer| offer.version.clone());
            return Err(Refusal::TooLate { version: version.unwrap_or_default() });
        }
        _ => {}
    }
    let mut next = state.clone();
    let failure = Failure::cancelled(&origin);
    if let Some(standing) = &waiting {
        next.give_up(standing, failure.clone(), now.wall);
    }
    let nothing_to_stop = own.is_none() && waiting.is_none();
    let mut step = match own {
        Some(_) => stopped(next, failure, now),
        None => announced(next),
    };
    if let Some(Draft { source, at }) = draft {
        let unsourced = rules.resolve(&source).is_none();
        step.next.place(Standing {
            id: JobId::default(),
            origin,
            source,
            stage: None,
            at,
            waiting: false,
            due_since: None,
            knows: None,
            expected: Expected::default(),
        })?;
        if unsourced && nothing_to_stop {
            step.next.outcome = Outcome::Failed(Failure::no_source());
        }
    }
    Ok(step)
}

/// Gives up the job. What was found or downloaded before it could go on stays.
fn stopped(next: State, failure: Failure, now: Now) -> Step {
    let rests = |stop: &Stop| Stop { job: None, ..stop.clone() };
    let phase = match &next.phase {
        Phase::Available(stop) => Phase::Available(rests(stop)),
        Phase::Staged(stop) => Phase::Staged(rests(stop)),
        _ => Phase::Idle,
    };
    let works = next.phase.work().is_some();
    let step = ended(next, phase, Outcome::Failed(failure), now.wall);
    if works { aborting(step) } else { step }
}

/// Frees the package that rests here.
pub(super) fn discarded(state: &State, now: Now) -> Result<Step, Refusal> {
    if let Some(job) = state.phase.job() {
        return Err(Refusal::Busy { running: job.stage, door: job.origin.door.clone() });
    }
    Ok(match state.phase {
        Phase::Idle => announced(state.clone()),
        _ => ended(state.clone(), Phase::Idle, Outcome::None, now.wall),
    })
}

/// Back to the defaults. Software that is being tried goes first, since nobody confirmed it; what the
/// device has confirmed, its floor and its history stay.
pub(super) fn reset(state: &State, now: Now) -> Step {
    let mut next = state.clone();
    next.outcome = Outcome::None;
    next.failed.clear();
    let mut step = match state.phase.clone() {
        Phase::Switching(update)
        | Phase::Trial { update, .. }
        | Phase::Confirming(update)
        | Phase::RollingBack { update, .. } => roll_back(next, update, None),
        _ => ended(next, Phase::Idle, Outcome::None, now.wall),
    };
    // What the old owner could have read is not for the next one.
    step.next.orders.clear();
    step.next.journal.clear();
    if state.phase.work().is_some() { aborting(step) } else { step }
}

/// The work under way is told to stop before anything else happens.
fn aborting(mut step: Step) -> Step {
    step.effects.insert(0, Effect::Abort);
    step
}
