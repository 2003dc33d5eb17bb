//! A client that says whatever it is told to, in any order, and is honest in all else: its messages
//! are numbered, its transcript is what was said, its keys are the right ones.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

use super::network::{IDENTITY, KEY, SERVER, path_at, policies, start};
use crate::clock::Now;
use crate::dtls::certificate::Curve;
use crate::dtls::ecdh::{self, Ephemeral};
use crate::dtls::message::{
    self, ClientHello, ClientKeyExchange, Extensions, Fragment, Message, SIGNATURES,
    ServerKeyExchange, Signed, kind,
};
use crate::dtls::prf::{MasterSecret, extended_master_secret, verify_data};
use crate::dtls::protection::{Keys, Protection};
use crate::dtls::record::{DTLS_1_2, Records, content, number, put_header};
use crate::dtls::suite::Exchange;
use crate::dtls::wire::Reader;
use crate::dtls::{Config, Endpoint, Output, OwnCertificate, Policy, Suite};

/// What the puppet can be told to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    ClientHello,
    Certificate,
    NoCertificate,
    KeyExchange,
    Verify,
    ChangeCipher,
    /// Sealed, over everything said so far.
    Finished,
    /// The same in the clear.
    PlainFinished,
    /// Sealed, and twelve times 0xAA.
    FalseFinished,
    ServerHelloDone,
}

pub(super) struct Puppet {
    pub(super) server: Endpoint,
    pub(super) connected: usize,
    pub(super) failed: usize,
    /// How many of those were a guess.
    pub(super) guessed: usize,
    pub(super) data: Vec<Vec<u8>>,
    /// Whether it sealed a message before it had keys.
    pub(super) spoke_too_early: bool,
    suite: Suite,
    certificate: OwnCertificate,
    randoms: [[u8; 32]; 2],
    cookie: Vec<u8>,
    point: Option<(Curve, Vec<u8>)>,
    transcript: Vec<u8>,
    message_next: u16,
    record_next: [u64; 2],
    keys: Option<(MasterSecret, Protection)>,
    rng: ChaCha20Rng,
    pub(super) now: Now,
}

impl Puppet {
    /// After the exchange of cookies and the server's first flight.
    pub(super) fn new(server: Endpoint, suite: Suite, certificate: OwnCertificate) -> Self {
        let mut puppet = Self {
            server,
            connected: 0,
            failed: 0,
            guessed: 0,
            data: vec![],
            spoke_too_early: false,
            suite,
            certificate,
            randoms: [[0xC1; 32], [0; 32]],
            cookie: vec![],
            point: None,
            transcript: vec![],
            message_next: 0,
            record_next: [0; 2],
            keys: None,
            rng: ChaCha20Rng::from_seed([3; 32]),
            now: start(),
        };
        puppet.say(Say::ClientHello);
        puppet.transcript.clear();
        puppet.say(Say::ClientHello);
        puppet
    }

    pub(super) fn say(&mut self, what: Say) {
        let exchange = self.suite.exchange();
        let (epoch, kind, body) = match what {
            Say::ClientHello => (0, kind::CLIENT_HELLO, self.hello()),
            Say::Certificate => {
                let chain = &self.certificate.chain;
                (0, kind::CERTIFICATE, message::write_certificate(chain))
            }
            Say::NoCertificate => (0, kind::CERTIFICATE, message::write_certificate(&[])),
            Say::KeyExchange => return self.say_key_exchange(exchange),
            Say::Verify => {
                let signature = ecdh::sign(&self.certificate.key, &self.transcript).unwrap();
                let mut body = vec![];
                let scheme = self.certificate.curve.signature_scheme();
                Signed { scheme, signature: &signature }.write(&mut body);
                (0, kind::CERTIFICATE_VERIFY, body)
            }
            Say::ChangeCipher => return self.send(0, content::CHANGE_CIPHER_SPEC, &[1]),
            Say::Finished => (1, kind::FINISHED, self.verify_data()),
            Say::PlainFinished => (0, kind::FINISHED, self.verify_data()),
            Say::FalseFinished => (1, kind::FINISHED, vec![0xAA; 12]),
            Say::ServerHelloDone => (0, kind::SERVER_HELLO_DONE, vec![]),
        };
        self.say_message(epoch, kind, body);
    }

