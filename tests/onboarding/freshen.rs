//! The binary, as a person runs it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use harness::process::Process;

const BINARY: &str = env!("CARGO_BIN_EXE_freshen");

/// What a command printed, if it did its work; what it complained of, if it did not.
pub(crate) fn freshen(arguments: &[&str]) -> Result<String, String> {
    let command = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    output_of(command.unwrap())
}

/// The same for a command that was started.
pub(crate) fn output_of(command: Child) -> Result<String, String> {
    let output = command.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        code => Err(format!("{code:?} {}", text(&output.stderr))),
    }
}

/// The payload that a command printed with --json.
pub(crate) fn payload(arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    let text = freshen(&arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    line["payload"].clone()
}

/// A device of ours, until it is dropped.
pub(crate) struct Device {
    _process: Process,
    pub(crate) clear: String,
    pub(crate) secure: String,
    pub(crate) di: String,
    /// Whether it was owned when it started.
    pub(crate) owned: bool,
}

impl Device {
    pub(crate) fn start(directory: &Path, configuration: &str) -> Self {
        let loopback = ["--coap", "127.0.0.1:0", "--coaps", "127.0.0.1:0"];
        Self::start_on(&[BINARY], directory, configuration, &loopback)
    }

    /// By a program that is told to run ours, and with more arguments.
    pub(crate) fn start_on(
        program: &[&str],
        directory: &Path,
        configuration: &str,
        more: &[&str],
    ) -> Self {
        let file: PathBuf = directory.join("device.toml");
        std::fs::write(&file, configuration).unwrap();
        let state = directory.join("state");
        let (file, state) = (file.to_str().unwrap(), state.to_str().unwrap());
        let arguments = ["device", "--config", file, "--state", state];
        let arguments = [&program[1..], &arguments[..], more].concat();
        let mut process = Process::start(program[0], &arguments, "cargo build");
        process.wait_for("\"ready\"");
        let output = process.output();
        let line = output.lines().find(|line| line.contains("\"ready\"")).unwrap();
        let ready: Value = serde_json::from_str(line).unwrap();
        let first = |name: &str| ready[name][0].as_str().unwrap().to_owned();
        let di = ready["di"].as_str().unwrap().to_owned();
        let owned = ready["owned"] == true;
        Self { _process: process, clear: first("coap"), secure: first("coaps"), di, owned }
    }
}
