//! Why something could not be installed, in words for a person.

use std::io;
use std::path::{Path, PathBuf};

use crate::package::Digest;

/// Why something could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings themselves are of no use; nothing was tried.
    #[error("the installation settings cannot be used: {0}")]
    Settings(&'static str),
    /// The disk cannot hold it.
    #[error("there is no space for {needed} bytes at {}: free some and try again", path.display())]
    NoSpace {
        /// Where it was to go.
        path: PathBuf,
        /// Bytes needed; 0 when only the system knows.
        needed: u64,
    },
    /// Unpacking it would take more memory than this device gives.
    #[error("the archive needs more memory to unpack than allowed: pack it with a window of 8 MiB")]
    NoMemory,
    /// The archive has something in it that has no place in a slot.
    #[error("the archive cannot be unpacked: its entry `{entry}` {why}")]
    BadArchive {
        /// Name of the entry, as far as it can be shown.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The archive is damaged or is not one.
    #[error("the archive cannot be read: {0}")]
    Unreadable(String),
    /// What was downloaded is not, or no longer, what the vendor signed.
    #[error("the payload {} is not what the vendor signed; download it again", path.display())]
    PayloadChanged {
        /// Which file.
        path: PathBuf,
    },
    /// This kind of installer cannot take such a package.
    #[error("this package does not fit the installer: {0}")]
    Unfit(String),
    /// What was written reads back as something else.
    #[error("{} does not read back as it was written; check the disk", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// There is no such version to switch to.
    #[error("the version with the digest {0} is not written; install it again")]
    NotWritten(Digest),
    /// There is no earlier version.
    #[error("there is no earlier version to go back to")]
    NothingToRollBackTo,
    /// The command that takes up the new version did not succeed.
    #[error("the activate command {0}")]
    ActivateFailed(String),
    /// The veto command does not want it now.
    #[error("the veto command {0}")]
    Vetoed(String),
    /// The launcher has started the version as often as it may.
    #[error("the version with the digest {0} was started too often without success")]
    TriesSpent(Digest),
    /// The new version is not well.
    #[error("the health command {0}")]
    HealthFailed(String),
    /// An installer program of the system did not succeed.
    #[error("the installer `{program}` {why}")]
    InstallerFailed {
        /// Which program.
        program: String,
        /// How it ended.
        why: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// The disk did not do what it was told.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// From what the system said about `path`.
    pub(super) fn disk<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Self {
        move |source| {
            let (path, source) = (path.to_owned(), source.into());
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::NoSpace { path, needed: 0 }
                }
                _ => Self::Disk { path, source },
            }
        }
    }
}
