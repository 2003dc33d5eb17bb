//! The device's part: a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::freshen;
use super::screen::Screen;
use super::vendor::Vendor;

/// A device on loopback, and the directory where all this happens.
pub(super) struct Device {
    child: Child,
    state: PathBuf,
    pub(super) directory: PathBuf,
    /// Where it is seen, and where it is spoken to.
    pub(super) clear: String,
    pub(super) secure: String,
}

impl Device {
    pub(super) fn start(vendor: &Vendor, screen: &Screen) -> Result<Self> {
        let directory = vendor.directory();
        let state = directory.join("device");
        fs::write(directory.join("device.toml"), configuration(vendor))?;
        let arguments = [
            "device",
            "--config",
            "device.toml",
            "--state",
            "device",
            "--coap",
            "127.0.0.1:0",
            "--coaps",
            "127.0.0.1:0",
        ];
        screen.command(&arguments);
        let log = fs::File::create(directory.join("device.log"))?;
        let mut child = freshen()?
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start the device")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let ready: serde_json::Value = serde_json::from_str(&line).with_context(|| {
            let log = fs::read_to_string(directory.join("device.log")).unwrap_or_default();
            format!("the device did not start: {}", log.trim())
        })?;
        let address = |scheme| ready[scheme][0].as_str().unwrap_or_default().to_owned();
        let (clear, secure) = (address("coap"), address("coaps"));
        screen.say(&format!("it runs 1.0.0 and can be seen at coap://{clear}; nobody owns it"));
        Ok(Self { child, state, directory: directory.to_owned(), clear, secure })
    }

    /// What it runs, by what is in its slot.
    pub(super) fn running(&self) -> String {
        let version = fs::read_to_string(self.state.join("current/version"));
        version.map_or("1.0.0".into(), |text| text.trim().to_owned())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn configuration(vendor: &Vendor) -> String {
    let health = vendor.directory().join("device/current/health");
    format!(
        r#"[device]
name = "Camera"
manufacturer = "Example Ltd"
vendor = "example.com"
class = "cam-1"
version = "1.0.0"
manufactured = "2026-01-09T14:30:00Z"

[listen]
multicast = false

[onboarding]
methods = ["jw"]

[update]
trust = ["vendor.pub.pem"]
ca = "site-ca.pem"
allow_hosts = ["localhost"]
allow_loopback = true

[install]
kind = "slots"
health = [{health:?}]
health_timeout_s = 2
confirm_timeout_s = 4
"#
    )
}
