//! The client's half: from a request of ours to its answer, or to many.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::block::{Block, SIZE_EXPONENT_MAX};
use super::codec::{self, Content, Token};
use super::criticality;
use super::exchange::{Messages, Origin};
use super::observe;
use super::quick::Quick;
use super::random::Keyed;
use super::timers::{Timer, TimerKey};
use super::transfer::{Download, DownloadStep, RESTARTS_MAX, Upload, UploadStep};
use super::{Call, CallError, Code, Config, Options, Output, Peer, Request, Response, option};
use crate::clock::Instant;

/// Calls and observations of ours at once. A client that drives many devices asks a few dozen at a
/// time; each may hold a body.
pub const CALLS_MAX: usize = 1024;

/// How long an acknowledged request waits for its response: EXCHANGE_LIFETIME, after which nothing of
/// it can still be on its way (RFC 7252 section 4.8.2).
pub const RESPONSE_WAIT: Duration = Duration::from_secs(247);

/// An observation that heard nothing is renewed this long after its state went stale, at least and at
/// most (RFC 7641 section 3.3.1).
pub const RENEW_AFTER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(15)];

/// How a response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// On the acknowledgement of its request, and so once.
    Acknowledgement,
    /// By itself; it can be rejected, and come again.
    Itself,
}

/// A request of ours.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) peer: Peer,
    pub(super) request: Request,
    /// Under which name the caller knows it; another one for the rest of an answer to a group.
    reports_as: Call,
    kind: AskingKind,
    observation: Option<Observation>,
    exchange: Option<Exchange>,
    upload: Option<Upload>,
    pub(super) download: Option<Download>,
    pub(super) quick: Option<Quick>,
    /// Request-Tag: tells this body from another one to the same resource (RFC 9175 section 3).
    tag: Option<u32>,
    restarts: u8,
    /// What the server wants to be shown (RFC 9175 section 2.3).
    echo: Option<Vec<u8>>,
}

/// What the caller expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AskingKind {
    /// One response, whole, or those of an observation.
    Whole,
    /// The body in parts, as they come.
    Parts,
    /// Responses of all of a group.
    Group,
    /// Nothing: the caller has forgotten it.
    Forgotten,
}

/// One request message and its response.
#[derive(Debug)]
struct Exchange {
    token: Token,
    /// Runs out when an acknowledged request gets no response.
    timer: Option<TimerKey>,
}

/// An observation of ours (RFC 7641 section 3).
#[derive(Debug)]
struct Observation {
    token: Token,
    /// The newest notification: its sequence number, and when it came.
    newest: Option<(u32, Instant)>,
    timer: Option<TimerKey>,
}

/// The client's half of an endpoint.
#[derive(Debug)]
pub(super) struct Client {
    config: Config,
    /// Names calls and tokens; never comes back.
    serial: u64,
    pub(super) calls: BTreeMap<Call, Asking>,
    pub(super) tokens: HashMap<Token, Call, Keyed>,
}

impl Client {
    pub(super) fn new(config: Config, keyed: Keyed) -> Self {
        let tokens = HashMap::with_hasher(keyed);
        Self { config, serial: 0, calls: BTreeMap::new(), tokens }
    }

    /// Ends all that was asked of a peer: its session has ended.
    pub(super) fn drop_peer(&mut self, messages: &mut Messages, peer: Peer, now: Instant) {
        let of_peer = |(call, asking): (&Call, &Asking)| (asking.peer == peer).then_some(*call);
        let calls: Vec<Call> = self.calls.iter().filter_map(of_peer).collect();
        for call in calls {
            self.fail(messages, call, CallError::SessionEnded, now);
        }
    }

