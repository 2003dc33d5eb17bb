//! What must hold after every event, whatever the weather.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use freshen::package::Digest;
use freshen::update::{
    Command, Entry, FailureKind, Fate, JobId, NOW_TOLERANCE, Order, Outcome, Phase, Replaces,
    Stage, State, Task, WorkId, next_wake,
};

use super::world::{DOORS, Health, Release, World};

/// What an observer remembers.
#[derive(Default)]
pub(crate) struct Memory {
    last: Option<State>,
    floor: u64,
    published: BTreeMap<Digest, Health>,
    newest_work: WorkId,
    /// Starts of each trial since it was switched to.
    trials: BTreeMap<Digest, u32>,
    scheduled_starts: u64,
    /// The engine was told to forget everything.
    reset: bool,
    /// The last order.
    replacing: Option<Order>,
}

impl Memory {
    /// A command is on its way; the answer may be lost in a power cut.
    pub(crate) fn asked(&mut self, command: &Command) {
        self.reset |= *command == Command::Reset;
        if let Command::Order(order) = command {
            self.replacing = Some(order.clone());
        }
    }

    /// An answer left the device.
    pub(crate) fn answered(&self, command: &Command, taken: bool, disk: Option<&State>) {
        if !taken {
            return;
        }
        let disk = disk.expect("an answer rests on a state on disk");
        match command {
            Command::Order(order) => {
                let entry = disk.journal.iter().rev().find(|entry| entry.origin == order.origin);
                let same = disk.phase.job().is_some_and(|job| job.stage == order.stage);
                assert!(same || entry.is_some_and(|entry| entry.source == order.source));
                if let Some(at) = order.at {
                    let standing = disk.standing(&order.origin.door).unwrap();
                    assert_eq!(standing.source, order.source, "what was answered is on disk");
                    assert_eq!(standing.at, at, "what was answered is on disk");
                }
            }
            Command::Cancel(cancel) => {
                let own = |job: JobId| cancel.job.is_none_or(|only| only == job);
                let door = &cancel.origin.door;
                let runs = disk.phase.job().filter(|job| job.origin.door == *door);
                assert!(!runs.is_some_and(|job| own(job.id)), "what was cancelled does not run");
                let waits = disk.standing(door).filter(|standing| standing.waiting);
                assert!(!waits.is_some_and(|order| own(order.id)), "nor does it wait");
            }
            Command::Discard(_) => assert_eq!(disk.phase, Phase::Idle),
            Command::Reset => assert!(disk.orders.is_empty() && disk.journal.is_empty()),
        }
    }

    /// A notification left the device.
    pub(crate) fn announced(&self, state: &State, disk: Option<&State>) {
        assert_eq!(Some(state), disk, "nobody sees a state that is not on disk");
    }

    /// Work began.
    pub(crate) fn started(
        &mut self,
        work: WorkId,
        task: &Task,
        disk: Option<&State>,
        wall: DateTime<Utc>,
    ) {
        let disk = disk.expect("work rests on a state on disk");
        assert_eq!(disk.phase.work(), Some(work), "work rests on a state on disk");
        assert!(work > self.newest_work, "the name of a piece of work is used once");
        self.newest_work = work;
        if let Task::Try(package) = task {
            *self.trials.entry(*package).or_default() += 1;
        }
        if let (Phase::Checking(checking), Task::Check { .. }) = (&disk.phase, task)
            && checking.job.restarts == 0
        {
            let entry = disk.entry(checking.job.id).expect("every job's order is remembered");
            assert_eq!(entry.fate, Fate::Running);
            assert_eq!(entry.origin, checking.job.origin, "it is done under that door's name");
            if let Some(at) = entry.at {
                assert!(at <= wall + NOW_TOLERANCE, "no order begins before its time");
                self.scheduled_starts += 1;
            }
        }
    }

    /// How the package was published to do in its trial.
    pub(crate) fn health(&self, package: Digest) -> Health {
        self.published.get(&package).copied().unwrap_or(Health::Good)
    }
}

impl World {
    pub(crate) fn check(&mut self) {
        for Release { offer, health } in self.releases.values() {
            self.memory.published.insert(offer.package, *health);
        }
        self.check_slots();
        self.check_history();
    }

