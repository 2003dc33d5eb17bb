//! The server's half: from a request to its one answer.

use std::sync::Arc;
use std::time::Duration;

use super::block::{self, Arrival, Asked, Block, SIZE_EXPONENT_MAX, Snapshot, Uploads};
use super::codec::{self, Kind, Message, Token};
use super::criticality;
use super::duplicates::{Fingerprint, Seen};
use super::endpoint::Endpoint;
use super::exchange::Origin;
use super::observe::Rendered;
use super::quick::Wanted;
use super::timers::Timer;
use super::{Code, Options, Output, Peer, Reception, Request, Response, Ticket, Topic, option};
use crate::clock::Instant;

/// Requests that may wait for their answer, all peers together. Each may hold a body.
pub const REQUESTS_MAX: usize = 1024;

/// Requests of one peer that may wait for their answer. With NSTART 1 an honest client has one or two.
pub const REQUESTS_PER_PEER_MAX: usize = 32;

/// A confirmable request that is still worked on is acknowledged after this long: well before the
/// earliest retransmission, 2 s after it was sent (RFC 7252 section 5.2.2).
pub const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(750);

/// Answers to multicast requests that may wait for their moment.
pub const DELAYED_MAX: usize = 256;

/// How long a client should wait that was refused for want of room, seconds.
const RETRY_AFTER_S: u32 = 10;

/// Max-Age of a response that does not state one (RFC 7252 section 5.10.5).
const MAX_AGE_DEFAULT_S: u32 = 60;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) peer: Peer,
    pub(super) reception: Reception,
    kind: Kind,
    id: u16,
    pub(super) token: Token,
    code: Code,
    pub(super) name: Fingerprint,
    pub(super) asked: Asked,
    pub(super) block1: Option<Block>,
    pub(super) block2: Option<Block>,
    wanted: Option<Wanted>,
    /// Length of the datagram.
    pub(super) bytes: usize,
    /// The value of No-Response.
    no_response: u32,
    /// Kept only if it wants to observe.
    observe: Option<Request>,
    acknowledged: bool,
    /// The rooms above have seen it.
    handed_over: bool,
}

/// The answer to a multicast request, waiting for its moment.
#[derive(Debug)]
pub(super) struct Delayed {
    code: Code,
    token: Token,
    tail: Vec<u8>,
}

impl Waiting {
    /// Whether its sender has no use for an answer of this class (RFC 7967 section 2.1). 2.31 is part
    /// of the transfer and no answer yet.
    fn is_unwanted(&self, code: Code) -> bool {
        code != Code::CONTINUE && self.no_response >> code.class().saturating_sub(1) & 1 == 1
    }
}

impl Endpoint {
    /// A request came that is well-formed.
    pub(super) fn on_request(
        &mut self,
        peer: Peer,
        reception: Reception,
        message: Message,
        datagram: &[u8],
        now: Instant,
    ) {
        // A group request reaches us by several ways: IPv4 and IPv6, every interface. Its token says
        // that it is the same one.
        let anyone = reception == Reception::Multicast && message.token.bytes().len() >= 4;
        let name = self.duplicates.fingerprint((!anyone).then_some(&peer), datagram);
        let Message { kind, code, id, token, options, payload } = message;
        match self.duplicates.find(name, now) {
            None => {}
            Some(Seen::Answered(answer)) => {
                if !answer.is_empty() {
                    let answer = answer.to_vec();
                    self.layer.datagram(peer, answer);
                }
                return;
            }
            Some(Seen::Waiting(ticket)) => {
                if self.requests.get(&ticket).is_some_and(|waiting| waiting.acknowledged) {
                    self.layer.acknowledge(peer, id);
                }
                return;
            }
        }
        let mut waiting = Box::new(Waiting {
            peer,
            reception,
            kind,
            id,
            token,
            code,
            name,
            asked: Asked::default(),
            bytes: datagram.len(),
            no_response: 0,
            block1: None,
            block2: None,
            wanted: None,
            observe: None,
            acknowledged: false,
            handed_over: false,
        });
        let mut request = Request { code, options, payload };
        match self.admit(&mut waiting, &mut request, now) {
            Ok(()) => self.continue_quick(waiting, request, now),
            Err(answer) => self.finish(waiting, answer, None, now),
        }
    }

