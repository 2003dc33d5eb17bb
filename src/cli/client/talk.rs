//! A client's sockets and its CoAP endpoint, turned by hand until an answer is there.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::target::Target;
use super::{ocf, words};
use crate::clock::{self, Instant};
use crate::coap::{
    Call, CallError, Code, Config, Endpoint, Output, Peer, Reception, Request, Response,
};
use crate::net::{Inbox, Path, Sockets};

/// The longest body taken, bytes: an introspection file, or the links of a bridge with many devices.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A client that asks any number of devices.
pub(super) struct Client {
    pub(super) sockets: Sockets,
    endpoint: Endpoint,
    inbox: Inbox,
    /// Whom each call asks.
    calls: HashMap<Call, Peer>,
    events: VecDeque<Event>,
}

/// Something a call has come to.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) call: Call,
    pub(super) outcome: Result<Answer, Failure>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) peer: Peer,
    pub(super) response: Response,
    /// Whether more may follow.
    pub(super) more: bool,
}

/// What [`Client::ask_target`] has found.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) call: Call,
    pub(super) answer: Answer,
    /// How the device had to be asked.
    pub(super) way: ocf::Way,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer came; is the address right, and is something listening there?")]
    NoAnswer,
    #[error("{}", unreachable(.0))]
    Unreachable(io::Error),
    #[error(transparent)]
    Call(CallError),
}

impl Client {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("the system gives no random numbers")?;
        let config = Config {
            options_known: ocf::CRITICAL_OPTIONS.to_vec(),
            body_bytes_max: BODY_BYTES_MAX,
            ..Config::default()
        };
        Ok(Self {
            sockets: Sockets::new(),
            endpoint: Endpoint::new(config, seed),
            inbox: Inbox::new(),
            calls: HashMap::new(),
            events: VecDeque::new(),
        })
    }

    /// The peer at that address, over a socket of its own.
    pub(super) fn reach(&mut self, remote: SocketAddr) -> anyhow::Result<Peer> {
        let path = self.sockets.ask(remote)?;
        Ok(Peer { remote, socket: path.0, session: 0 })
    }

    /// Asks; the answer comes as an [`Event`].
    pub(super) fn request(&mut self, peer: Peer, request: Request) -> Call {
        let call = self.endpoint.request(peer, request, clock::now().mono);
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
        self.endpoint.request_multicast(group, request, collect, clock::now().mono)
    }

    /// Does not want to hear of this call again; the other side is told if it should know.
    pub(super) fn cancel(&mut self, call: Call) {
        self.endpoint.cancel(call, clock::now().mono);
        self.calls.remove(&call);
        self.events.retain(|event| event.call != call);
    }

    /// The next that any call comes to. Can be dropped while it waits; nothing is lost.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            self.drain();
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.turn(None).await;
        }
    }

    /// What a call has come to already.
    pub(super) fn event_now(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// As [`Self::event`], until `deadline`.
    pub(super) async fn event_until(&mut self, deadline: Instant) -> Option<Event> {
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
    pub(super) async fn wait(&mut self, call: Call, patience: Duration) -> Result<Answer, Failure> {
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
    pub(super) async fn ask(
        &mut self,
        peer: Peer,
        request: Request,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let call = self.request(peer, request);
        self.wait(call, patience).await
    }

    /// Asks the target at each of its addresses, until one answers. `request` makes the request in
    /// OCF's way, or without what only OCF knows, for servers that say they do not know it.
    pub(super) async fn ask_target(
        &mut self,
        target: &Target,
        patience: Duration,
        request: impl Fn(ocf::Way) -> Request,
    ) -> anyhow::Result<Asked> {
        let mut failure = None;
        for remote in target.resolve()? {
            let peer = self.reach(remote)?;
            let mut way = ocf::Way::Ocf;
            loop {
                let request = request(way);
                let method = request.code;
                let call = self.request(peer, request);
                match self.wait(call, patience).await {
                    Ok(answer)
                        if way == ocf::Way::Ocf && ocf::unknown(method, &answer.response) =>
                    {
                        tracing::info!("{remote} does not know OCF's options; asking without");
                        way = ocf::Way::Plain;
                    }
                    Ok(answer) => return Ok(Asked { call, answer, way }),
                    Err(error) => {
                        failure = Some(anyhow::Error::from(error).context(format!("{remote}")));
                        break;
                    }
                }
            }
        }
        Err(failure.context("the host has no address")?.context(format!("cannot ask {target}")))
    }

    /// Lets what is queued leave, such as the end of an observation.
    pub(super) async fn finish(&mut self) {
        self.drain();
        // A cancellation wants an acknowledgement, but not at the price of patience.
        let deadline = clock::now().mono + Duration::from_millis(200);
        while clock::now().mono < deadline && self.endpoint.deadline().is_some() {
            self.turn(Some(deadline)).await;
            self.drain();
        }
    }

    /// One wait, and what comes of it.
    async fn turn(&mut self, until: Option<Instant>) {
        let now = clock::now().mono;
        let due = self.endpoint.deadline().map(|(at, _)| at);
        let wake = [due, until].into_iter().flatten().min();
        tokio::select! {
            () = self.sockets.ready() => self.receive(),
            () = sleep(wake, now) => {}
        }
        self.endpoint.handle_timeout(clock::now().mono);
    }

    fn receive(&mut self) {
        while self.sockets.receive(&mut self.inbox) {
            let now = clock::now().mono;
            for arrival in self.inbox.arrivals() {
                let peer = Peer { remote: arrival.remote, socket: arrival.path.0, session: 0 };
                let reception = match arrival.multicast {
                    true => Reception::Multicast,
                    false => Reception::Unicast,
                };
                self.endpoint.handle_datagram(peer, reception, arrival.bytes, now);
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
    }

    /// Takes all that the endpoint wants.
    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
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
        self.sockets.flush();
    }
}

/// The response, if it is a success; otherwise what the device says about its refusal.
pub(super) fn accepted(response: Response) -> anyhow::Result<Response> {
    if response.code.is_success() {
        return Ok(response);
    }
    let code = words::code(response.code);
    match std::str::from_utf8(&response.payload) {
        // Some servers only repeat the name of the code.
        Ok(text) if !text.is_empty() && !code.ends_with(text) && !ocf::is_cbor(&response) => {
            anyhow::bail!("{code}: {}", words::printable(text))
        }
        _ => anyhow::bail!("{code}"),
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
