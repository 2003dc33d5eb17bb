//! The DTLS endpoint on real sockets against other DTLS libraries written in Rust, and what made us
//! not use them: each defect that `docs/decisions.md` names is reproduced here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod defects;
mod dimpl_peer;
mod webrtc_peer;

#[path = "../../dtls/driver.rs"]
#[allow(dead_code, reason = "shared with the tests against programs")]
mod driver;
#[path = "../../dtls/pki.rs"]
#[allow(dead_code, reason = "shared with the tests against programs")]
mod pki;
