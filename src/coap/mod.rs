//! This room is a CoAP endpoint, client and server in one: datagrams and time go in; requests,
//! responses, datagrams to send and the next deadline come out.
//!
//! It knows nothing of OCF, sockets, clocks or tasks, and could be lifted out as a crate. Exchanges,
//! observation and block-wise transfer are written here because no crate has a server's whole half of
//! them; the codec, because it has to judge a datagram before it allocates.
//!
//! Messages are apart from what they say. [`exchange`] has what belongs to UDP: kinds, ids, duplicates,
//! retransmission, and acknowledgements, with or without an answer. `server` and `client` have requests,
//! tokens, observations and blocks. They hold a request's [`exchange::Reply`] without looking inside, and
//! ask [`exchange::Messages`] to answer, to send something that must arrive or need not, and to forget it:
//! what a connection (RFC 8323) has to offer in its place. [`codec::Content`] is what both carry.
//!
//! The contract of [`Endpoint`]: after every call that changes it, take [`Endpoint::poll_output`]
//! until it is empty; then sleep until [`Endpoint::deadline`] at the latest and call
//! [`Endpoint::handle_timeout`].

mod block;
mod client;
mod codec;
mod criticality;
mod duplicates;
mod echo;
mod endpoint;
mod exchange;
mod interface;
mod message;
mod notify;
mod observe;
mod quick;
mod quick_client;
mod quick_server;
mod random;
mod server;
mod stranger;
mod timers;
mod transfer;

pub use endpoint::Endpoint;
pub use interface::{
    Call, CallError, Config, Memory, Notify, Output, Peer, Reception, Ticket, Topic, Watcher,
};
pub use message::{Code, Options, Request, Response, option};

/// Every bound of this room, each with its unit and its reason.
pub mod limits {
    pub use super::block::{
        SIZE_EXPONENT_MAX, SNAPSHOT_BYTES_MAX, SNAPSHOT_LIFETIME, SNAPSHOTS_PER_PEER_MAX,
        UPLOAD_BYTES_MAX, UPLOAD_LIFETIME, UPLOAD_STALLED, UPLOADS_PER_PEER_MAX,
    };
    pub use super::client::{CALLS_MAX, RENEW_AFTER, RESPONSE_WAIT};
    pub use super::codec::{DATAGRAM_BYTES_MAX, OPTIONS_MAX, TOKEN_BYTES_MAX};
    pub use super::duplicates::{
        EXCHANGE_LIFETIME, FORGETTABLE_BYTES_MAX, KEPT_BYTES_CLEAR_MAX, KEPT_BYTES_MAX,
        KEPT_BYTES_PER_PEER_MAX, NON_LIFETIME,
    };
    pub use super::echo::{
        AMPLIFICATION_MAX, ANSWER_TO_ANYBODY_BYTES, ECHO_FRESH, REACHABLE_FOR, REACHABLE_MAX,
    };
    pub use super::endpoint::MEMORY_BYTES_MAX;
    pub use super::exchange::{
        ACK_RANDOM_FACTOR, ACK_TIMEOUT, ACKNOWLEDGE_AFTER, LANE_WAITING_MAX, MAX_RETRANSMIT, NSTART,
    };
    pub use super::interface::DEFAULT_LEISURE;
    pub use super::notify::REFRESH_MIN;
    pub use super::observe::{
        BURST_MAX, CONFIRM_EVERY, OBSERVER_BYTES_MAX, OBSERVERS_CLEAR_MAX, OBSERVERS_MAX,
        OBSERVERS_PER_PEER_MAX, ROUND_TRIP_UNKNOWN,
    };
    pub use super::quick::{
        MAX_PAYLOADS, MAX_PAYLOADS_AGREED_MAX, MISSING_AFTER_MIN, NON_MAX_RETRANSMIT,
        NON_RECEIVE_TIMEOUT,
    };
    pub use super::server::{DELAYED_MAX, REQUESTS_MAX, REQUESTS_PER_PEER_MAX};
    pub use super::transfer::RESTARTS_MAX;
}
