//! What a sender in clear gets before it has shown that it can be reached where it says: the address
//! may be somebody else's, who would get what was never asked for (RFC 9175 section 2.6).
//!
//! A long answer goes out as a first block that is small enough for anybody; every client asks for the
//! next by itself (RFC 7959 section 2.4), so that those that cannot answer a challenge read all of it,
//! and each of its requests brings no more than it may. Those that can answer one are asked where there
//! is no other way: to observe, and to get more than that at once.

use super::block::{Block, SIZE_EXPONENT_MAX};
use super::codec;
use super::echo::{AMPLIFICATION_MAX, ANSWER_TO_ANYBODY_BYTES};
use super::server::{Server, Waiting};
use super::{Code, Peer, Reception, Request, Response, option};
use crate::clock::Instant;

/// Header and payload marker, bytes.
const FRAME_BYTES: usize = 5;

/// What cutting adds at most, bytes: ETag, Block2 and Size2.
const CUT_BYTES: usize = 19;

/// Block1 in an answer, bytes at most.
const BLOCK1_BYTES: usize = 5;

impl Server {
    /// Asks those in clear for proof where the configuration wants it: that they are there before
    /// they change or observe something (RFC 9175 section 2.3 and 2.6). Of a body only the first block
    /// is asked; the others continue what it began.
    pub(super) fn check_echo(
        &mut self,
        waiting: &Waiting,
        request: &Request,
        now: Instant,
    ) -> Result<(), Response> {
        let peer = waiting.peer;
        let value = request.options.first(option::ECHO);
        let fresh = value.is_some_and(|value| self.echo.accept(peer, value, now));
        if peer.session != 0 || waiting.reception == Reception::Multicast {
            return Ok(());
        }
        let begins = waiting.block1.is_none_or(|block| block.number == 0);
        let changes = self.config.echo_before_changes && !request.code.is_safe() && begins;
        let observes = self.config.echo_before_long_answers
            && request.options.first(option::OBSERVE).is_some();
        if (changes && !fresh) || (observes && !self.echo.is_reachable(&peer, now)) {
            return Err(self.challenge(&peer, now));
        }
        Ok(())
    }

    /// 4.01 with an Echo option: repeat the request with this.
    pub(super) fn challenge(&self, peer: &Peer, now: Instant) -> Response {
        let mut answer = Response::new(Code::UNAUTHORIZED);
        answer.options.set(option::ECHO, self.echo.value(peer, now));
        answer
    }

    /// How long the answers to this request may be, bytes of their datagrams together; none for any
    /// length. A group's members each answer for themselves, and cannot know of one another.
    pub(super) fn answer_bytes_max(&self, waiting: &Waiting, now: Instant) -> Option<usize> {
        let stranger = self.config.echo_before_long_answers
            && waiting.peer.session == 0
            && !self.echo.is_reachable(&waiting.peer, now);
        stranger.then(|| ANSWER_TO_ANYBODY_BYTES.max(AMPLIFICATION_MAX * waiting.bytes))
    }

    /// What is said to whoever asked: the response, or the same in blocks that are small enough, or
    /// without its words, or a challenge in its place.
    pub(super) fn moderate(
        &self,
        waiting: &mut Waiting,
        mut response: Response,
        now: Instant,
    ) -> Response {
        let Some(most) = self.answer_bytes_max(waiting, now) else { return response };
        let block1 = waiting.block1.map_or(0, |_| BLOCK1_BYTES);
        let options = codec::tail(&response.options, &[]).len();
        let head = FRAME_BYTES + waiting.token.bytes().len() + block1 + options;
        let whole = head + response.payload.len();
        let as_it_is =
            waiting.block2.is_none() && response.payload.len() <= 16 << SIZE_EXPONENT_MAX;
        if whole + CUT_BYTES <= most || (as_it_is && whole <= most) {
            return response;
        }
        if !response.code.is_success() && head <= most {
            response.payload.clear();
            return response;
        }
        let asked =
            waiting.block2.unwrap_or(Block { number: 0, more: false, exponent: SIZE_EXPONENT_MAX });
        // The size of the first block is that of all, and the requests for those may be shorter.
        let most = if asked.number > 0 { most } else { ANSWER_TO_ANYBODY_BYTES };
        let fits = |exponent: &u8| head + CUT_BYTES + (16 << exponent) <= most;
        let is_cut = [option::BLOCK2, option::Q_BLOCK2]
            .iter()
            .any(|number| response.options.first(*number).is_some());
        match (0..=asked.exponent).rev().find(fits) {
            Some(exponent) if !is_cut && (asked.number == 0 || exponent == asked.exponent) => {
                waiting.block2 = Some(Block { exponent, ..asked });
                response
            }
            _ => self.challenge(&waiting.peer, now),
        }
    }
}