    /// See [`Endpoint::request`](super::Endpoint::request).
    pub(super) fn ask(
        &mut self,
        messages: &mut Messages,
        peer: Peer,
        mut request: Request,
        now: Instant,
    ) -> Call {
        let call = self.new_call();
        let observes = request.options.uint(option::OBSERVE) == Some(REGISTER);
        request.options.remove(option::OBSERVE);
        let mut asking = Asking::new(peer, request, call, AskingKind::Whole);
        if observes {
            let token = self.new_token(messages, call);
            asking.observation = Some(Observation { token, newest: None, timer: None });
        }
        self.begin(messages, call, asking, now)
    }

    /// See [`Endpoint::download`](super::Endpoint::download).
    pub(super) fn ask_parts(
        &mut self,
        messages: &mut Messages,
        peer: Peer,
        mut request: Request,
        offset: usize,
        now: Instant,
    ) -> Call {
        let call = self.new_call();
        request.options.remove(option::OBSERVE);
        let mut asking = Asking::new(peer, request, call, AskingKind::Parts);
        if self.config.quick_downloads {
            asking.quick = Some(Quick::new(offset, self.config.set(), now));
        } else if offset > 0 {
            asking.download = Some(Download::new(Code::EMPTY, &Options::default(), offset));
        }
        self.begin(messages, call, asking, now)
    }

    /// See [`Endpoint::request_multicast`](super::Endpoint::request_multicast).
    pub(super) fn ask_group(
        &mut self,
        messages: &mut Messages,
        group: Peer,
        request: Request,
        collect: Duration,
        now: Instant,
    ) -> Call {
        let call = self.new_call();
        let long = request.payload.len() > BLOCK_BYTES_MAX;
        if long || self.calls.len() >= CALLS_MAX {
            let why = "a group takes no body in blocks";
            let error = if long { CallError::Blocks(why) } else { CallError::Busy };
            messages.outputs.push_back(Output::Failed { call, error });
            return call;
        }
        let token = self.new_token(messages, call);
        let tail = codec::tail(&request.options, &request.payload);
        messages.non_confirmable(group, request.code, &token, &tail);
        let timer = Some(messages.timers.set(now + collect, Timer::Collect(call)));
        let exchange = Some(Exchange { token, timer });
        let asking = Asking { exchange, ..Asking::new(group, request, call, AskingKind::Group) };
        self.calls.insert(call, asking);
        call
    }

    fn begin(
        &mut self,
        messages: &mut Messages,
        call: Call,
        mut asking: Asking,
        now: Instant,
    ) -> Call {
        asking.upload = Upload::new(asking.request.payload.len());
        asking.tag = asking.upload.map(|_| call.0 as u32);
        let full = self.calls.len() >= CALLS_MAX;
        self.calls.insert(call, asking);
        if full {
            self.fail(messages, call, CallError::Busy, now);
        } else {
            self.send_request(messages, call, now);
        }
        call
    }

    fn new_call(&mut self) -> Call {
        self.serial += 1;
        Call(self.serial)
    }

    /// Half of it counts and never comes back, as RFC 9175 section 4.2 wants it over DTLS; half is
    /// chance, against those who cannot see it (RFC 7252 section 5.3.1).
    pub(super) fn new_token(&mut self, messages: &mut Messages, call: Call) -> Token {
        self.serial += 1;
        let chance = messages.random.u64() & 0xffff_ffff_0000_0000;
        let token = Token::new(&(chance | self.serial & 0xffff_ffff).to_be_bytes());
        self.tokens.insert(token.clone(), call);
        token
    }

    /// Sends what is due next: a block of our body, a request for a block of theirs, or all at once.
    pub(super) fn send_request(&mut self, messages: &mut Messages, call: Call, now: Instant) {
        let Some(asking) = self.calls.get(&call) else { return };
        let registers = asking.download.is_none() && asking.observation.is_some();
        let (options, payload) = asking.next_message(registers);
        let (peer, code) = (asking.peer, asking.request.code);
        let tail = codec::tail(&options, &payload);
        let registration = asking.observation.as_ref().filter(|_| registers);
        let token = match registration.map(|observation| observation.token.clone()) {
            Some(token) => token,
            None => self.new_token(messages, call),
        };
        self.end_exchange(messages, call, now);
        let message = (code, &token, &*tail);
        if messages.confirmable(peer, Origin::Call(call), message, now).is_err() {
            self.tokens.remove(&token);
            self.fail(messages, call, CallError::Busy, now);
        } else if let Some(asking) = self.calls.get_mut(&call) {
            if let Some(quick) = &mut asking.quick {
                quick.asked(token.clone(), now);
            }
            asking.exchange = Some(Exchange { token, timer: None });
        }
    }

