//! A client's sockets and its endpoint, turned by hand until an answer is there.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;

use super::error::no_random;
use super::keys::Keys;
use super::links::Link;
use super::{Error, Failure, Patience, request};
use crate::clock::{self, Instant};
use crate::coap::{Call, CallError, Config, Peer, Reception, Request, Response};
use crate::coaps::{self, Output};
use crate::dtls::{self, ClientPolicy, Secrets, SessionId};
use crate::net::{self, Inbox, Path, Sockets};

/// The longest body taken, bytes: an introspection file, or the links of a bridge with many devices.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Sockets of one client: one for each address asked in clear, and for each session. A client is for
/// one conversation, with a handful of devices; a server that has thousands has as many clients.
pub const SOCKETS_MAX: usize = 256;

/// A client that asks some devices.
///
/// It belongs to one task: its futures are `Send` and can be dropped while they wait. Nothing happens
/// unless one of them is awaited. Dropping it closes its sockets; [`Client::finish`] says goodbye
/// first.
pub struct Client {
    pub(super) sockets: Sockets,
    /// What sessions are made with.
    pub keys: Keys,
    endpoint: coaps::Endpoint,
    /// How many sockets there are.
    opened: usize,
    /// The sockets by which is asked in clear.
    clear: HashMap<SocketAddr, Path>,
    /// Whom each call asks.
    calls: HashMap<Call, Peer>,
    /// What handshakes have come to, until somebody asks.
    settled: HashMap<SessionId, Result<Peer, dtls::Error>>,
    /// The sockets of handshakes whose server is not there, and what the system says of it.
    refused: HashMap<u16, io::Error>,
    events: VecDeque<Event>,
}

thread_local! {
    /// Where datagrams come to before they are understood: empty again when [`Client::turn`] waits, so
    /// that the clients of a thread share one.
    static INBOX: RefCell<Inbox> = RefCell::default();
}

/// Something a call has come to.
#[derive(Debug)]
pub struct Event {
    /// Which call.
    pub call: Call,
    /// What came of it.
    pub outcome: Result<Answer, Failure>,
}

/// An answer, whatever its code.
#[derive(Debug)]
pub struct Answer {
    /// Who gave it.
    pub peer: Peer,
    /// What it says.
    pub response: Response,
    /// Whether more may follow.
    pub more: bool,
}

