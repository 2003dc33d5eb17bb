//! This room owns every machine and runs the one loop; it decides nothing.
//!
//! The loop sleeps until a datagram, a worker's report, a deadline or a signal comes; hands it to the
//! machine that knows what it means; and carries out what that machine wants done. [`Keeper::take`]
//! is the only way to a new state, and the effects it gives are the only way to the outside.

mod claim;
mod display;
pub mod engine;
mod error;
mod failure;
mod identity;
mod image;
mod keeper;
mod ownership;
mod pin;
mod policy;
mod proof;
mod records;
mod run;
mod said;
mod secure;
mod setup;
mod sleep;
mod trust;
mod watchers;
mod workshop;

pub use claim::Claim;
pub use error::Error;
pub use keeper::{Commit, Keeper, Kept, Rejected, Taken};
pub use run::run;
pub use setup::{LAUNCHED, Ready};
