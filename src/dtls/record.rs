//! Records: the layer below everything (RFC 6347 section 4.1).

use super::wire::{Reader, put_u16};

/// Bytes in front of every record.
pub(super) const HEADER_BYTES: usize = 13;
/// DTLS 1.2 on the wire.
pub(super) const DTLS_1_2: u16 = 0xFEFD;
/// DTLS 1.0 on the wire; only hellos carry it.
pub(super) const DTLS_1_0: u16 = 0xFEFF;

/// What a record carries.
pub(super) mod content {
    pub(in crate::dtls) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(in crate::dtls) const ALERT: u8 = 21;
    pub(in crate::dtls) const HANDSHAKE: u8 = 22;
    pub(in crate::dtls) const APPLICATION_DATA: u8 = 23;
}

/// One record of a datagram, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) content: u8,
    pub(super) epoch: u16,
    /// 48 bits.
    pub(super) sequence: u64,
    pub(super) body: &'a [u8],
}

impl Record<'_> {
    /// Epoch and sequence number in one, as the MACs take them.
    pub(super) fn number(&self) -> u64 {
        number(self.epoch, self.sequence)
    }
}

/// Epoch and sequence number in one.
pub(super) fn number(epoch: u16, sequence: u64) -> u64 {
    u64::from(epoch) << 48 | sequence & SEQUENCE_MAX
}

/// The last sequence number of an epoch.
pub(super) const SEQUENCE_MAX: u64 = (1 << 48) - 1;

/// The records of one datagram. Ends at the first that is cut off or of another version.
pub(super) struct Records<'a>(Reader<'a>);

impl<'a> Records<'a> {
    pub(super) fn new(datagram: &'a [u8]) -> Self {
        Self(Reader::new(datagram, "record"))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let content = self.0.u8().ok()?;
        let version = self.0.u16().ok()?;
        let number = u64::from_be_bytes(self.0.array().ok()?);
        let body = self.0.vec16().ok()?;
        let epoch = (number >> 48) as u16;
        let known = version == DTLS_1_2 || version == DTLS_1_0 && epoch == 0;
        known.then_some(Record { content, epoch, sequence: number & SEQUENCE_MAX, body })
    }
}

/// Writes the header of a record of DTLS 1.2.
pub(super) fn put_header(out: &mut Vec<u8>, content: u8, number: u64, body_bytes: usize) {
    out.push(content);
    put_u16(out, DTLS_1_2);
    out.extend(number.to_be_bytes());
    put_u16(out, u16::try_from(body_bytes).unwrap_or(u16::MAX));
}

/// Which record numbers of one epoch have been seen (RFC 6347 section 4.1.2.6).
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayWindow {
    /// The highest number seen, plus one.
    next: u64,
    /// Bit n: number `next - 1 - n` was seen.
    seen: u64,
}

impl ReplayWindow {
    /// Whether the number is new, as far as 64 numbers back can tell.
    pub(super) fn is_new(&self, sequence: u64) -> bool {
        match self.next.checked_sub(sequence.saturating_add(1)) {
            None => true,
            Some(age) => age < 64 && self.seen >> age & 1 == 0,
        }
    }

    /// Remembers an authentic record.
    pub(super) fn mark(&mut self, sequence: u64) {
        let next = sequence.saturating_add(1);
        match self.next.checked_sub(next) {
            None => {
                let shift = u32::try_from(next - self.next).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
                self.next = next;
            }
            Some(age) if age < 64 => self.seen |= 1 << age,
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_knows_each_number_once_in_any_order() {
        let mut window = ReplayWindow::default();
        for sequence in [5, 3, 4, 70, 8, 69, 7] {
            assert!(window.is_new(sequence), "{sequence}");
            window.mark(sequence);
            assert!(!window.is_new(sequence), "{sequence} again");
        }
        assert!(!window.is_new(6), "64 back is too old to tell");
        assert!(window.is_new(9));
        window.mark(1_000_000);
        assert!(!window.is_new(71));
        assert!(window.is_new(999_999));
    }

    #[test]
    fn a_datagram_is_cut_into_records_and_ends_at_rubbish() {
        let mut datagram = vec![];
        for (n, body) in [b"one".as_slice(), b"", b"three"].into_iter().enumerate() {
            put_header(&mut datagram, content::HANDSHAKE, number(1, n as u64), body.len());
            datagram.extend(body);
        }
        let bodies = |datagram: &[u8]| {
            Records::new(datagram).map(|record| record.body.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(bodies(&datagram), [b"one".as_slice(), b"", b"three"]);
        for cut in 0..datagram.len() {
            assert!(bodies(&datagram[..cut]).len() < 3);
        }
        datagram[1] = 3;
        assert!(bodies(&datagram).is_empty());
    }
}
