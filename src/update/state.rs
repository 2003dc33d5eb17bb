//! Everything about updates that must survive a power cut.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::journal::record;
use super::{Door, Entry, Expected, Failure, FailureKind, JobId, Origin, Refusal, Rules, Stage};
use crate::package::{Digest, VersionMatch};

/// The durable state of the engine: one record, committed before anything rests on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What runs, as last confirmed.
    pub running: Running,
    /// The newest package ever confirmed; nothing older is installed. Only grows.
    pub floor: Option<Floor>,
    /// When software was last confirmed; before that, when the device was made.
    pub last_update: DateTime<Utc>,
    /// It is later than this, whatever the clock says: the newest of [`Self::last_update`] and of the
    /// signed ends that the device has seen pass. Only grows.
    #[serde(default)]
    pub time_floor: DateTime<Utc>,
    /// Packages that failed here by their own fault, oldest first, at most [`State::FAILED_MAX`].
    #[serde(default)]
    pub failed: Vec<Failed>,
    /// What stands in the name of each door, at most [`State::DOORS_MAX`].
    #[serde(alias = "order", deserialize_with = "record::orders")]
    pub orders: Vec<Standing>,
    /// Where the update stands.
    pub phase: Phase,
    /// How the last piece of work ended.
    pub outcome: Outcome,
    /// The last orders and how they ended, oldest first, at most [`State::JOURNAL_MAX`].
    #[serde(default)]
    pub journal: Vec<Entry>,
    /// The last piece of work that was begun; the next one's name is one higher.
    pub works: WorkId,
    /// The last order that was taken; the next one's number is one higher.
    #[serde(default)]
    pub jobs: JobId,
}

/// Confirmed software.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its version, in the vendor's words.
    pub version: String,
    /// Its package; `None` for what the device was made with.
    pub package: Option<Digest>,
}

/// A package that failed here, and that is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub package: Digest,
    /// How.
    pub kind: FailureKind,
}

/// A sequence number that no later package may go below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The generation of keys, which counts more than the sequence number.
    #[serde(default)]
    pub epoch: u64,
    /// The sequence number.
    pub sequence: u64,
    /// The package that had it.
    pub package: Digest,
}

/// What stands in the name of a door: what it asked for last, to be shown and, while it waits, to be
/// done. There is one for each door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which order.
    #[serde(default)]
    pub id: JobId,
    /// Whose.
    #[serde(flatten)]
    pub origin: Origin,
    /// A URL, or empty for the built-in one.
    pub source: String,
    /// How far to go; `None` when there is nothing to do, or it has been done.
    pub stage: Option<Stage>,
    /// When.
    pub at: DateTime<Utc>,
    /// Whether it still waits for its time.
    pub waiting: bool,
    /// Since when the device has been too busy for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_since: Option<DateTime<Utc>>,
    /// The package that was known to come from this source when it was asked.
    #[serde(default)]
    pub knows: Option<Digest>,
    /// What the package has to be.
    #[serde(default)]
    pub expected: Expected,
}

/// Work that is under way on somebody's behalf. There is one at the most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Which order.
    #[serde(default)]
    pub id: JobId,
    /// Whose.
    #[serde(flatten)]
    pub origin: Origin,
    /// The source as ordered; empty means the built-in one.
    pub source: String,
    /// How far to go.
    pub stage: Stage,
    /// How many times the device has started anew since the job began.
    pub restarts: u16,
    /// The package that whoever asked knew to come from this source.
    #[serde(default)]
    pub knows: Option<Digest>,
    /// What the package has to be.
    #[serde(default)]
    pub expected: Expected,
}

