//! A client's sockets and its CoAP endpoint, turned by hand until an answer is there.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use uuid::Uuid;

use super::keys::Keys;
use super::links::Link;
use super::sessions::{self, Sessions};
use super::{request, text};
use crate::clock::{self, Instant};
use crate::coap::{
    Call, CallError, Code, Config, Endpoint, Output, Peer, Reception, Request, Response,
};
use crate::dtls::{self, ClientPolicy, Secrets};
use crate::net::{self, Inbox, Path, Sockets};

/// The longest body taken, bytes: an introspection file, or the links of a bridge with many devices.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A client that asks any number of devices.
pub(crate) struct Client {
    pub(crate) sockets: Sockets,
    pub(crate) keys: Keys,
    endpoint: Endpoint,
    sessions: Sessions,
    inbox: Inbox,
    /// Whom each call asks.
    calls: HashMap<Call, Peer>,
    /// The sockets of handshakes whose server is not there, and what the system says of it.
    refused: HashMap<u16, io::Error>,
    events: VecDeque<Event>,
}

/// Something a call has come to.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) call: Call,
    pub(crate) outcome: Result<Answer, Failure>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) peer: Peer,
    pub(crate) response: Response,
    /// Whether more may follow.
    pub(crate) more: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no answer came; is the address right, and is something listening there?")]
    NoAnswer,
    #[error("{}", unreachable(.0))]
    Unreachable(io::Error),
    #[error(transparent)]
    Call(CallError),
    #[error("no secure session: {0}{advice}", advice = advice(.0))]
    Handshake(dtls::Error),
}

