//! The DTLS sessions of a client: between its sockets and CoAP.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use crate::clock::{Instant, Now};
use crate::coap::Peer;
use crate::dtls::{ClientPolicy, Config, Endpoint, Error, Output, Path, Secrets, SessionId};

pub(crate) struct Sessions {
    dtls: Endpoint,
    /// The sockets on which DTLS is spoken; each is connected to one server.
    sockets: HashSet<u16>,
    /// By the number of the session.
    standing: HashMap<u64, Peer>,
    /// What handshakes have come to, until somebody asks.
    settled: HashMap<SessionId, Result<Peer, Error>>,
}

/// What the client has to do.
pub(crate) enum Event {
    Datagram { path: Path, bytes: Vec<u8> },
    Data { peer: Peer, bytes: Vec<u8> },
    Ended(Peer),
}

impl Sessions {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            dtls: Endpoint::new(Config::default(), seed),
            sockets: HashSet::new(),
            standing: HashMap::new(),
            settled: HashMap::new(),
        }
    }

    /// Whether what comes by this socket is DTLS.
    pub(crate) fn has_socket(&self, socket: u16) -> bool {
        self.sockets.contains(&socket)
    }

    /// Begins a session over a socket of its own.
    pub(crate) fn connect(
        &mut self,
        remote: SocketAddr,
        socket: u16,
        policy: ClientPolicy,
        now: Now,
    ) -> Result<SessionId, Error> {
        self.sockets.insert(socket);
        self.dtls.connect(Path { remote, socket }, policy, now)
    }

    /// What a handshake has come to, once it has.
    pub(crate) fn settled(&mut self, session: SessionId) -> Option<Result<Peer, Error>> {
        self.settled.remove(&session)
    }

    /// What the owner's key is made from; for the caller alone, and once.
    pub(crate) fn secrets(&mut self, peer: Peer) -> Option<Secrets> {
        self.dtls.secrets(SessionId::new(peer.session)?)
    }

    pub(crate) fn handle_datagram(
        &mut self,
        remote: SocketAddr,
        socket: u16,
        bytes: &[u8],
        now: Now,
    ) {
        self.dtls.handle_datagram(Path { remote, socket }, bytes, now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.dtls.handle_timeout(now);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.dtls.deadline().map(|(at, _)| at)
    }

    pub(crate) fn send(&mut self, peer: Peer, bytes: &[u8], now: Now) {
        let Some(session) = SessionId::new(peer.session) else { return };
        if let Err(error) = self.dtls.send(session, bytes, now) {
            tracing::debug!("to {}: {error}", peer.remote);
        }
    }

    /// Ends a session, or gives up its handshake.
    pub(crate) fn close(&mut self, session: SessionId, now: Now) {
        self.dtls.close(session, now);
    }

    pub(crate) fn close_all(&mut self, now: Now) {
        let numbers: Vec<u64> = self.standing.keys().copied().collect();
        for session in numbers.into_iter().filter_map(SessionId::new) {
            self.dtls.close(session, now);
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        loop {
            match self.dtls.poll_output()? {
                Output::Datagram { path, bytes } => return Some(Event::Datagram { path, bytes }),
                Output::Connected { session, path, info } => {
                    tracing::info!("{} is reached with {:?}", path.remote, info.suite);
                    let number = session.get();
                    let peer = Peer { remote: path.remote, socket: path.socket, session: number };
                    self.standing.insert(number, peer);
                    self.settled.insert(session, Ok(peer));
                }
                Output::HandshakeFailed { session: Some(session), reason, .. } => {
                    self.settled.insert(session, Err(reason));
                }
                Output::HandshakeFailed { .. } => {}
                Output::Data { session, bytes } => {
                    if let Some(peer) = self.standing.get(&session.get()) {
                        return Some(Event::Data { peer: *peer, bytes });
                    }
                }
                Output::Closed { session, reason } => {
                    if let Some(peer) = self.standing.remove(&session.get()) {
                        tracing::debug!("the session with {} ended: {reason:?}", peer.remote);
                        return Some(Event::Ended(peer));
                    }
                }
            }
        }
    }
}
