//! This room turns files into running software, and back.
//!
//! It blocks, and runs in a worker's thread. It does not fetch, and it does not decide: whoever calls
//! says when to write, switch, confirm and roll back. Every verb looks at the world first, can be
//! repeated after a power cut at any point, and leaves what runs as it is until the one atomic step
//! that changes it.

mod archive;
mod beneath;
mod error;
mod file;
mod fit;
mod installer;
mod listing;
mod marker;
mod precursor;
mod program;
mod run;
mod settings;
mod slots;
mod unpack;

pub use archive::check;
pub use error::Error;
pub use installer::{Installer, Running};
pub use precursor::canonical_archive;
pub use settings::{Kind, Program, Settings};

#[cfg(test)]
mod tests;
