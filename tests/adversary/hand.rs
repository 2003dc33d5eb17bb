//! A DTLS 1.2 client by hand (RFC 6347, RFC 5489, RFC 7627), apart from the engine: it speaks
//! ECDHE_PSK with AES-128-CBC and HMAC-SHA-256 (0xC037) as far as the ChangeCipherSpec, and then seals
//! whatever it is told to, under whatever key.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use aes::Aes128;
use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ring::{agreement, hmac, rand};
use sha2::{Digest, Sha256};

pub(crate) const CHANGE_CIPHER: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const DATA: u8 = 23;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const VERIFY_REQUEST: u8 = 3;
const SERVER_KEY_EXCHANGE: u8 = 12;
const SERVER_HELLO_DONE: u8 = 14;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const FINISHED: u8 = 20;

pub(crate) const ECDHE_PSK: u16 = 0xC037;

/// How long an answer may take that has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A handshake, as the attacker leads it.
pub(crate) struct Hand {
    socket: UdpSocket,
    suites: Vec<u16>,
    random: [u8; 32],
    server_random: [u8; 32],
    transcript: Vec<u8>,
    message_next: u16,
    /// The next record number of each epoch.
    record_next: [u64; 2],
    shared: Vec<u8>,
    /// The suite that the server has chosen.
    pub(crate) suite: u16,
    /// What the server sent and nobody has looked at.
    heard: Vec<Record>,
}

/// A record of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) content: u8,
    pub(crate) number: u64,
    pub(crate) body: Vec<u8>,
}

/// What one pre-shared key makes of a handshake.
pub(crate) struct Keys {
    master: [u8; 48],
    ours: Direction,
    theirs: Direction,
}

struct Direction {
    mac: hmac::Key,
    cipher: [u8; 16],
}

impl Hand {
    /// A client at an address of this machine, with a hello of its own.
    pub(crate) fn new(from: IpAddr, to: SocketAddr, suites: &[u16]) -> Self {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect(to).unwrap();
        let mut hand = Self {
            socket,
            suites: suites.to_vec(),
            random: [0; 32],
            server_random: [0; 32],
            transcript: vec![],
            message_next: 0,
            record_next: [0; 2],
            shared: vec![],
            suite: 0,
            heard: vec![],
        };
        hand.begin_anew();
        hand
    }

    /// Forgets the handshake, and what came of it; the next hello comes from the same port.
    pub(crate) fn begin_anew(&mut self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
        getrandom::fill(&mut self.random).unwrap();
        self.transcript.clear();
        self.message_next = 0;
        self.record_next = [0; 2];
        self.heard.clear();
    }

    /// Hello, cookie, hello, and the server's first flight; an alert's number where there is none.
    pub(crate) fn knock(&mut self) -> Result<(), u8> {
        self.say_hello(&[]);
        let (_, body) = self.next_message(VERIFY_REQUEST)?;
        let cookie = body[3..3 + usize::from(body[2])].to_vec();
        self.transcript.clear();
        self.say_hello(&cookie);
        let (framed, body) = self.next_message(SERVER_HELLO)?;
        self.transcript.extend(framed);
        self.server_random = body[2..34].try_into().unwrap();
        let after = 35 + usize::from(body[34]);
        self.suite = u16::from_be_bytes([body[after], body[after + 1]]);
        assert_eq!(self.suite, ECDHE_PSK, "this hand knows no other");
        let (framed, body) = self.next_message(SERVER_KEY_EXCHANGE)?;
        self.transcript.extend(framed);
        let hint = usize::from(u16::from_be_bytes([body[0], body[1]]));
        // Named curve (3), secp256r1 (23), 65 bytes.
        let point = body[2 + hint + 4..].to_vec();
        let (framed, _) = self.next_message(SERVER_HELLO_DONE)?;
        self.transcript.extend(framed);
        self.shared = point;
        Ok(())
    }

