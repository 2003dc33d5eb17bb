//! What the fuzz targets do with their bytes. Plain functions, so that ordinary tests run them too.
//!
//! [`campaign`] feeds them from a seed where no fuzzer is at hand.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::certificate;
use super::message::{self, ClientHello, ClientKeyExchange, Fragment, ServerHello};
use super::reassembly::Reassembly;
use super::record::Records;
use super::suite::Exchange;
use super::wire::Reader;
use super::{
    ClientPolicy, Config, Endpoint, IdentityRule, Output, Path, Policy, PreSharedKey, Role,
    SessionId, Suite,
};
use crate::clock::{Instant, Now};

/// Reads the bytes as everything that a peer can send before it is trusted.
pub fn parsers(data: &[u8]) {
    let mut reassembly = Reassembly::default();
    for record in Records::new(data) {
        let mut reader = Reader::new(record.body, "fuzz");
        while let Ok(fragment) = Fragment::read(&mut reader) {
            reassembly.push(&fragment, record.epoch & 1);
        }
    }
    while reassembly.pop().is_some() {}
    let Some((choice, body)) = data.split_first() else { return };
    let exchange = [Exchange::EcdheEcdsa, Exchange::EcdhePsk, Exchange::Psk, Exchange::EcdhAnon]
        .into_iter()
        .cycle()
        .nth(usize::from(choice / 16))
        .unwrap_or(Exchange::Psk);
    match choice % 16 {
        0..=3 => drop(ClientHello::read(body).map(|hello| hello.write())),
        4 | 5 => drop(ServerHello::read(body).map(|hello| hello.write())),
        6 | 7 => {
            drop(message::ServerKeyExchange::read(body, exchange).map(|said| said.write()));
        }
        8 => drop(ClientKeyExchange::read(body, exchange).map(|said| said.write())),
        9 => drop(message::Signed::read(body, "fuzz")),
        10 => drop(message::read_certificate_request(body)),
        11 => drop(message::read_hello_verify_request(body)),
        12 => drop(message::read_certificate(body)),
        13 => drop(certificate::OwnCertificate::new(vec![body.to_vec()], body)),
        _ => {
            let rule = IdentityRule::Ocf;
            let chain = message::read_certificate(body).unwrap_or_else(|_| vec![body.to_vec()]);
            drop(certificate::verify(chain, &[], &rule, Role::Client, start()).map(|_| ()));
        }
    }
}

/// Plays a client and a server of ours against each other on a network that the bytes control:
/// datagrams arrive, are changed, cut, doubled, lost or made up; time passes; sessions end and begin.
///
/// # Panics
/// When one of them takes for data what the other did not send, or sends more than a datagram allows.
pub fn endpoint(data: &[u8]) {
    let mut stage = Stage::new(data.first().copied().unwrap_or(0));
    let mut script = Reader::new(data.get(1..).unwrap_or_default(), "fuzz");
    while stage.act(&mut script).is_some() {}
}

struct Stage {
    ends: [Endpoint; 2],
    wire: [VecDeque<Vec<u8>>; 2],
    sent: [Vec<Vec<u8>>; 2],
    sessions: [Option<SessionId>; 2],
    suite: Suite,
    now: Now,
}

const PATHS: [u16; 2] = [5684, 40_000];

fn path_of(end: usize) -> Path {
    let port = PATHS.get(end).copied().unwrap_or_default();
    Path { remote: ([192, 0, 2, 1], port).into(), socket: 0 }
}

fn start() -> Now {
    Now { wall: chrono::DateTime::UNIX_EPOCH, mono: Instant::at(Duration::from_secs(1000)) }
}

fn psk() -> PreSharedKey {
    PreSharedKey::new(b"fuzz", b"sixteen byte key")
}

