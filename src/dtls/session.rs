//! A session that stands: opens and seals application data, notices its end.

use rand_chacha::ChaCha20Rng;

use super::alert;
use super::flight::{Flight, Retransmission, Sending, alert_body};
use super::message::{Fragment, kind};
use super::protection::Protection;
use super::record::{Record, ReplayWindow, content};
use super::secrets::Secrets;
use super::wire::Reader;
use super::{CloseReason, Config, SessionId};
use crate::clock::Instant;

/// One session.
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The random of the ClientHello it came from: tells that hello's late copies from a new one.
    pub(super) client_random: [u8; 32],
    pub(super) secrets: Option<Box<Secrets>>,
    /// When the peer last proved to be there.
    pub(super) heard: Instant,
    sending: Sending,
    opening: Protection,
    replay: ReplayWindow,
    last_word: Option<Box<Final>>,
}

/// The last flight of a handshake, for a peer that did not get it.
pub(super) struct Final {
    pub(super) flight: Flight,
    pub(super) retransmission: Retransmission,
    /// The number of the peer's Finished, which it repeats as long as it waits.
    pub(super) peer_finished: u16,
}

/// What a record turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Not ours, not authentic, or seen before.
    Nothing,
    /// Authentic, and of no consequence.
    Presence,
    /// Application data.
    Data(Vec<u8>),
    /// The peer waits for the last flight.
    Repeat(Vec<Vec<u8>>),
    /// The end.
    Closed(CloseReason),
}

impl Session {
    #[expect(clippy::too_many_arguments, reason = "what remains of a handshake, once")]
    pub(super) fn new(
        id: SessionId,
        client_random: [u8; 32],
        sending: Sending,
        opening: Protection,
        replay: ReplayWindow,
        last_word: Option<Box<Final>>,
        secrets: Option<Box<Secrets>>,
        now: Instant,
    ) -> Self {
        Self { id, client_random, secrets, heard: now, sending, opening, replay, last_word }
    }

    /// Takes a record of epoch 1. Everything that is not authentic is dropped in silence.
    pub(super) fn take(
        &mut self,
        record: &Record<'_>,
        now: Instant,
        config: &Config,
        rng: &mut ChaCha20Rng,
    ) -> Heard {
        if record.epoch != 1 || !self.replay.is_new(record.sequence) {
            return Heard::Nothing;
        }
        let Some(plain) = self.opening.open(record) else { return Heard::Nothing };
        self.replay.mark(record.sequence);
        self.heard = now;
        match record.content {
            content::APPLICATION_DATA => {
                // Who speaks has had our Finished.
                self.last_word = None;
                Heard::Data(plain)
            }
            content::ALERT => match plain.as_slice() {
                [_, alert::CLOSE_NOTIFY] => Heard::Closed(CloseReason::ByPeer),
                [alert::FATAL, description] => Heard::Closed(CloseReason::Alert(*description)),
                _ => Heard::Presence,
            },
            content::HANDSHAKE => self.take_handshake(&plain, now, config, rng),
            _ => Heard::Presence,
        }
    }

    fn take_handshake(
        &mut self,
        body: &[u8],
        now: Instant,
        config: &Config,
        rng: &mut ChaCha20Rng,
    ) -> Heard {
        let Ok(fragment) = Fragment::read(&mut Reader::new(body, "handshake fragment")) else {
            return Heard::Presence;
        };
        let bytes_max = config.datagram_bytes_max;
        match (fragment.kind, &mut self.last_word) {
            (kind::FINISHED, Some(last)) if fragment.sequence == last.peer_finished => {
                if !last.retransmission.may_repeat(now) {
                    return Heard::Presence;
                }
                Heard::Repeat(last.flight.datagrams(&mut self.sending, bytes_max, rng))
            }
            // No renegotiation: no peer needs it, and it has a history.
            (kind::CLIENT_HELLO | kind::HELLO_REQUEST, _) => {
                let refusal = self.sealed_alert(alert::WARNING, alert::NO_RENEGOTIATION, rng);
                Heard::Repeat(vec![refusal])
            }
            _ => Heard::Presence,
        }
    }

    /// A datagram with application data.
    pub(super) fn seal(&mut self, data: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut out = vec![];
        self.sending.put_record(1, content::APPLICATION_DATA, data, rng, &mut out);
        out
    }

    /// A datagram that ends the session.
    pub(super) fn close_notify(&mut self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        self.sealed_alert(alert::WARNING, alert::CLOSE_NOTIFY, rng)
    }

    fn sealed_alert(&mut self, level: u8, description: u8, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut out = vec![];
        let body = alert_body(level, description);
        self.sending.put_record(1, content::ALERT, &body, rng, &mut out);
        out
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.sending.is_exhausted()
    }

    pub(super) fn data_bytes_max(&self, datagram: usize) -> usize {
        self.sending.data_bytes_max(datagram)
    }
}
