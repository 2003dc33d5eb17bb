//! `freshen-fleet`: see [`freshen_fleet`].

use std::process::ExitCode;

fn main() -> ExitCode {
    freshen_fleet::cli::run()
}
