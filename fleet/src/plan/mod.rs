//! This room decides what a fleet is to do: words that are checked once, the filter language, who gets
//! what and who not and why, the order of a device's queue, windows, data plans, and campaigns as a step
//! from one state to the next. It has no hands: time and randomness come in as values, and what it
//! decides is a value that others carry out.

pub mod bundle;
pub mod campaign;
pub mod cycle;
pub mod explain;
pub mod failure;
pub mod filter;
pub mod judge;
pub mod queue;
pub mod rate;
pub mod resolve;
pub mod step;
pub mod time;
pub mod update;
pub mod version;
pub mod wave;
pub mod window;
pub mod words;
