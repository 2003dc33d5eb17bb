//! The server's half: from a request to its one answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::block::{self, Arrival, Asked, Block, SIZE_EXPONENT_MAX, Snapshot, Snapshots, Uploads};
use super::codec::{self, Content, DATAGRAM_BYTES_MAX, LastTail, Token};
use super::criticality;
use super::echo::Echo;
use super::exchange::{Messages, Origin, Reply};
use super::observe::{Observers, Rendered};
use super::quick::Wanted;
use super::random::{AsItIs, Keyed};
use super::timers::Timer;
use super::{
    Code, Config, Memory, Options, Output, Peer, Reception, Request, Response, Ticket, Topic,
    option,
};
use crate::clock::Instant;

/// Requests that may wait for their answer, all peers together. Each may hold a body.
pub const REQUESTS_MAX: usize = 1024;

/// Requests of one peer that may wait for their answer. With NSTART 1 an honest client has one or two.
pub const REQUESTS_PER_PEER_MAX: usize = 32;

/// Answers to multicast requests that may wait for their moment.
pub const DELAYED_MAX: usize = 256;

/// One request that waits, bytes.
pub(super) const REQUEST_BYTES: usize = 512;

/// One delayed answer, bytes: at most a datagram.
pub(super) const DELAYED_BYTES: usize = DATAGRAM_BYTES_MAX;

/// How long a client should wait that was refused for want of room, seconds.
const RETRY_AFTER_S: u32 = 10;

/// Max-Age of a response that does not state one (RFC 7252 section 5.10.5).
const MAX_AGE_DEFAULT_S: u32 = 60;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) peer: Peer,
    pub(super) reception: Reception,
    reply: Reply,
    pub(super) token: Token,
    code: Code,
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

    /// What changed something is remembered for as long as its duplicates may come; the rest may be
    /// worked out again (RFC 7252 section 4.5).
    fn keep_for(&self, code: Code) -> Option<Peer> {
        let changed = self.handed_over && !self.code.is_safe() && code.class() != 4;
        changed.then_some(self.peer)
    }
}

/// The server's half of an endpoint.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) keyed: Keyed,
    /// Names tickets and what is delayed; never comes back.
    serial: u64,
    requests: HashMap<Ticket, Box<Waiting>, AsItIs>,
    pub(super) echo: Echo,
    delayed: BTreeMap<u64, (Peer, Delayed)>,
    /// In clear, and with a session.
    uploads: [Uploads; 2],
    pub(super) snapshots: Snapshots,
    last_tail: LastTail,
    pub(super) observers: Observers,
}

impl Server {
    pub(super) fn new(config: Config, keyed: Keyed, echo: Echo) -> Self {
        Self {
            config,
            serial: 0,
            requests: HashMap::default(),
            echo,
            delayed: BTreeMap::new(),
            uploads: Default::default(),
            snapshots: Snapshots::new(keyed.clone()),
            last_tail: LastTail::default(),
            observers: Observers::default(),
            keyed,
        }
    }

    /// Forgets a peer with all that it asked. Nothing is sent.
    pub(super) fn drop_peer(&mut self, messages: &mut Messages, peer: Peer, now: Instant) {
        let observers: Vec<u64> = self.observers.of_peer(peer).collect();
        for number in observers {
            self.drop_observer(messages, number, now);
        }
        for (_, waiting) in self.requests.extract_if(|_, waiting| waiting.peer == peer) {
            messages.drop_request(&waiting.reply);
        }
        self.delayed.retain(|_, (other, _)| *other != peer);
        self.uploads.iter_mut().for_each(|uploads| uploads.drop_peer(peer));
        self.snapshots.drop_peer(peer);
    }

    /// What is held for peers, without what belongs to messages.
    pub(super) fn memory(&self) -> Memory {
        Memory {
            answers: 0,
            uploads: self.uploads.iter().map(Uploads::bytes).sum(),
            snapshots: self.snapshots.bytes(),
            observers: self.observers.bytes(),
            requests: self.requests.len() * REQUEST_BYTES,
            delayed: self.delayed.len() * DELAYED_BYTES,
        }
    }

