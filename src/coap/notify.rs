//! The server's half of observation: telling the observers (RFC 7641 section 4).

use std::sync::Arc;
use std::time::Duration;

use super::block::{Asked, Block};
use super::codec::{self, Token};
use super::exchange::{Messages, Origin, Settled};
use super::observe::{CONFIRM_EVERY, Rendered};
use super::server::Server;
use super::timers::Timer;
use super::{Code, Notify, Peer, Request, Response, Topic, Watcher, option};
use crate::clock::Instant;

/// An observer hears the present state again at the earliest after this long, however small its
/// Max-Age: a state that is stale at once is no reason to flood.
pub const REFRESH_MIN: Duration = Duration::from_secs(5);

/// What was made for the observer before: most get the same.
struct Made {
    response: Response,
    block: Option<Block>,
    rendered: Arc<Rendered>,
    tail: Vec<u8>,
}

impl Server {
    /// See [`Endpoint::notify`](super::Endpoint::notify).
    pub(super) fn tell(
        &mut self,
        messages: &mut Messages,
        topic: Topic,
        kind: Notify,
        now: Instant,
        mut render: impl FnMut(&Watcher<'_>) -> Response,
    ) {
        let sequence = self.observers.next_sequence();
        let mut made: Option<Made> = None;
        for number in self.observers.of_topic(topic) {
            let Some(observer) = self.observers.get(number) else { continue };
            let peer = observer.peer;
            let response = render(&Watcher { peer, request: &observer.request });
            if !response.code.is_success() {
                self.end(messages, number, response, now);
                continue;
            }
            let block = Block::read(&observer.request.options, option::BLOCK2).ok().flatten();
            let same = |made: &Made| made.response == response && made.block == block;
            let one = match made.take().filter(same) {
                Some(one) => one,
                None => self.make(number, peer, response, block, sequence, now),
            };
            self.tell_one(messages, number, kind, &one, now);
            made = Some(one);
        }
    }

    fn make(
        &mut self,
        number: u64,
        peer: Peer,
        response: Response,
        block: Option<Block>,
        sequence: u32,
        now: Instant,
    ) -> Made {
        let asked = self.asked(number);
        let rendered = self.render(peer, asked, response.clone(), block, now);
        let tail = tail(&rendered, sequence);
        Made { response, block, rendered: Arc::new(rendered), tail }
    }

    fn tell_one(
        &mut self,
        messages: &mut Messages,
        number: u64,
        kind: Notify,
        made: &Made,
        now: Instant,
    ) {
        let Some(observer) = self.observers.get_mut(number) else { return };
        observer.state = made.rendered.clone();
        let peer = observer.peer;
        let unconfirmed =
            kind == Notify::NonConfirmable && !observer.busy && observer.may_send_unconfirmed(now);
        let message = (made.rendered.code, &observer.token, &*made.tail);
        if observer.busy {
            let waits = messages.replace_waiting(peer, Origin::Observer(number), message);
            observer.owes_newer = !waits;
            return;
        }
        if unconfirmed {
            let id = messages.non_confirmable(peer, message.0, message.1, message.2);
            observer.sent_unconfirmed(id);
        } else {
            let queued = messages.confirmable(peer, Origin::Observer(number), message, now);
            observer.busy = queued.is_ok();
        }
        self.plan_refresh(messages, number, now);
    }

    /// An observation ends with an error (RFC 7641 section 4.2).
    pub(super) fn end(
        &mut self,
        messages: &mut Messages,
        number: u64,
        response: Response,
        now: Instant,
    ) {
        let asked = self.asked(number);
        let Some((peer, token)) = self.drop_observer(messages, number, now) else { return };
        let rendered = self.render(peer, asked, response, None, now);
        let tail = codec::tail(&rendered.options, &rendered.payload);
        // A lane that is full belongs to a peer that is not there.
        let _ = messages.confirmable(peer, Origin::Answer, (rendered.code, &token, &tail), now);
    }

    /// Strikes an observer off the list; returns its endpoint and token.
    pub(super) fn drop_observer(
        &mut self,
        messages: &mut Messages,
        number: u64,
        now: Instant,
    ) -> Option<(Peer, Token)> {
        let observer = self.observers.remove(number)?;
        if let Some(timer) = observer.refresh {
            messages.timers.stop(timer);
        }
        if observer.busy {
            messages.forget(observer.peer, Origin::Observer(number), now);
        }
        Some((observer.peer, observer.token))
    }

    /// A notification was acknowledged: what changed meanwhile goes next.
    pub(super) fn notification_settled(
        &mut self,
        messages: &mut Messages,
        number: u64,
        settled: &Settled,
        now: Instant,
    ) {
        let Some(observer) = self.observers.get_mut(number) else { return };
        observer.busy = false;
        observer.confirmed(settled.round_trip, now);
        if std::mem::take(&mut observer.owes_newer) {
            self.send_state(messages, number, now);
        } else {
            self.plan_refresh(messages, number, now);
        }
    }

    /// The content that a retransmission to this observer should have, if it changed.
    pub(super) fn newer_notification(&mut self, number: u64) -> Option<(Code, Token, Vec<u8>)> {
        let sequence = self.observers.sequence();
        let observer = self.observers.get_mut(number)?;
        if !std::mem::take(&mut observer.owes_newer) {
            return None;
        }
        let tail = tail(&observer.state, sequence);
        Some((observer.state.code, observer.token.clone(), tail))
    }

    /// Nobody acknowledges: the peer is gone, and all that it observed (RFC 7641 section 4.5).
    pub(super) fn observer_gone(&mut self, messages: &mut Messages, number: u64, now: Instant) {
        let Some(observer) = self.observers.get_mut(number) else { return };
        observer.busy = false;
        let peer = observer.peer;
        let numbers: Vec<u64> = self.observers.of_peer(peer).collect();
        for number in numbers {
            self.drop_observer(messages, number, now);
        }
    }

    /// An observer should hear the state again before it grows stale. It must acknowledge: so a lost
    /// notification is made up for, and an observer that has gone is found out.
    pub(super) fn refresh(&mut self, messages: &mut Messages, number: u64, now: Instant) {
        let Some(observer) = self.observers.get_mut(number) else { return };
        observer.refresh = None;
        if !observer.busy {
            self.observers.next_sequence();
            self.send_state(messages, number, now);
        }
    }

    pub(super) fn plan_refresh(&mut self, messages: &mut Messages, number: u64, now: Instant) {
        let Some(observer) = self.observers.get_mut(number) else { return };
        if let Some(timer) = observer.refresh.take() {
            messages.timers.stop(timer);
        }
        // Spread, so that observers who were told together do not all answer together again.
        let wait = messages.random.stretched(observer.state.max_age.mul_f64(0.5), 1.6);
        let at = now + wait.clamp(REFRESH_MIN, CONFIRM_EVERY);
        observer.refresh = Some(messages.timers.set(at, Timer::Refresh(number)));
    }

    fn send_state(&mut self, messages: &mut Messages, number: u64, now: Instant) {
        let sequence = self.observers.sequence();
        let Some(observer) = self.observers.get_mut(number) else { return };
        let tail = tail(&observer.state, sequence);
        let message = (observer.state.code, &observer.token, &*tail);
        let queued = messages.confirmable(observer.peer, Origin::Observer(number), message, now);
        observer.busy = queued.is_ok();
        self.plan_refresh(messages, number, now);
    }

    fn asked(&self, number: u64) -> Asked {
        let none = Request { code: Code::GET, options: Default::default(), payload: vec![] };
        let request = self.observers.get(number).map_or(&none, |observer| &observer.request);
        Asked::new(&self.keyed, request.code, &request.options)
    }
}

fn tail(rendered: &Rendered, sequence: u32) -> Vec<u8> {
    let mut options = rendered.options.clone();
    options.set_uint(option::OBSERVE, sequence);
    codec::tail(&options, &rendered.payload)
}
