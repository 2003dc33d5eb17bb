//! This room is the command line: one file per command.

/// Runs the command named by the process's arguments.
pub fn run() -> std::process::ExitCode {
    unimplemented!()
}
