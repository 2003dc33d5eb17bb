//! This room is the device's OCF face: its resources, their words, and who may touch them.
//!
//! [`answer`] takes one whole request and gives the answer, or an order for the engine whose result
//! the caller turns into the answer with [`Pending::done`]. Representations are projections of
//! the engine's state, computed when asked; only [`Memo`] keeps the last, with what they show.
//! No socket, session or clock: the caller says who asks, by which endpoint, and what time it is.

mod body;
mod discovery;
mod introspection;
mod memo;
mod orders;
mod pstat;
mod representation;
mod resource;
mod router;
pub mod security;
mod site;
mod softwareupdate;
mod status;
mod time;
mod watch;

pub use memo::Memo;
pub use orders::DOOR;
pub use pstat::provisioning_mode;
pub use resource::{Resource, TOPICS};
pub use router::{Answer, Pending, answer, readable, render};
pub use site::{About, Guard, Identified, NO_PROGRESS, Progress, Site, Subject};
pub use softwareupdate::{result_code, state_word};
pub use watch::changed;
