//! The device as others meet it: the real binary, real sockets, a real web server (nginx), and real
//! CoAP clients (libcoap, aiocoap).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod belief;
mod bench;
mod claim;
mod full;
mod installers;
mod kills;
mod lives;
mod main_job;
mod manners;
mod ownership;
mod side_by_side;
mod starts;
mod threats;
#[allow(dead_code, reason = "stalling is for the adversary")]
mod tool;
mod trials;
mod ways;
mod wire;
