//! A server endpoint on its own, spoken to in bytes, and a codec that is not the one under test.

use std::time::Duration;

use freshen::clock::Instant;
use freshen::coap::{Config, Endpoint, Output, Peer, Reception, Request, Response, Ticket, Topic};

use crate::pair::{Reply, config, peer};

pub(crate) const CON: u8 = 0;
pub(crate) const NON: u8 = 1;
pub(crate) const ACK: u8 = 2;
pub(crate) const RST: u8 = 3;

pub(crate) const GET: u8 = 0x01;
pub(crate) const POST: u8 = 0x02;
pub(crate) const PUT: u8 = 0x03;
pub(crate) const FETCH: u8 = 0x05;

/// A message in bytes. Options must be sorted by number.
pub(crate) fn message(
    kind: u8,
    code: u8,
    id: u16,
    token: &[u8],
    options: &[(u16, &[u8])],
    payload: &[u8],
) -> Vec<u8> {
    let (nibble, extension): (u8, Vec<u8>) = nibble(token.len());
    let mut bytes = vec![0x40 | kind << 4 | nibble, code];
    bytes.extend(id.to_be_bytes());
    bytes.extend(extension);
    bytes.extend(token);
    let mut previous = 0;
    for (number, value) in options {
        let (delta, delta_extension) = self::nibble(usize::from(number - previous));
        let (length, length_extension) = self::nibble(value.len());
        bytes.push(delta << 4 | length);
        bytes.extend(delta_extension.iter().chain(&length_extension).chain(*value));
        previous = *number;
    }
    if !payload.is_empty() {
        bytes.push(0xff);
        bytes.extend(payload);
    }
    bytes
}

fn nibble(value: usize) -> (u8, Vec<u8>) {
    match value {
        0..13 => (value as u8, vec![]),
        13..269 => (13, vec![(value - 13) as u8]),
        _ => (14, ((value - 269) as u16).to_be_bytes().to_vec()),
    }
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub kind: u8,
    /// As people write it: 205 for 2.05.
    pub code: u32,
    pub id: u16,
    pub token: Vec<u8>,
    pub options: Vec<(u16, Vec<u8>)>,
    pub payload: Vec<u8>,
}

impl Parsed {
    pub(crate) fn option(&self, number: u16) -> Option<&[u8]> {
        self.options.iter().find(|(other, _)| *other == number).map(|(_, value)| &**value)
    }

    pub(crate) fn uint(&self, number: u16) -> Option<u32> {
        self.option(number).map(|value| value.iter().fold(0, |sum, byte| sum << 8 | *byte as u32))
    }

    /// Number, more, size of a block option.
    pub(crate) fn block(&self, number: u16) -> Option<(u32, bool, usize)> {
        self.uint(number).map(|value| (value >> 4, value & 8 != 0, 16 << (value & 7)))
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut at = 4;
    let extended = |nibble: u8, at: &mut usize| match nibble {
        13 => {
            *at += 1;
            bytes[*at - 1] as usize + 13
        }
        14 => {
            *at += 2;
            u16::from_be_bytes([bytes[*at - 2], bytes[*at - 1]]) as usize + 269
        }
        _ => nibble as usize,
    };
    let length = extended(bytes[0] & 15, &mut at);
    let token = bytes[at..at + length].to_vec();
    at += length;
    let (mut options, mut number) = (vec![], 0);
    while at < bytes.len() && bytes[at] != 0xff {
        let first = bytes[at];
        at += 1;
        number += extended(first >> 4, &mut at) as u16;
        let length = extended(first & 15, &mut at);
        options.push((number, bytes[at..at + length].to_vec()));
        at += length;
    }
    let payload = bytes.get(at + 1..).unwrap_or_default().to_vec();
    Parsed {
        kind: bytes[0] >> 4 & 3,
        code: (bytes[1] >> 5) as u32 * 100 + (bytes[1] & 31) as u32,
        id: u16::from_be_bytes([bytes[2], bytes[3]]),
        token,
        options,
        payload,
    }
}

/// A server with an application, and a clock that stands still unless it is moved.
pub(crate) struct Server {
    pub endpoint: Endpoint,
    pub now: Instant,
    pub executed: Vec<Request>,
    pub open: Vec<Ticket>,
    application: Box<dyn FnMut(&Request) -> Reply>,
}

pub(crate) const ALICE: Peer = peer(11, 50_001);
pub(crate) const BOB: Peer = peer(12, 50_002);

impl Server {
    pub(crate) fn new(application: impl FnMut(&Request) -> Reply + 'static) -> Self {
        Self::with_config(config(), application)
    }