impl Stage {
    fn new(choice: u8) -> Self {
        let suite = match choice {
            // ECDH is slow; the rest of the way is the same.
            0..=7 => Suite::EcdhePskAes128CbcSha256,
            8..=15 => Suite::EcdhAnonAes128CbcSha256,
            _ => Suite::PskAes128Ccm8,
        };
        let config = Config { sessions_max: 2, half_open_max: 2, ..Config::default() };
        let mut ends = [1, 2].map(|seed| Endpoint::new(config.clone(), [seed; 32]));
        let [_, server] = &mut ends;
        let policy = Policy {
            suites: vec![suite],
            psks: vec![psk()],
            identity_hint: vec![0, choice],
            ..Policy::default()
        };
        server.set_policy(policy, start());
        let mut stage = Self {
            ends,
            wire: Default::default(),
            sent: Default::default(),
            sessions: [None; 2],
            suite,
            now: start(),
        };
        stage.connect();
        stage
    }

    fn connect(&mut self) {
        let [client, _] = &mut self.ends;
        let suites = vec![self.suite];
        let policy = ClientPolicy { suites, psk: Some(psk()), ..ClientPolicy::default() };
        let _ = client.connect(path_of(0), policy, self.now);
        self.collect();
    }

    /// One step of the script; none at its end.
    fn act(&mut self, script: &mut Reader<'_>) -> Option<()> {
        let [what, how] = script.array().ok()?;
        let end = usize::from(how & 1);
        match what % 16 {
            0..=5 => {
                let (end, bytes) = self.take(end);
                self.deliver(end, &bytes);
            }
            6 => {
                let (end, bytes) = self.take(end);
                self.deliver(end, &bytes);
                self.deliver(end, &bytes);
            }
            7 => drop(self.take(end)),
            8 => {
                let (end, bytes) = self.take(end);
                self.queue(end).push_back(bytes);
            }
            9 | 10 => {
                let (end, mut bytes) = self.take(end);
                let [place, change] = script.array().ok()?;
                let length = bytes.len().max(1);
                let place = usize::from(place) * 7 % length;
                bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= change);
                self.deliver(end, &bytes);
            }
            11 => {
                let (end, mut bytes) = self.take(end);
                bytes.truncate(usize::from(script.u8().ok()?));
                self.deliver(end, &bytes);
            }
            12 => {
                let bytes = script.vec8().ok()?;
                self.deliver(end, bytes);
            }
            13 => {
                self.now.mono = self.now.mono + Duration::from_millis(u64::from(how) * 100);
                self.ends.iter_mut().for_each(|end| end.handle_timeout(self.now));
                self.collect();
            }
            14 => self.say(end, how),
            _ if how < 16 => self.connect(),
            _ => {
                let session = self.sessions.get(end).copied().flatten();
                if let (Some(session), Some(one)) = (session, self.ends.get_mut(end)) {
                    one.close(session, self.now);
                }
                self.collect();
            }
        }
        Some(())
    }

    fn queue(&mut self, end: usize) -> &mut VecDeque<Vec<u8>> {
        let [to_client, to_server] = &mut self.wire;
        if end == 0 { to_client } else { to_server }
    }

    /// The next datagram for this end, or for the other one, and for whom it is.
    fn take(&mut self, end: usize) -> (usize, Vec<u8>) {
        let other = 1 - end;
        match self.queue(end).pop_front() {
            Some(bytes) => (end, bytes),
            None => (other, self.queue(other).pop_front().unwrap_or_default()),
        }
    }

    fn deliver(&mut self, end: usize, bytes: &[u8]) {
        if let Some(one) = self.ends.get_mut(end) {
            one.handle_datagram(path_of(end), bytes, self.now);
        }
        self.collect();
    }

    fn say(&mut self, end: usize, how: u8) {
        let session = self.sessions.get(end).copied().flatten();
        let (Some(session), Some(one)) = (session, self.ends.get_mut(end)) else { return };
        let mut text = vec![how; usize::from(how)];
        text.extend((self.sent.iter().map(Vec::len).sum::<usize>() as u64).to_be_bytes());
        if one.send(session, &text, self.now).is_ok()
            && let Some(sent) = self.sent.get_mut(end)
        {
            sent.push(text);
        }
        self.collect();
    }

    fn collect(&mut self) {
        let limit = Config::default().datagram_bytes_max;
        for end in 0..2 {
            let mut count = 0;
            while let Some(output) = self.ends.get_mut(end).and_then(Endpoint::poll_output) {
                count += 1;
                assert!(count < OUTPUTS_MAX, "one call has too many results");
                match output {
                    Output::Datagram { bytes, .. } => {
                        assert!(bytes.len() <= limit, "a datagram is too long");
                        if self.queue(1 - end).len() < QUEUE_MAX {
                            self.queue(1 - end).push_back(bytes);
                        }
                    }
                    Output::Connected { session, .. } => self.note(end, Some(session)),
                    Output::Data { bytes, .. } => self.check(end, &bytes),
                    Output::Closed { .. } | Output::HandshakeFailed { .. } => {}
                }
            }
        }
    }

    fn note(&mut self, end: usize, session: Option<SessionId>) {
        if let Some(place) = self.sessions.get_mut(end) {
            *place = session;
        }
    }

    /// What was heard must have been said, and is heard once.
    fn check(&mut self, end: usize, bytes: &[u8]) {
        let said = self.sent.get_mut(1 - end).expect("there are two ends");
        let place = said.iter().position(|one| one == bytes);
        said.remove(place.expect("nobody sent these data"));
    }
}

