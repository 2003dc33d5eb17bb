//! This room keeps DTLS 1.2 sessions, one per peer, and says who each peer turned out to be:
//! datagrams and time go in; datagrams, connections, application data and the next deadline come
//! out.
//!
//! It knows nothing of CoAP, OCF resources, sockets, clocks or tasks, and could be lifted out as a
//! crate. It is written here, and not taken from a crate, because no Rust crate has the suites that
//! OCF onboarding needs (0xC037 and the private 0xFF00), and because the ones that come near have
//! defects that cannot be repaired from outside. Only the protocol is ours: every primitive comes
//! from `ring` and RustCrypto, every chain is built by `rustls-webpki`.
//!
//! What it deliberately does not do: TLS 1.3, RSA, renegotiation, resumption, tickets, compression.
//!
//! The contract of [`Endpoint`]: after every call that changes it, take [`Endpoint::poll_output`]
//! until it is empty; then sleep until [`Endpoint::deadline`] at the latest and call
//! [`Endpoint::handle_timeout`].

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

mod alert;
mod cbc;
mod certificate;
mod client;
mod cookie;
mod der;
mod ecdh;
mod endpoint;
mod error;
mod flight;
#[doc(hidden)]
pub mod fuzzing;
mod half_open;
mod handshake;
mod message;
mod policy;
mod prf;
mod protection;
mod reassembly;
mod record;
mod secrets;
mod server;
mod session;
mod suite;
mod wire;
mod words;

pub use certificate::{Anchor, OwnCertificate, VerifiedRole, verify_role};
pub use endpoint::Endpoint;
pub use error::Error;
pub use policy::{
    ClientCertificates, ClientPolicy, HintedKey, IdentityRule, Policy, PreSharedKey, Strength,
};
pub use secrets::{OwnerTransfer, Secrets, owner_psk, pin_psk};
pub use suite::Suite;
pub use words::{
    CloseReason, Config, Counters, Output, Path, PeerIdentity, Role, SessionId, SessionInfo,
    Voucher, Wait,
};

#[cfg(test)]
mod tests;
