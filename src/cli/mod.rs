//! This room is the command line: one file per command.

mod archive;
mod client;
mod demo;
mod device;
mod inspect;
mod keygen;
mod launch;
mod output;
mod pack;
mod payload;
mod sign;
mod table;
mod trust;
mod verify;
mod ways;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::config;

use client::{discover, get, observe, own, post, provision, reset, update};

/// Keeps the software of OCF devices fresh.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Say more on standard error; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Device(device::Args),
    Launch(launch::Args),
    Keygen(keygen::Args),
    Pack(pack::Args),
    Sign(sign::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Trust(trust::Args),
    Discover(discover::Args),
    Own(own::Args),
    Provision(provision::Args),
    Reset(reset::Args),
    Get(get::Args),
    Post(post::Args),
    Observe(observe::Args),
    Update(update::Args),
}

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
    let cli = Cli::parse();
    log(&cli);
    let done = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Device(args) => device::run(args),
        Command::Launch(args) => launch::run(args),
        Command::Keygen(args) => keygen::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Sign(args) => sign::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Trust(args) => trust::run(args),
        Command::Discover(args) => discover::run(args),
        Command::Own(args) => own::run(args),
        Command::Provision(args) => provision::run(args),
        Command::Reset(args) => reset::run(args),
        Command::Get(args) => get::run(args),
        Command::Post(args) => post::run(args),
        Command::Observe(args) => observe::run(args),
        Command::Update(args) => update::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshen: {error:#}");
            let wrong_use = error.is::<Usage>() || error.is::<config::Error>();
            if wrong_use { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Logs go to standard error: what a device does is worth telling, what a client does only when asked.
fn log(cli: &Cli) {
    let level = match (&cli.command, cli.verbose) {
        (Command::Device(_) | Command::Launch(_), 0) | (_, 1) => LevelFilter::INFO,
        (_, 0) => LevelFilter::WARN,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(cli.verbose > 1)
        .init();
}
