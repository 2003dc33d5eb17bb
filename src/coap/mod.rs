//! This room is a CoAP endpoint, client and server in one: datagrams and time go in; requests,
//! responses, datagrams to send and the next deadline come out.
//!
//! It knows nothing of OCF, sockets, clocks or tasks, and could be lifted out as a crate. The codec
//! is coap-lite's; exchanges, observation and block-wise transfer are written here because no crate
//! has a server's whole half of them.
//!
//! The contract of [`Endpoint`]: after every call that changes it, take [`Endpoint::poll_output`]
//! until it is empty; then sleep until [`Endpoint::deadline`] at the latest and call
//! [`Endpoint::handle_timeout`].

mod endpoint;
mod message;

pub use endpoint::{
    Call, CallError, Config, Endpoint, Notify, Output, Peer, Reception, Ticket, Topic, Watcher,
};
pub use message::{Code, Options, Request, Response, option};
