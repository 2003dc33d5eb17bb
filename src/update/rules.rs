//! What the configuration lets the engine do. Rules are asked anew at every step and keep nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Window;
use super::{Failure, FailureKind, Floor, Offer};

/// The rules of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The URL that an empty source stands for.
    pub builtin_url: Option<String>,
    /// How many times new software may be started before it has proved itself, 1 or more.
    pub tries: u8,
    /// How many times the device may start anew during one job before it is given up: a package that
    /// crashes the agent must not do so for ever.
    pub restarts_max: u16,
    /// How long new software has to prove itself.
    pub confirm_timeout: Duration,
    /// When software may be installed; always where there is none.
    pub window: Option<Window>,
}

impl Rules {
    /// The URL that a source stands for; `None` when it is empty and there is no built-in one.
    pub fn resolve(&self, source: &str) -> Option<String> {
        if source.is_empty() { self.builtin_url.clone() } else { Some(source.to_owned()) }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            builtin_url: None,
            tries: 3,
            restarts_max: 1000,
            confirm_timeout: Duration::from_secs(120),
            window: None,
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

/// Judges an offer against the floor and the time (RFC 9124: rollback and freeze).
pub fn judge(offer: &Offer, floor: Option<&Floor>, wall: DateTime<Utc>) -> Verdict {
    if let Some(end) = offer.use_before.filter(|end| wall >= *end) {
        let detail = format!("package {} was to be used before {end}", offer.version);
        return Verdict::Refused(Failure::new(FailureKind::Expired, detail));
    }
    let Some(floor) = floor else { return Verdict::Newer };
    if offer.sequence > floor.sequence {
        Verdict::Newer
    } else if offer.sequence == floor.sequence && offer.package == floor.package {
        Verdict::Same
    } else {
        let detail = format!(
            "package {} has sequence number {}, the device has confirmed {} already",
            offer.version, offer.sequence, floor.sequence
        );
        Verdict::Refused(Failure::new(FailureKind::OlderSequence, detail))
    }
}
