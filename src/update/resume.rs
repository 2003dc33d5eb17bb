//! The first step of a new life.

use super::state::Checking;
use super::step::{ended, roll_back, updating, working};
use super::{Effect, Failure, FailureKind, Outcome, Phase, Rules, State, Step, Task};
use crate::clock::Now;

/// What to do after a start, whatever moment the last life ended in.
///
/// Like any other step it is committed before its effects: work that was under way gets a new name,
/// so that a report of the last life, had one survived, would not be believed; and new software has
/// one try less before it runs once more.
pub fn resume(state: &State, rules: &Rules, now: Now) -> Step {
    let mut next = state.clone();
    count_restart(&mut next.phase);
    let worn_out = next.phase.job().is_some_and(|job| job.restarts > rules.restarts_max);
    if worn_out && !next.phase.is_past_the_switch() {
        let detail = format!("the device started anew more than {} times", rules.restarts_max);
        let failure = Failure::new(FailureKind::Interrupted, detail);
        if let Some(offer) = next.phase.offer().cloned() {
            next.remember(offer.package, &failure);
        }
        return ended(next, Phase::Idle, Outcome::Failed(failure), now.wall);
    }
    match next.phase.clone() {
        phase @ (Phase::Idle | Phase::Available(_) | Phase::Staged(_)) => {
            let keep = phase.offer().map(|offer| offer.package);
            Step::new(next, vec![Effect::Tidy { keep }])
        }
        Phase::Checking(Checking { job, .. }) => {
            let url = rules.resolve(&job.source).unwrap_or_default();
            working(next, Task::Check { url }, |work| Phase::Checking(Checking { job, work }))
        }
        Phase::Fetching(update) => updating(next, Task::Fetch, update, Phase::Fetching),
        Phase::Installing(update) => updating(next, Task::Install, update, Phase::Installing),
        Phase::Switching(update) => updating(next, Task::Switch, update, Phase::Switching),
        Phase::Confirming(update) => updating(next, Task::Confirm, update, Phase::Confirming),
        Phase::RollingBack { update, failure } => roll_back(next, update, failure),
        Phase::Trial { update, tries_left } => match tries_left.checked_sub(1) {
            Some(tries_left) => {
                updating(next, Task::Try, update, |update| Phase::Trial { update, tries_left })
            }
            None => {
                let version = &update.offer.version;
                let detail = format!("version {version} was started too often without success");
                roll_back(next, update, Some(Failure::new(FailureKind::Trial, detail)))
            }
        },
    }
}

fn count_restart(phase: &mut Phase) {
    let job = match phase {
        Phase::Idle => None,
        Phase::Checking(checking) => Some(&mut checking.job),
        Phase::Available(stop) | Phase::Staged(stop) => stop.job.as_mut(),
        Phase::Fetching(update)
        | Phase::Installing(update)
        | Phase::Switching(update)
        | Phase::Confirming(update)
        | Phase::Trial { update, .. }
        | Phase::RollingBack { update, .. } => Some(&mut update.job),
    };
    if let Some(job) = job {
        job.restarts = job.restarts.saturating_add(1);
    }
}
