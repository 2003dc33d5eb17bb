//! The arguments of a program that is a device and nothing else, read without a library of 600 KB.
//!
//! What it understands, `clap` in the whole program understands alike; the tests give both the same.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};
use lexopt::{Parser, ValueExt as _};
#[cfg(not(feature = "tool"))]
use tracing_subscriber::filter::LevelFilter;

use super::{device, launch, usage};

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Device(device::Args),
    Launch(launch::Args),
    /// To say these words, and no more.
    Say(String),
}

#[cfg(not(feature = "tool"))]
pub(super) fn run() -> anyhow::Result<()> {
    let (command, verbose) = read(std::env::args_os())?;
    super::log(LevelFilter::INFO, verbose);
    match command {
        Command::Device(args) => device::run(args),
        Command::Launch(args) => launch::run(args),
        Command::Say(words) => {
            use std::io::Write;
            Ok(std::io::stdout().write_all(words.as_bytes())?)
        }
    }
}

/// The command, and how often more words on standard error were asked for. The first argument is the
/// program's name.
fn read(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<(Command, u8)> {
    let mut parser = Parser::from_iter(arguments.into_iter().collect::<Vec<_>>());
    let mut verbose = 0;
    let command = command(&mut parser, &mut verbose).map_err(|error| usage(error.to_string()))?;
    Ok((command, verbose))
}

fn command(parser: &mut Parser, verbose: &mut u8) -> Result<Command, lexopt::Error> {
    while let Some(argument) = parser.next()? {
        match argument {
            Short('v') | Long("verbose") => *verbose += 1,
            Value(word) if word == "device" => return device(parser, verbose),
            Value(word) if word == "launch" => return launch(parser, verbose),
            Short('h') | Long("help") => return Ok(Command::Say(HELP.into())),
            Short('V') | Long("version") => return Ok(Command::Say(VERSION.into())),
            Value(word) => {
                let word = word.to_string_lossy().into_owned();
                return Err(format!("{word} is no command here: this program is a device").into());
            }
            other => return Err(other.unexpected()),
        }
    }
    Err("a command is missing: device or launch".into())
}

fn device(parser: &mut Parser, verbose: &mut u8) -> Result<Command, lexopt::Error> {
    let mut args = device::Args::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => once(&mut args.config, path(parser)?)?,
            Long("state") => once(&mut args.state, path(parser)?)?,
            Long("coap") => args.coap.push(value(parser)?.parse()?),
            Long("coaps") => args.coaps.push(value(parser)?.parse()?),
            Long("insecure") if args.insecure => return Err(TWICE.into()),
            Long("insecure") => args.insecure = true,
            Short('v') | Long("verbose") => *verbose += 1,
            Short('h') | Long("help") => return Ok(Command::Say(HELP.into())),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Device(args))
}

fn launch(parser: &mut Parser, verbose: &mut u8) -> Result<Command, lexopt::Error> {
    let (mut state, mut agent, mut rest) = (None, None, vec![]);
    loop {
        // All behind `--` is for the agent.
        if let Some(raw) = parser.try_raw_args()
            && raw.peek() == Some("--".as_ref())
        {
            let texts = raw.skip(1).map(OsString::into_string);
            rest = texts.collect::<Result<_, _>>()?;
        }
        match parser.next()? {
            Some(Long("state")) => once(&mut state, path(parser)?)?,
            Some(Long("agent")) => once(&mut agent, path(parser)?)?,
            Some(Short('v') | Long("verbose")) => *verbose += 1,
            Some(Short('h') | Long("help")) => return Ok(Command::Say(HELP.into())),
            Some(other) => return Err(other.unexpected()),
            None => break,
        }
    }
    let (Some(state), Some(agent)) = (state, agent) else {
        return Err("launch needs --state DIR and --agent PATH".into());
    };
    Ok(Command::Launch(launch::Args { state, agent, rest }))
}

fn once(place: &mut Option<PathBuf>, path: PathBuf) -> Result<(), lexopt::Error> {
    if place.replace(path).is_some() { Err(TWICE.into()) } else { Ok(()) }
}

fn path(parser: &mut Parser) -> Result<PathBuf, lexopt::Error> {
    value(parser).map(PathBuf::from)
}

