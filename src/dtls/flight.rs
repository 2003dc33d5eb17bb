//! What we send: flights of handshake messages, cut into records and packed into datagrams, kept so
//! that they can be sent again (RFC 6347 section 4.2.4).

use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use super::message::{self, put_fragment_header};
use super::protection::Protection;
use super::record::{self, SEQUENCE_MAX, content, number, put_header};
use super::wire::put_u16;
use crate::clock::Instant;

/// Our side of the record layer: which number comes next, under which keys.
pub(super) struct Sending {
    /// Next record number in epoch 0.
    plain_next: u64,
    /// Next record number in epoch 1.
    sealed_next: u64,
    protection: Option<Protection>,
}

impl Sending {
    /// Plain records, from this number on.
    pub(super) fn starting_at(sequence: u64) -> Self {
        Self { plain_next: sequence, sealed_next: 0, protection: None }
    }

    /// From now on epoch 1 can be written.
    pub(super) fn set_protection(&mut self, protection: Protection) {
        self.protection = Some(protection);
    }

    /// Whether so many record numbers were used that the session has to end.
    pub(super) fn is_exhausted(&self) -> bool {
        self.sealed_next >= SEQUENCE_MAX || self.plain_next >= SEQUENCE_MAX
    }

    /// Appends a record; sealed if `epoch` is 1.
    pub(super) fn put_record(
        &mut self,
        epoch: u16,
        content: u8,
        body: &[u8],
        rng: &mut ChaCha20Rng,
        out: &mut Vec<u8>,
    ) {
        match &self.protection {
            Some(protection) if epoch == 1 => {
                protection.seal(content, number(1, self.sealed_next), body, rng, out);
                self.sealed_next += 1;
            }
            _ => {
                put_header(out, content, number(0, self.plain_next), body.len());
                out.extend(body);
                self.plain_next += 1;
            }
        }
    }

    /// How much application data fits into a datagram of this size.
    pub(super) fn data_bytes_max(&self, datagram: usize) -> usize {
        self.protection.as_ref().map_or(0, |protection| protection.plain_bytes_max(datagram))
    }
}

/// Messages that are sent together and wait for the same answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Flight(Vec<Item>);

#[derive(Clone, Debug)]
enum Item {
    Message { epoch: u16, kind: u8, sequence: u16, body: Vec<u8> },
    ChangeCipherSpec,
}

impl Flight {
    pub(super) fn push(&mut self, epoch: u16, message: &message::Message) {
        let message::Message { kind, sequence, ref body, .. } = *message;
        self.0.push(Item::Message { epoch, kind, sequence, body: body.clone() });
    }

    pub(super) fn push_change_cipher_spec(&mut self) {
        self.0.push(Item::ChangeCipherSpec);
    }

    /// Whether what follows this flight is written in epoch 1.
    pub(super) fn changes_cipher(&self) -> bool {
        self.0.iter().any(|item| matches!(item, Item::ChangeCipherSpec))
    }

    /// The datagrams of the flight, under new record numbers.
    pub(super) fn datagrams(
        &self,
        sending: &mut Sending,
        bytes_max: usize,
        rng: &mut ChaCha20Rng,
    ) -> Vec<Vec<u8>> {
        let mut packing = Packing { sending, rng, bytes_max, full: vec![], open: vec![] };
        for item in &self.0 {
            match item {
                Item::ChangeCipherSpec => packing.whole(0, content::CHANGE_CIPHER_SPEC, &[1]),
                Item::Message { epoch, kind, sequence, body } => {
                    packing.message(*epoch, *kind, *sequence, body);
                }
            }
        }
        packing.flush();
        packing.full
    }
}

struct Packing<'a> {
    sending: &'a mut Sending,
    rng: &'a mut ChaCha20Rng,
    bytes_max: usize,
    full: Vec<Vec<u8>>,
    open: Vec<u8>,
}

