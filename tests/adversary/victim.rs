//! The real binary as a device, and what it takes to be near it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ciborium::cbor;
use freshen::clock;
use freshen::coap::Code;
use freshen::dtls::{ClientPolicy, Error};
use serde_json::Value;
use uuid::Uuid;

use crate::tool::Tool;

/// How long anything may take before a scenario gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const DOXM: &str = "/oic/sec/doxm";

/// A device with a state directory of its own.
pub(crate) struct Victim {
    directory: tempfile::TempDir,
    process: Child,
    /// Kept open: a device that cannot print is not what a scenario is about.
    _stdout: BufReader<ChildStdout>,
    /// The line that it prints when it can be used.
    pub(crate) ready: Value,
    pub(crate) clear: SocketAddr,
    pub(crate) secure: SocketAddr,
}

impl Victim {
    /// Starts one with this configuration; `STATE` in it stands for the state directory.
    pub(crate) fn start(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let listen = "[listen]\nmulticast = false\n\n";
        let configuration = configuration.replace("STATE", state.to_str().unwrap());
        fs::write(directory.path().join("device.toml"), listen.to_owned() + &configuration)
            .unwrap();
        Self::live(directory)
    }

    /// Ends its process without a word, and starts another on the same state.
    pub(crate) fn restart(self) -> Self {
        Self::live(self.end())
    }

    /// Ends its process without a word; what is left is the directory.
    pub(crate) fn end(mut self) -> tempfile::TempDir {
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.directory, empty)
    }

    /// A new life in the directory of another.
    pub(crate) fn live(directory: tempfile::TempDir) -> Self {
        let log = directory.path().join("log");
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        let mut process =
            command(directory.path()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let said = fs::read_to_string(directory.path().join("log")).unwrap();
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no ready line: {said}"));
        let address = |name: &str| ready[name][0].as_str().unwrap().parse().unwrap();
        let (clear, secure) = (address("coap"), address("coaps"));
        Self { directory, process, _stdout: stdout, ready, clear, secure }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// What the kernel takes away from all that its process makes.
    pub(crate) fn umask(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
        line.trim().to_owned()
    }

    /// Datagrams that the kernel dropped before the device could take them from its secure socket.
    pub(crate) fn lost_datagrams(&self) -> u64 {
        let local = format!(":{:04X} ", self.secure.port());
        let table = fs::read_to_string("/proc/net/udp").unwrap();
        let line = table.lines().find(|line| {
            line.split_once(&local)
                .is_some_and(|(before, _)| before.split_whitespace().count() == 2)
        });
        line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or_default()
    }

    /// The log of every life.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Somebody who speaks in clear.
    pub(crate) fn stranger(&self) -> Tool {
        Tool::new(&self.clear.to_string())
    }

    /// Somebody with a secure session.
    pub(crate) fn connect(&self, policy: ClientPolicy) -> Result<Tool, Error> {
        Tool::connect(&self.secure.to_string(), policy)
    }

    /// Somebody who stops before this message of his handshake.
    pub(crate) fn stall(&self, policy: ClientPolicy, message: u8) -> Tool {
        Tool::stall(&self.secure.to_string(), policy, message)
    }

    /// SIGUSR1: whoever does that has the device in hand.
    pub(crate) fn press_button(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    }

    /// Chooses a transfer method in clear, as anybody can; the device's temporary name.
    pub(crate) fn select(&self, method: i64) -> Uuid {
        let mut stranger = self.stranger();
        let code = stranger.post(DOXM, &cbor!({"oxmsel" => method}).unwrap());
        assert_eq!(code, Code::CHANGED, "{}", self.log());
        stranger.get(DOXM).unwrap()["deviceuuid"].as_str().unwrap().parse().unwrap()
    }

    /// The PIN that a person at the device reads now; empty while there is none.
    pub(crate) fn pin(&self) -> String {
        fs::read_to_string(self.state().join("pin")).unwrap_or_default().trim().to_owned()
    }

    /// The PIN, as soon as one is shown.
    pub(crate) fn wait_for_pin(&self) -> String {
        wait_until("a PIN is shown", || !self.pin().is_empty());
        self.pin()
    }
}

/// The agent, on what is in this directory.
fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshen"));
    command
        .args(["device", "--coap", "127.0.0.1:0", "--coaps", "127.0.0.1:0", "--config"])
        .arg(directory.join("device.toml"))
        .arg("--state")
        .arg(directory.join("state"));
    command
}

/// What the agent says that does not start there.
pub(crate) fn refusal(directory: &Path) -> String {
    let mut process =
        command(directory).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        process.kill().unwrap();
        process.wait().unwrap();
        panic!("it has started: {line}");
    }
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Looks again and again; the scenario ends where it does not come to pass.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = clock::now().mono;
    while !holds() {
        assert!(clock::now().mono - start < PATIENCE, "it did not come to pass that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
