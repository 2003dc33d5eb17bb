//! This room is a client's end of CoAP over UDP, in clear and inside DTLS: [`coap`] and [`dtls`] with
//! what lies between them, so that whoever has a socket writes that once less.
//!
//! It decides, and has no hands: datagrams and time go in; answers, datagrams to send and the next
//! deadline come out. So the fetcher drives it from a thread that blocks, and [`crate::client`] from
//! a task, with the same order of steps.
//!
//! The device's loop does not use it, although it has the same two endpoints. There every session is
//! judged before the first of its bytes may reach CoAP, each record may prolong an onboarding, and
//! whom to let in changes with every decision ([`crate::device`], `secure`); what would be left in
//! common is two arms of a `match`, behind more questions than they have lines.
//!
//! [`coap`]: crate::coap
//! [`dtls`]: crate::dtls

use std::collections::{HashMap, HashSet, VecDeque};

use crate::clock::{Instant, Now};
use crate::coap::{self, Call, CallError, Code, Peer, Reception, Request, Response};
use crate::dtls::{self, ClientPolicy, Path, Secrets, SessionId};

/// A client's endpoint. After every call that changes it, take [`Endpoint::poll_output`] until it is
/// empty; then sleep until [`Endpoint::deadline`] at the latest and call [`Endpoint::handle_timeout`].
pub struct Endpoint {
    coap: coap::Endpoint,
    dtls: dtls::Endpoint,
    /// The sockets on which DTLS is spoken; each is connected to one server.
    secure_sockets: HashSet<u16>,
    /// The sessions that stand, by their number.
    sessions: HashMap<u64, Peer>,
    outputs: VecDeque<Output>,
}

/// What the endpoint wants done or known.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Datagram {
        /// By which socket, to whom.
        path: Path,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// A session stands.
    Connected {
        /// Which.
        session: SessionId,
        /// Whom to ask now.
        peer: Peer,
    },
    /// A session could not be made.
    HandshakeFailed {
        /// Which.
        session: SessionId,
        /// Why.
        reason: dtls::Error,
    },
    /// A session has ended; what was asked by it has failed.
    Closed {
        /// Who it was with.
        peer: Peer,
    },
    /// The answer to a call, or one more notification of an observation.
    Response {
        /// Which call.
        call: Call,
        /// Who answered.
        peer: Peer,
        /// The answer.
        response: Response,
        /// Whether more may follow.
        more: bool,
    },
    /// Some bytes of a body that [`Endpoint::download`] asked for ([`coap::Output::Part`]).
    Part {
        /// Where they begin.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// The length of the whole body, if the server told.
        size: Option<u64>,
    },
    /// No answer, or no further answer, will come.
    CallFailed {
        /// Which call.
        call: Call,
        /// Why.
        error: CallError,
    },
}