/// Runs a target on bytes made from a seed; half of them are pieces of real messages, changed.
pub fn campaign(target: fn(&[u8]), seed: u64, executions: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let corpus = corpus();
    for _ in 0..executions {
        let mut data = vec![0; (rng.next_u32() % 200) as usize];
        rng.fill_bytes(&mut data);
        if rng.next_u32() % 2 == 0 {
            let place = rng.next_u32() as usize % corpus.len();
            let real = corpus.get(place).map(Vec::as_slice).unwrap_or_default();
            let skip = rng.next_u32() as usize % 26;
            let mut piece = real.to_vec();
            for _ in 0..rng.next_u32() % 4 {
                let at = rng.next_u32() as usize % piece.len().max(1);
                piece.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.next_u32() as u8);
            }
            data.truncate(1);
            data.extend(piece.iter().skip(skip));
        }
        target(&data);
    }
}

/// The datagrams of real handshakes.
fn corpus() -> Vec<Vec<u8>> {
    let mut all = vec![vec![]];
    for choice in [0, 8, 16] {
        let mut stage = Stage::new(choice);
        for _ in 0..10 {
            for end in [1, 0] {
                while let Some(bytes) = stage.queue(end).pop_front() {
                    stage.deliver(end, &bytes);
                    all.push(bytes);
                }
            }
        }
    }
    all
}

/// A flight cut into datagrams, several records answered at once: far fewer than this.
const OUTPUTS_MAX: usize = 100;
/// Datagrams that wait on each side of the network.
const QUEUE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_make_a_parser_panic() {
        campaign(parsers, 1, 300_000);
    }

    #[test]
    fn no_network_makes_an_endpoint_panic_or_believe_a_lie() {
        campaign(endpoint, 2, 10_000);
    }

    #[test]
    fn the_campaign_gets_as_far_as_sessions_and_data() {
        // Deliver what there is, ten times; then talk.
        let mut script = vec![16];
        (0..20).for_each(|n| script.extend([0, n]));
        let mut stage = Stage::new(16);
        let mut reader = Reader::new(&script[1..], "fuzz");
        while stage.act(&mut reader).is_some() {}
        assert!(stage.sessions.iter().all(Option::is_some));
        stage.say(0, 30);
        assert_eq!(stage.sent[0].len(), 1);
        let (end, bytes) = stage.take(1);
        stage.deliver(end, &bytes);
        assert!(stage.sent[0].is_empty(), "heard");
        assert!(corpus().len() > 15);
    }
}
