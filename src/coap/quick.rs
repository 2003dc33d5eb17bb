//! Q-Block2: ten blocks a round trip instead of one, or as many as both sides agreed on (RFC 9177).
//!
//! As a client, a download asks for it first and falls back to Block2 when the server does not know
//! it. As a server, blocks go out only when they are asked for: never the next set after a pause, as
//! section 7.2 would allow, because whoever asked may not be there.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::block::{Block, ReservedExponent, SIZE_EXPONENT_MAX};
use super::codec::Token;
use super::timers::TimerKey;
use super::{Options, option};
use crate::clock::Instant;

/// Blocks sent for one request, and asked for in one, where nothing else was agreed on (RFC 9177
/// section 7.2).
pub const MAX_PAYLOADS: u32 = 10;

/// The most that can be agreed on: each one that is missing takes an option of the request for them,
/// and a peer may take few ([`OPTIONS_MAX`](super::codec::OPTIONS_MAX) with us).
pub const MAX_PAYLOADS_AGREED_MAX: u32 = 32;

/// The longest wait for blocks that are missing, while nothing is known of the round trip
/// (NON_RECEIVE_TIMEOUT, RFC 9177 section 7.2).
pub const NON_RECEIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// The shortest: blocks that overtake each other on the way are not missing.
pub const MISSING_AFTER_MIN: Duration = Duration::from_millis(50);

/// How often the same blocks are asked for in vain (NON_MAX_RETRANSMIT, RFC 9177 section 7.2).
pub const NON_MAX_RETRANSMIT: u32 = 4;

/// Tokens of one transfer on which blocks may still come: those of the latest requests and the first.
const TOKENS_MAX: usize = 4;

/// A body that we receive.
#[derive(Debug)]
pub(super) struct Quick {
    /// Blocks of a set.
    set: u32,
    /// The first block that is not handed on.
    next: u32,
    /// Blocks that came before their turn.
    early: BTreeMap<u32, Vec<u8>>,
    /// The block behind the present set.
    set_end: u32,
    /// The last block, once known.
    last: Option<u32>,
    etag: Option<Vec<u8>>,
    /// Of the first block that came.
    pub(super) options: Options,
    pub(super) tokens: VecDeque<Token>,
    pub(super) timer: Option<TimerKey>,
    tries: u32,
    asked_at: Instant,
    /// From asking to the first block of the answer.
    round_trip: Option<Duration>,
}

/// What comes after one more block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum QuickStep {
    /// Wait for more, at most so long.
    Wait(Duration),
    /// Ask for the next set.
    Continue,
    /// The body is whole.
    Whole,
    /// It is another body now.
    Changed,
    /// It makes no sense.
    Broken,
}

impl Quick {
    /// A transfer that begins with the block at `offset`.
    pub(super) fn new(offset: usize, set: u32, now: Instant) -> Self {
        let next = (offset >> (SIZE_EXPONENT_MAX + 4)) as u32;
        Self {
            set,
            next,
            early: BTreeMap::new(),
            set_end: set_end(next, set),
            last: None,
            etag: None,
            options: Options::default(),
            tokens: VecDeque::new(),
            timer: None,
            tries: 0,
            asked_at: now,
            round_trip: None,
        }
    }

    /// Where the part begins that [`Self::take`] returns next, bytes.
    pub(super) fn offset(&self) -> usize {
        (self.next as usize) << (SIZE_EXPONENT_MAX + 4)
    }

    /// Whether any block has come.
    pub(super) fn has_begun(&self) -> bool {
        self.etag.is_some()
    }

    /// The option of the request for the present set.
    pub(super) fn ask_set(&self, options: &mut Options) {
        let block = Block { number: self.next, more: true, exponent: SIZE_EXPONENT_MAX };
        options.set_uint(option::Q_BLOCK2, block.to_uint());
    }

