//! Puts handshake messages together from fragments that come in any order, more than once, or not
//! at all (RFC 6347 section 4.2.3), within fixed bounds.

use std::collections::VecDeque;

use super::message::{Fragment, Message};

/// The messages of the peer's current flight, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// The number of the message that is wanted next.
    next: u16,
    /// What has come of `next`, `next + 1` and so on.
    partial: VecDeque<Option<Partial>>,
    /// Bytes kept in `partial`.
    kept_bytes: usize,
}

#[derive(Debug)]
struct Partial {
    kind: u8,
    epoch: u16,
    length: usize,
    body: Vec<u8>,
    /// Which bytes have come: sorted, disjoint, not adjacent.
    come: Vec<(usize, usize)>,
}

impl Reassembly {
    /// Waits for the message with this number first.
    pub(super) fn starting_at(next: u16) -> Self {
        Self { next, ..Self::default() }
    }

    /// The number of the message that is wanted next.
    pub(super) fn next(&self) -> u16 {
        self.next
    }

    /// Takes one fragment; returns whether it was of any use. What breaks a bound is dropped: the
    /// peer sends it again, by then there may be room.
    pub(super) fn push(&mut self, fragment: &Fragment<'_>, epoch: u16) -> bool {
        let Some(ahead) = fragment.sequence.checked_sub(self.next).map(usize::from) else {
            return false;
        };
        if ahead >= MESSAGES_AHEAD_MAX || fragment.length > MESSAGE_BYTES_MAX {
            return false;
        }
        while self.partial.len() <= ahead {
            self.partial.push_back(None);
        }
        let Some(slot) = self.partial.get_mut(ahead) else { return false };
        // An authentic fragment is worth more than what anybody can have sent.
        if slot.as_ref().is_some_and(|partial| partial.epoch < epoch) {
            let forged = slot.take();
            self.kept_bytes -= forged.map_or(0, |partial| partial.body.len());
        }
        let room = FLIGHT_BYTES_MAX - self.kept_bytes;
        let partial = slot.get_or_insert_with(|| Partial::of(fragment, epoch));
        let before = partial.body.len();
        let used = partial.take(fragment, epoch, room);
        self.kept_bytes += partial.body.len() - before;
        used
    }

    /// The next message, once it is whole.
    pub(super) fn pop(&mut self) -> Option<Message> {
        if !self.partial.front()?.as_ref()?.is_whole() {
            return None;
        }
        let whole = self.partial.pop_front()??;
        self.kept_bytes -= whole.body.len();
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        Some(Message { kind: whole.kind, sequence, epoch: whole.epoch, body: whole.body })
    }
}

impl Partial {
    fn of(fragment: &Fragment<'_>, epoch: u16) -> Self {
        let Fragment { kind, length, .. } = *fragment;
        Self { kind, epoch, length, body: vec![], come: vec![] }
    }

    fn take(&mut self, fragment: &Fragment<'_>, epoch: u16, room: usize) -> bool {
        let (start, end) = (fragment.offset, fragment.offset + fragment.body.len());
        let same = (fragment.kind, fragment.length, epoch) == (self.kind, self.length, self.epoch);
        let growth = end.saturating_sub(self.body.len());
        if !same || end > self.length || growth > room || !self.remember(start, end) {
            return false;
        }
        if growth > 0 {
            self.body.resize(end, 0);
        }
        if let Some(place) = self.body.get_mut(start..end) {
            place.copy_from_slice(fragment.body);
        }
        true
    }

    /// Adds a range to those that have come; false if it says nothing new or there are too many.
    fn remember(&mut self, start: usize, end: usize) -> bool {
        let first = self.come.partition_point(|range| range.1 < start);
        let after = self.come.partition_point(|range| range.0 <= end);
        let touched = self.come.get(first..after).unwrap_or_default();
        if touched.iter().any(|range| range.0 <= start && end <= range.1) {
            return false;
        }
        if touched.is_empty() && self.come.len() == RANGES_MAX {
            return false;
        }
        let start = touched.first().map_or(start, |range| range.0.min(start));
        let end = touched.last().map_or(end, |range| range.1.max(end));
        self.come.splice(first..after, [(start, end)]);
        true
    }

    fn is_whole(&self) -> bool {
        self.come.as_slice() == [(0, self.length)]
    }
}

