//! What a report of work changes.

use super::ordered::is_approved;
use super::rules::{Verdict, judge};
use super::state::{Checking, Stop, Update};
use super::step::{announced, ended, failed, roll_back, updating};
use super::{
    Failure, FailureKind, Floor, Job, Offer, Outcome, Phase, Refusal, Rules, Running, Stage, State,
    Step, Task,
};
use crate::clock::Now;
use crate::package::Digest;

/// How a piece of work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The manifest was fetched and verified, and is kept.
    Checked(Result<Offer, Failure>),
    /// All payloads are here and valid.
    Fetched(Result<(), Failure>),
    /// The software is written beside what runs, and reads back as signed.
    Installed(Result<(), Failure>),
    /// The new software is the one that runs.
    Switched(Result<(), Failure>),
    /// The new software proved itself.
    Tried(Result<(), Failure>),
    /// It is permanent.
    Confirmed(Result<(), Failure>),
    /// The old software is the one that runs.
    RolledBack(Result<(), Failure>),
}

pub(super) fn reported(
    state: &State,
    report: Report,
    rules: &Rules,
    now: Now,
) -> Result<Step, Refusal> {
    let next = state.clone();
    let step = match (state.phase.clone(), report) {
        (Phase::Checking(Checking { job, .. }), Report::Checked(result)) => {
            checked(next, job, result, now)
        }
        (Phase::Fetching(update), Report::Fetched(Ok(()))) => fetched(next, update, now),
        (Phase::Fetching(update), Report::Fetched(Err(failure)))
        | (Phase::Installing(update), Report::Installed(Err(failure))) => {
            failed(next, &update, failure, now.wall)
        }
        (Phase::Installing(update), Report::Installed(Ok(()))) => {
            updating(next, Task::Switch, update, Phase::Switching)
        }
        (Phase::Switching(update), Report::Switched(Ok(()))) => {
            let tries_left = rules.tries.saturating_sub(1);
            updating(next, Task::Try, update, |update| Phase::Trial { update, tries_left })
        }
        (Phase::Trial { update, .. }, Report::Tried(Ok(()))) => {
            updating(next, Task::Confirm, update, Phase::Confirming)
        }
        (Phase::Switching(update), Report::Switched(Err(failure)))
        | (Phase::Trial { update, .. }, Report::Tried(Err(failure)))
        | (Phase::Confirming(update), Report::Confirmed(Err(failure))) => {
            roll_back(next, update, Some(failure))
        }
        (Phase::Confirming(update), Report::Confirmed(Ok(()))) => {
            confirmed(next, update.offer, now)
        }
        (Phase::RollingBack { update, failure: Some(failure) }, Report::RolledBack(Ok(()))) => {
            failed(next, &update, failure, now.wall)
        }
        (Phase::RollingBack { failure: None, .. }, Report::RolledBack(Ok(()))) => {
            ended(next, Phase::Idle, Outcome::None, now.wall)
        }
        // The installer would try for ever if there were anything to go back to.
        (Phase::RollingBack { failure, .. }, Report::RolledBack(Err(hopeless)))
            if hopeless.kind == FailureKind::NothingBefore =>
        {
            let outcome = failure.map(|Failure { kind, detail }| {
                let detail = format!("{detail}; and {}", hopeless.detail);
                Failure::new(kind, detail)
            });
            ended(next, Phase::Idle, Outcome::Failed(outcome.unwrap_or(hopeless)), now.wall)
        }
        // There is nothing else to fall back on: try until it works or a person comes.
        (Phase::RollingBack { update, failure }, Report::RolledBack(Err(_))) => {
            roll_back(next, update, failure)
        }
        _ => return Err(Refusal::Stale),
    };
    Ok(step)
}

fn checked(next: State, job: Job, result: Result<Offer, Failure>, now: Now) -> Step {
    let offer = match result {
        Ok(offer) => offer,
        Err(failure) => return ended(next, Phase::Idle, Outcome::Failed(failure), now.wall),
    };
    let source = job.source.clone();
    let mut next = next;
    next.note_version(&job, &offer.version, now.wall);
    next.see_ends(&offer, now.wall);
    if let Some(failure) = job.expected.unmet(&offer) {
        return ended(next, Phase::Idle, Outcome::Failed(failure), now.wall);
    }
    match (judge(&offer, &next, now.wall), job.stage) {
        (Verdict::Newer, stage) if stage == Stage::Check || !is_approved(&offer, &job) => {
            let phase = Phase::Available(Stop { offer, source, job: None });
            ended(next, phase, Outcome::None, now.wall)
        }
        (Verdict::Newer, _) => {
            let phase = Phase::Available(Stop { offer, source, job: Some(job) });
            announced(State { phase, ..next })
        }
        // Asked to check: there is nothing to tell. Asked for the software: the device has it.
        (Verdict::Same, Stage::Check) => ended(next, Phase::Idle, Outcome::None, now.wall),
        (Verdict::Same, _) => ended(next, Phase::Idle, Outcome::Success, now.wall),
        (Verdict::Refused(failure), _) => {
            ended(next, Phase::Idle, Outcome::Failed(failure), now.wall)
        }
    }
}

fn fetched(next: State, Update { offer, job, .. }: Update, now: Now) -> Step {
    let source = job.source.clone();
    if job.stage == Stage::Validate {
        let phase = Phase::Staged(Stop { offer, source, job: None });
        return ended(next, phase, Outcome::Success, now.wall);
    }
    announced(State { phase: Phase::Staged(Stop { offer, source, job: Some(job) }), ..next })
}

/// The one place where the floor rises.
fn confirmed(mut next: State, offer: Offer, now: Now) -> Step {
    let Offer { epoch, sequence, package, .. } = offer;
    next.floor = Some(Floor { epoch, sequence, package });
    next.running = Running { version: offer.version, package: Some(offer.package) };
    next.last_update = now.wall;
    next.time_floor = next.time(now.wall);
    ended(next, Phase::Idle, Outcome::Success, now.wall)
}

/// From a stop to the next piece of work of its job.
pub(super) fn gone_on(next: State, now: Now) -> Result<Step, Refusal> {
    match next.phase.clone() {
        Phase::Available(Stop { offer, job: Some(job), .. }) => {
            Ok(go_on(next, offer, job, now, Task::Fetch, Phase::Fetching))
        }
        Phase::Staged(Stop { offer, job: Some(job), .. }) => {
            Ok(go_on(next, offer, job, now, Task::Install, Phase::Installing))
        }
        _ => Err(Refusal::NotDue),
    }
}

/// The next piece of work, unless the package's time has ended meanwhile.
fn go_on(
    next: State,
    offer: Offer,
    job: Job,
    now: Now,
    task: impl FnOnce(Digest) -> Task,
    phase: impl FnOnce(Update) -> Phase,
) -> Step {
    let mut next = next;
    next.see_ends(&offer, now.wall);
    if let Verdict::Refused(failure) = judge(&offer, &next, now.wall) {
        return ended(next, Phase::Idle, Outcome::Failed(failure), now.wall);
    }
    let work = next.works;
    updating(next, task, Update { offer, job, work }, phase)
}