    /// The name of the key, our half of the exchange, and the word that what follows is sealed.
    pub(crate) fn exchange(&mut self, identity: &[u8]) {
        let rng = rand::SystemRandom::new();
        let private =
            agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &rng).unwrap();
        let public = private.compute_public_key().unwrap();
        let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, &self.shared);
        let shared = agreement::agree_ephemeral(private, &theirs, <[u8]>::to_vec).unwrap();
        self.shared = shared;
        let point = public.as_ref();
        let length = u8::try_from(point.len()).unwrap();
        let body = [&vec16(identity)[..], &[length], point].concat();
        let exchange = self.message(CLIENT_KEY_EXCHANGE, &body);
        let exchange = self.plain(HANDSHAKE, &exchange);
        let change = self.plain(CHANGE_CIPHER, &[1]);
        self.send(&[exchange, change].concat());
    }

    /// The keys of this handshake for a pre-shared key, as the server has them if it is the right one.
    pub(crate) fn keys(&self, psk: &[u8]) -> Keys {
        let premaster = [vec16(&self.shared), vec16(psk)].concat();
        let mut master = [0; 48];
        let digest: [u8; 32] = Sha256::digest(&self.transcript).into();
        prf(&premaster, b"extended master secret", &digest, &mut master);
        let mut block = [0; 96];
        let randoms = [self.server_random, self.random].concat();
        prf(&master, b"key expansion", &randoms, &mut block);
        let direction = |mac: &[u8], cipher: &[u8]| Direction {
            mac: hmac::Key::new(hmac::HMAC_SHA256, mac),
            cipher: cipher.try_into().unwrap(),
        };
        let ours = direction(&block[..32], &block[64..80]);
        let theirs = direction(&block[32..64], &block[80..]);
        Keys { master, ours, theirs }
    }

    /// The Finished that these keys ask for, framed; it can be sealed any number of times.
    pub(crate) fn finished(&self, keys: &Keys) -> Vec<u8> {
        let digest: [u8; 32] = Sha256::digest(&self.transcript).into();
        let mut body = [0; 12];
        prf(&keys.master, b"client finished", &digest, &mut body);
        framed(FINISHED, self.message_next, &body)
    }

    /// A record sealed under these keys, with the next number.
    pub(crate) fn sealed(&mut self, keys: &Keys, content: u8, plain: &[u8]) -> Vec<u8> {
        let number = 1 << 48 | self.record_next[1];
        self.record_next[1] += 1;
        let mut inner = plain.to_vec();
        inner.extend(keys.ours.mac_of(number, content, plain).as_ref());
        let padding = 15 - inner.len() % 16;
        inner.extend(std::iter::repeat_n(padding as u8, padding + 1));
        let mut iv = [0; 16];
        getrandom::fill(&mut iv).unwrap();
        let (blocks, _) = Array::slice_as_chunks_mut(&mut inner);
        let key = keys.ours.cipher;
        cbc::Encryptor::<Aes128>::new(&key.into(), &iv.into()).encrypt_blocks(blocks);
        record(content, number, &[&iv[..], &inner].concat())
    }

    /// A record in the clear, with the next number.
    pub(crate) fn plain(&mut self, content: u8, body: &[u8]) -> Vec<u8> {
        let number = self.record_next[0];
        self.record_next[0] += 1;
        record(content, number, body)
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        // The kernel may say here that an earlier datagram found nobody; that is no news.
        let _ = self.socket.send(datagram);
    }

    /// The next record of the server, if one comes within this time.
    pub(crate) fn listen(&mut self, patience: Duration) -> Option<Record> {
        if self.heard.is_empty() {
            self.socket.set_read_timeout(Some(patience)).unwrap();
            let mut datagram = [0; 4096];
            let length = self.socket.recv(&mut datagram).ok()?;
            let mut rest = &datagram[..length];
            while let [content, _, _, header @ ..] = rest {
                let number = u64::from_be_bytes(header[..8].try_into().unwrap());
                let length = usize::from(u16::from_be_bytes([header[8], header[9]]));
                let body = header[10..10 + length].to_vec();
                self.heard.push(Record { content: *content, number, body });
                rest = &header[10 + length..];
            }
        }
        Some(self.heard.remove(0))
    }

    /// What a sealed record of the server says; nothing if these are not its keys.
    pub(crate) fn open(keys: &Keys, record: &Record) -> Option<Vec<u8>> {
        let (iv, body) = record.body.split_first_chunk::<16>()?;
        let mut plain = body.to_vec();
        let (blocks, _) = Array::slice_as_chunks_mut(&mut plain);
        let key = keys.theirs.cipher;
        cbc::Decryptor::<Aes128>::new(&key.into(), &(*iv).into()).decrypt_blocks(blocks);
        let padding = usize::from(*plain.last()?);
        plain.truncate(plain.len().checked_sub(padding + 1)?);
        let (said, mac) = plain.split_at_checked(plain.len().checked_sub(32)?)?;
        let expected = keys.theirs.mac_of(record.number, record.content, said);
        (expected.as_ref() == mac).then(|| said.to_vec())
    }

    fn say_hello(&mut self, cookie: &[u8]) {
        let suites: Vec<u8> = self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        // secp256r1; uncompressed points; extended master secret; secure renegotiation.
        let extensions = [
            &[0, 10, 0, 4, 0, 2, 0, 23][..],
            &[0, 11, 0, 2, 1, 0],
            &[0, 23, 0, 0],
            &[0xFF, 1, 0, 1, 0],
        ]
        .concat();
        let body = [
            &VERSION[..],
            &self.random,
            &[0, u8::try_from(cookie.len()).unwrap()],
            cookie,
            &vec16(&suites),
            &[1, 0],
            &vec16(&extensions),
        ]
        .concat();
        let hello = self.message(CLIENT_HELLO, &body);
        let hello = self.plain(HANDSHAKE, &hello);
        self.send(&hello);
    }

    /// The next message, with its header; it has to be of this kind, and in one piece.
    fn next_message(&mut self, wanted: u8) -> Result<(Vec<u8>, Vec<u8>), u8> {
        loop {
            let record = self.listen(PATIENCE).expect("the server answers");
            match record.content {
                // What was sent again for a handshake that was left may be in between.
                HANDSHAKE if record.number >> 48 == 0 && record.body[0] == wanted => {
                    let body = record.body[12..].to_vec();
                    return Ok((record.body, body));
                }
                ALERT => return Err(record.body[1]),
                _ => {}
            }
        }
    }

    /// A framed message with the next number, which is also in the transcript now.
    fn message(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let framed = framed(kind, self.message_next, body);
        self.message_next += 1;
        self.transcript.extend(&framed);
        framed
    }
}