impl Client {
    pub(crate) fn new(keys: Keys) -> anyhow::Result<Self> {
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            getrandom::fill(seed).context("the system gives no random numbers")?;
        }
        let config = Config {
            options_known: request::CRITICAL_OPTIONS.to_vec(),
            body_bytes_max: BODY_BYTES_MAX,
            ..Config::default()
        };
        Ok(Self {
            sockets: Sockets::new(),
            keys,
            endpoint: Endpoint::new(config, seeds[0]),
            sessions: Sessions::new(seeds[1]),
            inbox: Inbox::new(),
            calls: HashMap::new(),
            refused: HashMap::new(),
            events: VecDeque::new(),
        })
    }

    /// The peer at that address, over a socket of its own.
    pub(crate) fn reach(&mut self, remote: SocketAddr) -> anyhow::Result<Peer> {
        let path = self.sockets.ask(remote)?;
        Ok(Peer { remote, socket: path.0, session: 0 })
    }

    /// A session with the server at that address, with the keys that fit; `device` where it is known
    /// which one it is.
    pub(crate) async fn secure(
        &mut self,
        remote: SocketAddr,
        device: Option<Uuid>,
        patience: Duration,
    ) -> anyhow::Result<Peer> {
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
                other => return other.with_context(|| format!("coaps://{remote}")),
            }
        }
    }

    /// A session, offering what is told.
    pub(crate) async fn connect(
        &mut self,
        remote: SocketAddr,
        policy: ClientPolicy,
        patience: Duration,
    ) -> Result<Peer, Failure> {
        let path = self.sockets.ask(remote).map_err(|error| match error {
            net::Error::Reach { source, .. } => Failure::Unreachable(source),
            other => Failure::Unreachable(io::Error::other(other)),
        })?;
        let now = clock::now();
        let deadline = now.mono + patience;
        let session =
            self.sessions.connect(remote, path.0, policy, now).map_err(Failure::Handshake)?;
        loop {
            self.drain();
            if let Some(settled) = self.sessions.settled(session) {
                return settled.map_err(Failure::Handshake);
            }
            if let Some(error) = self.refused.remove(&path.0) {
                self.sessions.close(session, clock::now());
                return Err(Failure::Unreachable(error));
            }
            if clock::now().mono >= deadline {
                self.sessions.close(session, clock::now());
                return Err(Failure::Handshake(dtls::Error::TimedOut));
            }
            self.turn(Some(deadline)).await;
        }
    }

    /// What the owner's key of this session is made from, once.
    pub(crate) fn secrets(&mut self, peer: Peer) -> Option<Secrets> {
        self.sessions.secrets(peer)
    }

    /// Ends a session.
    pub(crate) fn close(&mut self, peer: Peer) {
        if let Some(session) = dtls::SessionId::new(peer.session) {
            self.sessions.close(session, clock::now());
            self.drain();
        }
    }

    /// Whom to ask for what a link names: whoever told of it, if it is served there, or else another
    /// endpoint of the same device.
    pub(crate) async fn reach_link(
        &mut self,
        link: &Link,
        told_by: Peer,
        patience: Duration,
    ) -> anyhow::Result<Peer> {
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
            (None, None) => anyhow::bail!("{} is served nowhere that can be reached", link.href),
        }
    }

    /// Asks; the answer comes as an [`Event`].
    pub(crate) fn request(&mut self, peer: Peer, request: Request) -> Call {
        let call = self.endpoint.request(peer, request, clock::now().mono);
        self.calls.insert(call, peer);
        call
    }

    /// Asks everyone in a group.
    pub(crate) fn request_group(
        &mut self,
        group: Peer,
        request: Request,
        collect: Duration,
    ) -> Call {
        self.endpoint.request_multicast(group, request, collect, clock::now().mono)
    }

    /// Does not want to hear of this call again; the other side is told if it should know.
    pub(crate) fn cancel(&mut self, call: Call) {
        self.endpoint.cancel(call, clock::now().mono);
        self.calls.remove(&call);
        self.events.retain(|event| event.call != call);
    }

    /// The next that any call comes to. Can be dropped while it waits; nothing is lost.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            self.drain();
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.turn(None).await;
        }
    }

    /// What a call has come to already.
    pub(crate) fn event_now(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// As [`Self::event`], until `deadline`.
    pub(crate) async fn event_until(&mut self, deadline: Instant) -> Option<Event> {
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
    pub(crate) async fn wait(&mut self, call: Call, patience: Duration) -> Result<Answer, Failure> {
        let deadline = clock::now().mono + patience;
        loop {
            self.drain();
            if let Some(at) = self.events.iter().position(|event| event.call == call)
                && let Some(event) = self.events.remove(at)
            {
                return event.outcome;
            }
            if clock::now().mono >= deadline {
                self.cancel(call);
                return Err(Failure::NoAnswer);
            }
            self.turn(Some(deadline)).await;
        }
    }

    /// Asks and waits.
    pub(crate) async fn ask(
        &mut self,
        peer: Peer,
        request: Request,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let call = self.request(peer, request);
        self.wait(call, patience).await
    }

    /// Lets what is queued leave, such as the end of an observation, and ends the sessions.
    pub(crate) async fn finish(&mut self) {
        self.drain();
        // A cancellation wants an acknowledgement, but not at the price of patience.
        let deadline = clock::now().mono + Duration::from_millis(200);
        while clock::now().mono < deadline && self.endpoint.deadline().is_some() {
            self.turn(Some(deadline)).await;
            self.drain();
        }
        self.sessions.close_all(clock::now());
        self.drain();
    }

    /// One wait, and what comes of it.
    async fn turn(&mut self, until: Option<Instant>) {
        let now = clock::now().mono;
        let due = self.endpoint.deadline().map(|(at, _)| at);
        let wake = [due, self.sessions.deadline(), until].into_iter().flatten().min();
        tokio::select! {
            () = self.sockets.ready() => self.receive(),
            () = sleep(wake, now) => {}
        }
        let now = clock::now();
        self.endpoint.handle_timeout(now.mono);
        self.sessions.handle_timeout(now);
    }

    fn receive(&mut self) {
        while self.sockets.receive(&mut self.inbox) {
            let now = clock::now();
            for arrival in self.inbox.arrivals() {
                if self.sessions.has_socket(arrival.path.0) {
                    let (remote, socket) = (arrival.remote, arrival.path.0);
                    self.sessions.handle_datagram(remote, socket, arrival.bytes, now);
                    continue;
                }
                let peer = Peer { remote: arrival.remote, socket: arrival.path.0, session: 0 };
                let reception = match arrival.multicast {
                    true => Reception::Multicast,
                    false => Reception::Unicast,
                };
                self.endpoint.handle_datagram(peer, reception, arrival.bytes, now.mono);
            }
            if let Some((path, error)) = self.inbox.failure() {
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
        if self.sessions.has_socket(path.0) {
            self.refused.insert(path.0, error());
        }
    }

    /// Takes all that the endpoint and the sessions want.
    fn drain(&mut self) {
        loop {
            self.drain_endpoint();
            let Some(event) = self.sessions.poll_event() else { break };
            match event {
                sessions::Event::Datagram { path, bytes } => {
                    self.sockets.send(Path(path.socket), path.remote, bytes);
                }
                sessions::Event::Data { peer, bytes } => {
                    let now = clock::now().mono;
                    self.endpoint.handle_datagram(peer, Reception::Unicast, &bytes, now);
                }
                sessions::Event::Ended(peer) => self.endpoint.session_ended(peer),
            }
        }
        self.sockets.flush();
    }

    fn drain_endpoint(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Datagram { peer, bytes } if peer.session != 0 => {
                    self.sessions.send(peer, &bytes, clock::now());
                }
                Output::Datagram { peer, bytes } => {
                    self.sockets.send(Path(peer.socket), peer.remote, bytes);
                }
                Output::Response { call, peer, response, more } => {
                    self.events
                        .push_back(Event { call, outcome: Ok(Answer { peer, response, more }) });
                }
                Output::Failed { call, error } => {
                    self.calls.remove(&call);
                    let failure = match error {
                        CallError::TimedOut => Failure::NoAnswer,
                        other => Failure::Call(other),
                    };
                    self.events.push_back(Event { call, outcome: Err(failure) });
                }
                Output::Request { ticket, .. } => {
                    // We serve nothing.
                    let response = Response::new(Code::NOT_FOUND);
                    self.endpoint.respond(ticket, response, None, clock::now().mono);
                }
                Output::Part { .. } => {}
            }
        }
    }
}

/// The response, if it is a success; otherwise what the device says about its refusal.
pub(crate) fn accepted(response: Response) -> anyhow::Result<Response> {
    if response.code.is_success() {
        return Ok(response);
    }
    let code = text::code(response.code);
    match std::str::from_utf8(&response.payload) {
        // Some servers only repeat the name of the code.
        Ok(text) if !text.is_empty() && !code.ends_with(text) && !request::is_cbor(&response) => {
            anyhow::bail!("{code}: {}", text::printable(text))
        }
        _ if response.code == Code::UNAUTHORIZED => anyhow::bail!("{code}; {NOT_ALLOWED}"),
        _ => anyhow::bail!("{code}"),
    }
}

/// What to do about 4.01: a device says no more.
const NOT_ALLOWED: &str = "only those may whom the device's owner named (`freshen provision access`), \
                           and mostly over coaps";

/// What to do about a handshake that failed.
fn advice(error: &dtls::Error) -> &'static str {
    match error {
        dtls::Error::TimedOut => {
            "; is the address right, and is it the one for coaps? (`freshen discover` tells); some \
             servers are also silent when our key is wrong"
        }
        // What they say of a wrong key: OpenSSL nothing, GnuTLS 0, Mbed TLS and others 20, 51 or 115.
        dtls::Error::NoKey | dtls::Error::KeyMismatch | dtls::Error::Alert(0 | 20 | 51 | 115) => {
            "; the device does not know our key: it may have been reset, or have another owner; \
             check --credentials or --psk"
        }
        dtls::Error::Alert(40) => {
            "; the device takes neither this kind of key nor of certificate, or is not owned yet"
        }
        dtls::Error::Alert(42..=49) | dtls::Error::Certificate(_) => {
            "; check who signed the certificates (--cert, --roots), and the clocks of both sides"
        }
        _ => "",
    }
}

fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".into(),
        _ => error.to_string(),
    }
}

async fn sleep(until: Option<Instant>, now: Instant) {
    match until {
        // Timers count milliseconds; one more, so that the time has come on waking.
        Some(until) => tokio::time::sleep(until.since(now) + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}
