//! Messages: ids, confirmable messages that are sent until they are acknowledged, and not more of
//! them at once than the network can bear (RFC 7252 section 4.2 to 4.8).

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use super::codec::{self, Kind, Message, Token};
use super::random::{Keyed, Random};
use super::timers::{Timer, TimerKey, Timers};
use super::{Call, Code, Output, Peer};
use crate::clock::Instant;

/// The shortest wait for an acknowledgement (RFC 7252 section 4.8).
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// How much longer than [`ACK_TIMEOUT`] the first wait may be (RFC 7252 section 4.8).
pub const ACK_RANDOM_FACTOR: f64 = 1.5;

/// How often a confirmable message is sent again (RFC 7252 section 4.8).
pub const MAX_RETRANSMIT: u32 = 4;

/// Confirmable messages that may be on their way to one peer at once (RFC 7252 section 4.7).
pub const NSTART: usize = 1;

/// Confirmable messages that may wait for their turn to one peer. A client that asks more of a single
/// peer at once is told so; at 20 ms a round trip this many take more than a second.
pub const LANE_WAITING_MAX: usize = 64;

/// What a confirmable message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A request of ours.
    Call(Call),
    /// A separate response.
    Answer,
    /// A notification to the observer of this number.
    Observer(u64),
}

/// A confirmable message that needs no more care.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) origin: Origin,
    /// The time from sending to acknowledgement, if it was sent only once.
    pub(super) round_trip: Option<Duration>,
}

/// The message layer.
#[derive(Debug)]
pub(super) struct MessageLayer {
    pub(super) random: Random,
    pub(super) timers: Timers,
    pub(super) outputs: VecDeque<Output>,
    ids: Ids,
    sent: BTreeMap<(Peer, u16), Sent>,
    lanes: BTreeMap<Peer, Lane>,
}

/// On its way.
#[derive(Debug)]
struct Sent {
    bytes: Vec<u8>,
    origin: Origin,
    timer: TimerKey,
    timeout: Duration,
    retransmissions: u32,
    at: Instant,
}

/// The confirmable messages of one peer.
#[derive(Debug, Default)]
struct Lane {
    sent: usize,
    waiting: VecDeque<(Origin, Vec<u8>)>,
}

/// The lane to this peer is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LaneFull;

/// What became of a retransmission.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Retransmission {
    /// It was sent once more.
    Sent,
    /// It was sent often enough; nobody is there. [`MessageLayer::free`] follows, once it is known
    /// what of that peer's should still be sent.
    GaveUp(Origin),
    /// There is nothing of that id any more.
    Gone,
}

impl MessageLayer {
    pub(super) fn new(mut random: Random) -> Self {
        Self {
            ids: Ids::new(&mut random),
            random,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            sent: BTreeMap::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// Sends bytes as they are.
    pub(super) fn datagram(&mut self, peer: Peer, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Datagram { peer, bytes });
    }

    /// Acknowledges, without an answer.
    pub(super) fn acknowledge(&mut self, peer: Peer, id: u16) {
        self.datagram(peer, Message::empty(Kind::Acknowledgement, id));
    }

    /// Rejects (RFC 7252 section 4.2).
    pub(super) fn reset(&mut self, peer: Peer, id: u16) {
        self.datagram(peer, Message::empty(Kind::Reset, id));
    }

    /// Sends a non-confirmable message; returns its id.
    pub(super) fn non_confirmable(
        &mut self,
        peer: Peer,
        code: Code,
        token: &Token,
        tail: &[u8],
    ) -> u16 {
        let id = self.id(&peer);
        self.datagram(peer, codec::frame(Kind::NonConfirmable, code, id, token, tail));
        id
    }

    /// Sends a confirmable message as soon as the peer's lane is free.
    pub(super) fn confirmable(
        &mut self,
        peer: Peer,
        origin: Origin,
        (code, token, tail): (Code, &Token, &[u8]),
        now: Instant,
    ) -> Result<(), LaneFull> {
        let bytes = codec::frame(Kind::Confirmable, code, 0, token, tail);
        let lane = self.lanes.entry(peer).or_default();
        if lane.sent < NSTART {
            lane.sent += 1;
            self.launch(peer, origin, bytes, now);
            return Ok(());
        }
        if lane.waiting.len() >= LANE_WAITING_MAX {
            return Err(LaneFull);
        }
        lane.waiting.push_back((origin, bytes));
        Ok(())
    }

    /// An ACK, RST or implied acknowledgement: the message of this id needs no more care.
    pub(super) fn settle(&mut self, peer: Peer, id: u16, now: Instant) -> Option<Settled> {
        let sent = self.sent.remove(&(peer, id))?;
        self.timers.stop(sent.timer);
        self.free(peer, now);
        let round_trip = (sent.retransmissions == 0).then(|| now - sent.at);
        Some(Settled { origin: sent.origin, round_trip })
    }

    /// Stops caring about a message, sent or waiting, that is no longer wanted.
    pub(super) fn forget(&mut self, peer: Peer, origin: Origin, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&peer) {
            lane.waiting.retain(|(other, _)| *other != origin);
        }
        if let Some(id) = self.id_of(peer, origin) {
            self.settle(peer, id, now);
        }
    }

