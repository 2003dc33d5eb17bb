//! The endpoint: exchanges, observation and blocks together; the only type other rooms use.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::block::{SNAPSHOT_BYTES_MAX, Snapshots, UPLOAD_BYTES_MAX, Uploads};
use super::client::Asking;
use super::codec::{self, DATAGRAM_BYTES_MAX, Kind, LastTail, Malformed, Message, Token};
use super::duplicates::{
    Duplicates, FORGETTABLE_BYTES_MAX, KEPT_BYTES_CLEAR_MAX, KEPT_BYTES_MAX, Seen,
};
use super::echo::Echo;
use super::exchange::{MessageLayer, Origin, Retransmission};
use super::observe::{OBSERVER_BYTES_MAX, Observers};
use super::random::{AsItIs, Keyed, Random};
use super::server::{DELAYED_MAX, Delayed, REQUESTS_MAX, Waiting};
use super::timers::Timer;
use super::{
    Call, CallError, Code, Config, Memory, Notify, Output, Peer, Reception, Request, Response,
    Ticket, Topic, Watcher, option,
};
use crate::clock::Instant;

/// What all peers together can make an endpoint hold, bytes: the sum of the limits of each part.
pub const MEMORY_BYTES_MAX: usize = FORGETTABLE_BYTES_MAX
    + KEPT_BYTES_MAX
    + KEPT_BYTES_CLEAR_MAX
    + 2 * UPLOAD_BYTES_MAX
    + SNAPSHOT_BYTES_MAX
    + OBSERVER_BYTES_MAX
    + REQUESTS_MAX * REQUEST_BYTES
    + DELAYED_MAX * DELAYED_BYTES
    + 4 * DATAGRAM_BYTES_MAX;

/// One request that waits, bytes.
const REQUEST_BYTES: usize = 512;

/// One delayed answer, bytes: at most a datagram.
const DELAYED_BYTES: usize = DATAGRAM_BYTES_MAX;

/// A CoAP endpoint.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) config: Config,
    pub(super) keyed: Keyed,
    pub(super) layer: MessageLayer,
    pub(super) duplicates: Duplicates,
    /// Names tickets, calls and what waits; never comes back.
    pub(super) serial: u64,
    // As a server:
    pub(super) requests: HashMap<Ticket, Box<Waiting>, AsItIs>,
    /// Confirmable ones by the time their acknowledgement is due; answered ones are skipped.
    pub(super) unacknowledged: VecDeque<(Instant, Ticket)>,
    pub(super) echo: Echo,
    pub(super) delayed: BTreeMap<u64, (Peer, Delayed)>,
    /// In clear, and with a session.
    pub(super) uploads: [Uploads; 2],
    pub(super) snapshots: Snapshots,
    pub(super) last_tail: LastTail,
    pub(super) observers: Observers,
    // As a client:
    pub(super) calls: BTreeMap<Call, Asking>,
    pub(super) tokens: HashMap<Token, Call, Keyed>,
}

