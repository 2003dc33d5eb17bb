//! The endpoint: many peers on the caller's sockets; the only type other rooms drive.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use uuid::Uuid;

use super::secrets::Secrets;
use super::{ClientPolicy, Error, Policy, Suite};
use crate::clock::{Instant, Now};

/// The two ends of a datagram's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The other side.
    pub remote: SocketAddr,
    /// Which of our sockets; an index that means something to the caller.
    pub socket: u16,
}

/// Names a session; never used twice by one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(NonZeroU64);

impl SessionId {
    /// The session with this number; there is none with number 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number, never 0.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// Which side of the handshake we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We called [`Endpoint::connect`].
    Client,
    /// The peer came to us.
    Server,
}

/// Who the peer turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerIdentity {
    /// It knows the key with this raw identity. (For a client: the key it offered.)
    Psk(Vec<u8>),
    /// It has the private key of the first certificate.
    Certificate {
        /// DER, the peer's own certificate first, as it sent them.
        chain: Vec<Vec<u8>>,
        /// The UUID in the subject's common name, `uuid:...`, where there is one.
        uuid: Option<Uuid>,
    },
    /// Nobody in particular.
    Anonymous,
}

/// What is known about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// What protects it.
    pub suite: Suite,
    /// Who is on the other side.
    pub peer: PeerIdentity,
    /// Which side we are.
    pub role: Role,
}

/// Numbers that a device may set.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest datagram we send, bytes of UDP payload. 1,232 fits every IPv6 path.
    pub datagram_bytes_max: usize,
    /// Sessions kept. When they are all taken, the one idle the longest gives way.
    pub sessions_max: usize,
    /// Handshakes under way, both roles together.
    pub half_open_max: usize,
    /// When a handshake is given up.
    pub handshake_max: Duration,
    /// The first retransmission timeout; doubled each time (RFC 6347 section 4.2.4.1).
    pub retransmit_first: Duration,
    /// A session without a valid record for this long is closed.
    pub idle_max: Duration,
}

/// What the next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// A flight is to be sent again.
    Retransmission,
    /// A handshake is to be given up.
    Handshake,
    /// A session is to be closed.
    Idle,
}

/// What the endpoint wants done or known.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Datagram {
        /// Where to.
        path: Path,
        /// At most [`Config::datagram_bytes_max`].
        bytes: Vec<u8>,
    },
    /// A session stands.
    Connected {
        /// Its name.
        session: SessionId,
        /// Where the peer is.
        path: Path,
        /// Who the peer is.
        info: SessionInfo,
    },
    /// The peer says something.
    Data {
        /// On which session.
        session: SessionId,
        /// What.
        bytes: Vec<u8>,
    },
    /// A session that was [`Output::Connected`] is over.
    Closed {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// No session came of it.
    HandshakeFailed {
        /// The peer.
        path: Path,
        /// The name that [`Endpoint::connect`] gave; none for clients that came to us.
        session: Option<SessionId>,
        /// Why.
        reason: Error,
    },
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// [`Endpoint::close`].
    Here,
    /// The peer said close_notify.
    ByPeer,
    /// The peer sent this fatal alert, authenticated.
    Alert(u8),
    /// The peer came back with a new session (RFC 6347 section 4.2.8).
    Replaced,
    /// Nothing was heard for [`Config::idle_max`].
    Idle,
    /// Another session needed the room; see [`Config::sessions_max`].
    Evicted,
    /// All record numbers are used up.
    Exhausted,
}

/// What was dropped, since the endpoint was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that are malformed, unauthentic, repeated or from another epoch.
    pub records_dropped: u64,
    /// ClientHellos answered without keeping anything.
    pub cookies_sent: u64,
    /// ClientHellos ignored because a table was full.
    pub hellos_refused: u64,
}

/// Many DTLS sessions on the caller's sockets, both roles.
pub struct Endpoint {
    config: Config,
    policy: std::sync::Arc<Policy>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            datagram_bytes_max: 1232,
            sessions_max: 256,
            half_open_max: 64,
            handshake_max: Duration::from_secs(30),
            retransmit_first: Duration::from_secs(1),
            idle_max: Duration::from_secs(600),
        }
    }
}

impl Endpoint {
    /// An endpoint that lets nobody in yet. The `seed` has to be new and secret: randoms,
    /// initialisation vectors and cookies come from it. (Ephemeral keys come from `ring`, which
    /// asks the operating system.)
    pub fn new(config: Config, _seed: [u8; 32]) -> Self {
        Self {
            config,
            policy: Default::default(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Replaces what clients may do; handshakes under way go on under the policy they met.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = std::sync::Arc::new(policy);
    }

    /// Takes one datagram from the network.
    pub fn handle_datagram(&mut self, _from: Path, _bytes: &[u8], _now: Now) {}

    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// When [`Endpoint::handle_timeout`] has to be called, and why.
    pub fn deadline(&self) -> Option<(Instant, Wait)> {
        None
    }

    /// The next thing to do or to know; take them until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Sends application data.
    ///
    /// # Errors
    /// [`Error::NoSession`], or [`Error::TooLong`] beyond [`Endpoint::data_bytes_max`].
    pub fn send(&mut self, _session: SessionId, _bytes: &[u8], _now: Now) -> Result<(), Error> {
        Err(Error::NoSession)
    }

    /// How many bytes one [`Endpoint::send`] may carry, from the path's size and the suite.
    pub fn data_bytes_max(&self, _session: SessionId) -> Option<usize> {
        Some(self.config.datagram_bytes_max)
    }

    /// Begins a session with a server. [`Output::Connected`] or [`Output::HandshakeFailed`] with the
    /// same name follows.
    ///
    /// # Errors
    /// [`Error::Full`], or [`Error::NoSharedSuite`] when the policy has no key for any suite.
    pub fn connect(
        &mut self,
        _path: Path,
        _policy: ClientPolicy,
        _now: Now,
    ) -> Result<SessionId, Error> {
        Err(Error::Full)
    }

    /// Ends a session with close_notify, or gives up a handshake of ours. Unknown names are ignored.
    pub fn close(&mut self, _session: SessionId, _now: Now) {}

    /// Hands out the secrets of a session, once: the endpoint keeps no copy. `None` unless the
    /// policy of the handshake had `keep_secrets`.
    pub fn secrets(&mut self, _session: SessionId) -> Option<Secrets> {
        None
    }

    /// What was dropped so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
