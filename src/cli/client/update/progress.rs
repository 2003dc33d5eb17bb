//! How an update looks to whoever ordered it.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use chrono::SecondsFormat;
use ciborium::Value;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::What;
use crate::client::body;
use crate::client::standing::Follow;
use crate::clock;

/// A bar on a terminal, lines elsewhere, JSON for scripts.
pub(super) struct Progress {
    as_json: bool,
    bar: ProgressBar,
    /// What was said last, so that it is not said again.
    said: String,
}

const BAR: &str = "{spinner} {msg:32} [{bar:28}] {decimal_bytes}/{decimal_total_bytes} \
                   {decimal_bytes_per_sec} {eta}";
const SPINNER: &str = "{spinner} {msg}";

impl Progress {
    pub(super) fn new(as_json: bool) -> Self {
        let bar = match as_json || !stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => ProgressBar::new_spinner(),
        };
        Self { as_json, bar, said: String::new() }
    }

    /// The device told something.
    pub(super) fn heard(&self, what: What, value: &Value) {
        if self.as_json {
            let resource = match what {
                What::Update => "softwareupdate",
                What::Status => "updatestatus",
                What::Pstat => "pstat",
            };
            println!(
                "{}",
                json!({ "time": time(), "resource": resource, "payload": body::json(value) })
            );
        }
    }

    /// Where the update stands.
    pub(super) fn show(&mut self, follow: &Follow) {
        let doing = follow.doing(clock::now().wall);
        match follow.bytes() {
            Some((done, expected)) => {
                if self.bar.length() != Some(expected) {
                    self.bar.set_length(expected);
                    self.style(BAR);
                }
                self.bar.set_position(done);
            }
            None if self.bar.length().is_some() => {
                self.bar.unset_length();
                self.style(SPINNER);
            }
            None => {}
        }
        self.say(doing);
    }

    /// The device does not answer.
    pub(super) fn silent(&mut self, name: &str) {
        self.say(format!("{name} does not answer; it may be starting anew"));
    }

    /// The last words.
    pub(super) fn outcome(&self, result: u64, words: &str) {
        self.end();
        if self.as_json {
            println!("{}", json!({ "time": time(), "result": result, "outcome": words }));
        } else if result < 2 {
            println!("{words}");
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&mut self, words: String) {
        if self.said == words {
            return;
        }
        self.bar.enable_steady_tick(Duration::from_millis(100));
        self.bar.set_message(words.clone());
        if !self.as_json {
            if self.bar.is_hidden() {
                println!("{}  {words}", time());
            } else if !self.said.is_empty() {
                self.bar.println(format!("  {}", self.said));
            }
        }
        self.said = words;
    }

    fn style(&self, template: &str) {
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        self.bar.set_style(style.progress_chars("=> "));
    }
}

fn time() -> String {
    clock::now().wall.to_rfc3339_opts(SecondsFormat::Millis, true)
}
