//! This room is the command line: one file per command.
//!
//! `device` and `launch` are in every build; the vendor's and the client's commands and the demo only
//! with the feature `tool`. [`tool`] reads the arguments there, and `small` where a device has to be
//! small: the same words, and tests that both read them alike.

mod device;
mod launch;
#[cfg(any(test, not(feature = "tool")))]
mod small;

#[cfg(feature = "tool")]
mod archive;
#[cfg(feature = "tool")]
mod client;
#[cfg(feature = "tool")]
mod demo;
#[cfg(feature = "tool")]
mod inspect;
#[cfg(feature = "tool")]
mod keygen;
#[cfg(feature = "tool")]
mod output;
#[cfg(feature = "tool")]
mod pack;
#[cfg(feature = "tool")]
mod payload;
#[cfg(feature = "tool")]
mod sign;
#[cfg(feature = "tool")]
mod table;
#[cfg(feature = "tool")]
mod tool;
#[cfg(feature = "tool")]
mod trust;
#[cfg(feature = "tool")]
mod verify;
#[cfg(feature = "tool")]
mod ways;
#[cfg(feature = "tool")]
mod width;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use crate::config;

#[cfg(not(feature = "tool"))]
use small as arguments;
#[cfg(feature = "tool")]
use tool as arguments;

/// The command was not used as it can be: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// An error that ends in exit code 2.
fn usage(words: impl Into<String>) -> anyhow::Error {
    Usage(words.into()).into()
}

/// Runs the command named by the process's arguments.
pub fn run() -> ExitCode {
    match arguments::run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshen: {}", in_words(&error));
            let wrong_use = error.is::<Usage>() || error.is::<config::Error>();
            if wrong_use { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// The error and its causes, each said once: an error of ours says its cause in its own sentence, since a log
/// or an audit list has room for one; one of a library may leave that to whoever shows it.
fn in_words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Logs go to standard error: what a device does is worth telling, what a client does only when asked.
fn log(unasked: LevelFilter, verbose: u8) {
    let level = match verbose {
        0 => unasked,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        // It would tell of them on standard error, where writing has just failed, and end the process.
        .log_internal_errors(false)
        // Without colours in the build this changes nothing.
        .with_ansi(cfg!(feature = "tool") && io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(verbose > 1)
        .init();
}
