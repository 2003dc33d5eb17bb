//! Serving Q-Block2: several blocks for one request (RFC 9177 section 4.4).

use super::block::{Block, Snapshot};
use super::codec;
use super::exchange::{self, Messages, Origin};
use super::quick::Wanted;
use super::server::{Server, Waiting};
use super::{Code, Response, option};
use crate::clock::Instant;

impl Server {
    /// Answers with the blocks that were asked for; with the whole response if it is short.
    pub(super) fn finish_quick(
        &mut self,
        messages: &mut Messages,
        waiting: Box<Waiting>,
        wanted: &Wanted,
        mut response: Response,
        now: Instant,
    ) {
        let size = 16 << wanted.exponent;
        let short = wanted.begins && response.payload.len() <= size;
        if short || !response.code.is_success() {
            if response.code.is_success() && !response.payload.is_empty() {
                let block = Block { number: 0, more: false, exponent: wanted.exponent };
                response.options.set_uint(option::Q_BLOCK2, block.to_uint());
            }
            return self.finish(messages, waiting, response, None, now);
        }
        let snapshot = self.snapshot(response);
        self.snapshots.keep(waiting.peer, waiting.asked, snapshot.clone(), now);
        self.send_blocks(messages, waiting, wanted, &snapshot, now);
    }

    /// Sends the blocks that were asked for: the first as the answer, the others beside it.
    pub(super) fn send_blocks(
        &mut self,
        messages: &mut Messages,
        waiting: Box<Waiting>,
        wanted: &Wanted,
        snapshot: &Snapshot,
        now: Instant,
    ) {
        let exponent = wanted.exponent;
        let tails: Vec<Vec<u8>> =
            wanted.numbers.iter().filter_map(|number| tail(snapshot, *number, exponent)).collect();
        let Some((first, others)) = tails.split_first() else {
            let past = Response::diagnostic(Code::BAD_REQUEST, "the block lies past the end");
            return self.finish(messages, waiting, past, None, now);
        };
        let head = exchange::head_bytes(&waiting.token);
        let all: usize = tails.iter().map(|tail| head + tail.len()).sum();
        if self.answer_bytes_max(&waiting, now).is_some_and(|most| all > most) {
            let challenge = self.challenge(&waiting.peer, now);
            return self.finish(messages, waiting, challenge, None, now);
        }
        let (peer, token, code) = (waiting.peer, waiting.token.clone(), snapshot.code);
        self.send_answer(messages, waiting, code, Origin::Answer, first, now);
        for other in others {
            messages.non_confirmable(peer, code, &token, other);
        }
    }
}

/// One block, as it goes out; `None` past the end.
fn tail(snapshot: &Snapshot, number: u32, exponent: u8) -> Option<Vec<u8>> {
    let block = Block { number, more: false, exponent };
    let end = snapshot.body.len().min(block.offset() + block.size());
    let payload = snapshot.body.get(block.offset()..end).filter(|payload| !payload.is_empty())?;
    let mut options = snapshot.options.clone();
    let block = Block { more: end < snapshot.body.len(), ..block };
    options.set_uint(option::Q_BLOCK2, block.to_uint());
    options.set_uint(option::SIZE2, snapshot.body.len() as u32);
    Some(codec::tail(&options, payload))
}
