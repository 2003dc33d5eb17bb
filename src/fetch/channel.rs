//! A conversation with one CoAP server, in clear or inside a DTLS session: [`coaps::Endpoint`] over a
//! socket of its own, turned by a thread that may block.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::Error;
use super::address::{self, CANCEL_POLL};
use super::way::Way;
use crate::clock;
use crate::coap::{Call, Config, Peer, Reception, Request};
use crate::coaps::{self, Output};
use crate::dtls::{self, ClientPolicy, IdentityRule, Path, SessionId};
use crate::source::{Scheme, Target};

/// A way to ask one server.
pub(super) struct Channel {
    socket: UdpSocket,
    endpoint: coaps::Endpoint,
    /// Whom the endpoint talks to.
    peer: Peer,
    /// What the endpoint has told and nobody has taken: what came of one datagram, and no more is
    /// read before it is gone.
    told: VecDeque<Output>,
    /// What the socket writes into; the longest datagram of UDP.
    buffer: Vec<u8>,
    /// How long the socket waits, as it was told last.
    read_timeout: Duration,
}

impl Channel {
    /// Connects to the first address of the host that can be reached; for `coaps` the session stands.
    pub(super) fn open(way: &Way<'_>, target: &Target, config: Config) -> Result<Self, Error> {
        let policy = (target.scheme == Scheme::Coaps).then(|| policy(way, target)).transpose()?;
        let found =
            address::resolve(way.lookup, &target.host, target.port, way.settings, way.cancel)?;
        let lost = |why: String| Error::ConnectionLost { host: target.host.clone(), why };
        let mut last = lost(io::Error::from(io::ErrorKind::AddrNotAvailable).to_string());
        for remote in found {
            let opened = match connect(remote) {
                Ok(socket) => {
                    Self::over(socket, remote, config.clone(), policy.clone(), way, target)
                }
                Err(error) => Err(lost(error.to_string())),
            };
            match opened {
                Ok(channel) => return Ok(channel),
                // Another address of an untrusted server is no better.
                Err(error) if !error.is_passing() => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn over(
        socket: UdpSocket,
        remote: SocketAddr,
        config: Config,
        policy: Option<ClientPolicy>,
        way: &Way<'_>,
        target: &Target,
    ) -> Result<Self, Error> {
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            getrandom::fill(seed)
                .map_err(|_| Error::Settings("the system gives no random numbers".into()))?;
        }
        let mut channel = Self {
            socket,
            endpoint: coaps::Endpoint::new(config, seeds),
            peer: Peer { remote, socket: 0, session: 0 },
            told: VecDeque::new(),
            buffer: vec![0; DATAGRAM_BYTES_MAX],
            read_timeout: Duration::ZERO,
        };
        if let Some(policy) = policy {
            channel.shake_hands(policy, way, target)?;
        }
        Ok(channel)
    }

    fn shake_hands(
        &mut self,
        policy: ClientPolicy,
        way: &Way<'_>,
        target: &Target,
    ) -> Result<(), Error> {
        let host = || target.host.clone();
        let untrusted = |error: dtls::Error| {
            let why = format!("{error}; compare its certificate or key with `ca` and `coaps_psk`");
            Error::Tls { host: host(), why }
        };
        let path = Path { remote: self.peer.remote, socket: self.peer.socket };
        self.endpoint.connect(path, policy, clock::now()).map_err(untrusted)?;
        let deadline = clock::now().mono + way.settings.limits.connect;
        loop {
            let turned = self.turn(CANCEL_POLL);
            match self.told.pop_front() {
                Some(Output::Connected { peer, .. }) => {
                    self.peer = peer;
                    return Ok(());
                }
                Some(Output::HandshakeFailed { reason: dtls::Error::TimedOut, .. }) => break,
                Some(Output::HandshakeFailed { reason, .. }) => return Err(untrusted(reason)),
                _ => {}
            }
            turned
                .map_err(|error| Error::ConnectionLost { host: host(), why: error.to_string() })?;
            if way.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if clock::now().mono >= deadline {
                break;
            }
        }
        Err(Error::TimedOut { host: host(), what: "its handshake" })
    }

    /// Asks for a body from `offset` on.
    pub(super) fn download(&mut self, request: Request, offset: u64) -> Call {
        self.endpoint.download(self.peer, request, offset, clock::now())
    }

    /// The next thing to know.
    pub(super) fn told(&mut self) -> Option<Output> {
        self.told.pop_front()
    }

    /// Sends what there is to send, and takes one datagram if one comes in time, or does what falls
    /// due; how long that datagram was, bytes.
    pub(super) fn turn(&mut self, wait: Duration) -> io::Result<u64> {
        self.flush()?;
        if !self.told.is_empty() {
            return Ok(0);
        }
        let now = clock::now().mono;
        let due = self.endpoint.deadline().map_or(wait, |due| due.since(now));
        let length = self.read(wait.min(due))?;
        let now = clock::now();
        if let Some(datagram) = length.and_then(|length| self.buffer.get(..length)) {
            let path = Path { remote: self.peer.remote, socket: self.peer.socket };
            self.endpoint.handle_datagram(path, Reception::Unicast, datagram, now);
        }
        self.endpoint.handle_timeout(now);
        self.flush()?;
        Ok(length.unwrap_or(0) as u64)
    }

    /// Says goodbye, where the server can hear it.
    pub(super) fn close(&mut self) {
        if let Some(session) = SessionId::new(self.peer.session) {
            self.endpoint.close(session, clock::now());
            while let Some(output) = self.endpoint.poll_output() {
                if let Output::Datagram { bytes, .. } = output {
                    // Nobody depends on it.
                    let _ = self.socket.send(&bytes);
                }
            }
        }
    }

    /// Sends, up to the next thing to know: a block that has come through a session is kept before the
    /// next one is asked for, and so not asked for again after a power cut.
    fn flush(&mut self) -> io::Result<()> {
        while self.told.is_empty()
            && let Some(output) = self.endpoint.poll_output()
        {
            match output {
                Output::Datagram { bytes, .. } => drop(self.socket.send(&bytes)?),
                other => self.told.push_back(other),
            }
        }
        Ok(())
    }

    /// How long the next datagram is that lies in the buffer, if one comes in time.
    fn read(&mut self, wait: Duration) -> io::Result<Option<usize>> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        // Zero would mean for ever.
        let wait = wait.max(Duration::from_millis(1));
        if self.read_timeout != wait {
            self.socket.set_read_timeout(Some(wait))?;
            self.read_timeout = wait;
        }
        match self.socket.recv(&mut self.buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What is offered to this server: it has to prove that it is the host, or to have the key.
fn policy(way: &Way<'_>, target: &Target) -> Result<ClientPolicy, Error> {
    let mut policy = way.settings.coaps.clone();
    if policy.suites.is_empty() {
        return Err(Error::NoCredentials);
    }
    let name = target.host.trim_start_matches('[').trim_end_matches(']');
    policy.server_identity = IdentityRule::Name(name.to_owned());
    Ok(policy)
}

/// Connected, so that the kernel drops what others send.
fn connect(remote: SocketAddr) -> io::Result<UdpSocket> {
    let local: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect(remote)?;
    Ok(socket)
}

/// The longest datagram of UDP, bytes.
const DATAGRAM_BYTES_MAX: usize = 65_536;
