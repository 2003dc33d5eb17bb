//! How an update looks to whoever ordered it.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use chrono::SecondsFormat;
use ciborium::Value;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::client::body;
use crate::cli::width;
use crate::client::{End, Progress, Update, What, text};
use crate::clock;

/// A bar on a terminal, lines elsewhere, JSON for scripts.
pub(super) struct Display {
    as_json: bool,
    bar: ProgressBar,
    /// What was said last, so that it is not said again.
    said: String,
}

/// Each fits the screen, however narrow: the words give way.
const BAR: &str = "{spinner} {wide_msg} [{bar:16}] {decimal_bytes}/{decimal_total_bytes} {eta}";
const BAR_NARROW: &str = "{spinner} {wide_msg} {percent:>3}% {eta:>4}";
const SPINNER: &str = "{spinner} {wide_msg}";

/// A screen that has room for a bar, columns.
const COLUMNS_WIDE: usize = 72;

impl Display {
    pub(super) fn new(as_json: bool) -> Self {
        let bar = match as_json || !stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => ProgressBar::new_spinner(),
        };
        let display = Self { as_json, bar, said: String::new() };
        display.style(SPINNER);
        display
    }

    /// The device told something.
    pub(super) fn told(&self, what: What, value: &Value) {
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
    pub(super) fn progress(&mut self, progress: &Progress) {
        match progress.bytes() {
            Some((done, expected)) => {
                if self.bar.length() != Some(expected) {
                    self.bar.set_length(expected);
                    let wide = width::columns(&stderr()).is_none_or(|it| it >= COLUMNS_WIDE);
                    self.style(if wide { BAR } else { BAR_NARROW });
                }
                self.bar.set_position(done);
            }
            None if self.bar.length().is_some() => {
                self.bar.unset_length();
                self.style(SPINNER);
            }
            None => {}
        }
        self.say(progress.doing(clock::now().wall));
    }

    /// The device does not answer.
    pub(super) fn silent(&mut self, name: &str) {
        self.say(format!("{name} does not answer; it may be starting anew"));
    }

    /// Something to know before.
    pub(super) fn warning(&self, words: &str) {
        match self.as_json {
            true => println!("{}", json!({ "time": time(), "warning": words })),
            false => eprintln!("freshen: {words}"),
        }
    }

    /// The order was given, and its end is not waited for.
    pub(super) fn ordered(&self, update: &Update, words: &str) {
        self.end();
        if self.as_json {
            let due = update.progress().update_time().map(|due| due.to_rfc3339());
            println!(
                "{}",
                json!({ "time": time(), "ordered": true, "due": due, "outcome": words })
            );
        } else {
            println!("{}: {words}", update.name());
        }
    }

    /// It has ended well.
    pub(super) fn done(&self, update: &Update, end: End, seconds: f32) {
        self.end();
        let progress = update.progress();
        let words = progress.words(end);
        if self.as_json {
            println!(
                "{}",
                json!({
                    "time": time(), "result": progress.result(), "outcome": words,
                    "end": word(end), "installed": progress.has_installed(),
                    "running": progress.running(), "running_before": progress.running_before(),
                })
            );
        } else {
            println!("{}: {words} ({seconds:.1} s)", update.name());
        }
    }

    /// It has not; for people the error says so.
    pub(super) fn failed(&self, update: &Update, reason: &str) {
        self.end();
        if self.as_json {
            let progress = update.progress();
            println!(
                "{}",
                json!({
                    "time": time(), "result": progress.result(), "outcome": reason,
                    "end": "failed", "installed": false, "running": progress.running(),
                    "running_before": progress.running_before(),
                })
            );
        }
    }

    /// Nothing is under way any more, by what the device says.
    pub(super) fn called_off(&self, update: &Update, value: &Value) {
        self.end();
        if self.as_json {
            let payload = body::json(value);
            println!("{}", json!({ "time": time(), "called_off": true, "payload": payload }));
            return;
        }
        let state = crate::client::body::get_text(value, "swupdatestate").unwrap_or("?");
        let state = text::printable(state);
        println!("{}: nothing is under way or waiting now (it is at {state})", update.name());
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

/// For scripts.
fn word(end: End) -> &'static str {
    match end {
        End::Available => "available",
        End::NothingNewer => "nothing_newer",
        End::Ready => "ready",
        End::Installed => "installed",
        End::InstalledUnasked => "installed_unasked",
        End::NothingToDo => "nothing_to_do",
        End::Succeeded => "succeeded",
    }
}

fn time() -> String {
    clock::now().wall.to_rfc3339_opts(SecondsFormat::Millis, true)
}
