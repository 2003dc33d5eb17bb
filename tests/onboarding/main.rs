//! The onboarding side: the real binary as a client over coaps, and as the tool that owns devices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod broken;
mod coaps;
mod freshen;
mod hosts;
mod life;
mod people;
#[allow(dead_code, reason = "the other half is for other tests")]
#[path = "../dtls/pki.rs"]
mod pki;
