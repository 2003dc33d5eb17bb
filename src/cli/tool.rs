//! The arguments of the whole program.

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use super::client::{discover, get, observe, own, post, provision, reset, update};
use super::{demo, device, inspect, keygen, launch, pack, sign, trust, verify};

/// Keeps the software of OCF devices fresh.
#[derive(Parser)]
#[command(version)]
pub(super) struct Cli {
    /// Say more on standard error; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(super) verbose: u8,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
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

pub(super) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let unasked = match cli.command {
        Command::Device(_) | Command::Launch(_) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    super::log(unasked, cli.verbose);
    match cli.command {
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
    }
}
