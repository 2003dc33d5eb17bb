//! The words of the endpoint: what goes in beside datagrams, and what comes out.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, Suite};

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
    /// We called [`super::Endpoint::connect`].
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
        /// What vouched for it, and for how long.
        voucher: Voucher,
    },
    /// Nobody in particular.
    Anonymous,
}

/// What a certificate's word rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voucher {
    /// Which of the anchors that it was judged by, counted from 0.
    pub anchor: usize,
    /// The last second in which the whole chain is valid. (Anchors have no end: whoever believes one
    /// has to know how long; RFC 5280 section 6.1.)
    pub until: DateTime<Utc>,
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
    /// The [`super::Endpoint::generation`] of the policy by which a server let the peer in.
    pub generation: u64,
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
        /// The name that [`super::Endpoint::connect`] gave; none for clients that came to us.
        session: Option<SessionId>,
        /// Why.
        reason: Error,
        /// Whether a client's word was compared with a key that can be guessed
        /// ([`super::Strength::Guessable`]): then this was one try, however it ended.
        guessed: bool,
    },
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// [`super::Endpoint::close`].
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
    /// Sealed records that were compared with a key that can be guessed, in handshakes that have
    /// ended.
    pub guesses: u64,
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