impl Packing<'_> {
    fn message(&mut self, epoch: u16, kind: u8, sequence: u16, body: &[u8]) {
        const FRAMING: usize = record::HEADER_BYTES + message::HEADER_BYTES;
        let mut rest = body;
        let mut offset = 0;
        loop {
            let room = self.bytes_max.saturating_sub(self.open.len() + FRAMING);
            let worth_starting = rest.len() <= room || room >= FRAGMENT_BYTES_MIN;
            let fits_alone = rest.len() + FRAMING <= self.bytes_max;
            if !self.open.is_empty() && (!worth_starting || fits_alone && rest.len() > room) {
                self.flush();
                continue;
            }
            // Sealed messages are Finished only, some hundred bytes; they are never cut.
            let take = if epoch == 0 { rest.len().min(room.max(1)) } else { rest.len() };
            let (now, later) = rest.split_at_checked(take).unwrap_or((rest, &[]));
            let mut fragment = Vec::with_capacity(message::HEADER_BYTES + now.len());
            put_fragment_header(&mut fragment, kind, body.len(), sequence, offset, now.len());
            fragment.extend(now);
            self.whole(epoch, content::HANDSHAKE, &fragment);
            (offset, rest) = (offset + now.len(), later);
            if rest.is_empty() {
                return;
            }
        }
    }

    /// A record that is not cut.
    fn whole(&mut self, epoch: u16, content: u8, body: &[u8]) {
        let mut record = vec![];
        self.sending.put_record(epoch, content, body, self.rng, &mut record);
        if !self.open.is_empty() && self.open.len() + record.len() > self.bytes_max {
            self.flush();
        }
        self.open.extend(record);
    }

    fn flush(&mut self) {
        if !self.open.is_empty() {
            self.full.push(std::mem::take(&mut self.open));
        }
    }
}

/// A fragment shorter than this, bytes, is not worth its header: begin a new datagram instead.
const FRAGMENT_BYTES_MIN: usize = 64;

/// When a flight is sent again: after 1 s, then after twice the time, up to a minute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retransmission {
    interval: Duration,
    first: Duration,
    sent: Instant,
}

impl Retransmission {
    pub(super) fn sent_at(now: Instant, first: Duration) -> Self {
        Self { interval: first, first, sent: now }
    }

    pub(super) fn due(&self) -> Instant {
        self.sent + self.interval
    }

    /// It was sent again because nothing came.
    pub(super) fn back_off(&mut self, now: Instant) {
        *self = Self { interval: (self.interval * 2).min(INTERVAL_MAX), sent: now, ..*self };
    }

    /// Whether a repeated message of the peer may make us send again now. At most twice in the first
    /// interval, so that duplicates do not breed duplicates.
    pub(super) fn may_repeat(&mut self, now: Instant) -> bool {
        let may = now.since(self.sent) >= self.first / 2;
        if may {
            self.sent = now;
        }
        may
    }
}

/// RFC 6347 section 4.2.4.1.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// An alert, as the body of a record.
pub(super) fn alert_body(level: u8, description: u8) -> Vec<u8> {
    let mut body = vec![];
    put_u16(&mut body, u16::from(level) << 8 | u16::from(description));
    body
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::super::message::{Fragment, Message, kind};
    use super::super::reassembly::Reassembly;
    use super::super::record::Records;
    use super::super::wire::Reader;
    use super::*;

    #[test]
    fn flights_fit_every_path_and_read_back() {
        let message = |sequence, length| Message {
            kind: kind::CERTIFICATE,
            sequence,
            epoch: 0,
            body: (0..length).map(|n| n as u8).collect(),
        };
        let messages: Vec<Message> = [70, 0, 900, 3000, 10]
            .into_iter()
            .zip(0..)
            .map(|(length, sequence)| message(sequence, length))
            .collect();
        let mut flight = Flight::default();
        messages.iter().for_each(|message| flight.push(0, message));
        flight.push_change_cipher_spec();
        for bytes_max in [100, 200, 256, 512, 1232, 1400, 9000] {
            let mut rng = ChaCha20Rng::from_seed([0; 32]);
            let mut sending = Sending::starting_at(5);
            let datagrams = flight.datagrams(&mut sending, bytes_max, &mut rng);
            assert!(datagrams.iter().all(|datagram| datagram.len() <= bytes_max));
            let records: Vec<_> = datagrams.iter().flat_map(|one| Records::new(one)).collect();
            assert!(records.iter().zip(5..).all(|(record, number)| record.sequence == number));
            let mut reassembly = Reassembly::default();
            for record in records.iter().filter(|record| record.content == content::HANDSHAKE) {
                let mut reader = Reader::new(record.body, "");
                reassembly.push(&Fragment::read(&mut reader).unwrap(), 0);
            }
            let found: Vec<_> = std::iter::from_fn(|| reassembly.pop()).collect();
            assert_eq!(found, messages, "{bytes_max}");
        }
    }
}