    /// Our request was acknowledged: now the response may take its time.
    pub(super) fn request_acknowledged(
        &mut self,
        messages: &mut Messages,
        call: Call,
        now: Instant,
    ) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        if let Some(exchange) = &mut asking.exchange
            && exchange.timer.is_none()
        {
            let timer = Timer::Response(call);
            exchange.timer = Some(messages.timers.set(now + RESPONSE_WAIT, timer));
        }
    }

    /// A response came; `false` if nobody asked for it, or it cannot be understood.
    pub(super) fn on_response(
        &mut self,
        messages: &mut Messages,
        peer: Peer,
        carrier: Carrier,
        mut message: Content,
        now: Instant,
    ) -> bool {
        let Some(call) = self.tokens.get(&message.token).copied() else { return false };
        let Some(asking) = self.calls.get(&call) else { return false };
        let group = asking.kind == AskingKind::Group;
        if !group && asking.peer != peer {
            return false;
        }
        if criticality::sift(&mut message.options, &self.config.options_known).is_err() {
            if carrier == Carrier::Acknowledgement {
                self.fail(messages, call, CallError::NotUnderstood, now);
            }
            return false;
        }
        if group {
            self.on_group_response(messages, call, peer, message, now);
        } else if asking.quick.is_some() {
            self.end_exchange(messages, call, now);
            self.on_quick(messages, call, message, now);
        } else if asking.exchange.as_ref().is_some_and(|it| it.token == message.token) {
            self.end_exchange(messages, call, now);
            self.on_exchange_response(messages, call, message, now);
        } else {
            self.on_notification(messages, call, message, now);
        }
        true
    }

    pub(super) fn on_exchange_response(
        &mut self,
        messages: &mut Messages,
        call: Call,
        message: Content,
        now: Instant,
    ) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        if message.code == Code::UNAUTHORIZED
            && let Some(echo) = message.options.first(option::ECHO)
            && asking.restarts < RESTARTS_MAX
        {
            asking.restarts += 1;
            asking.echo = Some(echo.to_vec());
            return self.send_request(messages, call, now);
        }
        if let Some(upload) = &mut asking.upload {
            let length = asking.request.payload.len();
            match upload.answered(message.code, &message.options, length) {
                UploadStep::Next => return self.send_request(messages, call, now),
                UploadStep::Restart if asking.restarts < RESTARTS_MAX => {
                    asking.restarts += 1;
                    return self.send_request(messages, call, now);
                }
                UploadStep::Restart | UploadStep::Answer => asking.upload = None,
            }
        }
        let registration = asking.observation.as_ref().is_some_and(|it| it.token == message.token);
        if registration {
            self.on_registered(messages, call, &message, now);
        }
        self.on_body(messages, call, message, now);
    }

    /// The answer to a registration: without Observe, or as an error, it observes nothing.
    fn on_registered(
        &mut self,
        messages: &mut Messages,
        call: Call,
        message: &Content,
        now: Instant,
    ) {
        let sequence = message.options.uint(option::OBSERVE);
        match sequence.filter(|_| message.code.is_success()) {
            Some(sequence) => self.heard(messages, call, sequence, &message.options, now),
            None => self.end_observation(messages, call),
        }
    }

    fn on_notification(
        &mut self,
        messages: &mut Messages,
        call: Call,
        message: Content,
        now: Instant,
    ) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(observation) = &mut asking.observation else { return };
        let sequence = message.options.uint(option::OBSERVE);
        match sequence.filter(|_| message.code.is_success()) {
            Some(sequence) => {
                if observation
                    .newest
                    .is_some_and(|newest| !observe::is_newer(newest, (sequence, now)))
                {
                    return;
                }
                self.heard(messages, call, sequence, &message.options, now);
            }
            None => self.end_observation(messages, call),
        }
        // What was being read is older than this.
        self.end_exchange(messages, call, now);
        if let Some(asking) = self.calls.get_mut(&call) {
            (asking.download, asking.restarts) = (None, 0);
        }
        self.on_body(messages, call, message, now);
    }

    /// Notes what is newest, and when to ask again if nothing more is heard.
    fn heard(
        &mut self,
        messages: &mut Messages,
        call: Call,
        sequence: u32,
        options: &Options,
        now: Instant,
    ) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(observation) = &mut asking.observation else { return };
        observation.newest = Some((sequence, now));
        if let Some(timer) = observation.timer.take() {
            messages.timers.stop(timer);
        }
        let fresh = Duration::from_secs(options.uint(option::MAX_AGE).unwrap_or(60).into());
        let slack = RENEW_AFTER[0] + messages.random.up_to(RENEW_AFTER[1] - RENEW_AFTER[0]);
        let timer = messages.timers.set(now + fresh + slack, Timer::Stale(call));
        observation.timer = Some(timer);
    }

    /// Nothing was heard for longer than the state is fresh: register once more, under the same token
    /// (RFC 7641 section 3.3.1).
    pub(super) fn renew(&mut self, messages: &mut Messages, call: Call, now: Instant) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(observation) = &mut asking.observation else { return };
        if let Some(timer) = observation.timer.take() {
            messages.timers.stop(timer);
        }
        if asking.exchange.is_none() {
            asking.rewind();
            self.send_request(messages, call, now);
        }
    }

    /// Takes the body of a response, or its first or next block.
    fn on_body(&mut self, messages: &mut Messages, call: Call, message: Content, now: Instant) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Content { code, options, payload, .. } = message;
        let block = match Block::read(&options, option::BLOCK2) {
            Ok(block) => block.filter(|_| code.is_success()),
            Err(_) => {
                return self.fail(messages, call, CallError::Blocks("block size exponent 7"), now);
            }
        };
        let Some(block) = block else {
            asking.download = None;
            return self.deliver(messages, call, Response { code, options, payload }, now);
        };
        let first = block.number == 0;
        let fresh = asking.download.as_ref().is_none_or(|it| first || it.code == Code::EMPTY);
        if fresh {
            let at = asking.download.as_ref().map_or(0, Download::end);
            let at = if first { 0 } else { at };
            asking.download = Some(Download::new(code, &options, at));
        }
        let Some(download) = &mut asking.download else { return };
        let bytes_max = self.config.body_bytes_max;
        match download.take(block, &options, &payload, bytes_max) {
            DownloadStep::Next => {
                // The server works on the next block while the caller keeps this one.
                self.send_request(messages, call, now);
                self.hand_on_part(messages, call);
            }
            DownloadStep::Whole => {
                self.hand_on_part(messages, call);
                let download = self.calls.get_mut(&call).and_then(|it| it.download.take());
                let Some(download) = download else { return };
                let Download { code, options, body, .. } = download;
                self.deliver(messages, call, Response { code, options, payload: body }, now);
            }
            // Asking anew for the result of a change would change once more.
            DownloadStep::Restart
                if asking.restarts < RESTARTS_MAX && asking.request.code.is_safe() =>
            {
                asking.restarts += 1;
                asking.rewind();
                self.send_request(messages, call, now);
            }
            DownloadStep::Restart => {
                self.fail(messages, call, CallError::Blocks("it changes while it is read"), now);
            }
            DownloadStep::Broken(why) => self.fail(messages, call, CallError::Blocks(why), now),
        }
    }

    /// Hands on what has come of a body that the caller takes in parts.
    fn hand_on_part(&mut self, messages: &mut Messages, call: Call) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        if asking.kind != AskingKind::Parts {
            return;
        }
        let Some(download) = &mut asking.download else { return };
        let (offset, bytes) = (download.taken as u64, std::mem::take(&mut download.body));
        download.taken += bytes.len();
        let size = download.size().map(u64::from);
        messages.outputs.push_back(Output::Part { call, peer: asking.peer, offset, bytes, size });
    }

    /// Hands a whole response to the caller.
    pub(super) fn deliver(
        &mut self,
        messages: &mut Messages,
        call: Call,
        mut response: Response,
        now: Instant,
    ) {
        response.options.remove(option::BLOCK1);
        response.options.remove(option::BLOCK2);
        let Some(asking) = self.calls.get(&call) else { return };
        let (kind, peer, reports_as) = (asking.kind, asking.peer, asking.reports_as);
        let more = asking.observation.is_some() || reports_as != call;
        if asking.observation.is_none() {
            self.forget_call(messages, call, now);
        }
        let wanted = reports_as == call || self.calls.contains_key(&reports_as);
        if kind == AskingKind::Parts && response.code.is_success() && !response.payload.is_empty() {
            let (offset, bytes) = (0, std::mem::take(&mut response.payload));
            let size = Some(bytes.len() as u64);
            messages.outputs.push_back(Output::Part { call, peer, offset, bytes, size });
        }
        if wanted && kind != AskingKind::Forgotten {
            let output = Output::Response { call: reports_as, peer, response, more };
            messages.outputs.push_back(output);
        }
    }

    /// One of a group answers. If its answer goes on, the rest is asked of it alone.
    fn on_group_response(
        &mut self,
        messages: &mut Messages,
        call: Call,
        peer: Peer,
        message: Content,
        now: Instant,
    ) {
        let block = Block::read(&message.options, option::BLOCK2).ok().flatten();
        if !block.is_some_and(|block| block.more && block.number == 0) {
            let Content { code, options, payload, .. } = message;
            let response = Response { code, options, payload };
            messages.outputs.push_back(Output::Response { call, peer, response, more: true });
            return;
        }
        let Some(asking) = self.calls.get(&call) else { return };
        let request = asking.request.clone();
        if self.calls.len() >= CALLS_MAX {
            return;
        }
        let rest = self.new_call();
        let asking = Asking::new(peer, request, call, AskingKind::Whole);
        self.calls.insert(rest, asking);
        self.on_body(messages, rest, message, now);
    }

    /// Ends a call without an answer.
    pub(super) fn fail(
        &mut self,
        messages: &mut Messages,
        call: Call,
        error: CallError,
        now: Instant,
    ) {
        let Some(asking) = self.forget_call(messages, call, now) else { return };
        if asking.kind != AskingKind::Forgotten && asking.reports_as == call {
            messages.outputs.push_back(Output::Failed { call, error });
        }
    }

    /// See [`Endpoint::cancel`](super::Endpoint::cancel).
    pub(super) fn abandon(&mut self, messages: &mut Messages, call: Call, now: Instant) {
        let Some(asking) = self.forget_call(messages, call, now) else { return };
        let Some(observation) = asking.observation else { return };
        self.deregister(messages, asking.peer, asking.request, observation.token, now);
    }

    /// Tells the server that nobody observes any more (RFC 7641 section 3.6).
    /// A request of several blocks is not worth that: the next notification will be reset.
    fn deregister(
        &mut self,
        messages: &mut Messages,
        peer: Peer,
        mut request: Request,
        token: Token,
        now: Instant,
    ) {
        if request.payload.len() > BLOCK_BYTES_MAX {
            return;
        }
        let call = self.new_call();
        request.options.set_uint(option::OBSERVE, DEREGISTER);
        let tail = codec::tail(&request.options, &request.payload);
        let message = (request.code, &token, &*tail);
        if messages.confirmable(peer, Origin::Call(call), message, now).is_ok() {
            self.tokens.insert(token.clone(), call);
            let exchange = Some(Exchange { token, timer: None });
            let asking = Asking::new(peer, request, call, AskingKind::Forgotten);
            self.calls.insert(call, Asking { exchange, ..asking });
        }
    }

    /// Forgets a call with all that belongs to it.
    pub(super) fn forget_call(
        &mut self,
        messages: &mut Messages,
        call: Call,
        now: Instant,
    ) -> Option<Asking> {
        self.end_exchange(messages, call, now);
        self.take_token_of_observation(messages, call);
        self.end_quick(messages, call);
        self.calls.remove(&call)
    }

    fn take_token_of_observation(&mut self, messages: &mut Messages, call: Call) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(observation) = &mut asking.observation else { return };
        self.tokens.remove(&observation.token);
        if let Some(timer) = observation.timer.take() {
            messages.timers.stop(timer);
        }
    }

    fn end_observation(&mut self, messages: &mut Messages, call: Call) {
        self.take_token_of_observation(messages, call);
        if let Some(asking) = self.calls.get_mut(&call) {
            asking.observation = None;
        }
    }

    /// The exchange is over, however it ended; the token of an observation lives on.
    fn end_exchange(&mut self, messages: &mut Messages, call: Call, now: Instant) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(exchange) = asking.exchange.take() else { return };
        if let Some(timer) = exchange.timer {
            messages.timers.stop(timer);
        }
        let observes = asking.observation.as_ref().is_some_and(|it| it.token == exchange.token);
        let quick = asking.quick.as_ref().is_some_and(|it| it.tokens.contains(&exchange.token));
        if !observes && !quick {
            self.tokens.remove(&exchange.token);
        }
        let peer = asking.peer;
        if asking.kind != AskingKind::Group {
            messages.forget(peer, Origin::Call(call), now);
        }
    }
}

