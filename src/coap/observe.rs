//! Who watches what (RFC 7641). The list of observers, and the order of what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::codec::Token;
use super::timers::TimerKey;
use super::{Code, Options, Peer, Request, Topic};
use crate::clock::Instant;

/// Observers in all. Five thousand is what we promise to serve; each takes about one kilobyte.
pub const OBSERVERS_MAX: usize = 8192;

/// Observers in clear: the rest of the places is for those with a session, whoever sends from
/// invented addresses.
pub const OBSERVERS_CLEAR_MAX: usize = OBSERVERS_MAX / 4 * 3;

/// Memory for observers, with their requests and states, bytes. A state that many share is counted
/// for each: so the count never depends on who shares what.
pub const OBSERVER_BYTES_MAX: usize = 16 << 20;

/// Observations of one peer at once. OCF clients hold one or two for each resource.
pub const OBSERVERS_PER_PEER_MAX: usize = 32;

/// A notification goes confirmably at least this often: RFC 7641 section 4.5 says 24 hours; an hour
/// less leaves room for the retransmissions.
pub const CONFIRM_EVERY: Duration = Duration::from_secs(23 * 3600);

/// Non-confirmable notifications that one observer may get at once. Beyond, and beyond one for each
/// round trip, they go confirmably, so that a slow network holds them back (RFC 7641 section 4.5.1).
pub const BURST_MAX: u32 = 16;

/// The time between non-confirmable notifications while no round trip was measured (RFC 7641
/// section 4.5.1).
pub const ROUND_TRIP_UNKNOWN: Duration = Duration::from_secs(3);

/// Ids of non-confirmable notifications remembered for each observer, to know them in a reset.
const RECENT_IDS: usize = 4;

/// One entry of the list of observers.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) peer: Peer,
    pub(super) token: Token,
    pub(super) request: Request,
    pub(super) topic: Topic,
    /// What it was told last, or will be told when its turn comes.
    pub(super) state: Arc<Rendered>,
    /// A confirmable notification is unacknowledged or waits to be sent.
    pub(super) busy: bool,
    /// ... and what it says is older than `state`.
    pub(super) owes_newer: bool,
    pub(super) refresh: Option<TimerKey>,
    confirmed_at: Instant,
    /// Counted when it was registered.
    bytes: usize,
    recent: [Option<u16>; RECENT_IDS],
    allowance: Allowance,
}

/// A response, ready to be sent to everyone who gets the same.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) code: Code,
    /// As they go out, but without Observe.
    pub(super) options: Options,
    /// The first block.
    pub(super) payload: Vec<u8>,
    /// How long it is fresh.
    pub(super) max_age: Duration,
}

