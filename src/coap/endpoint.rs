//! The endpoint: exchanges, observation and blocks together; the only type other rooms use.

use std::net::SocketAddr;

use super::{Code, Request, Response};
use crate::clock::Instant;

/// The other side of an exchange. Over DTLS the session is the identity (RFC 7252 section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
    /// Which of our sockets it is spoken to through; an index that means something to the caller.
    pub socket: u16,
    /// The DTLS session, or 0 in clear.
    pub session: u64,
}

/// How a datagram reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// Sent to our own address.
    Unicast,
    /// Sent to a group (RFC 7252 section 8).
    Multicast,
}

/// A request of a peer that waits for [`Endpoint::respond`] or [`Endpoint::ignore`].
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

/// Numbers that a device may set. The defaults are those of RFC 7252 section 4.8.
#[derive(Clone, Debug)]
pub struct Config {
    /// Critical options that the rooms above understand (OCF: 2049, 2053).
    pub options_known: Vec<u16>,
    /// The longest body taken in blocks, bytes.
    pub body_bytes_max: usize,
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
    /// A peer asks; answer with [`Endpoint::respond`], now or later.
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
    /// No answer will come.
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
    /// The session it used has ended.
    #[error("the session ended")]
    SessionEnded,
}

/// A CoAP endpoint.
#[derive(Debug)]
pub struct Endpoint {}

impl Endpoint {
    /// A new endpoint. `seed` feeds tokens, message ids and jitter; take it from the system.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        unimplemented!()
    }

    /// A datagram came.
    pub fn handle_datagram(
        &mut self,
        peer: Peer,
        reception: Reception,
        bytes: &[u8],
        now: Instant,
    ) {
        unimplemented!()
    }

    /// The deadline passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        unimplemented!()
    }

    /// When to call [`Self::handle_timeout`], and what for.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        unimplemented!()
    }

    /// What to do next; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        unimplemented!()
    }

    /// Answers a request. With `topic`, a request that asked to observe is registered (if the
    /// response is a success) and the answer carries Observe.
    pub fn respond(
        &mut self,
        ticket: Ticket,
        response: Response,
        topic: Option<Topic>,
        now: Instant,
    ) {
        unimplemented!()
    }

    /// Leaves a request without an answer (multicast, RFC 7252 section 8.2). A confirmable one is
    /// still acknowledged.
    pub fn ignore(&mut self, ticket: Ticket, now: Instant) {
        unimplemented!()
    }

    /// Sends the topic's new representation to everyone who watches it. `render` makes it, once for
    /// each watcher; an error code ends that watcher's observation.
    pub fn notify(
        &mut self,
        topic: Topic,
        kind: Notify,
        now: Instant,
        render: impl FnMut(&Watcher<'_>) -> Response,
    ) {
        unimplemented!()
    }

    /// How many watch this topic.
    pub fn watchers(&self, topic: Topic) -> usize {
        unimplemented!()
    }

    /// Sends a confirmable request; block-wise both ways as needed. A request with Observe 0 begins an
    /// observation that ends with [`Self::cancel`].
    pub fn request(&mut self, peer: Peer, request: Request, now: Instant) -> Call {
        unimplemented!()
    }

    /// Sends a non-confirmable request to a group; answers are collected for `collect`.
    pub fn request_multicast(
        &mut self,
        group: Peer,
        request: Request,
        collect: std::time::Duration,
        now: Instant,
    ) -> Call {
        unimplemented!()
    }

    /// Forgets a call; ends an observation with Observe 1 (RFC 7641 section 3.6).
    pub fn cancel(&mut self, call: Call, now: Instant) {
        unimplemented!()
    }

    /// A DTLS session has ended: its exchanges and observations go with it.
    pub fn session_ended(&mut self, peer: Peer) {
        unimplemented!()
    }
}
