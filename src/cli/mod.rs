//! This room is the command line: one file per command.

mod archive;
mod inspect;
mod keygen;
mod pack;
mod payload;
mod table;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps the software of OCF devices fresh.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Keygen(keygen::Args),
    Pack(pack::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
}

/// Runs the command named by the process's arguments.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Keygen(args) => keygen::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