    /// A request came that is longer than we read (RFC 7252 section 4.6).
    pub(super) fn refuse_too_long(&mut self, peer: Peer, id: u16, token: &Token) {
        let mut options = Options::default();
        options.set_uint(option::SIZE1, self.config.body_bytes_max as u32);
        let tail = codec::tail(&options, &[]);
        let code = Code::REQUEST_ENTITY_TOO_LARGE;
        self.layer.datagram(peer, codec::frame(Kind::Acknowledgement, code, id, token, &tail));
    }

    /// Whether the rooms above should see this request, with its body whole; the error is its answer.
    fn admit(
        &mut self,
        waiting: &mut Waiting,
        request: &mut Request,
        now: Instant,
    ) -> Result<(), Response> {
        self.check_room(waiting, now)?;
        check_options(request, &self.config.options_known)?;
        waiting.no_response = request.options.uint(option::NO_RESPONSE).unwrap_or_default();
        waiting.asked = Asked::new(&self.keyed, request.code, &request.options);
        let seven = |_| Response::diagnostic(Code::BAD_REQUEST, "block size exponent 7");
        let read = |number| Block::read(&request.options, number).map_err(seven);
        (waiting.block1, waiting.block2) = (read(option::BLOCK1)?, read(option::BLOCK2)?);
        waiting.wanted = Wanted::read(&request.options, self.config.set()).map_err(seven)?;
        let multicast = waiting.reception == Reception::Multicast;
        if (waiting.block2.is_some() && waiting.wanted.is_some())
            || (multicast && (waiting.block1.is_some() || waiting.wanted.is_some()))
        {
            return Err(Response::diagnostic(
                Code::BAD_REQUEST,
                "these options exclude each other",
            ));
        }
        self.check_echo(waiting, request, now)?;
        self.take_block1(waiting, request, now)?;
        self.continue_block2(waiting, now)?;
        self.take_observe(waiting, request, now);
        Ok(())
    }

    fn check_room(&mut self, waiting: &Waiting, now: Instant) -> Result<(), Response> {
        let peer = &waiting.peer;
        let of_peer = || self.requests.values().filter(|other| other.peer == *peer).count();
        let full = self.requests.len() >= REQUESTS_MAX
            || (self.requests.len() >= REQUESTS_PER_PEER_MAX && of_peer() >= REQUESTS_PER_PEER_MAX);
        if full || (!waiting.code.is_safe() && !self.duplicates.has_room_to_keep(peer, now)) {
            let mut answer = Response::diagnostic(Code::SERVICE_UNAVAILABLE, "too many requests");
            answer.options.set_uint(option::MAX_AGE, RETRY_AFTER_S);
            return Err(answer);
        }
        Ok(())
    }

    /// Adds a block to its body (RFC 7959 section 2.5).
    fn take_block1(
        &mut self,
        waiting: &mut Waiting,
        request: &mut Request,
        now: Instant,
    ) -> Result<(), Response> {
        let limit = self.config.body_bytes_max;
        let too_large = |text: &str| {
            let mut answer = Response::diagnostic(Code::REQUEST_ENTITY_TOO_LARGE, text);
            answer.options.set_uint(option::SIZE1, limit as u32);
            answer
        };
        let Some(block) = waiting.block1 else {
            return if request.payload.len() > limit {
                Err(too_large("the body is too long"))
            } else {
                Ok(())
            };
        };
        let key = (waiting.peer, waiting.asked);
        match self.uploads_of(key.0).take(key, block, request, limit, now) {
            Arrival::Whole(body) => {
                request.payload = body;
                Ok(())
            }
            Arrival::Continue(block) => {
                waiting.block1 = Some(block);
                Err(Response::new(Code::CONTINUE))
            }
            Arrival::Refused(Code::REQUEST_ENTITY_TOO_LARGE, text) => Err(too_large(text)),
            Arrival::Refused(code, text) => Err(Response::diagnostic(code, text)),
        }
    }

    /// Peers in clear and peers with a session do not compete for room.
    fn uploads_of(&mut self, peer: Peer) -> &mut Uploads {
        let [clear, sessions] = &mut self.uploads;
        if peer.session == 0 { clear } else { sessions }
    }

