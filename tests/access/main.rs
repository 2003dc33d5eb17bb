//! Ownership and access, as tools and strangers meet them: whole exchanges and every cell of the
//! access table, against the very functions that the device runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bench;
mod cuts;
mod encoder;
mod exchanges;
mod matrix;
