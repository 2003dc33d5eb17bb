//! A download by Q-Block2 (RFC 9177 section 4.4), and the way back to Block2.

use super::block::Block;
use super::client::Client;
use super::codec::{self, Content};
use super::exchange::Messages;
use super::quick::{NON_RECEIVE_TIMEOUT, QuickStep};
use super::timers::Timer;
use super::transfer::Download;
use super::{Call, CallError, Code, Options, Output, Response, option};
use crate::clock::Instant;

impl Client {
    /// A response came to one of the requests of a transfer.
    pub(super) fn on_quick(
        &mut self,
        messages: &mut Messages,
        call: Call,
        message: Content,
        now: Instant,
    ) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(quick) = &mut asking.quick else { return };
        let Content { code, mut options, payload, .. } = message;
        let block = match Block::read(&options, option::Q_BLOCK2) {
            Ok(block) => block.filter(|_| code.is_success()),
            Err(_) => {
                return self.fail(messages, call, CallError::Blocks("block size exponent 7"), now);
            }
        };
        let Some(block) = block else {
            // Refused, short, or by a server that knows only Block2.
            let again = code == Code::BAD_OPTION && self.falls_back(messages, call, now);
            if !again {
                self.end_quick(messages, call);
                let message = Content { code, options, payload, ..message };
                self.on_exchange_response(messages, call, message, now);
            }
            return;
        };
        let (offset, mut bytes) = (quick.offset() as u64, Vec::new());
        let step = quick.take(block, &options, payload, &mut bytes, now);
        let size = quick.options.uint(option::SIZE2).map(u64::from);
        if let Some(timer) = quick.timer.take() {
            messages.timers.stop(timer);
        }
        let peer = asking.peer;
        // The server works on the next set while the caller keeps this part.
        if step == QuickStep::Continue {
            self.ask_quick(messages, call, false, now);
        }
        if !bytes.is_empty() {
            messages.outputs.push_back(Output::Part { call, peer, offset, bytes, size });
        }
        let quick = self.calls.get_mut(&call).and_then(|asking| asking.quick.as_mut());
        let Some(quick) = quick else { return };
        match step {
            QuickStep::Wait(wait) => {
                quick.timer = Some(messages.timers.set(now + wait, Timer::Missing(call)));
            }
            QuickStep::Continue => {}
            QuickStep::Whole => {
                options = std::mem::take(&mut quick.options);
                options.remove(option::Q_BLOCK2);
                self.deliver(messages, call, Response { code, options, payload: Vec::new() }, now);
            }
            QuickStep::Changed => self.start_over(messages, call, now),
            QuickStep::Broken => {
                self.fail(messages, call, CallError::Blocks("a block of odd size"), now)
            }
        }
    }

    /// Nothing more came of the present set.
    pub(super) fn ask_missing(&mut self, messages: &mut Messages, call: Call, now: Instant) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(quick) = &mut asking.quick else { return };
        quick.timer = None;
        self.ask_quick(messages, call, true, now);
    }

    /// Asks for the next set, or for what is missing of the present one.
    fn ask_quick(&mut self, messages: &mut Messages, call: Call, missing: bool, now: Instant) {
        let token = self.new_token(messages, call);
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(quick) = &mut asking.quick else { return };
        let wait = if missing { quick.missed() } else { Some(NON_RECEIVE_TIMEOUT) };
        let Some(wait) = wait else {
            self.tokens.remove(&token);
            return self.fail(messages, call, CallError::TimedOut, now);
        };
        let mut options = asking.request.options.clone();
        if missing {
            quick.ask_missing(&mut options);
        } else {
            quick.ask_set(&mut options);
        }
        let tail = codec::tail(&options, &[]);
        messages.non_confirmable(asking.peer, asking.request.code, &token, &tail);
        if let Some(stale) = quick.asked(token, now) {
            self.tokens.remove(&stale);
        }
        quick.timer = Some(messages.timers.set(now + wait, Timer::Missing(call)));
    }

    /// The server does not know Q-Block2: the same again with Block2. `false` if it is not that.
    pub(super) fn falls_back(&mut self, messages: &mut Messages, call: Call, now: Instant) -> bool {
        let Some(asking) = self.calls.get_mut(&call) else { return false };
        let Some(quick) = asking.quick.as_ref().filter(|quick| !quick.has_begun()) else {
            return false;
        };
        let offset = quick.offset();
        self.end_quick(messages, call);
        if let Some(asking) = self.calls.get_mut(&call)
            && offset > 0
        {
            asking.download = Some(Download::new(Code::EMPTY, &Options::default(), offset));
        }
        self.send_request(messages, call, now);
        true
    }

    /// The body changed while it was read: once more from its start, block by block.
    fn start_over(&mut self, messages: &mut Messages, call: Call, now: Instant) {
        self.end_quick(messages, call);
        self.send_request(messages, call, now);
    }

    /// Forgets a transfer with its tokens and its timer.
    pub(super) fn end_quick(&mut self, messages: &mut Messages, call: Call) {
        let Some(asking) = self.calls.get_mut(&call) else { return };
        let Some(quick) = asking.quick.take() else { return };
        for token in &quick.tokens {
            self.tokens.remove(token);
        }
        if let Some(timer) = quick.timer {
            messages.timers.stop(timer);
        }
    }
}
