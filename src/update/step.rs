//! The transition table.

use chrono::{DateTime, Utc};

use super::rules::{Verdict, judge};
use super::schedule::{NOW_TOLERANCE, order_is_due, waits_for_window};
use super::state::{Checking, Stop, Update};
use super::{
    Ask, Command, Door, Failure, FailureKind, Floor, Job, Offer, Order, Outcome, Phase, Rules,
    Running, Stage, State, WorkId,
};
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

/// A transition: commit `next`, then adopt it, then carry out `effects` in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The state after.
    pub next: State,
    /// What to do once it is on disk.
    pub effects: Vec<Effect>,
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
    #[error("the device is busy with another order ({running:?}); wait until it has ended")]
    Busy {
        /// How far that one goes.
        running: Stage,
    },
    /// The time asked for is over.
    #[error("updatetime {at} is in the past; the device's clock says {wall}")]
    Past {
        /// The time asked for.
        at: DateTime<Utc>,
        /// The device's time.
        wall: DateTime<Utc>,
    },
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
        Input::Command(command) => commanded(state, command, rules, now),
        Input::Reported { work, report } if state.phase.work() == Some(work) => {
            reported(state, report, rules, now)
        }
        Input::Reported { .. } => Err(Refusal::Stale),
        Input::Tick => ticked(state, rules, now),
    }
}

fn commanded(state: &State, command: Command, rules: &Rules, now: Now) -> Result<Step, Refusal> {
    let Command { door, asker, ask } = command;
    match ask {
        Ask::Reset => Ok(reset(state)),
        Ask::Start(stage) => {
            let source = state.order.source.clone();
            let knows = state.known_from(&source);
            start(state.clone(), Job { door, asker, source, stage, restarts: 0, knows }, rules)
        }
        Ask::Schedule { source, stage, at } => {
            let mut next = state.clone();
            let knows = state.known_from(&source);
            next.order = Order { source, stage, at, waiting: false, asker, knows };
            schedule(state, next, rules, now)
        }
    }
}

/// Takes the order that `next` holds already.
fn schedule(state: &State, mut next: State, rules: &Rules, now: Now) -> Result<Step, Refusal> {
    let order = &next.order;
    let unsourced = rules.resolve(&order.source).is_none();
    let Some(stage) = order.stage else {
        // What runs goes on and stays to be seen as long as it does.
        if let Some(job) = state.phase.job().filter(|_| !state.order.waiting) {
            next.order.stage = state.order.stage.filter(|_| job.door == Door::SoftwareUpdate);
        }
        // What only waits for its hour does not run yet, and is cancelled as what is scheduled is.
        if let Phase::Staged(stop) = &mut next.phase
            && waits_for_window(state, rules, now).is_some()
        {
            stop.job = None;
            next.order.stage = None;
        }
        if unsourced {
            next.outcome = no_source();
        }
        return Ok(announced(next));
    };
    if order.at < now.wall - NOW_TOLERANCE {
        return Err(Refusal::Past { at: order.at, wall: now.wall });
    }
    if let Some(job) = state.phase.job()
        && (job.stage != stage || job.source != order.source)
    {
        return Err(Refusal::Busy { running: job.stage });
    }
    if unsourced {
        next.order.stage = None;
        next.outcome = no_source();
        return Ok(announced(next));
    }
    if order.at > now.wall + NOW_TOLERANCE {
        next.order.waiting = true;
        return Ok(announced(next));
    }
    let job = scheduled_job(&next.order, stage);
    start(next, job, rules)
}

/// Begins a job now, or finds that it runs already.
fn start(next: State, job: Job, rules: &Rules) -> Result<Step, Refusal> {
    match next.phase.job() {
        Some(running) if running.stage == job.stage && running.source == job.source => {
            Ok(announced(next))
        }
        Some(running) => Err(Refusal::Busy { running: running.stage }),
        None => Ok(begin(next, job, rules)),
    }
}

/// The first step of a job, from wherever an earlier one for the same source has stopped.
fn begin(mut next: State, job: Job, rules: &Rules) -> Step {
    let Some(url) = rules.resolve(&job.source) else {
        next.outcome = no_source();
        return announced(next);
    };
    next.outcome = Outcome::None;
    match next.phase.clone() {
        Phase::Staged(stop) if is_wanted(&stop, &job) && job.stage == Stage::Upgrade => {
            announced(State { phase: Phase::Staged(Stop { job: Some(job), ..stop }), ..next })
        }
        Phase::Available(stop) | Phase::Staged(stop)
            if is_wanted(&stop, &job) && job.stage > Stage::Check =>
        {
            announced(State { phase: Phase::Available(Stop { job: Some(job), ..stop }), ..next })
        }
        _ => working(next, Task::Check { url }, |work| Phase::Checking(Checking { job, work })),
    }
}

/// Whether a job goes on from here, or has to see anew what there is.
fn is_wanted(stop: &Stop, job: &Job) -> bool {
    stop.source == job.source && is_approved(&stop.offer, job)
}

/// SUIT's update-authorized: to order the software of a source, whatever it may be, is not to approve
/// of this package; to order it when the device says what there is, is.
fn is_approved(offer: &Offer, job: &Job) -> bool {
    !offer.needs_approval || job.stage < Stage::Upgrade || job.knows == Some(offer.package)
}

