//! What one node holds in memory of one tenant: the index, the queue, and the feed of events. It is
//! never the truth; [`super::follow`] keeps it at most a moment behind the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::broadcast;

use super::queue::Queue;
use crate::index::{Change, Index, Live};
use crate::plan::filter::Facts;
use crate::plan::time::Time;
use crate::plan::words::PackageId;
use crate::store::{Equipped, Event};

/// Events that a reader may be behind before it is cut off and has to come back with the last number
/// it saw.
pub(crate) const READER_BEHIND_MAX: usize = 1024;

/// What one tenant has in memory.
pub(super) struct Fleet {
    live: Mutex<Live>,
    pub(super) queue: RwLock<Queue>,
    feed: broadcast::Sender<Told>,
}

/// An event as readers get it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its number.
    pub number: i64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// `noun.participle`.
    pub kind: String,
    /// What it happened to.
    pub subject: String,
    /// More, JSON.
    pub data: String,
}

impl From<&Event> for Told {
    fn from(event: &Event) -> Self {
        Self {
            number: event.number,
            at: event.at,
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            data: event.data.clone(),
        }
    }
}

/// Events as they come: first those that are stored, then those that happen.
#[derive(Debug)]
pub struct Feed {
    pub(super) stored: VecDeque<Told>,
    pub(super) coming: broadcast::Receiver<Told>,
    pub(super) last: i64,
}

impl Feed {
    /// The next event; `None` when this reader was too slow and must come back with the last number
    /// that it saw.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            let told = match self.stored.pop_front() {
                Some(told) => told,
                None => self.coming.recv().await.ok()?,
            };
            // What was stored may come a second time.
            if told.number > self.last {
                self.last = told.number;
                return Some(told);
            }
        }
    }
}

impl Fleet {
    pub(super) fn new() -> Self {
        let (feed, _) = broadcast::channel(READER_BEHIND_MAX);
        Self { live: Mutex::default(), queue: RwLock::default(), feed }
    }

    /// The index as it is now.
    pub(super) fn index(&self) -> Arc<Index> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).snapshot()
    }

    /// What is true of a device from now on.
    pub(super) fn put(&self, equipped: &Equipped, now: i64) {
        if let Some(facts) = facts(equipped) {
            let change = Change::Put(equipped.device.number, facts);
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            live.apply(change, Time::from_millis(now));
        }
    }

    /// A device is gone.
    pub(super) fn remove(&self, number: u32, now: i64) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.apply(Change::Remove(number), Time::from_millis(now));
    }

    pub(super) fn tell(&self, told: Told) {
        // Nobody may be listening.
        let _ = self.feed.send(told);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Told> {
        self.feed.subscribe()
    }
}

/// A device as filters see it. `None` only if the store held an id that no border would have let in.
pub(super) fn facts(equipped: &Equipped) -> Option<Facts> {
    let mut facts = Facts::new(equipped.device.id.parse().ok()?);
    let known = |key: &crate::store::PackageKey| PackageId::new(&key.name, &key.version).ok();
    facts.packages = equipped.packages.iter().filter_map(known).collect();
    facts.components = equipped.components.iter().filter_map(|part| part.parse().ok()).collect();
    let about = &equipped.device.about;
    facts.tags = about.tags.iter().filter_map(|tag| tag.parse().ok()).collect();
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let attributes = about.attributes.iter();
    facts.attributes =
        attributes.filter_map(|(key, value)| Some((key.parse().ok()?, text(value)))).collect();
    facts.seen = equipped.device.seen_at.map(Time::from_millis);
    Some(facts)
}