impl Asking {
    fn new(peer: Peer, request: Request, reports_as: Call, kind: AskingKind) -> Self {
        Self {
            peer,
            request,
            reports_as,
            kind,
            observation: None,
            exchange: None,
            upload: None,
            download: None,
            quick: None,
            tag: None,
            restarts: 0,
            echo: None,
        }
    }

    /// Begins anew, with the first block of what goes out.
    fn rewind(&mut self) {
        self.download = None;
        self.upload = Upload::new(self.request.payload.len());
    }

    /// Options and payload of the message that is due.
    fn next_message(&self, registers: bool) -> (Options, Vec<u8>) {
        let mut options = self.request.options.clone();
        if registers {
            options.set_uint(option::OBSERVE, REGISTER);
        }
        if let Some(echo) = &self.echo {
            options.set(option::ECHO, echo);
        }
        // On the blocks of the answer as well (RFC 9175 section 3.3).
        if let Some(tag) = self.tag {
            options.set(option::REQUEST_TAG, tag.to_be_bytes());
        }
        if let Some(upload) = &self.upload {
            let body = &self.request.payload;
            let (block, bytes) = upload.block(body);
            options.set_uint(option::BLOCK1, block.to_uint());
            if block.number == 0 {
                options.set_uint(option::SIZE1, body.len() as u32);
            }
            return (options, bytes.to_vec());
        }
        if let Some(quick) = &self.quick {
            quick.ask_set(&mut options);
        } else if let Some(download) = &self.download {
            options.set_uint(option::BLOCK2, download.next().to_uint());
            return (options, Vec::new());
        }
        (options, self.request.payload.clone())
    }
}

/// The longest body that goes in one message, bytes.
const BLOCK_BYTES_MAX: usize = 16 << SIZE_EXPONENT_MAX;

/// Observe in a request (RFC 7641 section 2).
const REGISTER: u32 = 0;
const DEREGISTER: u32 = 1;
