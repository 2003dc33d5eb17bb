//! The binary as a person or a script runs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod inspecting;
mod packages;
mod writing;

use std::path::Path;
use std::process::{Command, Output};

/// Runs `freshen` in this directory.
fn freshen(directory: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_freshen"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .unwrap();
    Ran(output)
}

/// What came of it.
struct Ran(Output);

impl Ran {
    /// Standard output of a command that must have worked.
    #[track_caller]
    fn done(&self) -> String {
        assert_eq!(self.0.status.code(), Some(0), "{}", self.errors());
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    /// Standard error of a command that must not have worked, and says so with exit code 1.
    #[track_caller]
    fn refused(&self) -> String {
        assert_eq!(self.0.status.code(), Some(1), "{}", self.errors());
        assert!(self.0.stdout.is_empty(), "nothing on standard output");
        self.errors()
    }

    fn errors(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }
}
