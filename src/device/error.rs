//! The error of this room.

use std::path::PathBuf;

use super::keeper::Rejected;
use crate::dtls;
use crate::fetch;
use crate::install;
use crate::net;
use crate::package::KeyError;
use crate::store::{self, Form};

/// What kept a device from starting, or from going on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another agent lives in the state directory.
    #[error(
        "another agent ({holder}) has {}; end that one first, or give this one another directory \
         with --state", directory.display()
    )]
    Claimed {
        /// The directory.
        directory: PathBuf,
        /// Its process, in words.
        holder: String,
    },
    /// The state directory.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// A record that is whole, and that this agent cannot read.
    #[error(
        "the record `{record}` in the state directory {why}; start the agent that wrote it, and this \
         one not before its maker says that it can read it"
    )]
    Unread {
        /// Its name.
        record: &'static str,
        /// Why, in words that follow the name.
        why: String,
    },
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
    /// The thread that fetches and installs has panicked: what it was at is taken up at the next start.
    #[error(
        "the part that fetches and installs has failed; this is a defect of the agent, and its message \
         is above. Start the agent again: it takes up where it was"
    )]
    Workshop,
    /// Something that the system refused.
    #[error("cannot start: {0}")]
    Start(String),
}

impl Error {
    /// A record of this form, where the form known here is another.
    pub(super) fn newer(record: &'static str, form: u16, known: Form) -> Self {
        Self::Unread { record, why: newer(form, known) }
    }

    /// A record of our own form that makes no sense.
    pub(super) fn nonsense(record: &'static str) -> Self {
        Self::Unread { record, why: NONSENSE.into() }
    }

    pub(super) fn keep<R: std::fmt::Display>(rejected: Rejected<R>) -> Self {
        match rejected {
            Rejected::NotDurable(error) => Self::Store(error),
            Rejected::Refused(refusal) => Self::Start(refusal.to_string()),
        }
    }
}

/// What is said of a record that a newer agent wrote.
pub(super) fn newer(form: u16, known: Form) -> String {
    format!("was written by a newer agent (form {form}; this one reads up to {})", known.number)
}

/// What is said of a record that is whole and says nothing.
pub(super) const NONSENSE: &str = "is whole, but cannot be read";