    pub(crate) fn with_config(
        config: Config,
        application: impl FnMut(&Request) -> Reply + 'static,
    ) -> Self {
        Self {
            endpoint: Endpoint::new(config, [42; 32]),
            now: Instant::at(Duration::from_secs(5000)),
            executed: vec![],
            open: vec![],
            application: Box::new(application),
        }
    }

    /// A datagram from Alice, and what goes back at once.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Vec<Parsed> {
        self.send_from(ALICE, bytes)
    }

    pub(crate) fn send_from(&mut self, peer: Peer, bytes: &[u8]) -> Vec<Parsed> {
        self.endpoint.handle_datagram(peer, Reception::Unicast, bytes, self.now);
        self.drain().into_iter().map(|(_, bytes)| parse(&bytes)).collect()
    }

    pub(crate) fn send_to_group(&mut self, peer: Peer, bytes: &[u8]) -> Vec<Parsed> {
        self.endpoint.handle_datagram(peer, Reception::Multicast, bytes, self.now);
        self.drain().into_iter().map(|(_, bytes)| parse(&bytes)).collect()
    }

    /// The one answer to a datagram.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Parsed {
        let mut answers = self.send(bytes);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    /// Lets time pass; returns what is sent meanwhile.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Parsed> {
        let end = self.now + time;
        let mut sent = vec![];
        while let Some((at, _)) = self.endpoint.deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            sent.extend(self.drain().into_iter().map(|(_, bytes)| parse(&bytes)));
        }
        self.now = end;
        sent
    }

    pub(crate) fn drain(&mut self) -> Vec<(Peer, Vec<u8>)> {
        let mut sent = vec![];
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Datagram { peer, bytes } => sent.push((peer, bytes)),
                Output::Request { ticket, request, .. } => {
                    let reply = (self.application)(&request);
                    self.executed.push(request);
                    self.reply(ticket, reply);
                }
                other => panic!("a server has no use for {other:?}"),
            }
        }
        sent
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        match reply {
            Reply::Now(response, topic) => self.respond(ticket, response, topic),
            Reply::Later(..) => self.open.push(ticket),
            Reply::Never => self.endpoint.ignore(ticket, self.now),
        }
    }

    pub(crate) fn respond(&mut self, ticket: Ticket, response: Response, topic: Option<Topic>) {
        self.endpoint.respond(ticket, response, topic, self.now);
    }
}

/// A client endpoint on its own: each message it sends is answered by hand, until it sends no more.
/// Returns what the client's caller was told.
pub(crate) fn converse(
    begin: impl FnOnce(&mut Endpoint, Instant),
    mut answer: impl FnMut(&Parsed) -> Vec<Vec<u8>>,
) -> Vec<Output> {
    let mut client = Endpoint::new(config(), [9; 32]);
    let now = Instant::at(Duration::from_secs(1));
    begin(&mut client, now);
    let mut told = vec![];
    for _ in 0..10_000 {
        match client.poll_output() {
            Some(Output::Datagram { bytes, .. }) => {
                for reply in answer(&parse(&bytes)) {
                    client.handle_datagram(crate::pair::SERVER, Reception::Unicast, &reply, now);
                }
            }
            Some(output) => told.push(output),
            None => return told,
        }
    }
    panic!("it does not end");
}
