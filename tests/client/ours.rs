//! Our own device, as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A device that has said that it is ready.
pub(crate) struct Device {
    process: Child,
    directory: TempDir,
    /// Where it serves in clear.
    pub(crate) coap: Vec<SocketAddr>,
}

impl Device {
    /// One that everybody may speak to, on the loopback interface.
    pub(crate) fn open() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshen"));
        Self::start(command.args(["device", "--insecure", "--coap", "127.0.0.1:0"]))
    }

    /// What `command` runs: `freshen device` with its arguments but for the state.
    pub(crate) fn start(command: &mut Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        command.arg("--state").arg(directory.path().join("state"));
        let spawned = command.stdout(Stdio::piped()).stderr(log).spawn();
        let mut process = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut device = Self { process, directory, coap: vec![] };
        assert!(line.starts_with("{\"event\":\"ready\""), "{line}{}", device.log());
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let coap = ready["coap"].as_array().unwrap().iter();
        device.coap = coap.map(|address| address.as_str().unwrap().parse().unwrap()).collect();
        device
    }

    /// What it told of its life.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Memory in use, KiB (VmRSS).
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
