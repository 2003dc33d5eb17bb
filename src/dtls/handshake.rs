//! What both roles do alike: take records, put messages together, keep the one transcript, make
//! keys, check and send Finished, send flights and send them again.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::alert;
use super::flight::{Flight, Retransmission, Sending, alert_body};
use super::message::{Fragment, Message, kind};
use super::prf::{self, MasterSecret};
use super::protection::{Keys, Protection};
use super::reassembly::Reassembly;
use super::record::{Record, ReplayWindow, content};
use super::secrets::Secrets;
use super::session::{Final, Session};
use super::wire::Reader;
use super::{Config, Error, Role, SessionId, Strength, Suite};
use crate::clock::{Instant, Now};

/// What a handshake may use while it works.
pub(super) struct Surroundings<'a> {
    pub(super) now: Now,
    pub(super) config: &'a Config,
    pub(super) rng: &'a mut ChaCha20Rng,
    /// What is to be sent to the peer.
    pub(super) datagrams: Vec<Vec<u8>>,
}

impl Surroundings<'_> {
    pub(super) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// One handshake, whichever role.
pub(super) struct Handshake {
    pub(super) session: SessionId,
    pub(super) role: Role,
    pub(super) client_random: [u8; 32],
    pub(super) server_random: [u8; 32],
    /// Chosen by the server.
    pub(super) suite: Option<Suite>,
    pub(super) extended_master_secret: bool,
    pub(super) encrypt_then_mac: bool,
    pub(super) keep_secrets: bool,
    /// All messages of both sides, in order and in one piece; [`Handshake::said`] and
    /// [`Handshake::take_message`] are the only ones to add.
    transcript: Vec<u8>,
    incoming: Reassembly,
    sending: Sending,
    /// The number of our next message.
    message_next: u16,
    flight: Flight,
    retransmission: Retransmission,
    give_up: Instant,
    master: Option<MasterSecret>,
    opening: Option<Protection>,
    replay: ReplayWindow,
    peer_changed_cipher: bool,
    /// A sealed handshake record that overtook what it needs.
    early: Option<Early>,
    unreadable: u8,
    strength: Strength,
    /// Sealed records that were compared with a key which can be guessed.
    guesses: u8,
}

struct Early {
    sequence: u64,
    body: Vec<u8>,
}

impl Handshake {
    /// `message_next` is the number of the first message of both sides, `record_next` of our first
    /// record.
    pub(super) fn new(
        session: SessionId,
        role: Role,
        message_next: u16,
        record_next: u64,
        around: &Surroundings<'_>,
    ) -> Self {
        let now = around.now.mono;
        Self {
            session,
            role,
            client_random: [0; 32],
            server_random: [0; 32],
            suite: None,
            extended_master_secret: false,
            encrypt_then_mac: false,
            keep_secrets: false,
            transcript: vec![],
            incoming: Reassembly::starting_at(message_next),
            sending: Sending::starting_at(record_next),
            message_next,
            flight: Flight::default(),
            retransmission: Retransmission::sent_at(now, around.config.retransmit_first),
            give_up: now + around.config.handshake_max,
            master: None,
            opening: None,
            replay: ReplayWindow::default(),
            peer_changed_cipher: false,
            early: None,
            unreadable: 0,
            strength: Strength::Full,
            guesses: 0,
        }
    }

    /// When the flight is due again.
    pub(super) fn retransmission_due(&self) -> Instant {
        self.retransmission.due()
    }

    /// When the handshake is to be given up.
    pub(super) fn give_up(&self) -> Instant {
        self.give_up
    }

    // ── receiving ─────────────────────────────────────────────────────────────────────────────

