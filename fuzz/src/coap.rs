//! What the fuzz targets of the CoAP room do with their input. `cargo test` compiles and runs them too.

use std::collections::HashMap;
use std::time::Duration;

use freshen::clock::Instant;
use freshen::coap::{
    Call, Code, Config, Endpoint, Notify, Output, Peer, Reception, Request, Response, Ticket,
    Topic, limits, option,
};

/// The input as datagrams, each behind its length. Whatever they hold: no panic, memory within its
/// bound, no answer to what must be ignored, and every well-formed request gets one.
pub fn datagrams(input: &[u8]) {
    let config = Config { options_known: vec![2049, 2053], ..Config::default() };
    let mut server = Endpoint::new(config, [1; 32]);
    let (mut input, mut now) = (Bytes(input), Instant::at(Duration::from_secs(1)));
    while let Some(length) = input.byte() {
        let datagram = input.take(usize::from(length) * if length > 250 { 16 } else { 1 });
        let verdict = judge(datagram);
        server.handle_datagram(peer(length & 1), Reception::Unicast, datagram, now);
        let mut answers = 0;
        while let Some(output) = server.poll_output() {
            match output {
                Output::Request { ticket, request, .. } => {
                    let mut response = Response::new(Code::CONTENT);
                    response.payload = vec![1; request.payload.len() * 9];
                    server.respond(ticket, response, Some(Topic(1)), now);
                }
                Output::Datagram { bytes, .. } => {
                    assert!(is_formed(&bytes), "{bytes:x?}");
                    answers += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        match verdict {
            Verdict::Malformed | Verdict::Empty | Verdict::Other => {}
            Verdict::Silence => assert_eq!(answers, 0, "{datagram:x?}"),
            Verdict::Request => assert!(answers > 0, "{datagram:x?}"),
        }
        now = now + Duration::from_millis(u64::from(length));
        server.handle_timeout(now);
        assert!(server.memory().total() <= limits::MEMORY_BYTES_MAX);
    }
}

/// What a datagram is by a second reading of RFC 7252 section 3, made for this comparison.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Not a message, or one that may be rejected for its form.
    Malformed,
    /// Acknowledgement, reset, or a message that is not for a server.
    Silence,
    /// Empty and well-formed.
    Empty,
    /// A confirmable request.
    Request,
    /// A response, or a request that need not be answered.
    Other,
}

fn judge(datagram: &[u8]) -> Verdict {
    let Some([first, code, ..]) = datagram.get(..4) else { return Verdict::Silence };
    if first >> 6 != 1 {
        return Verdict::Silence;
    }
    match (first >> 4 & 3, *code) {
        (2 | 3, _) => Verdict::Silence,
        _ if !is_formed(datagram) => Verdict::Malformed,
        (0, 0) => Verdict::Empty,
        (0, 1..32) => Verdict::Request,
        _ => Verdict::Other,
    }
}

fn is_formed(datagram: &[u8]) -> bool {
    let Some([first, code, ..]) = datagram.get(..4) else { return false };
    let (begin, length) = match first & 15 {
        length @ 0..13 => (4, usize::from(length)),
        13 => (5, 13 + usize::from(datagram.get(4).copied().unwrap_or(0))),
        _ => return false,
    };
    let rest = datagram.get(begin + length..);
    let short = datagram.len() <= limits::DATAGRAM_BYTES_MAX && length <= limits::TOKEN_BYTES_MAX;
    let class = matches!(code >> 5, 0 | 2..=5);
    class && short && rest.is_some_and(options_end_well) && (*code != 0 || datagram.len() == 4)
}

fn options_end_well(mut rest: &[u8]) -> bool {
    let (mut number, mut count) = (0usize, 0);
    while let [first, tail @ ..] = rest {
        if *first == 0xff {
            return !tail.is_empty();
        }
        rest = tail;
        let mut value = |nibble: u8| {
            let extra = match nibble {
                13 => 1,
                14 => 2,
                15 => return None,
                _ => return Some(usize::from(nibble)),
            };
            let (bytes, tail) = rest.split_at_checked(extra)?;
            rest = tail;
            let value = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            Some(value + if extra == 1 { 13 } else { 269 })
        };
        let (Some(delta), Some(length)) = (value(first >> 4), value(first & 15)) else {
            return false;
        };
        let Some(tail) = rest.get(length..) else { return false };
        rest = tail;
        number += delta;
        count += 1;
        if number > 0xffff || count > limits::OPTIONS_MAX {
            return false;
        }
    }
    true
}

/// The input as a sequence of steps of a peer, of the rooms above, and of time. The endpoint is
/// server and client at once. Whatever happens: no panic, memory within its bound, nothing that
/// changes something executed twice, and it comes to rest.
pub fn conversation(input: &[u8]) {
    let (mut input, mut talk) = (Bytes(input), Talk::new());
    while let Some(step) = input.byte() {
        talk.step(step, &mut input);
        talk.drain();
    }
    for _ in 0..400 {
        let Some((at, _)) = talk.endpoint.deadline() else { return };
        if at > talk.now + Duration::from_secs(2000) {
            return;
        }
        talk.now = talk.now.max(at);
        talk.endpoint.handle_timeout(talk.now);
        talk.drain();
    }
}

struct Talk {
    endpoint: Endpoint,
    now: Instant,
    open: Vec<Ticket>,
    calls: Vec<Call>,
    /// The last messages that we were sent: their ids and tokens are good to answer to.
    heard: Vec<Vec<u8>>,
    /// When each request that changes something was executed last.
    changes: HashMap<Vec<u8>, Instant>,
    present: Option<Vec<u8>>,
}

impl Talk {
    fn new() -> Self {
        let config =
            Config { options_known: vec![2049], body_bytes_max: 4000, ..Config::default() };
        Self {
            endpoint: Endpoint::new(config, [2; 32]),
            now: Instant::at(Duration::from_secs(1)),
            open: vec![],
            calls: vec![],
            heard: vec![],
            changes: HashMap::new(),
            present: None,
        }
    }

    fn step(&mut self, step: u8, input: &mut Bytes<'_>) {
        let (peer, now) = (peer(step >> 5), self.now);
        match step & 31 {
            0..=15 => {
                let datagram = message(input, &self.heard);
                let group = step & 15 == 15;
                let way = if group { Reception::Multicast } else { Reception::Unicast };
                self.present = Some([&[step >> 5][..], &datagram].concat());
                self.endpoint.handle_datagram(peer, way, &datagram, now);
                self.drain();
                self.present = None;
            }
            16..=18 => {
                self.now = now + Duration::from_millis(10 << input.byte().unwrap_or(0).min(16));
                self.endpoint.handle_timeout(self.now);
            }
            19 | 20 => {
                if let Some(ticket) = self.open.pop() {
                    let response = response(input.byte().unwrap_or(0));
                    self.endpoint.respond(ticket, response, Some(Topic(1)), now);
                }
            }
            21 => {
                let response = response(input.byte().unwrap_or(0));
                let kind = if step > 100 { Notify::Confirmable } else { Notify::NonConfirmable };
                self.endpoint.notify(Topic(1), kind, now, |_| response.clone());
            }
            22..=24 => {
                let mut request = Request::new(Code(input.byte().unwrap_or(1) % 5 + 1), "/a");
                request.payload = vec![3; usize::from(input.byte().unwrap_or(0)) * 16];
                if step & 31 == 24 {
                    request.options.set_uint(option::OBSERVE, 0);
                }
                self.calls.push(self.endpoint.request(peer, request, now));
            }
            25 | 26 => {
                let request = Request::new(Code::GET, "/d");
                let offset = u64::from(input.byte().unwrap_or(0)) * 100;
                self.calls.push(self.endpoint.download(peer, request, offset, now));
            }
            27 => {
                let request = Request::new(Code::GET, "/g");
                let collect = Duration::from_secs(3);
                self.calls.push(self.endpoint.request_multicast(peer, request, collect, now));
            }
            28 => {
                if let Some(call) = self.calls.pop() {
                    self.endpoint.cancel(call, now);
                }
            }
            29 => {
                self.endpoint.session_ended(peer);
                // Session names do not come back; here they do, and what was known of them is gone.
                self.changes.clear();
            }
            30 => {
                let error = Response::new(Code::FORBIDDEN);
                self.endpoint.end_observations(&error, now, |_, watcher| watcher.peer == peer);
            }
            _ => {
                if let Some(ticket) = self.open.pop() {
                    self.endpoint.ignore(ticket, now);
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Datagram { bytes, .. } => {
                    assert!(bytes.len() <= limits::DATAGRAM_BYTES_MAX + 300);
                    self.heard.push(bytes);
                    if self.heard.len() > 16 {
                        self.heard.remove(0);
                    }
                }
                Output::Request { ticket, request, .. } => self.request(ticket, &request),
                _ => {}
            }
        }
        let memory = self.endpoint.memory();
        assert!(memory.total() <= limits::MEMORY_BYTES_MAX, "{memory:?}");
    }

    fn request(&mut self, ticket: Ticket, request: &Request) {
        if let Some(present) = self.present.clone().filter(|_| !request.code.is_safe()) {
            let before = self.changes.insert(present, self.now);
            let soon = before.is_some_and(|at| self.now - at < limits::NON_LIFETIME);
            // A block 0 that is the whole body begins anew under any id; the id says it is the same.
            assert!(!soon, "executed twice: {request:?}");
        }
        if request.payload.len() % 3 == 1 {
            self.open.push(ticket);
        } else {
            let response = response(request.payload.len() as u8);
            self.endpoint.respond(ticket, response, Some(Topic(1)), self.now);
        }
    }
}

fn response(kind: u8) -> Response {
    let mut response = Response::new(match kind % 5 {
        0 | 1 => Code::CONTENT,
        2 => Code::CHANGED,
        3 => Code::NOT_FOUND,
        _ => Code::INTERNAL_SERVER_ERROR,
    });
    response.payload = vec![kind; usize::from(kind) * 20];
    response
}

/// A message that is legal in most of its parts.
fn message(input: &mut Bytes<'_>, heard: &[Vec<u8>]) -> Vec<u8> {
    let [kind, code, id, token] = input.array();
    // An answer to something that was sent has its id and its token.
    let known = heard.get(usize::from(token >> 3)).filter(|_| token & 7 == 7);
    let (id, token) = match known {
        Some(heard) => (heard[2..4].to_vec(), heard[4..].iter().take(8).copied().collect()),
        None => (vec![0, id & 15], vec![token; usize::from(token & 3)]),
    };
    const CODES: [u8; 14] = [0, 1, 2, 3, 4, 5, 0x45, 0x44, 0x5f, 0x81, 0x82, 0x84, 0x88, 0x8d];
    let code = CODES.get(usize::from(code)).copied().unwrap_or(code);
    let mut bytes = vec![0x40 | (kind & 3) << 4 | token.len() as u8, code];
    bytes.extend(id);
    bytes.extend::<Vec<u8>>(token);
    const NUMBERS: [u16; 16] = [1, 4, 6, 11, 12, 14, 15, 23, 27, 28, 31, 60, 252, 258, 292, 2049];
    let mut previous = 0;
    let count = input.byte().unwrap_or(0) % 6;
    let mut options: Vec<(u16, Vec<u8>)> = (0..count)
        .map(|_| {
            let [which, length] = input.array();
            let number = NUMBERS[usize::from(which & 15)];
            (number, input.take(usize::from(length % 5)).to_vec())
        })
        .collect();
    options.sort_by_key(|(number, _)| *number);
    for (number, value) in options {
        let delta = number - previous;
        previous = number;
        let (nibble, extension) = match delta {
            0..13 => (delta as u8, vec![]),
            13..269 => (13, vec![(delta - 13) as u8]),
            _ => (14, (delta - 269).to_be_bytes().to_vec()),
        };
        bytes.push(nibble << 4 | value.len() as u8);
        bytes.extend(extension);
        bytes.extend(value);
    }
    let length = usize::from(input.byte().unwrap_or(0));
    if length > 0 {
        bytes.push(0xff);
        bytes.extend(vec![7; if length >= 128 { 16 << (length & 7) } else { length }]);
    }
    bytes
}

fn peer(n: u8) -> Peer {
    let session = u64::from(n & 1);
    Peer { remote: ([10, 0, 0, n & 3], 5683).into(), socket: 0, session }
}

/// The input, byte by byte.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte().unwrap_or(0))
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