/// What follows an option. The next option is no value, and neither is nothing: they stand where
/// somebody forgot one, or where a variable of a script is empty.
fn value(parser: &mut Parser) -> Result<OsString, lexopt::Error> {
    let attached = parser.optional_value();
    let is_attached = attached.is_some();
    let value = attached.map_or_else(|| parser.value(), Ok)?;
    let is_option = !is_attached && value.len() > 1 && value.as_encoded_bytes().starts_with(b"-");
    if value.is_empty() || is_option {
        return Err(format!("a value is missing before {value:?}").into());
    }
    Ok(value)
}

const TWICE: &str = "an option is given twice that can be given once";

const VERSION: &str = concat!("freshen ", env!("CARGO_PKG_VERSION"), " (device)\n");

const HELP: &str = "\
Keeps the software of an OCF device fresh.

freshen device   runs the device; when it can be used, it prints one JSON line with its addresses
  --config FILE      configuration file; resources/device.toml explains every key
  --state DIR        directory for everything the device keeps: its state, packages and slots
  --coap ADDR:PORT   address to serve in clear, instead of the configured ones; port 0: any free one
  --coaps ADDR:PORT  address to serve over DTLS, instead of the configured ones
  --insecure         serve everything in clear and without access control; loopback addresses only

freshen launch   starts the agent from the slot that runs, or brings back the slot before it
  --state DIR        as for the device
  --agent PATH       the agent, as a path inside a slot; the same as install.agent
  -- ARGUMENTS       more arguments for the device

  -v, --verbose      say more on standard error; twice: everything
  -h, --help, -V, --version

This program is the device alone. The vendor's and the client's commands, and the demo, are in the
program that is built without --no-default-features.
";

#[cfg(feature = "tool")]
#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::tool::{self, Cli};

    fn small(line: &str) -> Option<(Command, u8)> {
        read(line.split(' ').map(Into::into)).ok().filter(|(c, _)| !matches!(c, Command::Say(_)))
    }

    fn whole(line: &str) -> Option<(Command, u8)> {
        let Cli { verbose, command } = Cli::try_parse_from(line.split(' ')).ok()?;
        match command {
            tool::Command::Device(args) => Some((Command::Device(args), verbose)),
            tool::Command::Launch(args) => Some((Command::Launch(args), verbose)),
            _ => panic!("another command: {line}"),
        }
    }

    #[test]
    fn the_small_program_understands_what_the_whole_one_does() {
        for line in [
            "freshen device",
            "freshen -v device --config device.toml --state=/var/lib/camera",
            "freshen device -vv --verbose --insecure --coap 127.0.0.1:5683 --coap=[::1]:0",
            "freshen device --coaps 0.0.0.0:5684 --coaps [fe80::1]:5684",
            "freshen device --state=-odd --config -",
            "freshen launch --state s --agent bin/freshen",
            "freshen launch --agent bin/freshen -v --state s -- --config c.toml -v --insecure",
            "freshen launch --agent=a --state=s --",
            "freshen launch --agent=a --state=s -- -- x --help",
        ] {
            let small = small(line);
            assert!(small.is_some(), "{line}");
            assert_eq!(small, whole(line), "{line}");
        }
    }

    #[test]
    fn the_small_program_refuses_what_the_whole_one_does() {
        for line in [
            "freshen",
            "freshen devise",
            "freshen --insecure device",
            "freshen device stray",
            "freshen device --config",
            "freshen device --config a --config b",
            "freshen device --insecure --insecure",
            "freshen device --insecure=yes",
            "freshen device --state --insecure",
            "freshen device --state= --insecure",
            "freshen device --coap 127.0.0.1",
            "freshen device --coap nowhere:5683",
            "freshen device --frobnicate",
            "freshen device -x",
            "freshen device -- --insecure",
            "freshen launch --state s",
            "freshen launch --agent a",
            "freshen launch --agent a --state s stray",
            "freshen launch --agent a --agent b --state s",
        ] {
            assert_eq!(small(line), None, "{line}");
            assert_eq!(whole(line), None, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_said() {
        for line in
            ["freshen -h", "freshen device --help", "freshen launch -h", "freshen -v --version"]
        {
            let said = read(line.split(' ').map(Into::into)).unwrap().0;
            assert!(matches!(said, Command::Say(_)), "{line}");
        }
    }
}
