//! What must hold after every event, whatever the weather.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use freshen::package::Digest;
use freshen::update::{
    Ask, Command, Door, NOW_TOLERANCE, Outcome, Phase, Stage, State, Task, WorkId, next_wake,
};

use super::world::{Health, Release, World};

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
    cancelled_or_replaced: bool,
}

impl Memory {
    /// A command is on its way; the answer may be lost in a power cut.
    pub(crate) fn asked(&mut self, command: &Command) {
        self.cancelled_or_replaced |= !matches!(command.ask, Ask::Start(_));
    }

    /// An answer left the device.
    pub(crate) fn answered(&self, command: &Command, taken: bool, disk: Option<&State>) {
        if !taken {
            return;
        }
        let disk = disk.expect("an answer rests on a state on disk");
        match &command.ask {
            Ask::Schedule { source, at, .. } => {
                assert_eq!(&disk.order.source, source, "what was answered is on disk");
                assert_eq!(&disk.order.at, at, "what was answered is on disk");
            }
            Ask::Reset => assert!(disk.order.source.is_empty() && !disk.order.waiting),
            Ask::Start(_) => {}
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
        if let (Phase::Checking(checking), Door::SoftwareUpdate) =
            (&disk.phase, disk.phase.job().map_or(Door::ProvisioningStatus, |job| job.door))
            && checking.job.restarts == 0
        {
            assert!(disk.order.at <= wall + NOW_TOLERANCE, "no order begins before its time");
            self.scheduled_starts += 1;
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

    fn check_history(&mut self) {
        let Some(state) = self.disk.borrow().state.clone() else { return };
        let floor = state.floor.map_or(0, |floor| floor.sequence);
        assert!(floor >= self.memory.floor, "the floor never sinks");
        self.memory.floor = floor;
        if let Some(last) = &self.memory.last {
            let begun = state.works != last.works
                || state.outcome != last.outcome
                || state.phase.job().is_some();
            if last.order.waiting && !state.order.waiting {
                let in_time = last.order.at <= self.wall && begun;
                assert!(
                    in_time || self.memory.cancelled_or_replaced,
                    "a waiting order is not lost"
                );
            }
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
        self.memory.cancelled_or_replaced = false;
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