impl Endpoint {
    /// A new endpoint. `seed` feeds tokens, message ids and jitter; take it from the system.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut random = Random::new(seed);
        let keyed = Keyed::new(&mut random);
        let echo = Echo::new(&mut random);
        Self {
            config,
            layer: MessageLayer::new(random),
            duplicates: Duplicates::new(keyed.clone()),
            serial: 0,
            requests: HashMap::default(),
            unacknowledged: VecDeque::new(),
            echo,
            delayed: BTreeMap::new(),
            uploads: Default::default(),
            snapshots: Snapshots::new(keyed.clone()),
            last_tail: LastTail::default(),
            observers: Observers::default(),
            calls: BTreeMap::new(),
            tokens: HashMap::with_hasher(keyed.clone()),
            keyed,
        }
    }

    /// A datagram came.
    pub fn handle_datagram(
        &mut self,
        peer: Peer,
        reception: Reception,
        bytes: &[u8],
        now: Instant,
    ) {
        let multicast = reception == Reception::Multicast;
        match codec::decode(bytes) {
            Ok(message) if multicast => {
                // RFC 7252 section 8.1: a group is asked, without confirmation, and nothing else.
                if message.kind == Kind::NonConfirmable && message.code.is_request() {
                    self.on_request(peer, reception, message, bytes, now);
                }
            }
            Ok(message) => self.on_message(peer, message, bytes, now),
            Err(_) if multicast => {}
            Err(Malformed::Message { kind: Kind::Confirmable, id }) => self.layer.reset(peer, id),
            Err(Malformed::TooLong { kind: Kind::Confirmable, id, token }) => {
                self.refuse_too_long(peer, id, &token);
            }
            Err(_) => {}
        }
    }

    /// The deadline passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.acknowledge_waiting(now);
        while let Some(timer) = self.layer.timers.pop_due(now) {
            match timer {
                Timer::Retransmit(peer, id) => self.retransmit(peer, id, now),
                Timer::Leisure(number) => self.send_delayed(number),
                Timer::Refresh(number) => self.refresh(number, now),
                Timer::Collect(call) | Timer::Response(call) => {
                    self.fail(call, CallError::TimedOut, now);
                }
                Timer::Stale(call) => self.renew(call, now),
                Timer::Missing(call) => self.ask_missing(call, now),
            }
        }
    }

    /// When to call [`Self::handle_timeout`], and what for.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let slow = self.unacknowledged.front();
        let slow = slow.map(|(at, _)| (*at, "acknowledgement of a request still worked on"));
        let timer = self.layer.timers.next();
        slow.into_iter().chain(timer).min_by_key(|(at, _)| *at)
    }

    /// What to do next; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.layer.outputs.pop_front()
    }

    /// Answers a request. With `topic`, a request that asked to observe is registered (if the
    /// response is a success) and the answer carries Observe.
    pub fn respond(
        &mut self,
        ticket: Ticket,
        response: Response,
        topic: Option<Topic>,
        now: Instant,
    ) {
        self.answer(ticket, response, topic, now);
    }

    /// Leaves a request without an answer (multicast, RFC 7252 section 8.2). A confirmable one is
    /// still acknowledged.
    pub fn ignore(&mut self, ticket: Ticket, now: Instant) {
        self.leave_unanswered(ticket, now);
    }

    /// Sends the topic's new representation to everyone who watches it. `render` makes it, once for
    /// each watcher; an error code ends that watcher's observation.
    pub fn notify(
        &mut self,
        topic: Topic,
        kind: Notify,
        now: Instant,
        render: impl FnMut(&Watcher<'_>) -> Response,
    ) {
        self.tell(topic, kind, now, render);
    }

    /// How many watch this topic.
    pub fn watchers(&self, topic: Topic) -> usize {
        self.observers.count(topic)
    }

    /// Ends every observation for which `ends` is true, with `error` as its last word (RFC 7641
    /// section 4.2): for those who have lost access.
    pub fn end_observations(
        &mut self,
        error: &Response,
        now: Instant,
        mut ends: impl FnMut(Topic, &Watcher<'_>) -> bool,
    ) {
        for number in self.observers.all() {
            let Some(observer) = self.observers.get(number) else { continue };
            let (peer, request) = (observer.peer, &observer.request);
            if ends(observer.topic, &Watcher { peer, request }) {
                self.snapshots.drop_peer(peer);
                self.end(number, error.clone(), now);
            }
        }
    }

    /// Sends a confirmable request; block-wise both ways as needed. A request with Observe 0 begins an
    /// observation that ends with [`Self::cancel`].
    pub fn request(&mut self, peer: Peer, request: Request, now: Instant) -> Call {
        self.ask(peer, request, now)
    }

    /// As [`Self::request`], for a body of any length: it comes in [`Output::Part`]s, from the block
    /// of 1024 bytes that holds `offset` on.
    pub fn download(&mut self, peer: Peer, request: Request, offset: u64, now: Instant) -> Call {
        self.ask_parts(peer, request, offset as usize & !1023, now)
    }

    /// Sends a non-confirmable request to a group; answers are collected for `collect`, then the call
    /// fails with [`CallError::TimedOut`].
    pub fn request_multicast(
        &mut self,
        group: Peer,
        request: Request,
        collect: Duration,
        now: Instant,
    ) -> Call {
        self.ask_group(group, request, collect, now)
    }

    /// Registers an observation of ours once more under its own token, as a server that has started
    /// anew needs it (RFC 7641 section 3.3.1). Its answer comes like a notification; nothing happens
    /// while an exchange of the call is under way.
    pub fn register_again(&mut self, call: Call, now: Instant) {
        self.renew(call, now);
    }

    /// Forgets a call; ends an observation with Observe 1 (RFC 7641 section 3.6).
    pub fn cancel(&mut self, call: Call, now: Instant) {
        self.abandon(call, now);
    }

    /// A DTLS session has ended: its exchanges and observations go with it.
    pub fn session_ended(&mut self, peer: Peer) {
        // First what may be sent, so that nothing below sends anything and needs the time for it.
        self.layer.drop_peer(peer);
        let now = Instant::ZERO;
        let observers: Vec<u64> = self.observers.of_peer(peer).collect();
        for number in observers {
            self.drop_observer(number, now);
        }
        let of_peer = |(call, asking): (&Call, &Asking)| (asking.peer == peer).then_some(*call);
        let calls: Vec<Call> = self.calls.iter().filter_map(of_peer).collect();
        for call in calls {
            self.fail(call, CallError::SessionEnded, now);
        }
        let requests = self.requests.extract_if(|_, waiting| waiting.peer == peer);
        for (_, waiting) in requests {
            self.duplicates.forget(waiting.name);
        }
        self.delayed.retain(|_, (other, _)| *other != peer);
        self.uploads.iter_mut().for_each(|uploads| uploads.drop_peer(peer));
        self.snapshots.drop_peer(peer);
    }

    /// What is held for peers, bytes; about right for what is not counted exactly.
    pub fn memory(&self) -> Memory {
        Memory {
            answers: self.duplicates.bytes(),
            uploads: self.uploads.iter().map(Uploads::bytes).sum(),
            snapshots: self.snapshots.bytes(),
            observers: self.observers.bytes(),
            requests: self.requests.len() * REQUEST_BYTES,
            delayed: self.delayed.len() * DELAYED_BYTES,
        }
    }

    fn on_message(&mut self, peer: Peer, message: Message, bytes: &[u8], now: Instant) {
        match message.kind {
            Kind::Reset => self.on_reset(peer, message.id, now),
            Kind::Acknowledgement => self.on_acknowledgement(peer, message, now),
            // A ping: RFC 7252 section 4.3.
            _ if message.code == Code::EMPTY => self.layer.reset(peer, message.id),
            _ if message.code.is_request() => {
                self.on_request(peer, Reception::Unicast, message, bytes, now);
            }
            _ => self.on_separate_response(peer, message, bytes, now),
        }
    }

    /// RFC 7252 section 4.2, and 5.2.1 when the acknowledgement is an answer as well.
    fn on_acknowledgement(&mut self, peer: Peer, message: Message, now: Instant) {
        let Some(settled) = self.layer.settle(peer, message.id, now) else { return };
        match settled.origin {
            Origin::Call(call) if message.code == Code::EMPTY => {
                self.request_acknowledged(call, now);
            }
            Origin::Call(call) => {
                if !self.on_response(peer, message, now) {
                    // Somebody answers what we did not ask: wait for who does.
                    self.request_acknowledged(call, now);
                }
            }
            Origin::Observer(number) => self.notification_settled(number, &settled, now),
            Origin::Answer => {}
        }
    }

    fn on_reset(&mut self, peer: Peer, id: u16, now: Instant) {
        match self.layer.settle(peer, id, now).map(|settled| settled.origin) {
            Some(Origin::Call(call)) if self.falls_back(call, now) => {}
            Some(Origin::Call(call)) => self.fail(call, CallError::Reset, now),
            Some(Origin::Observer(number)) => {
                if let Some(observer) = self.observers.get_mut(number) {
                    observer.busy = false;
                }
                self.drop_observer(number, now);
            }
            Some(Origin::Answer) => {}
            None => {
                if let Some(number) = self.observers.of_recent_id(peer, id) {
                    self.drop_observer(number, now);
                }
            }
        }
    }

    /// A response in a message of its own (RFC 7252 section 5.2.2). What nobody asked for is rejected
    /// if it is confirmable or a notification (RFC 7641 section 3.6).
    fn on_separate_response(&mut self, peer: Peer, message: Message, bytes: &[u8], now: Instant) {
        let (kind, id) = (message.kind, message.id);
        if kind == Kind::NonConfirmable {
            // Its duplicates are told by their block, sequence number or token.
            let observes = message.options.first(option::OBSERVE).is_some();
            if !self.on_response(peer, message, now) && observes {
                self.layer.reset(peer, id);
            }
            return;
        }
        let name = self.duplicates.fingerprint(Some(&peer), bytes);
        if let Some(seen) = self.duplicates.find(name, now) {
            if let Seen::Answered(answer) = seen
                && !answer.is_empty()
            {
                let answer = answer.to_vec();
                self.layer.datagram(peer, answer);
            }
            return;
        }
        let wanted = self.on_response(peer, message, now);
        let answer = if wanted { Kind::Acknowledgement } else { Kind::Reset };
        let reply = Message::empty(answer, id);
        self.layer.datagram(peer, reply.clone());
        self.duplicates.answered(name, kind, reply, None, now);
    }

    fn retransmit(&mut self, peer: Peer, id: u16, now: Instant) {
        let newer = match self.layer.origin(peer, id) {
            Some(Origin::Observer(number)) => self.newer_notification(number),
            _ => None,
        };
        let Retransmission::GaveUp(origin) = self.layer.retransmit(peer, id, now, newer) else {
            return;
        };
        match origin {
            Origin::Call(call) => self.fail(call, CallError::TimedOut, now),
            Origin::Observer(number) => self.observer_gone(number, now),
            Origin::Answer => {}
        }
        self.layer.free(peer, now);
    }
}
