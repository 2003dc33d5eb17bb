//! CoAP between two endpoints and a bad network, in virtual time.

#![allow(unreachable_pub, reason = "modules of one test binary; the fuzz crate shares one of them")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod application;
mod basics;
mod blocks;
mod bounds;
mod documents;
mod freshness;
mod fuzzing;
mod groups;
mod hostile;
mod messages;
mod observation;
mod options;
mod pair;
mod quick;
mod raw;
mod weather;