/// The longest flight of TLS 1.2 that we take has five messages (a server's).
const MESSAGES_AHEAD_MAX: usize = 8;
/// The longest message taken, bytes. Chains of three ECDSA certificates stay below 3 KiB.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// All that is kept of unfinished messages of one handshake, bytes.
const FLIGHT_BYTES_MAX: usize = 24 * 1024;
/// Gaps of one message that are kept track of; a path of 500 bytes cuts 16 KiB into 34.
const RANGES_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::kind;
    use super::*;

    fn fragment(body: &[u8], sequence: u16, start: usize, end: usize) -> Fragment<'_> {
        Fragment {
            kind: kind::CERTIFICATE,
            length: body.len(),
            sequence,
            offset: start,
            body: &body[start..end],
        }
    }

    proptest! {
        #[test]
        fn any_cutting_in_any_order_gives_the_message(
            length in 0usize..400,
            cuts in prop::collection::vec((0usize..400, 1usize..90), 0..60),
            seed in any::<u64>(),
        ) {
            let body: Vec<u8> = (0..length).map(|n| (n as u64 ^ seed) as u8).collect();
            let mut reassembly = Reassembly::starting_at(3);
            for (start, size) in cuts {
                let start = start.min(length);
                reassembly.push(&fragment(&body, 3, start, (start + size).min(length)), 0);
            }
            for start in (0..length.max(1)).step_by(50) {
                reassembly.push(&fragment(&body, 3, start, (start + 50).min(length)), 0);
            }
            prop_assert_eq!(reassembly.pop().unwrap().body, body);
            prop_assert_eq!(reassembly.kept_bytes, 0);
            prop_assert!(reassembly.pop().is_none());
        }
    }

    #[test]
    fn messages_come_out_in_order_and_once() {
        let mut reassembly = Reassembly::default();
        assert!(reassembly.push(&fragment(b"second", 1, 0, 6), 0));
        assert!(reassembly.pop().is_none());
        assert!(reassembly.push(&fragment(b"first", 0, 0, 5), 0));
        assert!(!reassembly.push(&fragment(b"first", 0, 0, 5), 0), "nothing new");
        assert_eq!(reassembly.pop().unwrap().body, b"first");
        assert_eq!(reassembly.pop().unwrap().body, b"second");
        assert!(!reassembly.push(&fragment(b"first", 0, 0, 5), 0), "too old");
    }

    #[test]
    fn a_fragment_that_contradicts_the_first_is_dropped() {
        let mut reassembly = Reassembly::default();
        reassembly.push(&fragment(&[1; 100], 0, 0, 50), 0);
        assert!(!reassembly.push(&fragment(&[1; 101], 0, 50, 101), 0), "length");
        let other = Fragment { kind: kind::FINISHED, ..fragment(&[1; 100], 0, 50, 100) };
        assert!(!reassembly.push(&other, 0), "type");
        assert!(reassembly.push(&fragment(&[1; 100], 0, 50, 100), 0));
        assert!(reassembly.pop().is_some());
    }

    #[test]
    fn an_authentic_fragment_replaces_a_plain_one_but_not_the_other_way() {
        let mut reassembly = Reassembly::default();
        reassembly.push(&fragment(&[1; 10], 0, 0, 5), 0);
        assert!(reassembly.push(&fragment(&[2; 12], 0, 0, 12), 1));
        assert!(!reassembly.push(&fragment(&[1; 10], 0, 0, 10), 0));
        assert_eq!(
            reassembly.pop().unwrap(),
            Message { kind: kind::CERTIFICATE, sequence: 0, epoch: 1, body: vec![2; 12] }
        );
    }

    #[test]
    fn what_is_kept_is_bounded_whatever_comes() {
        let mut reassembly = Reassembly::default();
        let body = vec![0; MESSAGE_BYTES_MAX];
        for sequence in 0..100 {
            reassembly.push(&fragment(&body, sequence, 1, body.len()), 0);
            for start in (0..body.len()).step_by(2) {
                reassembly.push(&fragment(&body, sequence, start, start + 1), 0);
            }
        }
        assert!(reassembly.partial.len() <= MESSAGES_AHEAD_MAX);
        let bytes = |partial: &Partial| partial.body.len();
        let kept: usize = reassembly.partial.iter().flatten().map(bytes).sum();
        assert_eq!(kept, reassembly.kept_bytes);
        assert!(kept <= FLIGHT_BYTES_MAX);
        assert!(reassembly.partial.iter().flatten().all(|one| one.come.len() <= RANGES_MAX));
        let long = vec![0; MESSAGE_BYTES_MAX + 1];
        assert!(!Reassembly::default().push(&fragment(&long, 0, 0, 100), 0));
    }
}
