//! What the configuration lets the engine do. Rules are asked anew at every step and keep nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Failure, FailureKind, Offer, State, Window};
use crate::source;

/// The rules of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The URL that an empty source stands for.
    pub builtin_url: Option<String>,
    /// Which other URLs packages may come from.
    pub sources: source::Policy,
    /// The longest source, characters.
    pub source_chars_max: usize,
    /// How many times new software may be started before it has proved itself, 1 or more.
    pub tries: u8,
    /// How many times the device may start anew during one job before it is given up: a package that
    /// crashes the agent must not do so for ever.
    pub restarts_max: u16,
    /// How long new software has to prove itself.
    pub confirm_timeout: Duration,
    /// When software may be installed; always where there is none.
    pub window: Option<Window>,
    /// How long an order waits for the device to be free once its time has come.
    pub lateness_max: Duration,
}

impl Rules {
    /// The URL that a source stands for; `None` when it is empty and there is no built-in one.
    pub fn resolve(&self, source: &str) -> Option<String> {
        if source.is_empty() { self.builtin_url.clone() } else { Some(source.to_owned()) }
    }

    /// Whether two sources are one: the built-in URL may be said in full.
    pub fn is_same_source(&self, one: &str, other: &str) -> bool {
        one == other || self.resolve(one) == self.resolve(other)
    }

    /// Judges a source before an order for it is taken. The configuration vouches for the built-in one.
    ///
    /// # Errors
    ///
    /// What a job would fail with.
    pub fn judge_source(&self, source: &str) -> Result<(), Failure> {
        if source.is_empty() {
            return self.resolve(source).map(drop).ok_or_else(Failure::no_source);
        }
        let length = source.chars().count();
        if length > self.source_chars_max {
            let most = self.source_chars_max;
            let detail = format!("the URL has {length} characters; this device takes {most}");
            return Err(Failure::new(FailureKind::BadUrl, detail));
        }
        source::judge(source, &self.sources).map(drop).map_err(|refusal| {
            let kind = match refusal {
                source::Refusal::BadUrl { .. } => FailureKind::BadUrl,
                source::Refusal::UnsupportedScheme(_) => FailureKind::UnsupportedScheme,
                source::Refusal::HostNotAllowed(_) => FailureKind::SourceRefused,
            };
            Failure::new(kind, refusal)
        })
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            builtin_url: None,
            sources: source::Policy::default(),
            source_chars_max: 64,
            tries: 3,
            restarts_max: 1000,
            confirm_timeout: Duration::from_secs(120),
            window: None,
            lateness_max: Duration::from_secs(3600),
        }
    }
}

/// What a verified package is to this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is newer than all the device has confirmed.
    Newer,
    /// It is what the device has confirmed last.
    Same,
    /// It must not be installed.
    Refused(Failure),
}

/// Judges an offer against what the device has confirmed, and the time (RFC 9124: rollback and freeze).
pub fn judge(offer: &Offer, state: &State, wall: DateTime<Utc>) -> Verdict {
    let Offer { version, sequence, epoch, .. } = offer;
    let time = state.time(wall);
    if let Some(end) = offer.use_before.filter(|end| time >= *end) {
        let detail = format!("package {version} was to be used before {end}");
        return refused(FailureKind::Expired, detail);
    }
    if let Some(end) = offer.trusted_until.filter(|end| time >= *end) {
        let detail = format!("the trust set expired on {end}; the vendor has to make the next one");
        return refused(FailureKind::Expired, detail);
    }
    if let Some(floor) = &state.floor {
        if offer.package == floor.package {
            return Verdict::Same;
        }
        if (*epoch, *sequence) <= (floor.epoch, floor.sequence) {
            let floor = floor.sequence;
            let detail = format!(
                "package {version} has sequence number {sequence}, the device has confirmed {floor} already"
            );
            return refused(FailureKind::OlderSequence, detail);
        }
    }
    if let Some(failed) = state.failed.iter().find(|failed| failed.package == offer.package) {
        let detail = format!(
            "package {version} failed on this device before; it takes a newer one, or a person who \
             puts a file `retry` into the state directory and starts the device anew"
        );
        return refused(failed.kind, detail);
    }
    let running = &state.running.version;
    if let Some(unmet) = offer.requires.iter().find(|required| !required.holds(running)) {
        let detail = format!("package {version} is for devices that run {unmet}, not {running}");
        return refused(FailureKind::WrongVersion, detail);
    }
    Verdict::Newer
}

fn refused(kind: FailureKind, detail: String) -> Verdict {
    Verdict::Refused(Failure::new(kind, detail))
}
