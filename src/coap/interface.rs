//! What the rooms above see: who is at the other side, what the endpoint wants done, what may be set.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use super::quick::{MAX_PAYLOADS, MAX_PAYLOADS_AGREED_MAX};
use super::{Request, Response};

/// The other side of an exchange. Over DTLS the session is the identity (RFC 7252 section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
    /// Which of our sockets it is spoken to through; an index that means something to the caller.
    pub socket: u16,
    /// The DTLS session, or 0 in clear.
    pub session: u64,
}

/// In one piece: every datagram is looked up by its peer, and a hasher that is fed in many small
/// pieces takes several times as long.
impl Hash for Peer {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let (address, scope) = match self.remote {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&address.octets());
        bytes[16..18].copy_from_slice(&self.remote.port().to_ne_bytes());
        bytes[18..20].copy_from_slice(&self.socket.to_ne_bytes());
        bytes[20..24].copy_from_slice(&scope.to_ne_bytes());
        bytes[24..].copy_from_slice(&self.session.to_ne_bytes());
        hasher.write(&bytes);
    }
}

/// How a datagram reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// Sent to our own address.
    Unicast,
    /// Sent to a group (RFC 7252 section 8).
    Multicast,
}

/// A request of a peer that waits for [`super::Endpoint::respond`] or [`super::Endpoint::ignore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A request of ours that waits for its response, or an observation that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call(pub u64);

/// Something that can be watched; the number means something to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub u32);

/// How a notification is sent (RFC 7641 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Once, unless the endpoint finds that this watcher is due for a confirmable one.
    NonConfirmable,
    /// Until it is acknowledged.
    Confirmable,
}

/// One entry of the list of observers: an endpoint and a token (RFC 7641 section 4.1).
#[derive(Debug)]
pub struct Watcher<'a> {
    /// Who watches.
    pub peer: Peer,
    /// The request that registered it.
    pub request: &'a Request,
}

/// What a device may set. Start from [`Config::default`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Critical options that the rooms above understand (OCF: 2049, 2053).
    pub options_known: Vec<u16>,
    /// The longest body taken in blocks, bytes.
    pub body_bytes_max: usize,
    /// Over how long answers to a group are spread (RFC 7252 section 8.2).
    pub leisure: Duration,
    /// Whether a request in clear that may change something has to show that it is fresh and that its
    /// sender can be reached where it says (RFC 9175 section 2).
    pub echo_before_changes: bool,
    /// Whether a sender in clear has to show that it can be reached where it says before it gets an
    /// answer of more than three times its request (RFC 9175 section 2.6). Until it has, a longer answer
    /// goes out in blocks that are small enough, which every client can follow.
    pub echo_before_long_answers: bool,
    /// Whether downloads ask for Q-Block2 first (RFC 9177), and fall back to Block2.
    pub quick_downloads: bool,
    /// Blocks of one set of Q-Block2, 1 to [`MAX_PAYLOADS_AGREED_MAX`]. Both sides have to agree: one
    /// that expects more than come waits for the rest before it asks (RFC 9177 section 7.2).
    pub max_payloads: u32,
}

impl Config {
    /// [`Self::max_payloads`] within its bounds.
    pub(super) fn set(&self) -> u32 {
        self.max_payloads.clamp(1, MAX_PAYLOADS_AGREED_MAX)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            options_known: Vec::new(),
            body_bytes_max: 64 << 10,
            leisure: DEFAULT_LEISURE,
            echo_before_changes: false,
            echo_before_long_answers: false,
            quick_downloads: true,
            max_payloads: MAX_PAYLOADS,
        }
    }
}

/// DEFAULT_LEISURE of RFC 7252 section 4.8.
pub const DEFAULT_LEISURE: Duration = Duration::from_secs(5);

/// What an endpoint holds for its peers, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Answers, for duplicates of their requests.
    pub answers: usize,
    /// Request bodies that are arriving.
    pub uploads: usize,
    /// Response bodies that are being read.
    pub snapshots: usize,
    /// Observers, with their requests and states.
    pub observers: usize,
    /// Requests that wait for an answer, without what the rooms above hold of them.
    pub requests: usize,
    /// Answers to a group that wait for their moment.
    pub delayed: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.answers + self.uploads + self.snapshots + self.observers + self.requests + self.delayed
    }
}

/// What the endpoint wants done or known.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Datagram {
        /// To whom.
        peer: Peer,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A peer asks; answer with [`super::Endpoint::respond`], now or later.
    Request {
        /// Names the request.
        ticket: Ticket,
        /// Who asks.
        peer: Peer,
        /// How it came.
        reception: Reception,
        /// What is asked.
        request: Request,
    },
    /// The answer to a call of ours, or one more notification of an observation.
    Response {
        /// Which call.
        call: Call,
        /// Who answered (several may answer a multicast).
        peer: Peer,
        /// The answer.
        response: Response,
        /// Whether more may follow: an observation, or a multicast that still collects.
        more: bool,
    },
    /// A part of the body that [`super::Endpoint::download`] asked for. After the last one comes its
    /// `Response`, with an empty payload. A part at a lower offset than the one before begins anew:
    /// the body has changed.
    Part {
        /// Which call.
        call: Call,
        /// Who sent it.
        peer: Peer,
        /// Where in the body it begins, bytes.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// The length of the whole body, if the server told.
        size: Option<u64>,
    },
    /// No answer, or no further answer, will come.
    Failed {
        /// Which call.
        call: Call,
        /// Why.
        error: CallError,
    },
}

/// Why a call of ours got no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallError {
    /// Every retransmission went unanswered.
    #[error("no answer came")]
    TimedOut,
    /// The peer does not know this exchange (RST).
    #[error("the other side refused the message")]
    Reset,
    /// A block of the body did not fit the others.
    #[error("the body could not be put together: {0}")]
    Blocks(&'static str),
    /// The answer has a critical option that is not understood (RFC 7252 section 5.4.1).
    #[error("the answer has an option that must not be ignored and is not known")]
    NotUnderstood,
    /// Too many calls, to this peer or in all, wait already.
    #[error("too many requests are waiting; try again later")]
    Busy,
    /// The session it used has ended.
    #[error("the session ended")]
    SessionEnded,
}
