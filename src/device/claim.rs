//! One agent at a time in a state directory.
//!
//! Two agents on the same records would each believe their own copy: two owners were told "is yours" that
//! way. The claim is a POSIX record lock on the file `lock`: the kernel ends it with the process, however
//! that ends, so that what a dead agent left behind is no claim; it names its holder; and the programs
//! that an agent starts do not get it, so that one which outlives it keeps no other agent out.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType};

use super::error::Error;

/// The file that is locked, below the state directory. It stays empty.
const LOCK: &str = "lock";

/// A state directory is this process's until it ends. To close the file would give the claim up, so the
/// device keeps this for its life.
#[derive(Debug)]
#[must_use = "the claim ends where this is dropped"]
pub struct Claim {
    _file: File,
}

impl Claim {
    /// Takes the directory, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Claimed`] where another process has it; [`Error::Start`] where it cannot be used.
    pub fn take(directory: &Path) -> Result<Self, Error> {
        let refused = |what: &str, error: io::Error| {
            Error::Start(format!("cannot {what} {}: {error}", directory.display()))
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| refused("make", error))?;
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(directory.join(LOCK))
            .map_err(|error| refused("write to", error))?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            // POSIX lets a system say either.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(Error::Claimed {
                directory: directory.to_owned(),
                holder: holder(&file).map_or_else(
                    || "a pid that cannot be seen from here".into(),
                    |pid| format!("pid {pid}"),
                ),
            }),
            Err(error) => Err(refused("lock", error.into())),
        }
    }
}

/// Who has it; none where that has ended meanwhile, or lives in another namespace of processes.
fn holder(file: &File) -> Option<u32> {
    let held = rustix::process::fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).ok()??;
    u32::try_from(held.pid?.as_raw_nonzero().get()).ok()
}