    /// What `current` points at is whole and, but for a trial, what was confirmed last.
    fn check_slots(&mut self) {
        let disk = self.disk.borrow();
        let software = disk.slots[disk.current].as_ref().expect("the device is not bricked");
        assert!(software.whole, "half-written software never runs");
        let Some(state) = &disk.state else { return };
        let between = matches!(
            state.phase,
            Phase::Switching(_)
                | Phase::Trial { .. }
                | Phase::Confirming(_)
                | Phase::RollingBack { .. }
        );
        if !between {
            assert_eq!(software.package, state.running.package, "what runs is what is told");
        }
        if let Some(package) = state.running.package {
            assert_eq!(
                self.memory.health(package),
                Health::Good,
                "a bad release is never confirmed"
            );
        }
        for (package, starts) in &self.memory.trials {
            let limit = u32::from(self.rules.tries);
            assert!(*starts <= limit, "{package} was started {starts} times");
        }
    }

    /// No order is lost, forgotten while it lives, or carried out twice; each end has a reason.
    fn check_orders(&mut self, last: &State, state: &State) {
        assert!(state.journal.len() <= State::JOURNAL_MAX && state.orders.len() <= DOORS.len());
        let running: Vec<JobId> = state
            .journal
            .iter()
            .filter(|entry| entry.fate == Fate::Running)
            .map(|entry| entry.id)
            .collect();
        let job = state.phase.job().map(|job| job.id);
        let untold = matches!(state.phase, Phase::RollingBack { failure: None, .. });
        assert!(untold || running == Vec::from_iter(job), "{running:?} is told, {job:?} runs");
        for standing in state.waiting() {
            let fate = state.entry(standing.id).map(|entry| &entry.fate);
            assert_eq!(fate, Some(&Fate::Waiting), "what waits is told to wait");
        }
        if self.memory.reset {
            return;
        }
        for before in &last.journal {
            let after = state.entry(before.id);
            match (&before.fate, after) {
                (fate, None) => assert!(fate.has_ended(), "{before:?} is forgotten"),
                (Fate::Ended { .. }, Some(after)) => assert_eq!(before, after, "what ended ended"),
                (_, Some(after)) => self.check_end(after),
            }
        }
    }

    fn check_end(&mut self, entry: &Entry) {
        let Fate::Ended { outcome, .. } = &entry.fate else { return };
        let Outcome::Failed(failure) = outcome else { return };
        match failure.kind {
            FailureKind::Cancelled => self.seen.cancels += 1,
            FailureKind::Late => self.seen.late += 1,
            FailureKind::Replaced => {
                self.seen.replaced += 1;
                let by = self.memory.replacing.as_ref().expect("somebody ordered something else");
                let same = by.origin.is_same_person(&entry.origin);
                assert!(same || by.replaces == Replaces::Anyones, "{by:?} ends {entry:?}");
                assert_eq!(by.origin.door, entry.origin.door, "doors keep their own orders");
            }
            _ => {}
        }
    }

    fn check_history(&mut self) {
        let Some(state) = self.disk.borrow().state.clone() else { return };
        let floor = state.floor.map_or(0, |floor| floor.sequence);
        assert!(floor >= self.memory.floor, "the floor never sinks");
        self.memory.floor = floor;
        if let Some(last) = self.memory.last.take() {
            self.check_orders(&last, &state);
            if last.phase.job().is_some() && state.phase.job().is_none() {
                match &state.outcome {
                    Outcome::Failed(_) => self.seen.failures += 1,
                    Outcome::Success if state.running != last.running => self.seen.upgrades += 1,
                    _ => {}
                }
                let rolled_back = matches!(last.phase, Phase::RollingBack { .. });
                self.seen.rollbacks += u64::from(rolled_back);
            }
            if state.running != last.running {
                let upgraded = last.phase.job().is_some_and(|job| job.stage == Stage::Upgrade);
                assert!(upgraded, "software changes only for an upgrade: {last:?} {state:?}");
                assert_eq!(state.outcome, Outcome::Success, "an upgrade is told");
            }
        }
        // A trial that has ended may be ordered again.
        if !matches!(state.phase, Phase::Trial { .. }) {
            self.memory.trials.clear();
        }
        self.memory.reset = false;
        self.memory.replacing = None;
        self.seen.scheduled_starts = self.memory.scheduled_starts;
        self.memory.last = Some(state);
    }

    /// Once the weather is calm everything that was begun has ended, and what waits is not due.
    pub(crate) fn check_liveness(&self) {
        let phase = self.phase();
        assert!(phase.job().is_none(), "a job is stuck in {}", phase.name());
        let device = self.device.as_ref().expect("the device runs");
        assert!(device.worker.is_none(), "no work goes on");
        let wake = next_wake(device.keeper.state(), &self.rules, self.now());
        assert_ne!(wake, Some(std::time::Duration::ZERO), "nothing is left undone");
    }
}