    /// Takes a plain record; then take [`Handshake::next_message`] until there is none.
    pub(super) fn take_plain(
        &mut self,
        record: &Record<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Error> {
        match record.content {
            content::HANDSHAKE => self.take_fragments(record.body, 0, around),
            content::CHANGE_CIPHER_SPEC => {
                // A mark only: keys change when the messages before it are there, not by it.
                self.peer_changed_cipher |= record.body == [1];
                Ok(())
            }
            content::ALERT => take_alert(record.body),
            _ => Ok(()),
        }
    }

    /// Takes a record of epoch 1 if it is authentic under the keys of this handshake; says whether
    /// it was.
    ///
    /// Before the peer's Finished nothing but a handshake message has a place here, and nothing else
    /// is opened: an alert or data that ended the handshake under the right key and was dropped under
    /// a wrong one would be a free look at the key.
    ///
    /// # Errors
    ///
    /// [`Error::KeyMismatch`] when so many could not be opened that the keys must differ; with a key
    /// that can be guessed the first one is enough.
    pub(super) fn take_sealed(
        &mut self,
        record: &Record<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<bool, Error> {
        if record.content != content::HANDSHAKE {
            return Ok(false);
        }
        let Some(opening) = self.opening.as_ref().filter(|_| self.peer_changed_cipher) else {
            if self.early.is_none() && record.body.len() <= EARLY_BYTES_MAX {
                self.early = Some(Early { sequence: record.sequence, body: record.body.to_vec() });
            }
            return Ok(false);
        };
        if !self.replay.is_new(record.sequence) {
            return Ok(false);
        }
        let unreadable_max = match self.strength {
            // One may be an accident or a stranger's; a peer with the wrong key repeats itself.
            Strength::Full => UNREADABLE_MAX,
            Strength::Guessable => {
                self.guesses = self.guesses.saturating_add(1);
                1
            }
        };
        let Some(plain) = opening.open(record) else {
            self.unreadable += 1;
            return if self.unreadable < unreadable_max {
                Ok(false)
            } else {
                Err(Error::KeyMismatch)
            };
        };
        let plain = Zeroizing::new(plain);
        self.replay.mark(record.sequence);
        self.take_fragments(&plain, 1, around)?;
        Ok(true)
    }

    /// What came too early, once it can be read.
    pub(super) fn take_early(&mut self, around: &mut Surroundings<'_>) -> Result<(), Error> {
        if self.opening.is_none() || !self.peer_changed_cipher {
            return Ok(());
        }
        let Some(early) = self.early.take() else { return Ok(()) };
        let record = Record {
            content: content::HANDSHAKE,
            epoch: 1,
            sequence: early.sequence,
            body: &early.body,
        };
        self.take_sealed(&record, around).map(drop)
    }

    /// The peer has named a key of this strength.
    pub(super) fn rest_on(&mut self, strength: Strength) {
        self.strength = strength;
    }

    /// How many sealed records were compared with a key that can be guessed.
    pub(super) fn guesses(&self) -> u8 {
        self.guesses
    }

    fn take_fragments(
        &mut self,
        body: &[u8],
        epoch: u16,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(body, "handshake fragment");
        while !reader.is_empty() {
            let fragment = match Fragment::read(&mut reader) {
                // Anybody can have sent what is plain: it ends nobody else's handshake.
                Err(_) if epoch == 0 => break,
                read => read?,
            };
            let is_repeated = fragment.sequence < self.incoming.next();
            if !self.incoming.push(&fragment, epoch) && is_repeated {
                self.repeat(around);
            }
        }
        Ok(())
    }

    /// The next whole message, in order. It is not yet in the transcript.
    pub(super) fn next_message(&mut self) -> Result<Option<Message>, Error> {
        let Some(message) = self.incoming.pop() else { return Ok(None) };
        // Only Finished is sealed, and it always is.
        if (message.kind == kind::FINISHED) != (message.epoch == 1) {
            return Err(Error::Unexpected("a message under the wrong keys"));
        }
        Ok(Some(message))
    }

    // ── the transcript ────────────────────────────────────────────────────────────────────────

    /// Adds a message of the peer.
    pub(super) fn take_message(&mut self, message: &Message) {
        self.transcript.extend(message.framed());
    }

    pub(super) fn transcript(&self) -> &[u8] {
        &self.transcript
    }

    fn transcript_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.transcript).into()
    }

    /// A ClientHello that was answered with a cookie does not count (RFC 6347 section 4.2.1).
    pub(super) fn forget_transcript(&mut self) {
        self.transcript.clear();
    }

    // ── sending ───────────────────────────────────────────────────────────────────────────────

    /// Begins a new flight: the peer has answered the one before.
    pub(super) fn begin_flight(&mut self) {
        self.flight = Flight::default();
    }

    /// Adds a message of ours to the flight and to the transcript.
    pub(super) fn say(&mut self, kind: u8, body: Vec<u8>) {
        self.said(0, kind, body);
    }

    fn said(&mut self, epoch: u16, kind: u8, body: Vec<u8>) {
        let message = Message { kind, sequence: self.message_next, epoch, body };
        self.message_next = self.message_next.wrapping_add(1);
        self.transcript.extend(message.framed());
        self.flight.push(epoch, &message);
    }

    /// Adds ChangeCipherSpec and our Finished.
    pub(super) fn say_finished(&mut self) -> Result<(), Error> {
        let data = self.verify_data(self.role)?;
        self.flight.push_change_cipher_spec();
        self.said(1, kind::FINISHED, data.to_vec());
        Ok(())
    }