/// A package that was found, as far as the engine must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The manifest's digest: the package's name.
    pub package: Digest,
    /// The SHA-256 of the file that it came in; records of 0.1 do not have it.
    #[serde(default)]
    pub envelope: Option<Digest>,
    /// The manifest's sequence number.
    pub sequence: u64,
    /// The version, in the vendor's words.
    pub version: String,
    /// What there is to transfer, bytes.
    pub size: u64,
    /// After this moment it is not installed any more.
    pub use_before: Option<DateTime<Utc>>,
    /// The generation of keys that vouch for it (`package::TrustSet::epoch`).
    #[serde(default)]
    pub epoch: u64,
    /// After this moment those keys are not believed any more.
    #[serde(default)]
    pub trusted_until: Option<DateTime<Utc>>,
    /// What must run for it to be installed.
    #[serde(default)]
    pub requires: Vec<VersionMatch>,
    /// Whether it is installed only for an order that was given when it was known.
    #[serde(default)]
    pub needs_approval: bool,
}

/// The name of one piece of work. A report with another name comes from an earlier life or from
/// work that was given up, and is not believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkId(pub u64);

/// Where an update stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing is under way.
    Idle,
    /// The manifest is being fetched.
    Checking(Checking),
    /// Newer software exists. Without a job the device stops here.
    Available(Stop),
    /// The payloads are being downloaded and verified.
    Fetching(Update),
    /// The payloads are here and valid. Without a job the device stops here.
    Staged(Stop),
    /// The software is being written beside what runs.
    Installing(Update),
    /// The new software is being made the one that runs. From here on the way back is a rollback.
    Switching(Update),
    /// The new software runs and must prove itself.
    Trial {
        /// Which.
        update: Update,
        /// How many times more it may be started.
        tries_left: u8,
    },
    /// It proved itself and is being made permanent.
    Confirming(Update),
    /// The old software is being brought back.
    RollingBack {
        /// From which.
        update: Update,
        /// What is told once it is back; nothing after a reset.
        failure: Option<Failure>,
    },
}

/// A check under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checking {
    /// On whose behalf.
    pub job: Job,
    /// The work whose report is waited for.
    pub work: WorkId,
}

/// A point where an update may stop, or go on at the next tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Which package.
    pub offer: Offer,
    /// The source it was ordered from.
    pub source: String,
    /// On whose behalf it goes on; `None` when it stops here.
    pub job: Option<Job>,
}

/// Work on a package under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Which package.
    pub offer: Offer,
    /// On whose behalf.
    pub job: Job,
    /// The work whose report is waited for.
    pub work: WorkId,
}

/// How the last piece of work ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// There is nothing to tell.
    None,
    /// What was ordered holds.
    Success,
    /// It does not, and why.
    Failed(Failure),
}

impl State {
    /// How many failed packages are remembered: a device sees a few releases a year, and a record
    /// that is written at each step should be short.
    pub const FAILED_MAX: usize = 16;

    /// How many doors have a place for an order: more than there are protocols for updates.
    pub const DOORS_MAX: usize = 8;

    /// How many orders are remembered with their ends: what an owner asks about later, and what a
    /// manager asks for by its number, in a record that is written at each step.
    pub const JOURNAL_MAX: usize = 32;

    /// The state of a device that was never updated.
    pub fn new(version: &str, manufactured: DateTime<Utc>) -> Self {
        Self {
            running: Running { version: version.into(), package: None },
            floor: None,
            last_update: manufactured,
            time_floor: manufactured,
            failed: vec![],
            orders: vec![],
            phase: Phase::Idle,
            outcome: Outcome::None,
            journal: vec![],
            works: WorkId(0),
            jobs: JobId(0),
        }
    }

    /// What time it is at least, by a clock that may be wrong.
    pub fn time(&self, wall: DateTime<Utc>) -> DateTime<Utc> {
        wall.max(self.time_floor)
    }

    /// A signed end that has passed stays passed, even if the clock is put back. The clock itself is
    /// not remembered here: one that is wrong for a moment must not rule out all packages for ever.
    pub(super) fn see_ends(&mut self, offer: &Offer, wall: DateTime<Utc>) {
        let ends = [offer.use_before, offer.trusted_until].into_iter().flatten();
        let passed = ends.filter(|end| wall >= *end).max();
        self.time_floor = self.time_floor.max(passed.unwrap_or_default());
    }

