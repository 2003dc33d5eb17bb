//! Proof that a request is fresh and that its sender can be reached where it says (RFC 9175 section 2).
//!
//! The value of the option carries its own time and seal, so nothing is kept for those who are asked
//! and never come back.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use super::Peer;
use super::random::{Keyed, Random};
use crate::clock::Instant;

/// How long the value of an Echo option shows freshness. A client repeats its request at once; this
/// leaves room for all retransmissions (MAX_TRANSMIT_SPAN, RFC 7252 section 4.8.2).
pub const ECHO_FRESH: Duration = Duration::from_secs(45);

/// Peers remembered as reachable where they say. Beyond, the one longest ago is asked once more.
pub const REACHABLE_MAX: usize = 4096;

/// How long a peer counts as reachable where it says; an address may get another owner.
pub const REACHABLE_FOR: Duration = Duration::from_secs(3600);

/// An answer that is at most this many times as long as its request is no amplification worth
/// preventing (RFC 9175 section 2.6).
pub const AMPLIFICATION_MAX: usize = 3;

/// An answer of up to this many bytes goes to anybody (RFC 9175 section 2.4).
pub const ANSWER_TO_ANYBODY_BYTES: usize = 136;

#[derive(Debug)]
pub(super) struct Echo {
    /// Two keys: the seal is a keyed hash whose key stands before and behind what is sealed.
    seals: [Keyed; 2],
    reachable: HashMap<Peer, (Instant, u64), Keyed>,
    order: BTreeMap<(Instant, u64), Peer>,
    serial: u64,
}

impl Echo {
    pub(super) fn new(random: &mut Random) -> Self {
        let seals = [Keyed::new(random), Keyed::new(random)];
        let reachable = HashMap::with_hasher(seals[0].clone());
        Self { seals, reachable, order: BTreeMap::new(), serial: 0 }
    }

    /// A value for this peer to send back.
    pub(super) fn value(&self, peer: &Peer, now: Instant) -> [u8; 12] {
        let made = (now - Instant::ZERO).as_secs() as u32;
        let mut value = [0; 12];
        value[..4].copy_from_slice(&made.to_be_bytes());
        value[4..].copy_from_slice(&self.seal(peer, made).to_be_bytes());
        value
    }

    /// Whether this peer was sent that value a short while ago. If so it is reachable.
    pub(super) fn accept(&mut self, peer: Peer, value: &[u8], now: Instant) -> bool {
        let Some((made, seal)) = value.split_first_chunk::<4>() else { return false };
        let made = u32::from_be_bytes(*made);
        let age = (now - Instant::ZERO).as_secs().wrapping_sub(made.into());
        let fresh = age <= ECHO_FRESH.as_secs();
        let accepted = fresh && seal == self.seal(&peer, made).to_be_bytes();
        if accepted {
            self.note_reachable(peer, now);
        }
        accepted
    }

    /// Whether this peer has shown that it can be reached where it says.
    pub(super) fn is_reachable(&self, peer: &Peer, now: Instant) -> bool {
        self.reachable.get(peer).is_some_and(|(since, _)| now - *since < REACHABLE_FOR)
    }

    fn note_reachable(&mut self, peer: Peer, now: Instant) {
        self.serial += 1;
        let place = (now, self.serial);
        if let Some(old) = self.reachable.insert(peer, place) {
            self.order.remove(&old);
        }
        self.order.insert(place, peer);
        if self.reachable.len() > REACHABLE_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.reachable.remove(&oldest);
        }
    }

    fn seal(&self, peer: &Peer, made: u32) -> u64 {
        let mut hasher = self.seals[0].build_hasher();
        (peer, made).hash(&mut hasher);
        self.seals[1].mix_into(&mut hasher);
        hasher.finish()
    }
}