    /// Sends the flight for the first time.
    pub(super) fn send_flight(&mut self, around: &mut Surroundings<'_>) {
        self.retransmission =
            Retransmission::sent_at(around.now.mono, around.config.retransmit_first);
        self.transmit(around);
    }

    fn transmit(&mut self, around: &mut Surroundings<'_>) {
        let bytes_max = around.config.datagram_bytes_max;
        around.datagrams.extend(self.flight.datagrams(&mut self.sending, bytes_max, around.rng));
    }

    /// The peer repeats itself: it may have lost our flight.
    fn repeat(&mut self, around: &mut Surroundings<'_>) {
        if self.retransmission.may_repeat(around.now.mono) {
            self.transmit(around);
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, around: &mut Surroundings<'_>) -> Result<(), Error> {
        if self.give_up <= around.now.mono {
            let is_readable = self.unreadable == 0;
            return Err(if is_readable { Error::TimedOut } else { Error::KeyMismatch });
        }
        if self.retransmission.due() <= around.now.mono {
            self.retransmission.back_off(around.now.mono);
            self.transmit(around);
        }
        Ok(())
    }

    /// Tells the peer why there will be no session.
    pub(super) fn send_alert(&mut self, description: u8, around: &mut Surroundings<'_>) {
        let epoch = u16::from(self.flight.changes_cipher());
        let mut datagram = vec![];
        let body = alert_body(alert::FATAL, description);
        self.sending.put_record(epoch, content::ALERT, &body, around.rng, &mut datagram);
        around.datagrams.push(datagram);
    }

    // ── keys ──────────────────────────────────────────────────────────────────────────────────

    /// Makes the keys. The transcript has to end with the ClientKeyExchange (RFC 7627 section 4).
    pub(super) fn derive(&mut self, suite: Suite, premaster: &[u8]) {
        let master = if self.extended_master_secret {
            prf::extended_master_secret(premaster, &self.transcript_hash())
        } else {
            prf::master_secret(premaster, &self.client_random, &self.server_random)
        };
        let Keys { client, server } = Keys::new(
            suite,
            self.encrypt_then_mac,
            &master,
            &self.client_random,
            &self.server_random,
        );
        let (ours, theirs) = match self.role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        self.sending.set_protection(ours);
        self.opening = Some(theirs);
        self.master = Some(master);
    }

    fn verify_data(&self, role: Role) -> Result<[u8; 12], Error> {
        let label = match role {
            Role::Client => "client finished",
            Role::Server => "server finished",
        };
        let master = self.master.as_ref().ok_or(Error::Unexpected("Finished"))?;
        Ok(prf::verify_data(master, label, &self.transcript_hash()))
    }

    /// Checks the peer's Finished in constant time, and adds it to the transcript.
    pub(super) fn check_finished(&mut self, message: &Message) -> Result<(), Error> {
        let peer = match self.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let expected = self.verify_data(peer)?;
        if !bool::from(expected.ct_eq(message.body.as_slice())) {
            return Err(Error::FinishedMismatch);
        }
        self.take_message(message);
        Ok(())
    }

    /// Turns the finished handshake into a session; all that is not needed any more is dropped.
    pub(super) fn finish(self, suite: Suite, around: &Surroundings<'_>) -> Result<Session, Error> {
        let missing = Error::Unexpected("the end of a handshake without keys");
        let opening = self.opening.ok_or(missing.clone())?;
        let master = self.master.ok_or(missing)?;
        let secrets = self.keep_secrets.then(|| Secrets {
            master_secret: *master,
            client_random: self.client_random,
            server_random: self.server_random,
            suite,
        });
        // Only a server has the last word; a client's last flight was answered.
        let last_word = (self.role == Role::Server).then(|| Final {
            flight: self.flight,
            retransmission: self.retransmission,
            peer_finished: self.incoming.next().wrapping_sub(1),
        });
        Ok(Session::new(
            self.session,
            self.client_random,
            self.sending,
            opening,
            self.replay,
            last_word.map(Box::new),
            secrets.map(Box::new),
            around.now.mono,
        ))
    }
}

/// A fatal alert ends a handshake, and so does a peer that says goodbye.
fn take_alert(body: &[u8]) -> Result<(), Error> {
    match body {
        [alert::FATAL, description] => Err(Error::Alert(*description)),
        [_, alert::CLOSE_NOTIFY] => Err(Error::Alert(alert::CLOSE_NOTIFY)),
        _ => Ok(()),
    }
}

/// A sealed Finished has some 90 bytes in the longest suite.
const EARLY_BYTES_MAX: usize = 256;
/// Unreadable Finished that end a handshake, where the key cannot be guessed: a peer with the wrong key
/// sends the third one after about three seconds.
const UNREADABLE_MAX: u8 = 3;
