//! Where an update stands, from what the device tells: pure, so that every end can be tried.

use chrono::{DateTime, Utc};
use ciborium::Value;

use super::{body, text};

/// What was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Only ask whether there is new software
    Isac,
    /// Download and verify it
    Isvv,
    /// Download, verify and install it
    Upgrade,
}

impl Action {
    /// As `swupdateaction`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Isac => "isac",
            Self::Isvv => "isvv",
            Self::Upgrade => "upgrade",
        }
    }
}

/// What is known of an update.
#[derive(Debug)]
pub(crate) struct Follow {
    ordered: Action,
    /// `swupdatestate`, `swupdateaction`, `swupdateresult`, once they were told after the order.
    state: String,
    action: String,
    result: u64,
    /// The version on offer, the last that was told.
    offered: Option<String>,
    update_time: Option<DateTime<Utc>>,
    status: Status,
}

/// What `/updatestatus` tells beyond OCF's words.
#[derive(Clone, Debug, Default)]
struct Status {
    phase: String,
    running: Option<String>,
    last_error: Option<String>,
    bytes_done: u64,
    bytes_expected: u64,
}

/// How an update stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Under way, or waiting for its time.
    Running,
    /// As ordered.
    Done(String),
    /// Not as ordered.
    Failed(String),
}

impl Follow {
    pub(crate) fn new(ordered: Action) -> Self {
        Self {
            ordered,
            state: String::new(),
            action: ordered.word().to_owned(),
            result: 0,
            offered: None,
            update_time: None,
            status: Status::default(),
        }
    }

    /// A representation of the software update resource, later than the order.
    pub(crate) fn heard_update(&mut self, value: &Value) {
        let text = |key| body::get_text(value, key).map(text::printable);
        if let (Some(state), Some(action)) = (text("swupdatestate"), text("swupdateaction")) {
            self.state = state;
            self.action = action;
        }
        self.result = body::get_number(value, "swupdateresult").unwrap_or(self.result);
        if let Some(offered) = text("nv").filter(|version| !version.is_empty()) {
            self.offered = Some(offered);
        }
        self.update_time = body::get_text(value, "updatetime")
            .and_then(|time| DateTime::parse_from_rfc3339(time).ok())
            .map(|time| time.to_utc());
    }

    /// A representation of `/updatestatus`.
    pub(crate) fn heard_status(&mut self, value: &Value) {
        let text = |key| body::get_text(value, key).map(text::printable);
        self.status = Status {
            phase: text("phase").unwrap_or_default(),
            running: text("running"),
            last_error: text("lasterror"),
            bytes_done: body::get_number(value, "bytesdone").unwrap_or(0),
            bytes_expected: body::get_number(value, "bytesexpected").unwrap_or(0),
        };
        if let Some(offered) = text("offered") {
            self.offered = Some(offered);
        }
    }

    /// The version that runs, where the device tells.
    pub(crate) fn running(&self) -> Option<&str> {
        self.status.running.as_deref()
    }

    /// How it stands. The action goes back to `idle` when nothing is left to do.
    pub(crate) fn standing(&self) -> Standing {
        if self.state.is_empty() || self.action != "idle" {
            return Standing::Running;
        }
        let version = self.offered.as_deref().unwrap_or("new software");
        match (self.ordered, &*self.state, self.result) {
            (_, _, 2..) => Standing::Failed(self.reason()),
            (Action::Upgrade, "idle", 1) => {
                Standing::Done("the device runs the new software".into())
            }
            (Action::Isac, "nsa", _) => Standing::Done(format!("{version} is available")),
            (Action::Isac, "idle", _) => Standing::Done("there is nothing newer".into()),
            (Action::Isvv, "sva", _) => {
                Standing::Done(format!("{version} is downloaded, verified and ready to install"))
            }
            (Action::Isvv, "idle", 1) => {
                Standing::Done("the device has that software already".into())
            }
            (_, "idle", _) => Standing::Failed("somebody called it off".into()),
            _ => Standing::Running,
        }
    }

    /// `swupdateresult`, in words, and in the device's own if it has any.
    fn reason(&self) -> String {
        let reason = format!("{} (result {})", text::result(self.result), self.result);
        match &self.status.last_error {
            Some(detail) => format!("{reason}\n  the device says: {detail}"),
            None => reason,
        }
    }

    /// `swupdateresult`.
    pub(crate) fn result(&self) -> u64 {
        self.result
    }

