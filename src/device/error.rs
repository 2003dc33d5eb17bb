//! The error of this room.

use super::keeper::Rejected;
use crate::dtls;
use crate::fetch;
use crate::install;
use crate::net;
use crate::package::KeyError;
use crate::store;

/// What kept a device from starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// A socket.
    #[error("{0}")]
    Net(#[from] net::Error),
    /// The keys that may sign packages.
    #[error("update.trust: {0}")]
    Trust(String),
    /// The key for encrypted payloads.
    #[error("update.decryption_key: {0}")]
    DecryptionKey(KeyError),
    /// What may be fetched.
    #[error("update: {0}")]
    Fetch(#[from] fetch::Error),
    /// Keys and certificates for secure sessions.
    #[error("credentials: {0}")]
    Credentials(dtls::Error),
    /// How software is installed.
    #[error("install: {0}")]
    Install(#[from] install::Error),
    /// Something that the system refused.
    #[error("cannot start: {0}")]
    Start(String),
}

impl Error {
    pub(super) fn keep<R: std::fmt::Display>(rejected: Rejected<R>) -> Self {
        match rejected {
            Rejected::NotDurable(error) => Self::Store(error),
            Rejected::Refused(refusal) => Self::Start(refusal.to_string()),
        }
    }
}