    fn say_key_exchange(&mut self, exchange: Exchange) {
        let ephemeral = self.point.as_ref().map(|(curve, _)| Ephemeral::generate(*curve).unwrap());
        let public = ephemeral.as_ref().map(|ephemeral| ephemeral.public.clone());
        let shared = ephemeral.map(|one| one.agree(&self.point.as_ref().unwrap().1).unwrap());
        let identity = exchange.has_psk().then_some(IDENTITY);
        let body = ClientKeyExchange { identity, point: public.as_deref() }.write();
        let premaster = match (exchange.has_psk(), shared) {
            (true, shared) => ecdh::psk_premaster(shared.as_ref().map(|one| one.as_slice()), KEY),
            (false, Some(shared)) => shared,
            (false, None) => panic!("no key exchange"),
        };
        let message =
            Message { kind: kind::CLIENT_KEY_EXCHANGE, sequence: 0, epoch: 0, body: body.clone() };
        let mut framed = message.framed();
        framed[4..6].copy_from_slice(&self.message_next.to_be_bytes());
        let hash = Sha256::digest([&self.transcript[..], &framed].concat()).into();
        let master = extended_master_secret(&premaster, &hash);
        let [client, server] = &self.randoms;
        let keys = Keys::new(self.suite, false, &master, client, server);
        self.keys = Some((master, keys.client));
        self.say_message(0, kind::CLIENT_KEY_EXCHANGE, body);
    }

    fn say_message(&mut self, epoch: u16, kind: u8, body: Vec<u8>) {
        let framed = Message { kind, sequence: self.message_next, epoch, body }.framed();
        self.message_next += 1;
        self.transcript.extend(&framed);
        self.send(epoch, content::HANDSHAKE, &framed);
    }

    fn hello(&self) -> Vec<u8> {
        let hello = ClientHello {
            version: DTLS_1_2,
            random: self.randoms[0],
            cookie: self.cookie.clone(),
            suites: vec![self.suite.code()],
            extensions: Extensions {
                groups: Some(vec![23]),
                signatures: Some(SIGNATURES.to_vec()),
                extended_master_secret: true,
                ..Extensions::default()
            },
        };
        hello.write()
    }

    fn verify_data(&self) -> Vec<u8> {
        let Some((master, _)) = &self.keys else { return vec![0; 12] };
        verify_data(master, "client finished", &Sha256::digest(&self.transcript).into()).to_vec()
    }

    /// Sends one record; without keys, what should be sealed is noise.
    pub(super) fn send(&mut self, epoch: u16, content: u8, body: &[u8]) {
        self.spoke_too_early |= epoch == 1 && self.keys.is_none();
        let next = &mut self.record_next[usize::from(epoch)];
        let number = number(epoch, *next);
        *next += 1;
        let mut out = vec![];
        match &self.keys {
            Some((_, protection)) if epoch == 1 => {
                protection.seal(content, number, body, &mut self.rng, &mut out);
            }
            _ => {
                put_header(&mut out, content, number, body.len());
                out.extend(body);
            }
        }
        self.send_datagram(&out);
    }

    pub(super) fn send_datagram(&mut self, bytes: &[u8]) {
        self.server.handle_datagram(path_at(SERVER), bytes, self.now);
        self.listen();
    }

    pub(super) fn listen(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Datagram { bytes, .. } => {
                    for record in Records::new(&bytes) {
                        if record.epoch == 0 && record.content == content::HANDSHAKE {
                            self.hear(record.body);
                        }
                    }
                }
                Output::Connected { .. } => self.connected += 1,
                Output::HandshakeFailed { guessed, .. } => {
                    self.failed += 1;
                    self.guessed += usize::from(guessed);
                }
                Output::Data { bytes, .. } => self.data.push(bytes),
                Output::Closed { .. } => {}
            }
        }
    }

    fn hear(&mut self, record: &[u8]) {
        let fragment = Fragment::read(&mut Reader::new(record, "")).unwrap();
        let body = fragment.body;
        if fragment.kind == kind::HELLO_VERIFY_REQUEST {
            self.cookie = message::read_hello_verify_request(body).unwrap().to_vec();
            return;
        }
        match fragment.kind {
            kind::SERVER_HELLO => {
                self.randoms[1] = message::ServerHello::read(body).unwrap().random;
            }
            kind::SERVER_KEY_EXCHANGE => {
                let said = ServerKeyExchange::read(body, self.suite.exchange()).unwrap();
                self.point = said.share.map(|share| (share.curve, share.point.to_vec()));
            }
            _ => {}
        }
        self.transcript.extend(record);
    }
}

/// What a puppet and its server need; made once, for it takes longer than a handshake.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) suite: Suite,
    pub(super) policy: Policy,
    certificate: OwnCertificate,
}

impl Stage {
    pub(super) fn new(suite: Suite) -> Self {
        let (client, policy) = policies(suite);
        Self { suite, policy, certificate: client.certificate.unwrap() }
    }

    pub(super) fn puppet(&self) -> Puppet {
        let mut server = Endpoint::new(Config::default(), [5; 32]);
        server.set_policy(self.policy.clone(), start());
        Puppet::new(server, self.suite, self.certificate.clone())
    }
}