    /// Answers a request for a later block from the snapshot it belongs to (RFC 7959 section 2.4).
    fn continue_block2(&mut self, waiting: &mut Waiting, now: Instant) -> Result<(), Response> {
        let Some(block) = waiting.block2.filter(|block| block.number > 0) else { return Ok(()) };
        if let Some(snapshot) = self.snapshots.get(waiting.peer, waiting.asked, now) {
            // Already cut: what is left of it is what `finish` sends.
            waiting.block2 = None;
            return Err(cut(&snapshot, block));
        }
        if waiting.code == Code::GET {
            return Ok(());
        }
        Err(Response::diagnostic(Code::REQUEST_ENTITY_INCOMPLETE, "this body is no longer kept"))
    }

    fn take_observe(&mut self, waiting: &mut Waiting, request: &Request, now: Instant) {
        let multicast = waiting.reception == Reception::Multicast;
        if !request.code.is_safe() || multicast || waiting.wanted.is_some() {
            return;
        }
        match request.options.uint(option::OBSERVE) {
            Some(REGISTER) => waiting.observe = Some(request.clone()),
            Some(DEREGISTER) => {
                if let Some(number) = self.observers.find(waiting.peer, &waiting.token) {
                    self.drop_observer(number, now);
                }
            }
            _ => {}
        }
    }

    /// Answers a request for later blocks by Q-Block2 from the snapshot they belong to; the rooms above
    /// see all others.
    fn continue_quick(&mut self, mut waiting: Box<Waiting>, request: Request, now: Instant) {
        if let Some(wanted) = waiting.wanted.take_if(|wanted| !wanted.begins) {
            if let Some(snapshot) = self.snapshots.get(waiting.peer, waiting.asked, now) {
                return self.send_blocks(waiting, &wanted, &snapshot, now);
            }
            waiting.wanted = Some(wanted);
        }
        self.hand_over(waiting, request, now);
    }

    fn hand_over(&mut self, mut waiting: Box<Waiting>, mut request: Request, now: Instant) {
        block::strip(&mut request.options);
        if let Some(kept) = &mut waiting.observe {
            block::strip(&mut kept.options);
        }
        self.serial += 1;
        let ticket = Ticket(self.serial);
        waiting.handed_over = true;
        self.duplicates.waiting(waiting.name, ticket);
        if waiting.kind == Kind::Confirmable {
            self.unacknowledged.push_back((now + ACKNOWLEDGE_AFTER, ticket));
        }
        let (peer, reception) = (waiting.peer, waiting.reception);
        self.requests.insert(ticket, waiting);
        self.layer.outputs.push_back(Output::Request { ticket, peer, reception, request });
    }

    /// The rooms above take their time: the client must not ask again (RFC 7252 section 5.2.2).
    pub(super) fn acknowledge_waiting(&mut self, now: Instant) {
        while let Some((_, ticket)) = self.unacknowledged.pop_front_if(|(at, _)| *at <= now) {
            let Some(waiting) = self.requests.get_mut(&ticket) else { continue };
            waiting.acknowledged = true;
            self.layer.acknowledge(waiting.peer, waiting.id);
        }
    }

    /// Takes a request off the list of those that wait.
    fn take_waiting(&mut self, ticket: Ticket) -> Option<Box<Waiting>> {
        let waiting = self.requests.remove(&ticket)?;
        let answered = |(_, ticket): &mut (Instant, Ticket)| !self.requests.contains_key(ticket);
        while self.unacknowledged.pop_front_if(answered).is_some() {}
        if self.unacknowledged.len() > 2 * REQUESTS_MAX {
            self.unacknowledged.retain(|(_, ticket)| self.requests.contains_key(ticket));
        }
        Some(waiting)
    }

    /// See [`Endpoint::respond`].
    pub(super) fn answer(
        &mut self,
        ticket: Ticket,
        response: Response,
        topic: Option<Topic>,
        now: Instant,
    ) {
        let Some(mut waiting) = self.take_waiting(ticket) else { return };
        match waiting.wanted.take() {
            Some(wanted) => self.finish_quick(waiting, &wanted, response, now),
            None => self.finish(waiting, response, topic, now),
        }
    }

    /// See [`Endpoint::ignore`].
    pub(super) fn leave_unanswered(&mut self, ticket: Ticket, now: Instant) {
        let Some(waiting) = self.take_waiting(ticket) else { return };
        self.send_nothing(waiting, Code::EMPTY, now);
    }

