//! What an order changes: at once, when its time comes, and when that comes too late.

use chrono::{DateTime, Utc};

use super::schedule::NOW_TOLERANCE;
use super::state::{Checking, Stop};
use super::step::{announced, working};
use super::{
    Door, Effect, Entry, Failure, FailureKind, Fate, Job, JobId, Offer, Order, Origin, Outcome,
    Phase, Refusal, Replaces, Rules, Stage, Standing, State, Step, Task, Unusable,
};
use crate::clock::Now;

/// Takes an order, if it may be taken now.
pub(super) fn ordered(
    state: &State,
    order: Order,
    rules: &Rules,
    now: Now,
) -> Result<Step, Refusal> {
    if order.unusable == Unusable::Refuse {
        rules.judge_source(&order.source).map_err(Refusal::Unusable)?;
    }
    let later = order.at.is_some_and(|at| at > now.wall + NOW_TOLERANCE);
    // What has no source fails at once, and need not wait for that.
    let waits = later && rules.resolve(&order.source).is_some();
    if let Some(at) = order.at.filter(|at| *at < now.wall - NOW_TOLERANCE) {
        return Err(Refusal::Past { at, wall: now.wall });
    }
    let loses = losing(state, &order)?.cloned();
    let running = state.phase.job();
    let same = running.filter(|job| is_same(job, &order, rules));
    if let Some(job) = running.filter(|_| same.is_none())
        // What waits does not need the place where work is done; but a door shows one order, and
        // that is the one under way.
        && (!later || job.origin.door == order.origin.door)
    {
        return Err(Refusal::Busy { running: job.stage, door: job.origin.door.clone() });
    }
    let mut next = state.clone();
    let replaced = loses.as_ref().map(|loser| loser.origin.clone());
    if let Some(loser) = &loses {
        let failure = Failure::replaced(&order.origin);
        next.give_up(loser, failure, now.wall);
    }
    match (same.map(|job| job.id), order.at) {
        (Some(id), at) if !later => {
            if let Some(at) = at {
                next.place(standing(&order, id, at, state, rules))?;
            }
            Ok(announced(next).of(id))
        }
        (_, at) => {
            let id = next.number();
            note(&mut next, &order, id, waits, replaced, now.wall);
            if let Some(at) = at {
                let standing = standing(&order, id, at, state, rules);
                next.place(Standing { waiting: waits, ..standing })?;
            }
            if waits {
                return Ok(announced(next).of(id));
            }
            let knows = state.known_from(&order.source, rules);
            let Order { origin, source, stage, expected, .. } = order;
            let job = Job { id, origin, source, stage, restarts: 0, knows, expected };
            Ok(begin(next, job, rules, now).of(id))
        }
    }
}

/// The order that waits where this one wants to.
fn losing<'a>(state: &'a State, order: &Order) -> Result<Option<&'a Standing>, Refusal> {
    if order.at.is_none() {
        return Ok(None);
    }
    let waiting = state.standing(&order.origin.door).filter(|standing| standing.waiting);
    match waiting {
        Some(other)
            if order.replaces == Replaces::Own && !other.origin.is_same_person(&order.origin) =>
        {
            Err(Refusal::Waiting { by: other.origin.clone(), at: other.at })
        }
        waiting => Ok(waiting),
    }
}

/// Whether this order is the one that is being carried out, said once more.
fn is_same(job: &Job, order: &Order, rules: &Rules) -> bool {
    job.origin.door == order.origin.door
        && job.stage == order.stage
        && job.expected == order.expected
        && rules.is_same_source(&job.source, &order.source)
}

fn standing(order: &Order, id: JobId, at: DateTime<Utc>, state: &State, rules: &Rules) -> Standing {
    Standing {
        id,
        origin: order.origin.clone(),
        source: order.source.clone(),
        stage: Some(order.stage),
        at,
        waiting: false,
        due_since: None,
        knows: state.known_from(&order.source, rules),
        expected: order.expected.clone(),
    }
}

fn note(
    next: &mut State,
    order: &Order,
    id: JobId,
    waits: bool,
    replaced: Option<Origin>,
    wall: DateTime<Utc>,
) {
    next.note(Entry {
        id,
        origin: order.origin.clone(),
        source: order.source.clone(),
        stage: order.stage,
        ordered: wall,
        at: order.at.filter(|_| waits),
        replaced,
        version: None,
        fate: if waits { Fate::Waiting } else { Fate::Running },
    });
}

