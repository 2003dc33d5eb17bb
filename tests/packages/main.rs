//! Packages against everything that could be wrong with them, and against programs we did not write.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod codings;
mod conditions;
mod corpus;
mod draft;
mod examples;
mod flips;
mod foreign;
mod keys;
mod mutations;
mod negatives;
mod oracles;
mod outline;
mod tree;
mod trust;
mod vectors;
mod ways;
