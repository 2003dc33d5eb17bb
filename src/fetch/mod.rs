//! This room brings software to the disk: from a URL to a file of the length and digest that the
//! vendor signed.
//!
//! It blocks, and runs in a worker's thread. It does not know what an update is, does not decide
//! whether one is wanted, and does not install. Everything it is told by the network is hostile: which
//! addresses a name leads to, how long an answer is, how slowly it comes. Memory does not depend on
//! the size of anything.

mod address;
mod channel;
mod coap;
mod error;
mod fetcher;
mod http;
mod https;
mod pace;
mod partial;
mod retry;
mod settings;
mod trouble;
mod way;
mod wire;

pub use address::{Lookup, system_lookup};
pub use error::{Asked, Error};
pub use fetcher::Fetcher;
pub use https::REDIRECTS_MAX;
pub use settings::{Limits, Roots, Settings};
pub use way::Fetched;
