//! Messages: ids, confirmable messages that are sent until they are acknowledged, and not more of
//! them at once than the network can bear (RFC 7252 section 4.2 to 4.8).

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use super::codec::{self, Kind, Message, Token};
use super::duplicates::{Acknowledged, Duplicates, Fingerprint, Seen};
use super::random::{Keyed, Random};
use super::timers::{Timer, TimerKey, Timers};
use super::{Call, Code, Output, Peer, Reception};
use crate::clock::Instant;

/// The shortest wait for an acknowledgement (RFC 7252 section 4.8).
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// How much longer than [`ACK_TIMEOUT`] the first wait may be (RFC 7252 section 4.8).
pub const ACK_RANDOM_FACTOR: f64 = 1.5;

/// How often a confirmable message is sent again (RFC 7252 section 4.8).
pub const MAX_RETRANSMIT: u32 = 4;

/// A confirmable request that is still worked on is acknowledged after this long: well before the
/// earliest retransmission, 2 s after it was sent (RFC 7252 section 5.2.2).
pub const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(750);

/// Requests to be acknowledged that are listed before those that were answered are struck off.
const UNACKNOWLEDGED_MAX: usize = 2048;

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

/// Code, token, and options with payload as [`codec::tail`] makes them.
pub(super) type Parts<'a> = (Code, &'a Token, &'a [u8]);

/// What is needed to reply to a message as it came. Those who answer have it in keeping, and nothing in
/// it means anything to them.
#[derive(Debug)]
pub(super) struct Reply {
    kind: Kind,
    id: u16,
    name: Fingerprint,
}

/// What stands before the options of a message with this token, bytes.
pub(super) fn head_bytes(token: &Token) -> usize {
    codec::frame(Kind::NonConfirmable, Code::EMPTY, 0, token, &[]).len()
}

/// A confirmable message that needs no more care.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) origin: Origin,
    /// The time from sending to acknowledgement, if it was sent only once.
    pub(super) round_trip: Option<Duration>,
}

/// What belongs to messages over UDP, whatever they say.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) random: Random,
    pub(super) timers: Timers,
    pub(super) outputs: VecDeque<Output>,
    duplicates: Duplicates,
    /// Confirmable requests by the time their acknowledgement is due; answered ones are skipped.
    unacknowledged: VecDeque<(Instant, Peer, u16, Fingerprint)>,
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
    /// It was sent often enough; nobody is there. [`Messages::free`] follows, once it is known
    /// what of that peer's should still be sent.
    GaveUp(Origin),
    /// There is nothing of that id any more.
    Gone,
}

