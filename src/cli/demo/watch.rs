//! The client's part: orders an update and keeps what it was told.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;

use super::device::Device;
use super::freshen;
use super::screen::{Moment, Screen};
use crate::clock;

/// Whose keys the client uses.
const CLIENT: [&str; 2] = ["--credentials", "client"];

/// The life of one update, as a client saw it.
pub(super) struct Life {
    moments: Vec<Moment>,
    pub(super) result: u64,
    /// The client's last words.
    outcome: String,
}

/// Orders an update with `freshen update` and follows it to its end.
pub(super) fn watch(screen: &Screen, device: &Device, order: &[&str]) -> Result<Life> {
    let arguments = [&["update", &*device.clear], order, &CLIENT].concat();
    screen.command(&arguments);
    let mut child = freshen()?
        .args(&arguments)
        .arg("--json")
        .current_dir(&device.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the client")?;
    let stdout = child.stdout.take().context("the client has no output")?;
    let begun = clock::now().mono;
    let bar = screen.bar();
    let mut life = Life { moments: vec![], result: 0, outcome: String::new() };
    for line in BufReader::new(stdout).lines() {
        let told: Value = serde_json::from_str(&line?).context("the client said something odd")?;
        let at = (clock::now().mono - begun).as_secs_f64();
        match told["resource"].as_str() {
            Some("softwareupdate") => life.heard_update(at, &told["payload"]),
            Some("pstat") => life.heard_mode(&told["payload"]),
            Some("updatestatus") => {
                let status = &told["payload"];
                bar.set_length(status["bytesexpected"].as_u64().unwrap_or(0));
                bar.set_position(status["bytesdone"].as_u64().unwrap_or(0));
                bar.set_message(status["phase"].as_str().unwrap_or_default().to_owned());
            }
            _ => {
                life.result = told["result"].as_u64().unwrap_or(life.result);
                life.outcome = told["outcome"].as_str().unwrap_or_default().to_owned();
            }
        }
    }
    bar.finish_and_clear();
    child.wait()?;
    // The client ends with the last word of softwareupdate; pstat's is asked for.
    let uri = format!("coaps://{}/oic/sec/pstat", device.secure);
    let mut asking = freshen()?;
    asking.args(["get", &uri, "--json"]).args(CLIENT).current_dir(&device.directory);
    let asked = asking.output()?;
    let asked: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
    life.heard_mode(&asked["payload"]);
    Ok(life)
}

impl Life {
    fn heard_update(&mut self, at: f64, value: &Value) {
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        let state = text("swupdatestate").to_owned();
        let version = text("nv");
        let words = match &*state {
            "nsa" => format!("{version} exists"),
            "svv" => format!("{version} is being downloaded and verified"),
            "sva" => format!("{version} is here and valid"),
            "upgrading" => format!("{version} is being written, switched to and tried"),
            _ if value["swupdateresult"].as_u64().unwrap_or(0) > 0 && self.moments.len() > 1 => {
                format!("the end, with result {}", value["swupdateresult"])
            }
            _ if text("swupdateaction") == "upgrade" => {
                format!("ordered for {}", text("updatetime"))
            }
            _ => "nothing is under way".into(),
        };
        let mode = self.moments.last().and_then(|moment| moment.mode);
        match self.moments.last_mut() {
            Some(last) if last.state == state && last.words == words => {}
            // Before the order there was nothing to see.
            Some(last) if last.state == state => last.words = words,
            _ => self.moments.push(Moment { at, state, mode, words }),
        }
    }

    fn heard_mode(&mut self, value: &Value) {
        // The two resources are told of the same step one after the other.
        if let Some(last) = self.moments.last_mut() {
            last.mode = value["cm"].as_u64();
        }
    }

    pub(super) fn print(&self, screen: &Screen) {
        screen.time_line(&self.moments);
        for line in self.outcome.lines() {
            screen.say(line.trim());
        }
    }

    pub(super) fn words(&self, result: u64) -> &'static str {
        match result {
            1 => "success",
            5 => "validation failed, nothing was installed",
            8 => "the new software failed its trial and was rolled back",
            _ => "something else",
        }
    }
}
