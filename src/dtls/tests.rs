//! Two endpoints of ours on a network and in a time that are made up.

mod network;
mod sessions;
mod weather;