    /// What goes on, for a person.
    pub(crate) fn doing(&self, now: DateTime<Utc>) -> String {
        let version = self.offered.as_deref().unwrap_or("the new software");
        let by_phase = match &*self.status.phase {
            "checking" => "looking for new software".to_owned(),
            "available" => format!("{version} is available"),
            "fetching" => format!("downloading {version}"),
            "staged" => format!("{version} is downloaded and verified"),
            "installing" => format!("installing {version}"),
            "switching" => format!("switching to {version}"),
            "trial" => format!("{version} is on trial"),
            "confirming" => format!("{version} has proved itself"),
            "rolling back" => "going back to the old software".to_owned(),
            _ => String::new(),
        };
        if !by_phase.is_empty() {
            return by_phase;
        }
        match (&*self.state, self.update_time) {
            ("idle", Some(time)) if time > now => format!("waiting until {}", time.to_rfc3339()),
            ("nsa", _) => format!("{version} is available"),
            ("svv", _) => format!("downloading and verifying {version}"),
            ("sva", _) => format!("{version} is downloaded and verified"),
            ("upgrading", _) => format!("installing {version}"),
            _ => "the device has begun".to_owned(),
        }
    }

    /// Bytes done and expected, while that is what goes on.
    pub(crate) fn bytes(&self) -> Option<(u64, u64)> {
        let moving = matches!(&*self.status.phase, "fetching" | "installing");
        (moving && self.status.bytes_expected > 0)
            .then_some((self.status.bytes_done, self.status.bytes_expected))
    }

    /// Whether the device has nothing to tell before that time.
    pub(crate) fn waits(&self, now: DateTime<Utc>) -> bool {
        self.state == "idle" && self.update_time.is_some_and(|time| time > now)
    }
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;

    use super::*;

    fn told(ordered: Action, steps: &[(&str, &str, u64)]) -> Follow {
        let mut follow = Follow::new(ordered);
        for (state, action, result) in steps {
            let value = cbor!({
                "purl" => "https://x/y", "nv" => "1.1.0", "swupdatestate" => *state,
                "swupdateaction" => *action, "swupdateresult" => *result,
                "updatetime" => "2030-01-09T14:30:00Z"
            });
            follow.heard_update(&value.unwrap());
        }
        follow
    }

    #[test]
    fn an_upgrade_runs_until_the_device_is_idle_again() {
        let steps = [
            ("idle", "upgrade", 0),
            ("nsa", "upgrade", 0),
            ("svv", "upgrade", 0),
            ("sva", "upgrade", 0),
            ("upgrading", "upgrade", 0),
        ];
        for n in 0..=steps.len() {
            assert_eq!(told(Action::Upgrade, &steps[..n]).standing(), Standing::Running);
        }
        let done = told(Action::Upgrade, &[("upgrading", "upgrade", 0), ("idle", "idle", 1)]);
        assert!(matches!(done.standing(), Standing::Done(_)));
    }

    #[test]
    fn every_failure_has_a_reason() {
        for result in [2, 3, 4, 5, 6, 7, 8, 404, 503] {
            let mut follow = told(Action::Upgrade, &[("idle", "idle", result)]);
            let status = cbor!({"phase" => "idle", "lasterror" => "the digest\x1b differs"});
            follow.heard_status(&status.unwrap());
            let Standing::Failed(reason) = follow.standing() else { panic!("{result}") };
            assert!(reason.contains(&format!("(result {result})")), "{reason}");
            assert!(reason.contains("the device says: the digest\u{fffd} differs"), "{reason}");
        }
        let off = told(Action::Upgrade, &[("svv", "upgrade", 0), ("idle", "idle", 0)]);
        assert_eq!(off.standing(), Standing::Failed("somebody called it off".into()));
    }

    #[test]
    fn lesser_orders_end_where_they_should() {
        let end = |ordered, state, result| told(ordered, &[(state, "idle", result)]).standing();
        assert_eq!(end(Action::Isac, "nsa", 0), Standing::Done("1.1.0 is available".into()));
        assert_eq!(end(Action::Isac, "idle", 0), Standing::Done("there is nothing newer".into()));
        assert!(matches!(end(Action::Isvv, "sva", 1), Standing::Done(_)));
        assert!(matches!(end(Action::Isvv, "idle", 0), Standing::Failed(_)));
        assert!(matches!(end(Action::Isac, "idle", 404), Standing::Failed(_)));
    }

    #[test]
    fn progress_is_shown_in_the_devices_words_where_it_has_any() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut follow = told(Action::Upgrade, &[("idle", "upgrade", 0)]);
        assert!(follow.doing(now).starts_with("waiting until 2030") && follow.waits(now));
        let mut follow_now = told(Action::Upgrade, &[("svv", "upgrade", 0)]);
        assert_eq!(follow_now.doing(now), "downloading and verifying 1.1.0");
        let status = cbor!({"phase" => "fetching", "offered" => "1.2.0", "running" => "1.0.0",
                            "bytesdone" => 5, "bytesexpected" => 10});
        follow_now.heard_status(&status.unwrap());
        assert_eq!(follow_now.doing(now), "downloading 1.2.0");
        assert_eq!(follow_now.bytes(), Some((5, 10)));
        assert_eq!(follow_now.running(), Some("1.0.0"));
        follow.heard_status(&cbor!({"phase" => "trial", "bytesexpected" => 10}).unwrap());
        assert_eq!(follow.bytes(), None);
    }
}
