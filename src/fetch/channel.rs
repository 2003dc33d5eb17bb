//! Datagrams to one CoAP server and back, in clear or inside a DTLS session.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::Error;
use super::address::{self, CANCEL_POLL};
use super::policy::{Scheme, Target};
use super::way::Way;
use crate::clock;
use crate::coap::Peer;
use crate::dtls::{self, ClientPolicy, Config, Endpoint, IdentityRule, Output, Path, SessionId};

/// A way to exchange datagrams with one server.
pub(super) struct Channel {
    socket: UdpSocket,
    secure: Option<Secure>,
    /// Whom the CoAP endpoint talks to.
    pub(super) peer: Peer,
    /// What the socket writes into; the longest datagram of UDP.
    buffer: Vec<u8>,
    /// How long the socket waits, as it was told last.
    read_timeout: Duration,
}

/// One DTLS session, ours to begin.
struct Secure {
    dtls: Endpoint,
    path: Path,
    session: SessionId,
    /// What has come and nobody has taken: the records of one datagram, and no more is read before they
    /// are gone.
    come: VecDeque<Vec<u8>>,
    end: Option<End>,
}

enum End {
    Connected,
    Failed(dtls::Error),
    Closed,
}

impl Channel {
    /// Connects to the first address of the host that can be reached; for `coaps` the session stands.
    pub(super) fn open(way: &Way<'_>, target: &Target) -> Result<Self, Error> {
        let policy = (target.scheme == Scheme::Coaps).then(|| policy(way, target)).transpose()?;
        let found =
            address::resolve(way.lookup, &target.host, target.port, way.settings, way.cancel)?;
        let lost = |why: String| Error::ConnectionLost { host: target.host.clone(), why };
        let mut last = lost(io::Error::from(io::ErrorKind::AddrNotAvailable).to_string());
        for remote in found {
            let opened = match connect(remote) {
                Ok(socket) => Self::over(socket, remote, policy.clone(), way, target),
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
        policy: Option<ClientPolicy>,
        way: &Way<'_>,
        target: &Target,
    ) -> Result<Self, Error> {
        let peer = Peer { remote, socket: 0, session: 0 };
        let buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut channel = Self { socket, secure: None, peer, buffer, read_timeout: Duration::ZERO };
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
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|_| Error::Settings("the system gives no random numbers".into()))?;
        let mut dtls = Endpoint::new(Config::default(), seed);
        let path = Path { remote: self.peer.remote, socket: 0 };
        let session = dtls.connect(path, policy, clock::now()).map_err(untrusted)?;
        self.peer.session = session.get();
        self.secure = Some(Secure { dtls, path, session, come: VecDeque::new(), end: None });
        let deadline = clock::now().mono + way.settings.limits.connect;
        loop {
            let turned = self.turn(CANCEL_POLL);
            match self.secure.as_mut().and_then(|secure| secure.end.take()) {
                Some(End::Connected) => return Ok(()),
                Some(End::Failed(dtls::Error::TimedOut)) => break,
                Some(End::Failed(error)) => return Err(untrusted(error)),
                Some(End::Closed) | None => {}
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

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(secure) = &mut self.secure else {
            return self.socket.send(bytes).map(|_| ());
        };
        secure.dtls.send(secure.session, bytes, clock::now()).map_err(io::Error::other)?;
        self.flush()
    }

    /// The next datagram of the server, if one comes in time.
    pub(super) fn receive(&mut self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        if self.secure.is_none() {
            return Ok(self
                .read(wait)?
                .and_then(|length| self.buffer.get(..length).map(Vec::from)));
        }
        let mut come = self.take_record();
        if come.is_none() {
            self.turn(wait)?;
            come = self.take_record();
        }
        match (&self.secure, come) {
            (Some(Secure { end: Some(End::Closed), .. }), None) => {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "the server ended the session"))
            }
            (_, come) => Ok(come),
        }
    }

    fn take_record(&mut self) -> Option<Vec<u8>> {
        self.secure.as_mut()?.come.pop_front()
    }

    /// Says goodbye, where the server can hear it.
    pub(super) fn close(&mut self) {
        if let Some(secure) = &mut self.secure {
            secure.dtls.close(secure.session, clock::now());
            // Nobody depends on it.
            let _ = self.flush();
        }
    }

    /// One datagram or deadline of the session.
    fn turn(&mut self, wait: Duration) -> io::Result<()> {
        self.flush()?;
        let due = self.secure.as_ref().and_then(|secure| secure.dtls.deadline());
        let due = due.map_or(wait, |(due, _)| due.since(clock::now().mono));
        let length = self.read(wait.min(due))?;
        let Self { secure: Some(secure), buffer, .. } = self else { return Ok(()) };
        if let Some(datagram) = length.and_then(|length| buffer.get(..length)) {
            secure.dtls.handle_datagram(secure.path, datagram, clock::now());
        }
        secure.dtls.handle_timeout(clock::now());
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(secure) = &mut self.secure else { return Ok(()) };
        while let Some(output) = secure.dtls.poll_output() {
            match output {
                Output::Datagram { bytes, .. } => drop(self.socket.send(&bytes)?),
                Output::Connected { .. } => secure.end = Some(End::Connected),
                Output::HandshakeFailed { reason, .. } => secure.end = Some(End::Failed(reason)),
                Output::Closed { .. } => secure.end = Some(End::Closed),
                Output::Data { bytes, .. } => secure.come.push_back(bytes),
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
