//! Two endpoints of ours on a network and in a time that are made up.

mod defects;
mod network;
mod order;
mod puppet;
mod sessions;
mod weather;
