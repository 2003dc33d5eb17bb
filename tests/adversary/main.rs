//! What an attacker finds at the door: each module plays one attack against the real binary, over real
//! sockets, and beside it a control that shows that the attack could succeed.
//!
//! [`hand`] is the attacker's DTLS, written apart from the engine so that every record can be what no
//! honest peer would send; where a peer only has to be impolite, the scenarios use our own machines
//! ([`tool`]). `tests/dtls/adversary.py` lies about DTLS alone; what is here also knows OCF.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod across_a_reset;
mod amplification;
mod clear_changes;
mod clock_back;
mod coap;
mod guess_flood;
mod half_open;
#[allow(dead_code, reason = "not every scenario needs everything")]
mod hand;
mod log_flood;
mod owner;
mod pin_guesses;
mod pin_selection;
mod revoked;
mod rolled_back;
mod service;
#[allow(dead_code, reason = "what else a tool can do is for other tests")]
#[path = "../device/tool.rs"]
mod tool;
#[allow(dead_code, reason = "not every scenario needs everything")]
mod victim;