    /// The options of a request for the blocks that are missing of the present set.
    pub(super) fn ask_missing(&self, options: &mut Options) {
        let end = self.last.map_or(self.set_end, |last| self.set_end.min(last + 1));
        for number in (self.next..end).filter(|number| !self.early.contains_key(number)) {
            let block = Block { number, more: false, exponent: SIZE_EXPONENT_MAX };
            options.push_uint(option::Q_BLOCK2, block.to_uint());
        }
    }

    /// A request goes out. Returns a token that is no longer needed.
    pub(super) fn asked(&mut self, token: Token, now: Instant) -> Option<Token> {
        self.asked_at = now;
        self.round_trip = None;
        self.tokens.push_back(token);
        // The first stays: some servers send every block on it.
        (self.tokens.len() > TOKENS_MAX).then(|| self.tokens.remove(1)).flatten()
    }

    /// How long to wait for an answer that does not come at all; `None` when it is enough.
    pub(super) fn missed(&mut self) -> Option<Duration> {
        self.tries += 1;
        (self.tries <= NON_MAX_RETRANSMIT).then(|| NON_RECEIVE_TIMEOUT * (1 << self.tries.min(4)))
    }

    /// Takes one block; what can be handed on is appended to `part`.
    pub(super) fn take(
        &mut self,
        block: Block,
        options: &Options,
        payload: Vec<u8>,
        part: &mut Vec<u8>,
        now: Instant,
    ) -> QuickStep {
        let etag = options.first(option::ETAG).unwrap_or_default();
        match &self.etag {
            Some(known) if known != etag => return QuickStep::Changed,
            Some(_) => {}
            None => {
                self.etag = Some(etag.to_vec());
                self.options = options.clone();
            }
        }
        let full = payload.len() == block.size();
        if block.exponent != SIZE_EXPONENT_MAX
            || payload.len() > block.size()
            || (block.more && !full)
        {
            return QuickStep::Broken;
        }
        let round_trip = *self.round_trip.get_or_insert(now - self.asked_at);
        if !block.more {
            self.last = Some(block.number);
        }
        if (self.next..self.set_end).contains(&block.number)
            && self.early.insert(block.number, payload).is_none()
        {
            self.tries = 0;
        }
        while let Some(bytes) = self.early.remove(&self.next) {
            part.extend_from_slice(&bytes);
            self.next += 1;
        }
        if self.last.is_some_and(|last| self.next > last) {
            QuickStep::Whole
        } else if self.next >= self.set_end {
            self.set_end = set_end(self.next, self.set);
            QuickStep::Continue
        } else {
            let wait = (round_trip * 2).clamp(MISSING_AFTER_MIN, NON_RECEIVE_TIMEOUT);
            QuickStep::Wait(wait)
        }
    }
}

/// The block behind the set that this one belongs to.
fn set_end(number: u32, set: u32) -> u32 {
    (number / set + 1) * set
}

/// What a request asks for with Q-Block2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its blocks, at most a set, in the order asked for.
    pub(super) numbers: Vec<u32>,
    pub(super) exponent: u8,
    /// The body from its start: the one request that begins a transfer.
    pub(super) begins: bool,
}

impl Wanted {
    /// Reads the Q-Block2 options of a request (RFC 9177 section 4.4) where sets have `set` blocks.
    /// `None` without any.
    pub(super) fn read(options: &Options, set: u32) -> Result<Option<Self>, ReservedExponent> {
        let mut wanted: Option<Self> = None;
        for value in options.all(option::Q_BLOCK2) {
            let value = value.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            let Block { number, more, exponent } = Block::from_uint(value)?;
            let wanted = wanted.get_or_insert_with(|| Self {
                exponent,
                begins: number == 0,
                ..Self::default()
            });
            let end = if more { set_end(number, set) } else { number + 1 };
            let room = (set as usize).saturating_sub(wanted.numbers.len());
            wanted.numbers.extend((number..end).take(room));
        }
        Ok(wanted)
    }
}