    /// A request came that is well-formed and no duplicate; its message had so many `bytes`.
    pub(super) fn on_request(
        &mut self,
        messages: &mut Messages,
        (peer, reception, reply): (Peer, Reception, Reply),
        content: Content,
        bytes: usize,
        now: Instant,
    ) {
        let Content { code, token, options, payload } = content;
        let mut waiting = Box::new(Waiting {
            peer,
            reception,
            reply,
            token,
            code,
            asked: Asked::default(),
            bytes,
            no_response: 0,
            block1: None,
            block2: None,
            wanted: None,
            observe: None,
            handed_over: false,
        });
        let mut request = Request { code, options, payload };
        match self.admit(messages, &mut waiting, &mut request, now) {
            Ok(()) => self.continue_quick(messages, waiting, request, now),
            Err(answer) => self.finish(messages, waiting, answer, None, now),
        }
    }

    /// A request came that is longer than we read (RFC 7252 section 4.6).
    pub(super) fn refuse_too_long(
        &mut self,
        messages: &mut Messages,
        peer: Peer,
        id: u16,
        token: &Token,
    ) {
        let mut options = Options::default();
        options.set_uint(option::SIZE1, self.config.body_bytes_max as u32);
        let tail = codec::tail(&options, &[]);
        let code = Code::REQUEST_ENTITY_TOO_LARGE;
        messages.refuse(peer, id, (code, token, &tail));
    }

    /// Whether the rooms above should see this request, with its body whole; the error is its answer.
    fn admit(
        &mut self,
        messages: &mut Messages,
        waiting: &mut Waiting,
        request: &mut Request,
        now: Instant,
    ) -> Result<(), Response> {
        self.check_room(messages, waiting, now)?;
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
        self.take_observe(messages, waiting, request, now);
        Ok(())
    }

