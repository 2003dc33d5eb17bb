//! What was received and how it was answered, so that nothing is done twice (RFC 7252 section 4.5).
//!
//! Answers to requests that change nothing, and refusals, may be forgotten early: the RFC allows to
//! work those out again. What changed something is remembered for its whole lifetime, and when there
//! is no room left to remember, such requests are refused instead. That holds for those with a session.
//! In clear anybody can fill any room, under any address; so what one has filled the next one empties:
//! there the oldest is forgotten, and nobody is refused.

use std::collections::{HashMap, VecDeque, hash_map};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use super::Peer;
use super::codec::Kind;
use super::random::{AsItIs, Keyed};
use crate::clock::Instant;

/// How long the id of a confirmable message stays taken (RFC 7252 section 4.8.2).
pub const EXCHANGE_LIFETIME: Duration = Duration::from_secs(247);

/// How long the id of a non-confirmable message stays taken (RFC 7252 section 4.8.2).
pub const NON_LIFETIME: Duration = Duration::from_secs(145);

/// Memory for answers that may be forgotten, bytes: some 1,000 small ones, more than a busy device
/// gives in a minute, and little enough to stay in a processor's cache when a flood turns it over.
/// Beyond, the oldest goes.
pub const FORGETTABLE_BYTES_MAX: usize = 256 << 10;

/// Memory for answers to peers with a session that must be kept, bytes: 40 changes a second, without
/// end.
pub const KEPT_BYTES_MAX: usize = 3 << 20;

/// The part of [`KEPT_BYTES_MAX`] that one peer may take, so that it cannot lock out the others.
pub const KEPT_BYTES_PER_PEER_MAX: usize = KEPT_BYTES_MAX / 3;

/// Memory for answers to changes in clear, bytes: some 5,000. Beyond, the oldest is forgotten. Without
/// a flood each is kept for its whole lifetime; in one, a change in clear may be made twice.
pub const KEPT_BYTES_CLEAR_MAX: usize = 1 << 20;

/// What was done about a message that came before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// It still waits for its answer.
    Waiting(Acknowledged),
    /// It was answered with this.
    Answered(&'a [u8]),
}

/// Whether a request that waits for its answer was acknowledged without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    No,
    Yes,
}

/// Names a message: a keyed hash of its sender and of all its bytes. A sender that reuses a message id
/// too early sends something else, and that is no duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(u64);

/// The store.
#[derive(Debug)]
pub(super) struct Duplicates {
    keyed: Keyed,
    waiting: HashMap<Fingerprint, Acknowledged, AsItIs>,
    answered: HashMap<Fingerprint, Entry, AsItIs>,
    forgettable: Shelf,
    /// Of peers with a session.
    kept: Shelf,
    kept_per_peer: HashMap<Peer, usize, Keyed>,
    kept_clear: Shelf,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Vec<u8>,
    expires: Instant,
    /// Tells an entry from an earlier one of the same name.
    serial: u64,
    /// Whose share of the kept answers it is counted in.
    kept_for: Option<Box<Peer>>,
}

/// Answered messages, oldest first; some may be gone from the table.
#[derive(Debug, Default)]
struct Shelf {
    queue: VecDeque<Place>,
    bytes: usize,
}

/// The place of an entry in its queue.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: Fingerprint,
    serial: u64,
    expires: Instant,
}

/// Memory that one entry takes beside its answer: name and entry in the table, name in the queue.
const ENTRY_BYTES: usize = 200;

