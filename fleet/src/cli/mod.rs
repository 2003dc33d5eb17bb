//! This room is the command line: `serve` runs the server, everything else asks one over HTTP, as anybody
//! could with curl.

mod client;
mod offline;
mod serve;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use client::Client;

/// What runs where in a fleet, what should, and the queue between.
#[derive(Debug, Parser)]
#[command(name = "freshen-fleet", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    to: To,
}

/// Which server, and as whom.
#[derive(Clone, Debug, clap::Args)]
struct To {
    /// The server's address.
    #[arg(long, global = true, env = "FRESHEN_FLEET_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A token; the first start of `serve` prints the administrator's.
    #[arg(long, global = true, env = "FRESHEN_FLEET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print JSON, as the server answered it.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: `freshen-fleet serve --data fleet`
    Serve(serve::Serve),
    /// Devices: add, show, list, delete, history, import, export, fit, install
    #[command(subcommand)]
    Device(verbs::Device),
    /// Components: add, list, delete, devices
    #[command(subcommand)]
    Component(verbs::Component),
    /// Packages: add, upload, show, list, need, link, blacklist
    #[command(subcommand)]
    Package(verbs::Package),
    /// Filters: add, try, list, edit, delete
    #[command(subcommand)]
    Filter(verbs::Filter),
    /// Data plans and their billing cycles
    #[command(subcommand)]
    Plan(verbs::Plan),
    /// Campaigns: try, create, show, list, devices, cancel
    #[command(subcommand)]
    Campaign(verbs::Campaign),
    /// Tokens: add, list, delete
    #[command(subcommand)]
    Token(verbs::Token),
    /// The audit: list, verify
    #[command(subcommand)]
    Audit(verbs::Audit),
    /// Copy the embedded database and all packages while the server runs:
    /// `freshen-fleet backup --data fleet --to backup`
    Backup(offline::Backup),
    /// Make a data directory out of a backup: `freshen-fleet restore --from backup --data fleet`
    Restore(offline::Restore),
    /// Print the OpenAPI document
    Openapi,
}

/// Runs a command; the exit code says whether it worked: 0 done, 1 not, 2 wrong usage.
pub fn run() -> ExitCode {
    let Args { command, to } = Args::parse();
    let done = match command {
        Command::Serve(serve) => serve::run(serve),
        Command::Backup(backup) => offline::backup(&backup),
        Command::Restore(restore) => offline::restore(&restore),
        Command::Openapi => print(&crate::api::document().to_pretty_json().unwrap_or_default()),
        Command::Device(verb) => Client::new(to).and_then(|client| verb.run(&client)),
        Command::Component(verb) => Client::new(to).and_then(|client| verb.run(&client)),
        Command::Package(verb) => Client::new(to).and_then(|client| verb.run(&client)),
        Command::Filter(verb) => Client::new(to).and_then(|client| verb.run(&client)),
        Command::Plan(verb) => Client::new(to).and_then(|client| verb.run(&client)),
        Command::Campaign(verb) => Client::new(to).and_then(|client| verb.run(&client)),
        Command::Token(verb) => Client::new(to).and_then(|client| verb.run(&client)),
        Command::Audit(verb) => Client::new(to).and_then(|client| verb.run(&client)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshen-fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output; a reader who went away is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