impl Endpoint {
    /// An endpoint with no calls and no sessions. The seeds are for CoAP and for DTLS; nobody else may
    /// know the second.
    pub fn new(config: coap::Config, seeds: [[u8; 32]; 2]) -> Self {
        Self {
            coap: coap::Endpoint::new(config, seeds[0]),
            dtls: dtls::Endpoint::new(dtls::Config::default(), seeds[1]),
            secure_sockets: HashSet::new(),
            sessions: HashMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Begins a session with the server at the other end of `path`, whose socket is spoken to in DTLS
    /// from now on. It comes to [`Output::Connected`] or [`Output::HandshakeFailed`].
    ///
    /// # Errors
    ///
    /// Where the policy offers nothing that a handshake could be made of.
    pub fn connect(
        &mut self,
        path: Path,
        policy: ClientPolicy,
        now: Now,
    ) -> Result<SessionId, dtls::Error> {
        self.secure_sockets.insert(path.socket);
        let session = self.dtls.connect(path, policy, now)?;
        self.settle(now);
        Ok(session)
    }

    /// Ends a session, or gives up its handshake. A session that stood comes to [`Output::Closed`].
    pub fn close(&mut self, session: SessionId, now: Now) {
        self.dtls.close(session, now);
        self.settle(now);
    }

    /// Ends all sessions that stand.
    pub fn close_all(&mut self, now: Now) {
        let numbers: Vec<u64> = self.sessions.keys().copied().collect();
        for session in numbers.into_iter().filter_map(SessionId::new) {
            self.dtls.close(session, now);
        }
        self.settle(now);
    }

    /// What an owner's key is made from ([`ClientPolicy::keep_secrets`]); once.
    pub fn secrets(&mut self, peer: Peer) -> Option<Secrets> {
        self.dtls.secrets(SessionId::new(peer.session)?)
    }

    /// Asks ([`coap::Endpoint::request`]).
    pub fn request(&mut self, peer: Peer, request: Request, now: Now) -> Call {
        let call = self.coap.request(peer, request, now.mono);
        self.settle(now);
        call
    }

    /// Asks for a body from `offset` on; it comes in parts ([`coap::Endpoint::download`]).
    pub fn download(&mut self, peer: Peer, request: Request, offset: u64, now: Now) -> Call {
        let call = self.coap.download(peer, request, offset, now.mono);
        self.settle(now);
        call
    }

    /// Asks everyone in a group for so long ([`coap::Endpoint::request_multicast`]).
    pub fn request_group(
        &mut self,
        group: Peer,
        request: Request,
        collect: std::time::Duration,
        now: Now,
    ) -> Call {
        let call = self.coap.request_multicast(group, request, collect, now.mono);
        self.settle(now);
        call
    }

    /// Registers an observation once more ([`coap::Endpoint::register_again`]).
    pub fn register_again(&mut self, call: Call, now: Now) {
        self.coap.register_again(call, now.mono);
        self.settle(now);
    }

    /// Forgets a call; the end of an observation is told ([`coap::Endpoint::cancel`]).
    pub fn cancel(&mut self, call: Call, now: Now) {
        self.coap.cancel(call, now.mono);
        self.settle(now);
    }

    /// A datagram came by `path`.
    pub fn handle_datagram(&mut self, path: Path, reception: Reception, bytes: &[u8], now: Now) {
        if self.secure_sockets.contains(&path.socket) {
            self.dtls.handle_datagram(path, bytes, now);
        } else {
            let peer = Peer { remote: path.remote, socket: path.socket, session: 0 };
            self.coap.handle_datagram(peer, reception, bytes, now.mono);
        }
        self.settle(now);
    }

    /// Does what has fallen due; nothing before [`Self::deadline`].
    pub fn handle_timeout(&mut self, now: Now) {
        if self.coap.deadline().is_some_and(|(at, _)| at <= now.mono) {
            self.coap.handle_timeout(now.mono);
        }
        self.dtls.handle_timeout(now);
        self.settle(now);
    }

    /// When to wake at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let due = [self.call_deadline(), self.dtls.deadline().map(|(at, _)| at)];
        due.into_iter().flatten().min()
    }

    /// The same for what calls wait for, sessions apart: whether anything is still to be said.
    pub fn call_deadline(&self) -> Option<Instant> {
        self.coap.deadline().map(|(at, _)| at)
    }

    /// The next thing to do or to know.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Carries between the two until neither has anything to say to the other.
    fn settle(&mut self, now: Now) {
        loop {
            while let Some(output) = self.coap.poll_output() {
                self.said_by_coap(output, now);
            }
            let Some(output) = self.dtls.poll_output() else { break };
            self.said_by_dtls(output, now);
        }
    }

    fn said_by_coap(&mut self, output: coap::Output, now: Now) {
        let output = match output {
            coap::Output::Datagram { peer, bytes } => match SessionId::new(peer.session) {
                None => {
                    let path = Path { remote: peer.remote, socket: peer.socket };
                    Output::Datagram { path, bytes }
                }
                Some(session) => {
                    // What cannot be sent is lost, as on any network.
                    if let Err(error) = self.dtls.send(session, &bytes, now) {
                        tracing::debug!("to {}: {error}", peer.remote);
                    }
                    return;
                }
            },
            coap::Output::Response { call, peer, response, more } => {
                Output::Response { call, peer, response, more }
            }
            coap::Output::Part { offset, bytes, size, .. } => Output::Part { offset, bytes, size },
            coap::Output::Failed { call, error } => Output::CallFailed { call, error },
            coap::Output::Request { ticket, .. } => {
                // A client serves nothing.
                return self.coap.respond(ticket, Response::new(Code::NOT_FOUND), None, now.mono);
            }
        };
        self.outputs.push_back(output);
    }

    fn said_by_dtls(&mut self, output: dtls::Output, now: Now) {
        let output = match output {
            dtls::Output::Datagram { path, bytes } => Output::Datagram { path, bytes },
            dtls::Output::Connected { session, path, info } => {
                tracing::info!("{} is reached with {:?}", path.remote, info.suite);
                let number = session.get();
                let peer = Peer { remote: path.remote, socket: path.socket, session: number };
                self.sessions.insert(number, peer);
                Output::Connected { session, peer }
            }
            dtls::Output::HandshakeFailed { session: Some(session), reason, .. } => {
                Output::HandshakeFailed { session, reason }
            }
            // Somebody tried to open a session with us.
            dtls::Output::HandshakeFailed { session: None, .. } => return,
            dtls::Output::Data { session, bytes } => {
                if let Some(peer) = self.sessions.get(&session.get()) {
                    self.coap.handle_datagram(*peer, Reception::Unicast, &bytes, now.mono);
                }
                return;
            }
            dtls::Output::Closed { session, reason } => {
                let Some(peer) = self.sessions.remove(&session.get()) else { return };
                tracing::debug!("the session with {} ended: {reason:?}", peer.remote);
                self.coap.session_ended(peer);
                Output::Closed { peer }
            }
        };
        self.outputs.push_back(output);
    }
}
