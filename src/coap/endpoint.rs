//! The endpoint: exchanges, observation and blocks together; the only type other rooms use.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use super::block::{SNAPSHOT_BYTES_MAX, Snapshots, UPLOAD_BYTES_MAX, Uploads};
use super::client::Asking;
use super::codec::{self, DATAGRAM_BYTES_MAX, Kind, LastTail, Malformed, Message, Token};
use super::duplicates::{
    AsItIs, Duplicates, FORGETTABLE_BYTES_MAX, KEPT_BYTES_CLEAR_MAX, KEPT_BYTES_MAX, Seen,
};
use super::echo::Echo;
use super::exchange::{MessageLayer, Origin, Retransmission};
use super::observe::{OBSERVER_BYTES_MAX, Observers};
use super::quick::{MAX_PAYLOADS, MAX_PAYLOADS_AGREED_MAX};
use super::random::{Keyed, Random};
use super::server::{DELAYED_MAX, Delayed, REQUESTS_MAX, Waiting};
use super::timers::Timer;
use super::{Code, Request, Response, option};
use crate::clock::Instant;

/// The other side of an exchange. Over DTLS the session is the identity (RFC 7252 section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
    /// Which of our sockets it is spoken to through; an index that means something to the caller.
    pub socket: u16,
    /// The DTLS session, or 0 in clear.
    pub session: u64,
}

/// In one piece: every datagram is looked up by its peer, and a hasher that is fed in many small
/// pieces takes several times as long.
impl Hash for Peer {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let (address, scope) = match self.remote {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&address.octets());
        bytes[16..18].copy_from_slice(&self.remote.port().to_ne_bytes());
        bytes[18..20].copy_from_slice(&self.socket.to_ne_bytes());
        bytes[20..24].copy_from_slice(&scope.to_ne_bytes());
        bytes[24..].copy_from_slice(&self.session.to_ne_bytes());
        hasher.write(&bytes);
    }
}

/// How a datagram reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// Sent to our own address.
    Unicast,
    /// Sent to a group (RFC 7252 section 8).
    Multicast,
}

/// A request of a peer that waits for [`Endpoint::respond`] or [`Endpoint::ignore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A request of ours that waits for its response, or an observation that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call(pub u64);

/// Something that can be watched; the number means something to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub u32);

/// How a notification is sent (RFC 7641 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Once, unless the endpoint finds that this watcher is due for a confirmable one.
    NonConfirmable,
    /// Until it is acknowledged.
    Confirmable,
}

/// One entry of the list of observers: an endpoint and a token (RFC 7641 section 4.1).
#[derive(Debug)]
pub struct Watcher<'a> {
    /// Who watches.
    pub peer: Peer,
    /// The request that registered it.
    pub request: &'a Request,
}

/// What a device may set. Start from [`Config::default`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Critical options that the rooms above understand (OCF: 2049, 2053).
    pub options_known: Vec<u16>,
    /// The longest body taken in blocks, bytes.
    pub body_bytes_max: usize,
    /// Over how long answers to a group are spread (RFC 7252 section 8.2).
    pub leisure: Duration,
    /// Whether a request in clear that may change something has to show that it is fresh and that its
    /// sender can be reached where it says (RFC 9175 section 2).
    pub echo_before_changes: bool,
    /// Whether a sender in clear has to show that it can be reached where it says before it gets an
    /// answer of more than three times its request (RFC 9175 section 2.6). Until it has, a longer answer
    /// goes out in blocks that are small enough, which every client can follow.
    pub echo_before_long_answers: bool,
    /// Whether downloads ask for Q-Block2 first (RFC 9177), and fall back to Block2.
    pub quick_downloads: bool,
    /// Blocks of one set of Q-Block2, 1 to [`MAX_PAYLOADS_AGREED_MAX`]. Both sides have to agree: one
    /// that expects more than come waits for the rest before it asks (RFC 9177 section 7.2).
    pub max_payloads: u32,
}

impl Config {
    /// [`Self::max_payloads`] within its bounds.
    pub(super) fn set(&self) -> u32 {
        self.max_payloads.clamp(1, MAX_PAYLOADS_AGREED_MAX)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            options_known: Vec::new(),
            body_bytes_max: 64 << 10,
            leisure: DEFAULT_LEISURE,
            echo_before_changes: false,
            echo_before_long_answers: false,
            quick_downloads: true,
            max_payloads: MAX_PAYLOADS,
        }
    }
}

/// DEFAULT_LEISURE of RFC 7252 section 4.8.
pub const DEFAULT_LEISURE: Duration = Duration::from_secs(5);

/// What an endpoint holds for its peers, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Answers, for duplicates of their requests.
    pub answers: usize,
    /// Request bodies that are arriving.
    pub uploads: usize,
    /// Response bodies that are being read.
    pub snapshots: usize,
    /// Observers, with their requests and states.
    pub observers: usize,
    /// Requests that wait for an answer, without what the rooms above hold of them.
    pub requests: usize,
    /// Answers to a group that wait for their moment.
    pub delayed: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.answers + self.uploads + self.snapshots + self.observers + self.requests + self.delayed
    }
}

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

/// What the endpoint wants done or known.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Datagram {
        /// To whom.
        peer: Peer,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A peer asks; answer with [`Endpoint::respond`], now or later.
    Request {
        /// Names the request.
        ticket: Ticket,
        /// Who asks.
        peer: Peer,
        /// How it came.
        reception: Reception,
        /// What is asked.
        request: Request,
    },
    /// The answer to a call of ours, or one more notification of an observation.
    Response {
        /// Which call.
        call: Call,
        /// Who answered (several may answer a multicast).
        peer: Peer,
        /// The answer.
        response: Response,
        /// Whether more may follow: an observation, or a multicast that still collects.
        more: bool,
    },
    /// A part of the body that [`Endpoint::download`] asked for. After the last one comes its
    /// `Response`, with an empty payload. A part at a lower offset than the one before begins anew:
    /// the body has changed.
    Part {
        /// Which call.
        call: Call,
        /// Who sent it.
        peer: Peer,
        /// Where in the body it begins, bytes.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// The length of the whole body, if the server told.
        size: Option<u64>,
    },
    /// No answer, or no further answer, will come.
    Failed {
        /// Which call.
        call: Call,
        /// Why.
        error: CallError,
    },
}

/// Why a call of ours got no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallError {
    /// Every retransmission went unanswered.
    #[error("no answer came")]
    TimedOut,
    /// The peer does not know this exchange (RST).
    #[error("the other side refused the message")]
    Reset,
    /// A block of the body did not fit the others.
    #[error("the body could not be put together: {0}")]
    Blocks(&'static str),
    /// The answer has a critical option that is not understood (RFC 7252 section 5.4.1).
    #[error("the answer has an option that must not be ignored and is not known")]
    NotUnderstood,
    /// Too many calls, to this peer or in all, wait already.
    #[error("too many requests are waiting; try again later")]
    Busy,
    /// The session it used has ended.
    #[error("the session ended")]
    SessionEnded,
}

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
