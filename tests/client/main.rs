//! The client commands as a person or a script runs them, against CoAP and OCF servers that we did
//! not write: libcoap's example server and a device made with aiocoap. They must be installed;
//! `tests/run` does so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod discovery;
mod flood;
mod multicast;
mod ordering;
mod ours;
mod peers;
mod reading;
mod weather;

use std::process::{Command, Output};

/// What came of a command.
struct Ran(Output);

/// Runs `freshen`; arguments are divided by blanks.
fn freshen(arguments: &str) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_freshen")).args(arguments.split(' ')))
}

fn run(command: &mut Command) -> Ran {
    Ran(command.output().unwrap())
}

impl Ran {
    /// Standard output of a command that must have worked.
    #[track_caller]
    fn done(&self) -> String {
        assert_eq!(self.0.status.code(), Some(0), "{}{}", self.output(), self.errors());
        self.output()
    }

    /// Each line of it, as JSON.
    #[track_caller]
    fn lines(&self) -> Vec<serde_json::Value> {
        self.done().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Standard error of a command that must not have worked.
    #[track_caller]
    fn refused(&self, code: i32) -> String {
        assert_eq!(self.0.status.code(), Some(code), "{}{}", self.output(), self.errors());
        self.errors()
    }

    fn output(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    fn errors(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }
}