impl Duplicates {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self {
            keyed: keyed.clone(),
            waiting: HashMap::default(),
            answered: HashMap::default(),
            forgettable: Shelf::default(),
            kept: Shelf::default(),
            kept_per_peer: HashMap::with_hasher(keyed),
            kept_clear: Shelf::default(),
            serial: 0,
        }
    }

    /// Names a message. Without a peer it is the same message wherever it comes from.
    pub(super) fn fingerprint(&self, peer: Option<&Peer>, datagram: &[u8]) -> Fingerprint {
        let mut hasher = self.keyed.build_hasher();
        peer.hash(&mut hasher);
        hasher.write(datagram);
        Fingerprint(hasher.finish())
    }

    /// Whether this message was seen before.
    pub(super) fn find(&self, name: Fingerprint, now: Instant) -> Option<Seen<'_>> {
        if let Some(acknowledged) = self.waiting.get(&name) {
            return Some(Seen::Waiting(*acknowledged));
        }
        let entry = self.answered.get(&name).filter(|entry| now < entry.expires)?;
        Some(Seen::Answered(&entry.answer))
    }

    /// Whether there is room to remember one more request of this peer that changes something.
    pub(super) fn has_room_to_keep(&mut self, peer: &Peer, now: Instant) -> bool {
        self.trim(|store| &mut store.kept, usize::MAX, now);
        let of_peer = self.kept_per_peer.get(peer).copied().unwrap_or_default();
        peer.session == 0 || (self.kept.bytes < KEPT_BYTES_MAX && of_peer < KEPT_BYTES_PER_PEER_MAX)
    }

    /// A request begins; [`Self::ended`] follows, and until then it is not forgotten.
    pub(super) fn waiting(&mut self, name: Fingerprint) {
        self.waiting.insert(name, Acknowledged::No);
    }

    /// Whether this request waits for its answer.
    pub(super) fn waits(&self, name: Fingerprint) -> bool {
        self.waiting.contains_key(&name)
    }

    /// Notes that a request is acknowledged without its answer; `false` if it does not wait any more.
    pub(super) fn acknowledged(&mut self, name: Fingerprint) -> bool {
        let waiting = self.waiting.get_mut(&name);
        waiting.map(|acknowledged| *acknowledged = Acknowledged::Yes).is_some()
    }

    /// A request waits no longer: it is about to be answered, or never will be.
    pub(super) fn ended(&mut self, name: Fingerprint) -> Acknowledged {
        self.waiting.remove(&name).unwrap_or(Acknowledged::No)
    }

    /// A message was dealt with; `answer` is what goes back to each of its duplicates, empty for
    /// nothing. With a peer to `keep_for` it is remembered for its whole lifetime.
    pub(super) fn answered(
        &mut self,
        name: Fingerprint,
        kind: Kind,
        answer: Vec<u8>,
        keep_for: Option<Peer>,
        now: Instant,
    ) {
        let bytes = answer.len() + ENTRY_BYTES;
        let expires = now + lifetime(kind);
        self.serial += 1;
        let serial = self.serial;
        let entry = Entry { answer, expires, serial, kept_for: keep_for.map(Box::new) };
        if let Some(old) = self.answered.insert(name, entry) {
            self.release(&old);
        }
        let place = Place { name, serial, expires };
        match keep_for {
            None => {
                self.forgettable.push(place, bytes);
                self.trim(|store| &mut store.forgettable, FORGETTABLE_BYTES_MAX, now);
            }
            Some(peer) if peer.session == 0 => {
                self.kept_clear.push(place, bytes);
                self.trim(|store| &mut store.kept_clear, KEPT_BYTES_CLEAR_MAX, now);
            }
            Some(peer) => {
                *self.kept_per_peer.entry(peer).or_default() += bytes;
                self.kept.push(place, bytes);
                self.trim(|store| &mut store.kept, usize::MAX, now);
            }
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.forgettable.bytes + self.kept.bytes + self.kept_clear.bytes
    }

    /// Makes room on a shelf, oldest first. What has expired goes even where there is room: so the
    /// queue holds nothing older than a lifetime.
    fn trim(&mut self, shelf: fn(&mut Self) -> &mut Shelf, bytes_max: usize, now: Instant) {
        loop {
            let Shelf { queue, bytes } = shelf(self);
            let too_many = *bytes > bytes_max;
            let goes = |place: &mut Place| too_many || place.expires <= now;
            let Some(place) = queue.pop_front_if(goes) else { break };
            self.remove(place);
        }
    }

    /// Removes the entry of this place, unless another of the same name has followed it.
    fn remove(&mut self, place: Place) {
        if let hash_map::Entry::Occupied(entry) = self.answered.entry(place.name)
            && entry.get().serial == place.serial
        {
            let entry = entry.remove();
            self.release(&entry);
        }
    }

    /// Gives back the bytes of an entry that has left the table.
    fn release(&mut self, entry: &Entry) {
        let bytes = entry.answer.len() + ENTRY_BYTES;
        let Some(peer) = entry.kept_for.as_deref() else {
            self.forgettable.bytes -= bytes;
            return;
        };
        if peer.session == 0 {
            self.kept_clear.bytes -= bytes;
            return;
        }
        self.kept.bytes -= bytes;
        if let Some(of_peer) = self.kept_per_peer.get_mut(peer) {
            *of_peer -= bytes;
            if *of_peer == 0 {
                self.kept_per_peer.remove(peer);
            }
        }
    }
}

impl Shelf {
    fn push(&mut self, place: Place, bytes: usize) {
        self.queue.push_back(place);
        self.bytes += bytes;
    }
}

fn lifetime(kind: Kind) -> Duration {
    if kind == Kind::Confirmable { EXCHANGE_LIFETIME } else { NON_LIFETIME }
}