    /// Remembers a package that failed, if it was its own fault.
    pub(super) fn remember(&mut self, package: Digest, failure: &Failure) {
        let own = matches!(
            failure.kind,
            FailureKind::Trial | FailureKind::Unfit | FailureKind::Interrupted
        );
        if own && !self.failed.iter().any(|failed| failed.package == package) {
            if self.failed.len() == Self::FAILED_MAX {
                self.failed.remove(0);
            }
            self.failed.push(Failed { package, kind: failure.kind });
        }
    }

    /// What stands in the name of a door.
    pub fn standing(&self, door: &Door) -> Option<&Standing> {
        self.orders.iter().find(|standing| standing.origin.door == *door)
    }

    /// The orders that wait for their time, of all doors, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = &Standing> {
        self.orders.iter().filter(|standing| standing.waiting)
    }

    /// Whether the clock is certainly wrong: it is before what the device knows to be past.
    pub fn is_clock_behind(&self, wall: DateTime<Utc>) -> bool {
        wall < self.time_floor
    }

    /// The place of a door, made if there is room for one more.
    pub(super) fn place(&mut self, standing: Standing) -> Result<(), Refusal> {
        let door = &standing.origin.door;
        let free = |other: &Standing| !other.waiting && other.stage.is_none();
        let own = self.orders.iter().position(|other| other.origin.door == *door);
        let room = self.orders.len() < Self::DOORS_MAX;
        match own {
            Some(own) => self.orders[own] = standing,
            None if room => self.orders.push(standing),
            // A door that was closed for good leaves what it showed last.
            None => match self.orders.iter_mut().find(|other| free(other)) {
                Some(other) => *other = standing,
                None => return Err(Refusal::TooManyDoors),
            },
        }
        Ok(())
    }

    /// The package known to come from this source.
    pub(super) fn known_from(&self, source: &str, rules: &Rules) -> Option<Digest> {
        match &self.phase {
            Phase::Available(stop) | Phase::Staged(stop)
                if rules.is_same_source(&stop.source, source) =>
            {
                Some(stop.offer.package)
            }
            _ => None,
        }
    }
}

impl Phase {
    /// The job that is under way.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Idle => None,
            Self::Checking(checking) => Some(&checking.job),
            Self::Available(stop) | Self::Staged(stop) => stop.job.as_ref(),
            _ => self.update().map(|update| &update.job),
        }
    }

    /// The package that is under way or waits.
    pub fn offer(&self) -> Option<&Offer> {
        match self {
            Self::Available(stop) | Self::Staged(stop) => Some(&stop.offer),
            _ => self.update().map(|update| &update.offer),
        }
    }

    /// The piece of work whose report is waited for.
    pub fn work(&self) -> Option<WorkId> {
        match self {
            Self::Checking(checking) => Some(checking.work),
            _ => self.update().map(|update| update.work),
        }
    }

    fn update(&self) -> Option<&Update> {
        match self {
            Self::Idle | Self::Checking(_) | Self::Available(_) | Self::Staged(_) => None,
            Self::Fetching(update)
            | Self::Installing(update)
            | Self::Switching(update)
            | Self::Confirming(update)
            | Self::Trial { update, .. }
            | Self::RollingBack { update, .. } => Some(update),
        }
    }

    /// Whether it is too late to stop: the new software may be the one that runs.
    pub fn is_past_the_switch(&self) -> bool {
        matches!(
            self,
            Self::Switching(_)
                | Self::Trial { .. }
                | Self::Confirming(_)
                | Self::RollingBack { .. }
        )
    }

    /// The phase's name, as the transition table has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Checking(_) => "Checking",
            Self::Available(_) => "Available",
            Self::Fetching(_) => "Fetching",
            Self::Staged(_) => "Staged",
            Self::Installing(_) => "Installing",
            Self::Switching(_) => "Switching",
            Self::Trial { .. } => "Trial",
            Self::Confirming(_) => "Confirming",
            Self::RollingBack { .. } => "RollingBack",
        }
    }
}
