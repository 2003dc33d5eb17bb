//! How software is installed on this device.

use std::path::PathBuf;
use std::time::Duration;

/// How software is installed on this device.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub kind: Kind,
    /// Argument vector run after each switch and each way back; empty for none. It may run more than
    /// once for one switch: after a power cut nobody knows whether it had ended.
    pub activate: Vec<String>,
    /// How long that may take.
    pub activate_timeout: Duration,
    /// Argument vector that succeeds when the new version is well; empty for none.
    pub health: Vec<String>,
    /// How long one run of it may take.
    pub health_timeout: Duration,
    /// Whether files keep the owners that the archive gives them; only root can do that.
    pub keep_owners: bool,
    /// Whether files keep their set-user-id and set-group-id bits.
    pub keep_setuid: bool,
}

/// Where software is installed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two directories below the state directory, and the symbolic link `current` to one of them.
    Slots,
    /// One file, replaced atomically.
    File(PathBuf),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::Slots,
            activate: vec![],
            activate_timeout: Duration::from_secs(60),
            health: vec![],
            health_timeout: Duration::from_secs(30),
            keep_owners: true,
            keep_setuid: false,
        }
    }
}
