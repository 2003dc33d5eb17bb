//! This room owns every machine and runs the one loop; it decides nothing.

mod keeper;

pub use keeper::{Commit, Keeper, Rejected};