/// Enters a phase that waits for a piece of work.
pub(super) fn working(mut next: State, task: Task, phase: impl FnOnce(WorkId) -> Phase) -> Step {
    next.works = WorkId(next.works.0 + 1);
    let work = next.works;
    next.phase = phase(work);
    Step { next, effects: vec![Effect::Notify { terminal: false }, Effect::Work { work, task }] }
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

fn announced(next: State) -> Step {
    Step { next, effects: vec![Effect::Notify { terminal: false }] }
}

/// A job ends in a phase where the device rests.
pub(super) fn ended(mut next: State, phase: Phase, outcome: Outcome) -> Step {
    if !next.order.waiting {
        next.order.stage = None;
    }
    let keep = phase.offer().map(|offer| offer.package);
    next.phase = phase;
    next.outcome = outcome;
    Step { next, effects: vec![Effect::Notify { terminal: true }, Effect::Tidy { keep }] }
}

/// A job that ends without its software.
pub(super) fn failed(mut next: State, update: &Update, failure: Failure) -> Step {
    next.remember(update.offer.package, &failure);
    ended(next, Phase::Idle, Outcome::Failed(failure))
}

fn reported(state: &State, report: Report, rules: &Rules, now: Now) -> Result<Step, Refusal> {
    let next = state.clone();
    let step = match (state.phase.clone(), report) {
        (Phase::Checking(Checking { job, .. }), Report::Checked(result)) => {
            checked(next, job, result, now)
        }
        (Phase::Fetching(update), Report::Fetched(Ok(()))) => fetched(next, update),
        (Phase::Fetching(update), Report::Fetched(Err(failure)))
        | (Phase::Installing(update), Report::Installed(Err(failure))) => {
            failed(next, &update, failure)
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
            failed(next, &update, failure)
        }
        (Phase::RollingBack { failure: None, .. }, Report::RolledBack(Ok(()))) => {
            ended(next, Phase::Idle, Outcome::None)
        }
        // The installer would try for ever if there were anything to go back to.
        (Phase::RollingBack { failure, .. }, Report::RolledBack(Err(hopeless)))
            if hopeless.kind == FailureKind::NothingBefore =>
        {
            let outcome = failure.map(|Failure { kind, detail }| {
                let detail = format!("{detail}; and {}", hopeless.detail);
                Failure::new(kind, detail)
            });
            ended(next, Phase::Idle, Outcome::Failed(outcome.unwrap_or(hopeless)))
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
        Err(failure) => return ended(next, Phase::Idle, Outcome::Failed(failure)),
    };
    let source = job.source.clone();
    let mut next = next;
    next.see_ends(&offer, now.wall);
    match (judge(&offer, &next, now.wall), job.stage) {
        (Verdict::Newer, stage) if stage == Stage::Check || !is_approved(&offer, &job) => {
            let phase = Phase::Available(Stop { offer, source, job: None });
            ended(next, phase, Outcome::None)
        }
        (Verdict::Newer, _) => {
            let phase = Phase::Available(Stop { offer, source, job: Some(job) });
            announced(State { phase, ..next })
        }
        // Asked to check: there is nothing to tell. Asked for the software: the device has it.
        (Verdict::Same, Stage::Check) => ended(next, Phase::Idle, Outcome::None),
        (Verdict::Same, _) => ended(next, Phase::Idle, Outcome::Success),
        (Verdict::Refused(failure), _) => ended(next, Phase::Idle, Outcome::Failed(failure)),
    }
}

fn fetched(next: State, Update { offer, job, .. }: Update) -> Step {
    let source = job.source.clone();
    if job.stage == Stage::Validate {
        let phase = Phase::Staged(Stop { offer, source, job: None });
        return ended(next, phase, Outcome::Success);
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
    ended(next, Phase::Idle, Outcome::Success)
}

fn ticked(state: &State, rules: &Rules, now: Now) -> Result<Step, Refusal> {
    if waits_for_window(state, rules, now).is_some() {
        return Err(Refusal::NotDue);
    }
    let mut next = state.clone();
    match state.phase.clone() {
        Phase::Available(Stop { offer, job: Some(job), .. }) => {
            Ok(go_on(next, offer, job, now, Task::Fetch, Phase::Fetching))
        }
        Phase::Staged(Stop { offer, job: Some(job), .. }) => {
            Ok(go_on(next, offer, job, now, Task::Install, Phase::Installing))
        }
        phase if phase.job().is_none() && order_is_due(state, now) => {
            let stage = next.order.stage.ok_or(Refusal::NotDue)?;
            next.order.waiting = false;
            let job = scheduled_job(&next.order, stage);
            Ok(begin(next, job, rules))
        }
        _ => Err(Refusal::NotDue),
    }
}

/// From a stop to the next piece of work, unless the package's time has ended meanwhile.
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
        return ended(next, Phase::Idle, Outcome::Failed(failure));
    }
    let work = next.works;
    updating(next, task, Update { offer, job, work }, phase)
}

/// Back to the defaults. Software that is being tried goes first, since nobody confirmed it; what the
/// device has confirmed, its floor and its history stay.
fn reset(state: &State) -> Step {
    let mut next = state.clone();
    next.order = Order::none(state.order.at);
    next.outcome = Outcome::None;
    next.failed.clear();
    let mut step = match state.phase.clone() {
        Phase::Switching(update)
        | Phase::Trial { update, .. }
        | Phase::Confirming(update)
        | Phase::RollingBack { update, .. } => roll_back(next, update, None),
        _ => ended(next, Phase::Idle, Outcome::None),
    };
    if state.phase.work().is_some() {
        step.effects.insert(0, Effect::Abort);
    }
    step
}

fn scheduled_job(order: &Order, stage: Stage) -> Job {
    Job {
        door: Door::SoftwareUpdate,
        asker: order.asker.clone(),
        source: order.source.clone(),
        stage,
        restarts: 0,
        knows: order.knows,
    }
}

fn no_source() -> Outcome {
    let detail = "purl is empty and the device has no built-in URL; set purl to the package's URL";
    Outcome::Failed(Failure::new(FailureKind::NoSource, detail))
}
