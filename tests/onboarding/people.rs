//! Those who use the tool, each with a directory of keys, and the device between them.

use std::path::PathBuf;

use crate::freshen::{Device, freshen};

/// An owner, a client, a stranger.
pub(crate) struct People {
    directory: tempfile::TempDir,
}

impl People {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command with the keys of one of them.
    pub(crate) fn run(&self, who: &str, arguments: &[&str]) -> Result<String, String> {
        let keys = self.path(who);
        freshen(&[arguments, &["--credentials", keys.to_str().unwrap()]].concat())
    }

    pub(crate) fn json(&self, who: &str, arguments: &[&str]) -> serde_json::Value {
        let text = self.run(who, &[arguments, &["--json"]].concat());
        let text = text.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    }

    pub(crate) fn device(&self, configuration: &str) -> Device {
        Device::start(self.directory.path(), configuration)
    }
}