impl Client {
    /// A client without sockets yet. Make and use it inside a tokio runtime with I/O and time.
    ///
    /// # Errors
    ///
    /// Where the system gives no random numbers.
    pub fn new(keys: Keys) -> Result<Self, Error> {
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            getrandom::fill(seed).map_err(no_random)?;
        }
        let config = Config {
            options_known: request::CRITICAL_OPTIONS.to_vec(),
            body_bytes_max: BODY_BYTES_MAX,
            ..Config::default()
        };
        Ok(Self {
            sockets: Sockets::new(),
            keys,
            endpoint: coaps::Endpoint::new(config, seeds),
            opened: 0,
            clear: HashMap::new(),
            calls: HashMap::new(),
            settled: HashMap::new(),
            refused: HashMap::new(),
            events: VecDeque::new(),
        })
    }

    /// The peer at that address, in clear.
    ///
    /// # Errors
    ///
    /// Where no way leads there, or this client has asked too many.
    pub fn reach(&mut self, remote: SocketAddr) -> Result<Peer, Error> {
        let path = match self.clear.get(&remote) {
            Some(path) => *path,
            None => {
                let opened = self.open(remote);
                let path = opened
                    .map_err(|failure| Error::Exchange { whom: remote.to_string(), failure })?;
                self.clear.insert(remote, path);
                path
            }
        };
        Ok(Peer { remote, socket: path.0, session: 0 })
    }

    fn open(&mut self, remote: SocketAddr) -> Result<Path, Failure> {
        if self.opened >= SOCKETS_MAX {
            return Err(Failure::Sockets(SOCKETS_MAX));
        }
        self.opened += 1;
        self.sockets.ask(remote).map_err(unreachable)
    }

    /// A socket by which groups of this family are asked; the same one each time.
    pub(super) fn groups(&mut self, any: SocketAddr) -> Result<Path, Failure> {
        if let Some(path) = self.clear.get(&any) {
            return Ok(*path);
        }
        let path = self.sockets.ask_any(any).map_err(unreachable)?;
        self.opened += 1;
        self.clear.insert(any, path);
        Ok(path)
    }

    /// A session with the server at that address, with the keys that fit; `device` where it is known
    /// which one it is.
    ///
    /// # Errors
    ///
    /// Where there are no keys, or no session comes about.
    pub async fn secure(
        &mut self,
        remote: SocketAddr,
        device: Option<Uuid>,
        patience: Patience,
    ) -> Result<Peer, Error> {
        let mut policy = self.keys.policy(remote, device)?;
        let certificates_only = ClientPolicy {
            suites: policy
                .suites
                .iter()
                .copied()
                .filter(|suite| suite.has_certificates())
                .collect(),
            psk: None,
            psks_by_hint: Vec::new(),
            ..policy.clone()
        };
        loop {
            let may_show_certificate = !certificates_only.suites.is_empty();
            let has_key = policy.suites.len() > certificates_only.suites.len();
            match self.connect(remote, policy, patience).await {
                // It prefers keys, and we have none for it.
                Err(Failure::Handshake(dtls::Error::NoKey)) if may_show_certificate && has_key => {
                    policy = certificates_only.clone();
                }
                Ok(peer) => return Ok(peer),
                Err(failure) => {
                    return Err(Error::Exchange { whom: format!("coaps://{remote}"), failure });
                }
            }
        }
    }

    /// A session, offering what is told.
    pub(super) async fn connect(
        &mut self,
        remote: SocketAddr,
        policy: ClientPolicy,
        patience: Patience,
    ) -> Result<Peer, Failure> {
        let path = self.open(remote)?;
        let now = clock::now();
        let deadline = patience.deadline(now.mono);
        let on = dtls::Path { remote, socket: path.0 };
        let session = self.endpoint.connect(on, policy, now).map_err(Failure::Handshake)?;
        loop {
            self.drain();
            if let Some(settled) = self.settled.remove(&session) {
                return settled.map_err(Failure::Handshake);
            }
            if let Some(error) = self.refused.remove(&path.0) {
                self.endpoint.close(session, clock::now());
                return Err(Failure::Unreachable(error));
            }
            let now = clock::now();
            if now.mono >= deadline {
                self.endpoint.close(session, now);
                return Err(match patience.is_over(now.mono) {
                    true => Failure::TimeOver,
                    false => Failure::Handshake(dtls::Error::TimedOut),
                });
            }
            self.turn(Some(deadline)).await;
        }
    }

    /// What the owner's key of this session is made from, once.
    pub(super) fn secrets(&mut self, peer: Peer) -> Option<Secrets> {
        self.endpoint.secrets(peer)
    }

    /// Ends a session.
    pub fn close(&mut self, peer: Peer) {
        if let Some(session) = SessionId::new(peer.session) {
            self.endpoint.close(session, clock::now());
            self.drain();
        }
    }

    /// Whom to ask for what a link names: whoever told of it, if it is served there, or else another
    /// endpoint of the same device.
    pub(super) async fn reach_link(
        &mut self,
        link: &Link,
        told_by: Peer,
        patience: Patience,
    ) -> Result<Peer, Error> {
        let (clear, secure) =
            (link.clear_address(told_by.remote), link.secure_address(told_by.remote));
        let same = if told_by.session == 0 { clear } else { secure };
        if link.names_no_endpoint() || same == Some(told_by.remote) {
            return Ok(told_by);
        }
        match (clear, secure) {
            (Some(clear), _) if told_by.session == 0 => self.reach(clear),
            (_, Some(secure)) => self.secure(secure, link.device_id(), patience).await,
            (Some(clear), None) => self.reach(clear),
            (None, None) => Err(Error::Unexpected(format!(
                "{} is served nowhere that can be reached",
                link.href
            ))),
        }
    }

    /// Asks; the answer comes as an [`Event`].
    pub fn request(&mut self, peer: Peer, request: Request) -> Call {
        let call = self.endpoint.request(peer, request, clock::now());
        self.calls.insert(call, peer);
        call
    }

    /// Asks everyone in a group.
    pub(super) fn request_group(
        &mut self,
        group: Peer,
        request: Request,
        collect: Duration,
    ) -> Call {
        self.endpoint.request_group(group, request, collect, clock::now())
    }

    /// Registers an observation once more, under its own token: a device that has forgotten it, as
    /// after a restart, has it again, and one that has not has it once (RFC 7641 section 3.3.1). The
    /// answer comes as an [`Event`] of the same call.
    pub(super) fn register_again(&mut self, call: Call) {
        self.endpoint.register_again(call, clock::now());
    }

    /// Does not want to hear of this call again; the other side is told if it should know.
    pub fn cancel(&mut self, call: Call) {
        self.endpoint.cancel(call, clock::now());
        self.calls.remove(&call);
        self.events.retain(|event| event.call != call);
    }

    /// What a call has come to already.
    pub(super) fn event_now(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next that any call comes to before `deadline`. Can be dropped while it waits; nothing is
    /// lost.
    pub async fn event_until(&mut self, deadline: Instant) -> Option<Event> {
        loop {
            self.drain();
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if clock::now().mono >= deadline {
                return None;
            }
            self.turn(Some(deadline)).await;
        }
    }

    /// What the call comes to within `patience`. What others come to waits.
    pub(super) async fn wait(&mut self, call: Call, patience: Patience) -> Result<Answer, Failure> {
        let deadline = patience.deadline(clock::now().mono);
        loop {
            self.drain();
            if let Some(at) = self.events.iter().position(|event| event.call == call)
                && let Some(event) = self.events.remove(at)
            {
                return event.outcome;
            }
            let now = clock::now().mono;
            if now >= deadline {
                self.cancel(call);
                return Err(if patience.is_over(now) {
                    Failure::TimeOver
                } else {
                    Failure::NoAnswer
                });
            }
            self.turn(Some(deadline)).await;
        }
    }

    /// Asks and waits. The answer can have any code.
    ///
    /// # Errors
    ///
    /// Where none comes.
    pub async fn ask(
        &mut self,
        peer: Peer,
        request: Request,
        patience: Patience,
    ) -> Result<Answer, Failure> {
        let call = self.request(peer, request);
        self.wait(call, patience).await
    }

    /// Lets what is queued leave, such as the end of an observation, and ends the sessions.
    pub async fn finish(&mut self) {
        self.drain();
        // A cancellation wants an acknowledgement, but not at the price of patience.
        let deadline = clock::now().mono + LAST_WORDS;
        while clock::now().mono < deadline && self.endpoint.call_deadline().is_some() {
            self.turn(Some(deadline)).await;
            self.drain();
        }
        self.endpoint.close_all(clock::now());
        self.drain();
    }

    /// One wait, and what comes of it.
    async fn turn(&mut self, until: Option<Instant>) {
        let now = clock::now().mono;
        let wake = [self.endpoint.deadline(), until].into_iter().flatten().min();
        tokio::select! {
            () = self.sockets.ready() => self.receive(),
            () = sleep(wake, now) => {}
        }
        self.endpoint.handle_timeout(clock::now());
    }

    fn receive(&mut self) {
        INBOX.with_borrow_mut(|inbox| self.receive_into(inbox));
    }

    fn receive_into(&mut self, inbox: &mut Inbox) {
        while self.sockets.receive(inbox) {
            let now = clock::now();
            for arrival in inbox.arrivals() {
                let path = dtls::Path { remote: arrival.remote, socket: arrival.path.0 };
                let reception = match arrival.multicast {
                    true => Reception::Multicast,
                    false => Reception::Unicast,
                };
                self.endpoint.handle_datagram(path, reception, arrival.bytes, now);
            }
            if let Some((path, error)) = inbox.failure() {
                let (kind, words) = (error.kind(), error.to_string());
                self.unreachable(path, || io::Error::new(kind, words.clone()));
            }
            self.drain();
        }
        self.sockets.flush();
    }

    /// Everything that was asked by this path has failed.
    fn unreachable(&mut self, path: Path, error: impl Fn() -> io::Error) {
        let on_path = |(call, peer): (&Call, &Peer)| (peer.socket == path.0).then_some(*call);
        let calls: Vec<Call> = self.calls.iter().filter_map(on_path).collect();
        for call in calls {
            self.cancel(call);
            let outcome = Err(Failure::Unreachable(error()));
            self.events.push_back(Event { call, outcome });
        }
        self.refused.insert(path.0, error());
    }

    /// Takes all that the endpoint wants.
    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Datagram { path, bytes } => {
                    self.sockets.send(Path(path.socket), path.remote, bytes);
                }
                Output::Connected { session, peer } => {
                    self.settled.insert(session, Ok(peer));
                }
                Output::HandshakeFailed { session, reason } => {
                    self.settled.insert(session, Err(reason));
                }
                Output::Response { call, peer, response, more } => {
                    if !more {
                        self.calls.remove(&call);
                    }
                    let outcome = Ok(Answer { peer, response, more });
                    self.events.push_back(Event { call, outcome });
                }
                Output::CallFailed { call, error } => {
                    self.calls.remove(&call);
                    let failure = match error {
                        CallError::TimedOut => Failure::NoAnswer,
                        other => Failure::Call(other),
                    };
                    self.events.push_back(Event { call, outcome: Err(failure) });
                }
                Output::Part { .. } | Output::Closed { .. } => {}
            }
        }
        self.sockets.flush();
    }
}

fn unreachable(error: net::Error) -> Failure {
    Failure::Unreachable(match error {
        net::Error::Reach { source, .. } => source,
        other => io::Error::other(other),
    })
}

/// How long a client that leaves waits for what it has still said.
const LAST_WORDS: Duration = Duration::from_millis(200);

async fn sleep(until: Option<Instant>, now: Instant) {
    match until {
        // Timers count milliseconds; one more, so that the time has come on waking.
        Some(until) => tokio::time::sleep(until.since(now) + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}
