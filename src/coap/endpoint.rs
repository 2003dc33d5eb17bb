//! The endpoint: exchanges, observation and blocks together; the only type other rooms use.

use std::time::Duration;

use super::block::{SNAPSHOT_BYTES_MAX, UPLOAD_BYTES_MAX};
use super::client::{Carrier, Client};
use super::codec::{self, DATAGRAM_BYTES_MAX, Kind, Malformed, Message};
use super::duplicates::{FORGETTABLE_BYTES_MAX, KEPT_BYTES_CLEAR_MAX, KEPT_BYTES_MAX};
use super::echo::Echo;
use super::exchange::{Messages, Origin, Retransmission};
use super::observe::OBSERVER_BYTES_MAX;
use super::random::{Keyed, Random};
use super::server::{DELAYED_BYTES, DELAYED_MAX, REQUEST_BYTES, REQUESTS_MAX, Server};
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

/// A CoAP endpoint.
#[derive(Debug)]
pub struct Endpoint {
    messages: Messages,
    server: Server,
    client: Client,
}

impl Endpoint {
    /// A new endpoint. `seed` feeds tokens, message ids and jitter; take it from the system.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut random = Random::new(seed);
        let keyed = Keyed::new(&mut random);
        let echo = Echo::new(&mut random);
        Self {
            messages: Messages::new(random, keyed.clone()),
            server: Server::new(config.clone(), keyed.clone(), echo),
            client: Client::new(config, keyed),
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
                if message.kind == Kind::NonConfirmable && message.content.code.is_request() {
                    self.on_request(peer, reception, message, bytes, now);
                }
            }
            Ok(message) => self.on_message(peer, message, bytes, now),
            Err(_) if multicast => {}
            Err(Malformed::Message { kind: Kind::Confirmable, id }) => {
                self.messages.reset(peer, id)
            }
            Err(Malformed::TooLong { kind: Kind::Confirmable, id, token }) => {
                self.server.refuse_too_long(&mut self.messages, peer, id, &token);
            }
            Err(_) => {}
        }
    }

    /// The deadline passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.messages.acknowledge_waiting(now);
        while let Some(timer) = self.messages.timers.pop_due(now) {
            match timer {
                Timer::Retransmit(peer, id) => self.retransmit(peer, id, now),
                Timer::Leisure(number) => self.server.send_delayed(&mut self.messages, number),
                Timer::Refresh(number) => self.server.refresh(&mut self.messages, number, now),
                Timer::Collect(call) | Timer::Response(call) => {
                    self.client.fail(&mut self.messages, call, CallError::TimedOut, now);
                }
                Timer::Stale(call) => self.client.renew(&mut self.messages, call, now),
                Timer::Missing(call) => self.client.ask_missing(&mut self.messages, call, now),
            }
        }
    }

    /// When to call [`Self::handle_timeout`], and what for.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let slow = self.messages.acknowledgement_due();
        let slow = slow.map(|at| (at, "acknowledgement of a request still worked on"));
        let timer = self.messages.timers.next();
        slow.into_iter().chain(timer).min_by_key(|(at, _)| *at)
    }

    /// What to do next; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.messages.outputs.pop_front()
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
        self.server.answer(&mut self.messages, ticket, response, topic, now);
    }

    /// Leaves a request without an answer (multicast, RFC 7252 section 8.2). A confirmable one is
    /// still acknowledged.
    pub fn ignore(&mut self, ticket: Ticket, now: Instant) {
        self.server.leave_unanswered(&mut self.messages, ticket, now);
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
        self.server.tell(&mut self.messages, topic, kind, now, render);
    }

    /// How many watch this topic.
    pub fn watchers(&self, topic: Topic) -> usize {
        self.server.observers.count(topic)
    }

    /// Ends every observation for which `ends` is true, with `error` as its last word (RFC 7641
    /// section 4.2): for those who have lost access.
    pub fn end_observations(
        &mut self,
        error: &Response,
        now: Instant,
        mut ends: impl FnMut(Topic, &Watcher<'_>) -> bool,
    ) {
        for number in self.server.observers.all() {
            let Some(observer) = self.server.observers.get(number) else { continue };
            let (peer, request) = (observer.peer, &observer.request);
            if ends(observer.topic, &Watcher { peer, request }) {
                self.server.snapshots.drop_peer(peer);
                self.server.end(&mut self.messages, number, error.clone(), now);
            }
        }
    }

    /// Sends a confirmable request; block-wise both ways as needed. A request with Observe 0 begins an
    /// observation that ends with [`Self::cancel`].
    pub fn request(&mut self, peer: Peer, request: Request, now: Instant) -> Call {
        self.client.ask(&mut self.messages, peer, request, now)
    }

    /// As [`Self::request`], for a body of any length: it comes in [`Output::Part`]s, from the block
    /// of 1024 bytes that holds `offset` on.
    pub fn download(&mut self, peer: Peer, request: Request, offset: u64, now: Instant) -> Call {
        self.client.ask_parts(&mut self.messages, peer, request, offset as usize & !1023, now)
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
        self.client.ask_group(&mut self.messages, group, request, collect, now)
    }

    /// Registers an observation of ours once more under its own token, as a server that has started
    /// anew needs it (RFC 7641 section 3.3.1). Its answer comes like a notification; nothing happens
    /// while an exchange of the call is under way.
    pub fn register_again(&mut self, call: Call, now: Instant) {
        self.client.renew(&mut self.messages, call, now);
    }

    /// Forgets a call; ends an observation with Observe 1 (RFC 7641 section 3.6).
    pub fn cancel(&mut self, call: Call, now: Instant) {
        self.client.abandon(&mut self.messages, call, now);
    }

    /// A DTLS session has ended: its exchanges and observations go with it.
    pub fn session_ended(&mut self, peer: Peer) {
        // First what may be sent, so that nothing below sends anything and needs the time for it.
        self.messages.drop_peer(peer);
        let now = Instant::ZERO;
        self.server.drop_peer(&mut self.messages, peer, now);
        self.client.drop_peer(&mut self.messages, peer, now);
    }

    /// What is held for peers, bytes; about right for what is not counted exactly.
    pub fn memory(&self) -> Memory {
        Memory { answers: self.messages.bytes(), ..self.server.memory() }
    }

    fn on_message(&mut self, peer: Peer, message: Message, bytes: &[u8], now: Instant) {
        match message.kind {
            Kind::Reset => self.on_reset(peer, message.id, now),
            Kind::Acknowledgement => self.on_acknowledgement(peer, message, now),
            // A ping: RFC 7252 section 4.3.
            _ if message.content.code == Code::EMPTY => self.messages.reset(peer, message.id),
            _ if message.content.code.is_request() => {
                self.on_request(peer, Reception::Unicast, message, bytes, now);
            }
            _ => self.on_separate_response(peer, message, bytes, now),
        }
    }

    fn on_request(
        &mut self,
        peer: Peer,
        reception: Reception,
        message: Message,
        bytes: &[u8],
        now: Instant,
    ) {
        let messages = &mut self.messages;
        if let Some(reply) = messages.begin(peer, reception, &message, bytes, now) {
            let from = (peer, reception, reply);
            self.server.on_request(messages, from, message.content, bytes.len(), now);
        }
    }

    /// RFC 7252 section 4.2, and 5.2.1 when the acknowledgement is an answer as well.
    fn on_acknowledgement(&mut self, peer: Peer, message: Message, now: Instant) {
        let Self { messages, server, client } = self;
        let Some(settled) = messages.settle(peer, message.id, now) else { return };
        let content = message.content;
        match settled.origin {
            Origin::Call(call) => {
                let is_answered = content.code != Code::EMPTY
                    && client.on_response(messages, peer, Carrier::Acknowledgement, content, now);
                // Where somebody answers what we did not ask, we wait for who does.
                if !is_answered {
                    client.request_acknowledged(messages, call, now);
                }
            }
            Origin::Observer(number) => {
                server.notification_settled(messages, number, &settled, now);
            }
            Origin::Answer => {}
        }
    }

    fn on_reset(&mut self, peer: Peer, id: u16, now: Instant) {
        match self.messages.settle(peer, id, now).map(|settled| settled.origin) {
            Some(Origin::Call(call)) if self.client.falls_back(&mut self.messages, call, now) => {}
            Some(Origin::Call(call)) => {
                self.client.fail(&mut self.messages, call, CallError::Reset, now)
            }
            Some(Origin::Observer(number)) => {
                if let Some(observer) = self.server.observers.get_mut(number) {
                    observer.busy = false;
                }
                self.server.drop_observer(&mut self.messages, number, now);
            }
            Some(Origin::Answer) => {}
            None => {
                if let Some(number) = self.server.observers.of_recent_id(peer, id) {
                    self.server.drop_observer(&mut self.messages, number, now);
                }
            }
        }
    }

    /// A response in a message of its own (RFC 7252 section 5.2.2). What nobody asked for is rejected
    /// if it is confirmable or a notification (RFC 7641 section 3.6).
    fn on_separate_response(&mut self, peer: Peer, message: Message, bytes: &[u8], now: Instant) {
        let Self { messages, client, .. } = self;
        if message.kind == Kind::NonConfirmable {
            // Its duplicates are told by their block, sequence number or token.
            let (id, content) = (message.id, message.content);
            let observes = content.options.first(option::OBSERVE).is_some();
            if !client.on_response(messages, peer, Carrier::Itself, content, now) && observes {
                messages.reset(peer, id);
            }
            return;
        }
        let Some(reply) = messages.begin(peer, Reception::Unicast, &message, bytes, now) else {
            return;
        };
        let content = message.content;
        let wanted = client.on_response(messages, peer, Carrier::Itself, content, now);
        if wanted {
            messages.leave_unanswered((peer, &reply), None, now);
        } else {
            messages.reject((peer, &reply), now);
        }
    }

    fn retransmit(&mut self, peer: Peer, id: u16, now: Instant) {
        let newer = match self.messages.origin(peer, id) {
            Some(Origin::Observer(number)) => self.server.newer_notification(number),
            _ => None,
        };
        let newer = newer.as_ref().map(|(code, token, tail)| (*code, token, &**tail));
        let Retransmission::GaveUp(origin) = self.messages.retransmit(peer, id, now, newer) else {
            return;
        };
        match origin {
            Origin::Call(call) => {
                self.client.fail(&mut self.messages, call, CallError::TimedOut, now)
            }
            Origin::Observer(number) => self.server.observer_gone(&mut self.messages, number, now),
            Origin::Answer => {}
        }
        self.messages.free(peer, now);
    }
}