    /// The request is dealt with and gets no answer, only its acknowledgement.
    fn send_nothing(&mut self, waiting: Box<Waiting>, code: Code, now: Instant) {
        let mut sent = Vec::new();
        if waiting.kind == Kind::Confirmable {
            sent = Message::empty(Kind::Acknowledgement, waiting.id);
            if !waiting.acknowledged {
                self.layer.datagram(waiting.peer, sent.clone());
            }
        }
        self.remember(&waiting, code, sent, now);
    }

    /// Sends the answer and remembers it.
    pub(super) fn finish(
        &mut self,
        mut waiting: Box<Waiting>,
        response: Response,
        topic: Option<Topic>,
        now: Instant,
    ) {
        let response = self.moderate(&mut waiting, response, now);
        let mut rendered = self.render(waiting.peer, waiting.asked, response, waiting.block2, now);
        let observer = self.observe(&mut waiting, &rendered, topic, now);
        if observer.is_some() {
            rendered.options.set_uint(option::OBSERVE, self.observers.sequence());
        }
        if let Some(block) = waiting.block1 {
            rendered.options.set_uint(option::BLOCK1, block.to_uint());
        }
        let origin = observer.map_or(Origin::Answer, Origin::Observer);
        let tail = self.last_tail.of(&rendered.options, &rendered.payload);
        if waiting.is_unwanted(rendered.code) {
            self.send_nothing(waiting, rendered.code, now);
        } else {
            self.send_answer(waiting, rendered.code, origin, &tail, now);
        }
    }

    /// Enters the sender of a request into the list of observers, or strikes it off, as the request
    /// and its answer have it (RFC 7641 section 4.1).
    fn observe(
        &mut self,
        waiting: &mut Waiting,
        rendered: &Rendered,
        topic: Option<Topic>,
        now: Instant,
    ) -> Option<u64> {
        let request = waiting.observe.take()?;
        let Some(topic) = topic.filter(|_| rendered.code.is_success()) else {
            if let Some(number) = self.observers.find(waiting.peer, &waiting.token) {
                self.drop_observer(number, now);
            }
            return None;
        };
        let key = (waiting.peer, waiting.token.clone());
        let state = Arc::new(rendered.clone());
        let number = self.observers.register(key, request, topic, state, now)?;
        self.plan_refresh(number, now);
        Some(number)
    }

    pub(super) fn send_answer(
        &mut self,
        waiting: Box<Waiting>,
        code: Code,
        origin: Origin,
        tail: &[u8],
        now: Instant,
    ) {
        let Waiting { peer, id, ref token, .. } = *waiting;
        let sent = match (waiting.reception, waiting.kind, waiting.acknowledged) {
            (Reception::Multicast, ..) => {
                self.delay(peer, code, token, tail, now);
                Vec::new()
            }
            (_, Kind::Confirmable, false) => {
                let answer = codec::frame(Kind::Acknowledgement, code, id, token, tail);
                self.layer.datagram(peer, answer.clone());
                answer
            }
            (_, Kind::Confirmable, true) => {
                let queued = self.layer.confirmable(peer, origin, (code, token, tail), now);
                if queued.is_err() {
                    self.layer.non_confirmable(peer, code, token, tail);
                } else if let Origin::Observer(number) = origin
                    && let Some(observer) = self.observers.get_mut(number)
                {
                    observer.busy = true;
                }
                Message::empty(Kind::Acknowledgement, id)
            }
            _ => {
                self.layer.non_confirmable(peer, code, token, tail);
                Vec::new()
            }
        };
        self.remember(&waiting, code, sent, now);
    }

    /// What changed something is remembered for as long as its duplicates may come; the rest may be
    /// worked out again (RFC 7252 section 4.5).
    fn remember(&mut self, waiting: &Waiting, code: Code, sent: Vec<u8>, now: Instant) {
        let changed = waiting.handed_over && !waiting.code.is_safe() && code.class() != 4;
        let keep_for = changed.then_some(waiting.peer);
        self.duplicates.answered(waiting.name, waiting.kind, sent, keep_for, now);
    }