    /// What the message of this id is about.
    pub(super) fn origin(&self, peer: Peer, id: u16) -> Option<Origin> {
        self.sent.get(&(peer, id)).map(|sent| sent.origin)
    }

    /// Puts newer content into a message that waits to be sent. One already sent is left alone.
    pub(super) fn replace_waiting(
        &mut self,
        peer: Peer,
        origin: Origin,
        message: (Code, &Token, &[u8]),
    ) -> bool {
        let Some(lane) = self.lanes.get_mut(&peer) else { return false };
        let Some((_, bytes)) = lane.waiting.iter_mut().find(|(other, _)| *other == origin) else {
            return false;
        };
        *bytes = codec::frame(Kind::Confirmable, message.0, 0, message.1, message.2);
        true
    }

    /// A retransmission is due. `newer` gives content that should go instead of the old, under an id
    /// of its own but with what is left of the retransmissions (RFC 7641 section 4.5.2).
    pub(super) fn retransmit(
        &mut self,
        peer: Peer,
        id: u16,
        now: Instant,
        newer: Option<Vec<u8>>,
    ) -> Retransmission {
        let Some(mut sent) = self.sent.remove(&(peer, id)) else { return Retransmission::Gone };
        if sent.retransmissions >= MAX_RETRANSMIT {
            return Retransmission::GaveUp(sent.origin);
        }
        let id = match newer {
            Some(bytes) => {
                sent.bytes = bytes;
                self.id(&peer)
            }
            None => id,
        };
        codec::set_id(&mut sent.bytes, id);
        sent.retransmissions += 1;
        sent.timeout *= 2;
        sent.timer = self.timers.set(now + sent.timeout, Timer::Retransmit(peer, id));
        self.datagram(peer, sent.bytes.clone());
        self.sent.insert((peer, id), sent);
        Retransmission::Sent
    }

    /// The peer is gone: nothing is sent to it any more.
    pub(super) fn drop_peer(&mut self, peer: Peer) {
        self.lanes.remove(&peer);
        let ids: Vec<u16> = self.of_peer(peer).map(|((_, id), _)| *id).collect();
        for id in ids {
            if let Some(sent) = self.sent.remove(&(peer, id)) {
                self.timers.stop(sent.timer);
            }
        }
    }

    /// The next message id for this peer.
    fn id(&mut self, peer: &Peer) -> u16 {
        loop {
            let id = self.ids.next(peer);
            if !self.sent.contains_key(&(*peer, id)) {
                return id;
            }
        }
    }

    fn launch(&mut self, peer: Peer, origin: Origin, mut bytes: Vec<u8>, now: Instant) {
        let id = self.id(&peer);
        codec::set_id(&mut bytes, id);
        let timeout = self.random.stretched(ACK_TIMEOUT, ACK_RANDOM_FACTOR);
        let timer = self.timers.set(now + timeout, Timer::Retransmit(peer, id));
        self.datagram(peer, bytes.clone());
        let sent = Sent { bytes, origin, timer, timeout, retransmissions: 0, at: now };
        self.sent.insert((peer, id), sent);
    }

    /// One message fewer is on its way to the peer: the next may go.
    pub(super) fn free(&mut self, peer: Peer, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&peer) else { return };
        match lane.waiting.pop_front() {
            Some((origin, bytes)) => self.launch(peer, origin, bytes, now),
            None => {
                lane.sent -= 1;
                if lane.sent == 0 {
                    self.lanes.remove(&peer);
                }
            }
        }
    }

    fn id_of(&self, peer: Peer, origin: Origin) -> Option<u16> {
        self.of_peer(peer).find(|(_, sent)| sent.origin == origin).map(|((_, id), _)| *id)
    }

    fn of_peer(&self, peer: Peer) -> impl Iterator<Item = (&(Peer, u16), &Sent)> {
        self.sent.range((peer, 0)..=(peer, u16::MAX))
    }
}

/// Message ids that do not come back to the same peer within EXCHANGE_LIFETIME (RFC 7252 section 4.4),
/// in fixed memory whoever asks: peers share a counter with those that fall into the same slot, but
/// each counts from an id of its own.
#[derive(Debug)]
struct Ids {
    used: Vec<u16>,
    keyed: Keyed,
}

/// With 5,000 observers each counter serves one or two of them.
const ID_COUNTERS: usize = 4096;

impl Ids {
    fn new(random: &mut Random) -> Self {
        Self { used: vec![0; ID_COUNTERS], keyed: Keyed::new(random) }
    }

    fn next(&mut self, peer: &Peer) -> u16 {
        let hash = self.keyed.hash_one(peer);
        let first = (hash >> 48) as u16;
        let Some(used) = self.used.get_mut(hash as usize % ID_COUNTERS) else { return first };
        *used = used.wrapping_add(1);
        first.wrapping_add(*used)
    }
}