impl Direction {
    fn mac_of(&self, number: u64, content: u8, plain: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(&number.to_be_bytes());
        context.update(&[content]);
        context.update(&VERSION);
        context.update(&u16::try_from(plain.len()).unwrap().to_be_bytes());
        context.update(plain);
        context.sign()
    }
}

fn framed(kind: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let length = &length[1..];
    [&[kind], length, &sequence.to_be_bytes(), &[0, 0, 0], length, body].concat()
}

fn record(content: u8, number: u64, body: &[u8]) -> Vec<u8> {
    [&[content], &VERSION[..], &number.to_be_bytes(), &vec16(body)].concat()
}

fn vec16(body: &[u8]) -> Vec<u8> {
    [&u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// RFC 5246 section 5.
fn prf(secret: &[u8], label: &[u8], seed: &[u8], out: &mut [u8]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let seed = [label, seed].concat();
    let mut a = hmac::sign(&key, &seed);
    for piece in out.chunks_mut(32) {
        let block = hmac::sign(&key, &[a.as_ref(), &seed].concat());
        piece.copy_from_slice(&block.as_ref()[..piece.len()]);
        a = hmac::sign(&key, a.as_ref());
    }
}

/// DTLS 1.2.
const VERSION: [u8; 2] = [0xFE, 0xFD];