    /// Answers to a group spread over the leisure period; refusals are kept to ourselves (RFC 7252
    /// section 8.2).
    fn delay(&mut self, peer: Peer, code: Code, token: &Token, tail: &[u8], now: Instant) {
        if !code.is_success() || self.delayed.len() >= DELAYED_MAX {
            return;
        }
        let at = now + self.layer.random.up_to(self.config.leisure);
        self.serial += 1;
        let answer = Delayed { code, token: token.clone(), tail: tail.to_vec() };
        self.delayed.insert(self.serial, (peer, answer));
        self.layer.timers.set(at, Timer::Leisure(self.serial));
    }

    /// The moment of a delayed answer has come.
    pub(super) fn send_delayed(&mut self, number: u64) {
        let Some((peer, answer)) = self.delayed.remove(&number) else { return };
        self.layer.non_confirmable(peer, answer.code, &answer.token, &answer.tail);
    }

    /// A whole response with an ETag, for more than one block of it.
    pub(super) fn snapshot(&self, response: Response) -> Snapshot {
        let Response { code, mut options, payload } = response;
        if options.first(option::ETAG).is_none() {
            options.set(option::ETAG, self.snapshots.etag(&options, &payload));
        }
        Snapshot { code, options, body: payload.into() }
    }

    /// Brings a response into the form in which it goes out: cut to the block that was asked for, or
    /// to the first (RFC 7959 section 2.4).
    pub(super) fn render(
        &mut self,
        peer: Peer,
        asked: Asked,
        response: Response,
        block: Option<Block>,
        now: Instant,
    ) -> Rendered {
        let Response { code, mut options, payload } = response;
        let max_age = options.uint(option::MAX_AGE).unwrap_or(MAX_AGE_DEFAULT_S);
        let max_age = Duration::from_secs(max_age.into());
        // What explains a failure is no part of the body that was asked for.
        let asked_for = block.filter(|_| code.is_success());
        let block =
            asked_for.unwrap_or(Block { number: 0, more: false, exponent: SIZE_EXPONENT_MAX });
        if block.number == 0 && payload.len() <= block.size() {
            if asked_for.is_some() && !payload.is_empty() {
                options.set_uint(option::BLOCK2, Block { more: false, ..block }.to_uint());
            }
            return Rendered { code, options, payload, max_age };
        }
        let snapshot = self.snapshot(Response { code, options, payload });
        let Response { code, options, payload } = cut(&snapshot, block);
        if options.uint(option::BLOCK2).is_some_and(|value| value & MORE != 0) {
            self.snapshots.keep(peer, asked, snapshot, now);
        }
        Rendered { code, options, payload, max_age }
    }
}

/// One block of a body.
fn cut(snapshot: &Snapshot, block: Block) -> Response {
    let (body, offset) = (&*snapshot.body, block.offset());
    let end = body.len().min(offset + block.size());
    let Some(payload) = body.get(offset..end).filter(|payload| !payload.is_empty()) else {
        return Response::diagnostic(Code::BAD_REQUEST, "the block lies past the end");
    };
    let mut options = snapshot.options.clone();
    let block = Block { more: end < body.len(), ..block };
    options.set_uint(option::BLOCK2, block.to_uint());
    if block.number == 0 {
        options.set_uint(option::SIZE2, body.len() as u32);
    }
    Response { code: snapshot.code, options, payload: payload.to_vec() }
}

/// Removes what must be ignored; the error says what must not.
fn check_options(request: &mut Request, known: &[u16]) -> Result<(), Response> {
    let proxy = |number| request.options.first(number).is_some();
    if proxy(option::PROXY_URI) || proxy(option::PROXY_SCHEME) {
        return Err(Response::diagnostic(Code::PROXYING_NOT_SUPPORTED, "this is no proxy"));
    }
    criticality::sift(&mut request.options, known).map_err(|number| {
        Response::diagnostic(Code::BAD_OPTION, format!("option {number} is not understood"))
    })?;
    if request.code.0 > Code::IPATCH.0 {
        return Err(Response::new(Code::METHOD_NOT_ALLOWED));
    }
    Ok(())
}

/// Observe in a request (RFC 7641 section 2).
const REGISTER: u32 = 0;
const DEREGISTER: u32 = 1;

/// The M bit of a block option (RFC 7959 section 2.2).
const MORE: u32 = 8;
