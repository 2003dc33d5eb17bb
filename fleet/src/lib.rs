//! freshen-fleet: what runs where in a fleet, what should, and the queue between.
//!
//! Each folder is a room, named by what it does; its `mod.rs` says why it exists and what it does not
//! do. `plan` and `index` decide and have no hands: no sockets, files, tasks or clock.
//! `fleet/tests/tidy.rs` has the table of who may know whom.

pub mod access;
pub mod api;
pub mod blob;
pub mod cli;
pub mod clock;
pub mod index;
pub mod plan;
pub mod server;
pub mod store;