/// The time of a door's order has come, and nothing is in its way.
pub(super) fn fired(
    mut next: State,
    door: &Door,
    rules: &Rules,
    now: Now,
) -> Result<Step, Refusal> {
    let standing = next.orders.iter_mut().find(|standing| standing.origin.door == *door);
    let standing = standing.ok_or(Refusal::NotDue)?;
    let stage = standing.stage.ok_or(Refusal::NotDue)?;
    standing.waiting = false;
    standing.due_since = None;
    let job = Job {
        id: standing.id,
        origin: standing.origin.clone(),
        source: standing.source.clone(),
        stage,
        restarts: 0,
        knows: standing.knows,
        expected: standing.expected.clone(),
    };
    next.note_begun(&job, now.wall);
    Ok(begin(next, job, rules, now))
}

/// The time of a door's order has come, and the device is busy: the order waits a while longer, and is
/// then given up, since nobody expects it any more.
pub(super) fn too_late(
    mut next: State,
    door: &Door,
    rules: &Rules,
    now: Now,
) -> Result<Step, Refusal> {
    let standing = next.orders.iter_mut().find(|standing| standing.origin.door == *door);
    let standing = standing.ok_or(Refusal::NotDue)?;
    if standing.due_since.is_none() {
        standing.due_since = Some(now.wall);
        return Ok(Step::new(next, vec![]));
    }
    let standing = standing.clone();
    let minutes = rules.lateness_max.as_secs() / 60;
    let detail = format!(
        "at {} the device was busy with another order, and for {minutes} minutes after",
        standing.at
    );
    next.give_up(&standing, Failure::new(FailureKind::Late, detail), now.wall);
    Ok(announced(next))
}

/// The first step of a job, from wherever an earlier one for the same package has stopped.
fn begin(mut next: State, job: Job, rules: &Rules, now: Now) -> Step {
    let Some(url) = rules.resolve(&job.source) else {
        let outcome = Outcome::Failed(Failure::no_source());
        next.note_ended(&job, outcome.clone(), now.wall);
        if next.phase.job().is_none() {
            next.outcome = outcome;
        }
        return announced(next);
    };
    next.outcome = Outcome::None;
    match next.phase.clone() {
        Phase::Staged(stop) if is_wanted(&stop, &job, rules) && job.stage == Stage::Upgrade => {
            announced(State { phase: Phase::Staged(Stop { job: Some(job), ..stop }), ..next })
        }
        Phase::Available(stop) | Phase::Staged(stop)
            if is_wanted(&stop, &job, rules) && job.stage > Stage::Check =>
        {
            announced(State { phase: Phase::Available(Stop { job: Some(job), ..stop }), ..next })
        }
        phase => {
            // Room for the other package, unless it may be the same one.
            let other = |stop: &Stop| !rules.is_same_source(&stop.source, &job.source);
            let frees = match &phase {
                Phase::Available(stop) | Phase::Staged(stop) => other(stop),
                _ => false,
            };
            let mut step =
                working(next, Task::Check { url }, |work| Phase::Checking(Checking { job, work }));
            if frees {
                step.effects.insert(0, Effect::Tidy { keep: None });
            }
            step
        }
    }
}

/// Whether a job goes on from here, or has to see anew what there is.
fn is_wanted(stop: &Stop, job: &Job, rules: &Rules) -> bool {
    rules.is_same_source(&stop.source, &job.source)
        && job.expected.holds(&stop.offer)
        && is_approved(&stop.offer, job)
}

/// SUIT's update-authorized: to order the software of a source, whatever it may be, is not to approve
/// of this package; to order it when the device says what there is, is.
pub(super) fn is_approved(offer: &Offer, job: &Job) -> bool {
    !offer.needs_approval || job.stage < Stage::Upgrade || job.knows == Some(offer.package)
}

impl Failure {
    pub(super) fn no_source() -> Self {
        let detail =
            "no source is given and the device has no built-in one; give the package's URL";
        Self::new(FailureKind::NoSource, detail)
    }

    fn replaced(by: &Origin) -> Self {
        Self::new(FailureKind::Replaced, format!("replaced by an order of {by}"))
    }
}
