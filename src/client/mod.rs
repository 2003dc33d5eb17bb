//! This room is an OCF client: it finds devices, owns and provisions them, reads and watches their
//! resources, and orders updates and follows them to their end.
//!
//! It knows nothing of command lines: [`crate::cli`] has the words, the tables and the exit codes.

pub(crate) mod ask;
pub(crate) mod authority;
pub(crate) mod body;
pub(crate) mod discover;
pub(crate) mod keyring;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod locate;
pub(crate) mod own;
pub(crate) mod place;
pub(crate) mod request;
mod sessions;
pub(crate) mod standing;
pub(crate) mod svr;
pub(crate) mod target;
pub(crate) mod text;
pub(crate) mod transport;
