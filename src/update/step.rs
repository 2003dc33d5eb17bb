//! The transition table: one function, and what the steps of all inputs have in common.

use chrono::{DateTime, Utc};

use super::schedule::{Due, due};
use super::state::Update;
use super::{
    Command, Door, Failure, JobId, Origin, Outcome, Phase, Report, Rules, Stage, State, WorkId,
};
use super::{cancel, ordered, report};
use crate::clock::Now;
use crate::package::Digest;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A door asks.
    Command(Command),
    /// A piece of work ended.
    Reported {
        /// Which.
        work: WorkId,
        /// How.
        report: Report,
    },
    /// Time passed; see [`super::is_due`].
    Tick,
}

/// A transition: commit `next`, then adopt it, then carry out `effects` in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The state after.
    pub next: State,
    /// What to do once it is on disk.
    pub effects: Vec<Effect>,
    /// The order that was taken, or the one under way that it is the same as.
    pub job: Option<JobId>,
}

/// Something to be done in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell everyone who watches. `terminal`: a job has ended with this.
    Notify {
        /// Whether a job has ended with this.
        terminal: bool,
    },
    /// Stop the work under way; its report will not be believed.
    Abort,
    /// Free what is kept of packages, but for this one.
    Tidy {
        /// The package to keep.
        keep: Option<Digest>,
    },
    /// Begin a piece of work and report how it ends.
    Work {
        /// Its name.
        work: WorkId,
        /// What to do. Every task looks at the world first and can be repeated safely.
        task: Task,
    },
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Fetch and verify the manifest at this URL, and keep it.
    Check {
        /// Never empty.
        url: String,
    },
    /// Download and verify the payloads of this package.
    Fetch(Digest),
    /// Write its software beside what runs.
    Install(Digest),
    /// Make it the one that runs.
    Switch(Digest),
    /// See whether it proves itself.
    Try(Digest),
    /// Make it permanent.
    Confirm(Digest),
    /// Bring back what ran before it.
    RollBack(Digest),
}

/// Why an input changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another order is being carried out.
    #[error("the device is busy with another order ({}, by {door}); wait until it has ended", running.verb())]
    Busy {
        /// How far that one goes.
        running: Stage,
        /// Whose it is.
        door: Door,
    },
    /// Somebody else's order waits at this door.
    #[error(
        "an order of {by} waits until {at}; it has to be cancelled first, or replaced on purpose"
    )]
    Waiting {
        /// Who gave it.
        by: Origin,
        /// When it is to begin.
        at: DateTime<Utc>,
    },
    /// The time asked for is over.
    #[error("the time {at} is in the past; the device's clock says {wall}")]
    Past {
        /// The time asked for.
        at: DateTime<Utc>,
        /// The device's time.
        wall: DateTime<Utc>,
    },
    /// The source cannot be used.
    #[error("{}", .0.detail)]
    Unusable(Failure),
    /// New software may run already: what stops it now is only that it does not prove itself.
    #[error(
        "it is too late to stop: version {version} is being installed; wait until it has ended"
    )]
    TooLate {
        /// Which version.
        version: String,
    },
    /// What is under way is another door's.
    #[error("what the device does was ordered by {door}, and is cancelled there")]
    NotYours {
        /// Which.
        door: Door,
    },
    /// The order has ended, or was another door's, or never was.
    #[error("this door has no order {} that waits or runs", .0.0)]
    NoSuchOrder(JobId),
    /// More doors than there are places for.
    #[error("too many doors have orders that wait")]
    TooManyDoors,
    /// A report of work that nobody waits for.
    #[error("nobody waits for this report")]
    Stale,
    /// Nothing is due.
    #[error("nothing is due")]
    NotDue,
}

/// What `input` changes.
///
/// # Errors
///
/// A [`Refusal`] says why it changes nothing.
pub fn step(state: &State, input: Input, rules: &Rules, now: Now) -> Result<Step, Refusal> {
    match input {
        Input::Command(Command::Order(order)) => ordered::ordered(state, order, rules, now),
        Input::Command(Command::Cancel(wish)) => cancel::cancelled(state, wish, rules, now),
        Input::Command(Command::Discard(_)) => cancel::discarded(state, now),
        Input::Command(Command::Reset) => Ok(cancel::reset(state, now)),
        Input::Reported { work, report } if state.phase.work() == Some(work) => {
            report::reported(state, report, rules, now)
        }
        Input::Reported { .. } => Err(Refusal::Stale),
        Input::Tick => ticked(state, rules, now),
    }
}

fn ticked(state: &State, rules: &Rules, now: Now) -> Result<Step, Refusal> {
    let next = state.clone();
    match due(state, rules, now).ok_or(Refusal::NotDue)? {
        Due::GoOn => report::gone_on(next, now),
        Due::Begin(door) => ordered::fired(next, &door, rules, now),
        Due::Late(door) => ordered::too_late(next, &door, rules, now),
    }
}

impl Step {
    pub(super) fn new(next: State, effects: Vec<Effect>) -> Self {
        Self { next, effects, job: None }
    }

    /// The step that takes this order, or finds it under way.
    pub(super) fn of(self, job: JobId) -> Self {
        Self { job: Some(job), ..self }
    }
}

/// Enters a phase that waits for a piece of work.
pub(super) fn working(mut next: State, task: Task, phase: impl FnOnce(WorkId) -> Phase) -> Step {
    next.works = WorkId(next.works.0 + 1);
    let work = next.works;
    next.phase = phase(work);
    Step::new(next, vec![Effect::Notify { terminal: false }, Effect::Work { work, task }])
}

/// As [`working`], for the next piece of work on the same package.
pub(super) fn updating(
    next: State,
    task: impl FnOnce(Digest) -> Task,
    update: Update,
    phase: impl FnOnce(Update) -> Phase,
) -> Step {
    working(next, task(update.offer.package), |work| phase(Update { work, ..update }))
}

pub(super) fn roll_back(next: State, update: Update, failure: Option<Failure>) -> Step {
    updating(next, Task::RollBack, update, |update| Phase::RollingBack { update, failure })
}

pub(super) fn announced(next: State) -> Step {
    Step::new(next, vec![Effect::Notify { terminal: false }])
}

/// A job ends in a phase where the device rests.
pub(super) fn ended(mut next: State, phase: Phase, outcome: Outcome, wall: DateTime<Utc>) -> Step {
    // After a reset nobody is told of what went before it.
    let untold = matches!(next.phase, Phase::RollingBack { failure: None, .. });
    if let Some(job) = next.phase.job().filter(|_| !untold).cloned() {
        next.note_ended(&job, outcome.clone(), wall);
    }
    let keep = phase.offer().map(|offer| offer.package);
    next.phase = phase;
    next.outcome = outcome;
    Step::new(next, vec![Effect::Notify { terminal: true }, Effect::Tidy { keep }])
}

/// A job that ends without its software.
pub(super) fn failed(
    mut next: State,
    update: &Update,
    failure: Failure,
    wall: DateTime<Utc>,
) -> Step {
    next.remember(update.offer.package, &failure);
    ended(next, Phase::Idle, Outcome::Failed(failure), wall)
}
