//! The `freshen` command: parse the arguments, run the command, turn its end into an exit code.

fn main() -> std::process::ExitCode {
    freshen::cli::run()
}