/// How many more non-confirmable notifications may go now.
#[derive(Debug)]
struct Allowance {
    left: u32,
    at: Instant,
    round_trip: Duration,
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Observers {
    list: BTreeMap<u64, Observer>,
    by_key: BTreeMap<(Peer, Token), u64>,
    by_topic: BTreeMap<Topic, BTreeSet<u64>>,
    serial: u64,
    sequence: u32,
    bytes: usize,
    /// How many of them are in clear.
    clear: usize,
}

impl Observers {
    /// Adds an observer, or renews the one of the same endpoint and token (RFC 7641 section 4.1).
    /// `None` when there is no room.
    pub(super) fn register(
        &mut self,
        (peer, token): (Peer, Token),
        request: Request,
        topic: Topic,
        state: Arc<Rendered>,
        now: Instant,
    ) -> Option<u64> {
        let key = (peer, token);
        if let Some(number) = self.by_key.get(&key).copied() {
            let observer = self.list.get_mut(&number)?;
            self.bytes -= observer.bytes;
            observer.bytes = footprint(&request, &state);
            self.bytes += observer.bytes;
            if observer.topic != topic {
                self.by_topic.entry(observer.topic).or_default().remove(&number);
                self.by_topic.entry(topic).or_default().insert(number);
            }
            (observer.request, observer.topic, observer.state) = (request, topic, state);
            return Some(number);
        }
        let bytes = footprint(&request, &state);
        if self.list.len() >= OBSERVERS_MAX
            || (peer.session == 0 && self.clear >= OBSERVERS_CLEAR_MAX)
            || self.of_peer(peer).count() >= OBSERVERS_PER_PEER_MAX
            || self.bytes + bytes > OBSERVER_BYTES_MAX
        {
            return None;
        }
        self.bytes += bytes;
        self.clear += usize::from(peer.session == 0);
        self.serial += 1;
        let number = self.serial;
        let observer = Observer {
            peer,
            token: key.1.clone(),
            request,
            topic,
            state,
            busy: false,
            owes_newer: false,
            refresh: None,
            confirmed_at: now,
            bytes,
            recent: [None; RECENT_IDS],
            allowance: Allowance { left: BURST_MAX, at: now, round_trip: ROUND_TRIP_UNKNOWN },
        };
        self.list.insert(number, observer);
        self.by_key.insert(key, number);
        self.by_topic.entry(topic).or_default().insert(number);
        Some(number)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Observer> {
        let observer = self.list.remove(&number)?;
        self.bytes -= observer.bytes;
        self.clear -= usize::from(observer.peer.session == 0);
        self.by_key.remove(&(observer.peer, observer.token.clone()));
        if let Some(numbers) = self.by_topic.get_mut(&observer.topic) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_topic.remove(&observer.topic);
            }
        }
        Some(observer)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Observer> {
        self.list.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Observer> {
        self.list.get_mut(&number)
    }

    pub(super) fn find(&self, peer: Peer, token: &Token) -> Option<u64> {
        self.by_key.get(&(peer, token.clone())).copied()
    }

    /// Every observer's number, oldest first.
    pub(super) fn all(&self) -> Vec<u64> {
        self.list.keys().copied().collect()
    }

    pub(super) fn of_topic(&self, topic: Topic) -> Vec<u64> {
        self.by_topic.get(&topic).into_iter().flatten().copied().collect()
    }

    pub(super) fn count(&self, topic: Topic) -> usize {
        self.by_topic.get(&topic).map_or(0, BTreeSet::len)
    }

    pub(super) fn of_peer(&self, peer: Peer) -> impl Iterator<Item = u64> {
        let first = (peer, Token::new(&[]));
        self.by_key
            .range(first..)
            .take_while(move |((other, _), _)| *other == peer)
            .map(|(_, n)| *n)
    }

    /// The observer that was sent a non-confirmable notification of this id.
    pub(super) fn of_recent_id(&self, peer: Peer, id: u16) -> Option<u64> {
        self.of_peer(peer).find(|number| {
            self.list.get(number).is_some_and(|observer| observer.recent.contains(&Some(id)))
        })
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The present sequence number, for the answer to a registration.
    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// The next sequence number, for a new state: one series for all observers grows for each of them.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = (self.sequence + 1) & SEQUENCE_MASK;
        self.sequence
    }
}

impl Observer {
    /// Whether a non-confirmable notification may go now; takes it from the allowance.
    pub(super) fn may_send_unconfirmed(&mut self, now: Instant) -> bool {
        now - self.confirmed_at < CONFIRM_EVERY && self.allowance.take(now)
    }

    pub(super) fn sent_unconfirmed(&mut self, id: u16) {
        self.recent.rotate_right(1);
        self.recent[0] = Some(id);
    }

    /// A notification was acknowledged.
    pub(super) fn confirmed(&mut self, round_trip: Option<Duration>, now: Instant) {
        self.confirmed_at = now;
        if let Some(round_trip) = round_trip {
            self.allowance.round_trip = round_trip;
        }
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let interval = self.round_trip.max(Duration::from_micros(1));
        let earned = (now - self.at).as_nanos() / interval.as_nanos();
        if earned > 0 {
            self.left = BURST_MAX.min(self.left.saturating_add(earned.min(1 << 16) as u32));
            self.at = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// What an observer takes beside its request and its state: itself and its places in three tables.
const OBSERVER_OVERHEAD: usize = 600;

fn footprint(request: &Request, state: &Rendered) -> usize {
    let options = request.options.footprint() + state.options.footprint();
    OBSERVER_OVERHEAD + options + request.payload.len() + state.payload.len()
}

/// Sequence numbers have 24 bits (RFC 7641 section 4.4).
const SEQUENCE_MASK: u32 = 0xff_ffff;

/// After this long any notification is newer (RFC 7641 section 3.4).
const ORDER_LOST_AFTER: Duration = Duration::from_secs(128);

/// Whether a notification is newer than the newest so far (RFC 7641 section 3.4).
pub(super) fn is_newer(old: (u32, Instant), new: (u32, Instant)) -> bool {
    let ((v1, t1), (v2, t2)) = (old, new);
    (v1 < v2 && v2 - v1 < 1 << 23) || (v1 > v2 && v1 - v2 > 1 << 23) || t2 - t1 > ORDER_LOST_AFTER
}