impl Messages {
    pub(super) fn new(mut random: Random, keyed: Keyed) -> Self {
        Self {
            ids: Ids::new(&mut random),
            duplicates: Duplicates::new(keyed),
            unacknowledged: VecDeque::new(),
            random,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            sent: BTreeMap::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// A message came: how to reply to it. `None` for a duplicate, which gets what was said before.
    pub(super) fn begin(
        &mut self,
        peer: Peer,
        reception: Reception,
        message: &Message,
        datagram: &[u8],
        now: Instant,
    ) -> Option<Reply> {
        // A group request reaches us by several ways: IPv4 and IPv6, every interface. Its token says
        // that it is the same one.
        let anyone = reception == Reception::Multicast && message.content.token.bytes().len() >= 4;
        let name = self.duplicates.fingerprint((!anyone).then_some(&peer), datagram);
        match self.duplicates.find(name, now) {
            None => return Some(Reply { kind: message.kind, id: message.id, name }),
            Some(Seen::Answered([]) | Seen::Waiting(Acknowledged::No)) => {}
            Some(Seen::Answered(answer)) => {
                let answer = answer.to_vec();
                self.datagram(peer, answer);
            }
            Some(Seen::Waiting(Acknowledged::Yes)) => self.acknowledge(peer, message.id),
        }
        None
    }

    /// Whether there is room to remember one more request of this peer that changes something.
    pub(super) fn has_room_to_keep(&mut self, peer: &Peer, now: Instant) -> bool {
        self.duplicates.has_room_to_keep(peer, now)
    }

    /// What is remembered of messages, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.duplicates.bytes()
    }

    /// The rooms above work on a request; one of the answers follows, or [`Self::drop_request`].
    pub(super) fn wait(&mut self, peer: Peer, reply: &Reply, now: Instant) {
        self.duplicates.waiting(reply.name);
        if reply.kind == Kind::Confirmable {
            let due = now + ACKNOWLEDGE_AFTER;
            self.unacknowledged.push_back((due, peer, reply.id, reply.name));
        }
    }

    /// The rooms above take their time: the client must not ask again (RFC 7252 section 5.2.2).
    pub(super) fn acknowledge_waiting(&mut self, now: Instant) {
        while let Some((_, peer, id, name)) = self.unacknowledged.pop_front_if(|it| it.0 <= now) {
            if self.duplicates.acknowledged(name) {
                self.acknowledge(peer, id);
            }
        }
    }

    /// When the next request that is still worked on has to be acknowledged.
    pub(super) fn acknowledgement_due(&self) -> Option<Instant> {
        self.unacknowledged.front().map(|(at, ..)| *at)
    }

    /// Sends an answer, on the acknowledgement where that has not gone yet, and remembers it: for its
    /// whole lifetime with a peer to `keep_for`. Whether it is confirmable, and so will be settled.
    pub(super) fn answer(
        &mut self,
        (peer, reply): (Peer, &Reply),
        origin: Origin,
        (code, token, tail): Parts<'_>,
        keep_for: Option<Peer>,
        now: Instant,
    ) -> bool {
        let mut will_be_settled = false;
        let sent = match (reply.kind, self.end(reply)) {
            (Kind::Confirmable, Acknowledged::No) => {
                let answer = codec::frame(Kind::Acknowledgement, code, reply.id, token, tail);
                self.datagram(peer, answer.clone());
                answer
            }
            (Kind::Confirmable, Acknowledged::Yes) => {
                will_be_settled = self.confirmable(peer, origin, (code, token, tail), now).is_ok();
                if !will_be_settled {
                    self.non_confirmable(peer, code, token, tail);
                }
                Message::empty(Kind::Acknowledgement, reply.id)
            }
            _ => {
                self.non_confirmable(peer, code, token, tail);
                Vec::new()
            }
        };
        self.duplicates.answered(reply.name, reply.kind, sent, keep_for, now);
        will_be_settled
    }

    /// A request gets no answer, only its acknowledgement.
    pub(super) fn leave_unanswered(
        &mut self,
        (peer, reply): (Peer, &Reply),
        keep_for: Option<Peer>,
        now: Instant,
    ) {
        let (mut sent, acknowledged) = (Vec::new(), self.end(reply));
        if reply.kind == Kind::Confirmable {
            sent = Message::empty(Kind::Acknowledgement, reply.id);
            if acknowledged == Acknowledged::No {
                self.datagram(peer, sent.clone());
            }
        }
        self.duplicates.answered(reply.name, reply.kind, sent, keep_for, now);
    }

    /// Nobody asked for this response (RFC 7252 section 4.2).
    pub(super) fn reject(&mut self, (peer, reply): (Peer, &Reply), now: Instant) {
        let reset = Message::empty(Kind::Reset, reply.id);
        self.datagram(peer, reset.clone());
        self.duplicates.answered(reply.name, reply.kind, reset, None, now);
    }

    /// A request will never be answered: its session has ended.
    pub(super) fn drop_request(&mut self, reply: &Reply) {
        self.end(reply);
    }

    fn end(&mut self, reply: &Reply) -> Acknowledged {
        let acknowledged = self.duplicates.ended(reply.name);
        let ended = |it: &mut (Instant, Peer, u16, Fingerprint)| !self.duplicates.waits(it.3);
        while self.unacknowledged.pop_front_if(ended).is_some() {}
        if self.unacknowledged.len() > UNACKNOWLEDGED_MAX {
            self.unacknowledged.retain(|it| self.duplicates.waits(it.3));
        }
        acknowledged
    }

    /// Acknowledges with an answer that nobody keeps.
    pub(super) fn refuse(&mut self, peer: Peer, id: u16, (code, token, tail): Parts<'_>) {
        self.datagram(peer, codec::frame(Kind::Acknowledgement, code, id, token, tail));
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
        (code, token, tail): Parts<'_>,
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
        message: Parts<'_>,
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
        newer: Option<Parts<'_>>,
    ) -> Retransmission {
        let Some(mut sent) = self.sent.remove(&(peer, id)) else { return Retransmission::Gone };
        if sent.retransmissions >= MAX_RETRANSMIT {
            return Retransmission::GaveUp(sent.origin);
        }
        let id = match newer {
            Some((code, token, tail)) => {
                sent.bytes = codec::frame(Kind::Confirmable, code, 0, token, tail);
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