    fn check_room(
        &mut self,
        messages: &mut Messages,
        waiting: &Waiting,
        now: Instant,
    ) -> Result<(), Response> {
        let peer = &waiting.peer;
        let of_peer = || self.requests.values().filter(|other| other.peer == *peer).count();
        let full = self.requests.len() >= REQUESTS_MAX
            || (self.requests.len() >= REQUESTS_PER_PEER_MAX && of_peer() >= REQUESTS_PER_PEER_MAX);
        if full || (!waiting.code.is_safe() && !messages.has_room_to_keep(peer, now)) {
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

    fn take_observe(
        &mut self,
        messages: &mut Messages,
        waiting: &mut Waiting,
        request: &Request,
        now: Instant,
    ) {
        let multicast = waiting.reception == Reception::Multicast;
        if !request.code.is_safe() || multicast || waiting.wanted.is_some() {
            return;
        }
        match request.options.uint(option::OBSERVE) {
            Some(REGISTER) => waiting.observe = Some(request.clone()),
            Some(DEREGISTER) => {
                if let Some(number) = self.observers.find(waiting.peer, &waiting.token) {
                    self.drop_observer(messages, number, now);
                }
            }
            _ => {}
        }
    }

    /// Answers a request for later blocks by Q-Block2 from the snapshot they belong to; the rooms above
    /// see all others.
    fn continue_quick(
        &mut self,
        messages: &mut Messages,
        mut waiting: Box<Waiting>,
        request: Request,
        now: Instant,
    ) {
        if let Some(wanted) = waiting.wanted.take_if(|wanted| !wanted.begins) {
            if let Some(snapshot) = self.snapshots.get(waiting.peer, waiting.asked, now) {
                return self.send_blocks(messages, waiting, &wanted, &snapshot, now);
            }
            waiting.wanted = Some(wanted);
        }
        self.hand_over(messages, waiting, request, now);
    }

    fn hand_over(
        &mut self,
        messages: &mut Messages,
        mut waiting: Box<Waiting>,
        mut request: Request,
        now: Instant,
    ) {
        block::strip(&mut request.options);
        if let Some(kept) = &mut waiting.observe {
            block::strip(&mut kept.options);
        }
        self.serial += 1;
        let ticket = Ticket(self.serial);
        waiting.handed_over = true;
        messages.wait(waiting.peer, &waiting.reply, now);
        let (peer, reception) = (waiting.peer, waiting.reception);
        self.requests.insert(ticket, waiting);
        messages.outputs.push_back(Output::Request { ticket, peer, reception, request });
    }

    /// See [`Endpoint::respond`](super::Endpoint::respond).
    pub(super) fn answer(
        &mut self,
        messages: &mut Messages,
        ticket: Ticket,
        response: Response,
        topic: Option<Topic>,
        now: Instant,
    ) {
        let Some(mut waiting) = self.requests.remove(&ticket) else { return };
        match waiting.wanted.take() {
            Some(wanted) => self.finish_quick(messages, waiting, &wanted, response, now),
            None => self.finish(messages, waiting, response, topic, now),
        }
    }

    /// See [`Endpoint::ignore`](super::Endpoint::ignore).
    pub(super) fn leave_unanswered(
        &mut self,
        messages: &mut Messages,
        ticket: Ticket,
        now: Instant,
    ) {
        let Some(waiting) = self.requests.remove(&ticket) else { return };
        let keep_for = waiting.keep_for(Code::EMPTY);
        messages.leave_unanswered((waiting.peer, &waiting.reply), keep_for, now);
    }

    /// Sends the answer and remembers it.
    pub(super) fn finish(
        &mut self,
        messages: &mut Messages,
        mut waiting: Box<Waiting>,
        response: Response,
        topic: Option<Topic>,
        now: Instant,
    ) {
        let response = self.moderate(&mut waiting, response, now);
        let mut rendered = self.render(waiting.peer, waiting.asked, response, waiting.block2, now);
        let observer = self.observe(messages, &mut waiting, &rendered, topic, now);
        if observer.is_some() {
            rendered.options.set_uint(option::OBSERVE, self.observers.sequence());
        }
        if let Some(block) = waiting.block1 {
            rendered.options.set_uint(option::BLOCK1, block.to_uint());
        }
        let origin = observer.map_or(Origin::Answer, Origin::Observer);
        let tail = self.last_tail.of(&rendered.options, &rendered.payload);
        if waiting.is_unwanted(rendered.code) {
            let keep_for = waiting.keep_for(rendered.code);
            messages.leave_unanswered((waiting.peer, &waiting.reply), keep_for, now);
        } else {
            self.send_answer(messages, waiting, rendered.code, origin, &tail, now);
        }
    }

    /// Enters the sender of a request into the list of observers, or strikes it off, as the request
    /// and its answer have it (RFC 7641 section 4.1).
    fn observe(
        &mut self,
        messages: &mut Messages,
        waiting: &mut Waiting,
        rendered: &Rendered,
        topic: Option<Topic>,
        now: Instant,
    ) -> Option<u64> {
        let request = waiting.observe.take()?;
        let Some(topic) = topic.filter(|_| rendered.code.is_success()) else {
            if let Some(number) = self.observers.find(waiting.peer, &waiting.token) {
                self.drop_observer(messages, number, now);
            }
            return None;
        };
        let key = (waiting.peer, waiting.token.clone());
        let state = Arc::new(rendered.clone());
        let number = self.observers.register(key, request, topic, state, now)?;
        self.plan_refresh(messages, number, now);
        Some(number)
    }

    pub(super) fn send_answer(
        &mut self,
        messages: &mut Messages,
        waiting: Box<Waiting>,
        code: Code,
        origin: Origin,
        tail: &[u8],
        now: Instant,
    ) {
        let Waiting { peer, ref token, ref reply, .. } = *waiting;
        let keep_for = waiting.keep_for(code);
        if waiting.reception == Reception::Multicast {
            self.delay(messages, peer, code, token, tail, now);
            return messages.leave_unanswered((peer, reply), keep_for, now);
        }
        let parts = (code, token, tail);
        let will_be_settled = messages.answer((peer, reply), origin, parts, keep_for, now);
        if let Origin::Observer(number) = origin
            && let Some(observer) = self.observers.get_mut(number)
        {
            observer.busy |= will_be_settled;
        }
    }

    /// Answers to a group spread over the leisure period; refusals are kept to ourselves (RFC 7252
    /// section 8.2).
    fn delay(
        &mut self,
        messages: &mut Messages,
        peer: Peer,
        code: Code,
        token: &Token,
        tail: &[u8],
        now: Instant,
    ) {
        if !code.is_success() || self.delayed.len() >= DELAYED_MAX {
            return;
        }
        let at = now + messages.random.up_to(self.config.leisure);
        self.serial += 1;
        let answer = Delayed { code, token: token.clone(), tail: tail.to_vec() };
        self.delayed.insert(self.serial, (peer, answer));
        messages.timers.set(at, Timer::Leisure(self.serial));
    }

    /// The moment of a delayed answer has come.
    pub(super) fn send_delayed(&mut self, messages: &mut Messages, number: u64) {
        let Some((peer, answer)) = self.delayed.remove(&number) else { return };
        messages.non_confirmable(peer, answer.code, &answer.token, &answer.tail);
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
