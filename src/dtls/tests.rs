//! Two endpoints of ours on a network and in a time that are made up.

mod cookies;
mod defects;
mod guesses;
mod network;
mod order;
mod puppet;
mod sessions;
mod weather;
