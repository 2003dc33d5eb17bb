//! Every order and how it ended: written in the very step that takes or ends it, so that whoever asks
//! after a power cut learns who ordered what.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Failure, FailureKind, Job, Origin, Outcome, Stage, Standing, State};

/// The number of an order, and of the job that carries it out. Used once in a device's life.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct JobId(pub u64);

/// An order that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: JobId,
    /// Whose.
    #[serde(flatten)]
    pub origin: Origin,
    /// The source as ordered; empty means the built-in one.
    pub source: String,
    /// How far to go.
    pub stage: Stage,
    /// When it was taken.
    pub ordered: DateTime<Utc>,
    /// When it is to begin; `None` where that was at once.
    pub at: Option<DateTime<Utc>>,
    /// Whose waiting order lost its place for this one.
    pub replaced: Option<Origin>,
    /// The version that was found for it.
    pub version: Option<String>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It waits for its time.
    Waiting,
    /// It is being carried out.
    Running,
    /// It has ended.
    Ended {
        /// When.
        at: DateTime<Utc>,
        /// How.
        outcome: Outcome,
    },
}

impl Fate {
    /// Whether there is nothing more to come.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}

impl State {
    /// What became of an order; `None` if it is not known, or not any more.
    pub fn entry(&self, id: JobId) -> Option<&Entry> {
        self.journal.iter().find(|entry| entry.id == id)
    }

    /// The next order's number.
    pub(super) fn number(&mut self) -> JobId {
        self.jobs = JobId(self.jobs.0 + 1);
        self.jobs
    }

    /// Remembers an order that is taken now.
    pub(super) fn note(&mut self, entry: Entry) {
        if self.journal.len() >= Self::JOURNAL_MAX {
            // What waits or runs is never forgotten: there are fewer of those than places.
            let oldest = self.journal.iter().position(|entry| entry.fate.has_ended());
            self.journal.remove(oldest.unwrap_or_default());
        }
        self.journal.push(entry);
    }

    /// What is remembered of a job's order. One that began under a release without a journal is noted
    /// late.
    fn entry_of(&mut self, job: &Job, wall: DateTime<Utc>) -> &mut Entry {
        let known = self.journal.iter().position(|entry| entry.id == job.id);
        let index = known.unwrap_or_else(|| {
            self.note(Entry {
                id: job.id,
                origin: job.origin.clone(),
                source: job.source.clone(),
                stage: job.stage,
                ordered: wall,
                at: None,
                replaced: None,
                version: None,
                fate: Fate::Running,
            });
            self.journal.len() - 1
        });
        &mut self.journal[index]
    }

    /// A waiting order has begun.
    pub(super) fn note_begun(&mut self, job: &Job, wall: DateTime<Utc>) {
        self.entry_of(job, wall).fate = Fate::Running;
    }

    /// It has turned out what the order is about.
    pub(super) fn note_version(&mut self, job: &Job, version: &str, wall: DateTime<Utc>) {
        self.entry_of(job, wall).version = Some(version.to_owned());
    }

    /// A job has ended; its door shows no order any more.
    pub(super) fn note_ended(&mut self, job: &Job, outcome: Outcome, wall: DateTime<Utc>) {
        self.entry_of(job, wall).fate = Fate::Ended { at: wall, outcome };
        let done = |standing: &&mut Standing| standing.id == job.id && !standing.waiting;
        self.orders.iter_mut().filter(done).for_each(|standing| standing.stage = None);
    }

    /// What waits at a door will not be done.
    pub(super) fn give_up(&mut self, standing: &Standing, failure: Failure, wall: DateTime<Utc>) {
        if let Some(entry) = self.journal.iter_mut().find(|entry| entry.id == standing.id) {
            entry.fate = Fate::Ended { at: wall, outcome: Outcome::Failed(failure) };
        }
        let door = &standing.origin.door;
        if let Some(place) = self.orders.iter_mut().find(|place| place.origin.door == *door) {
            (place.waiting, place.stage, place.due_since) = (false, None, None);
        }
    }
}

impl Failure {
    /// Somebody does not want it any more.
    pub(super) fn cancelled(by: &Origin) -> Self {
        Self::new(FailureKind::Cancelled, format!("cancelled by {by}"))
    }
}

/// How records of 0.1 are read: they had one order, and no door's name for it.
pub(super) mod record {
    use serde::{Deserialize, Deserializer};

    use crate::update::Standing;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Orders {
        Each(Vec<Standing>),
        One(Box<Standing>),
    }

    pub(crate) fn orders<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Standing>, D::Error> {
        Ok(match Orders::deserialize(from)? {
            Orders::Each(orders) => orders,
            Orders::One(order) => vec![*order],
        })
    }
}
