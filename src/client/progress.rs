//! Where an update stands, from what the device tells and from nothing else: pure, so that every end
//! can be tried.
//!
//! A device that says "success" need not have installed anything, and one that was asked only to look
//! may install all the same (IoTivity-Lite's server does). So what was *seen* is kept apart from what
//! was asked for.

use chrono::{DateTime, TimeDelta, Utc};
use ciborium::Value;

use super::{body, text};

/// What is ordered (`swupdateaction`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Only to ask whether there is new software.
    Isac,
    /// To download and verify it.
    Isvv,
    /// To download, verify and install it.
    Upgrade,
}

impl Action {
    /// As `swupdateaction`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Isac => "isac",
            Self::Isvv => "isvv",
            Self::Upgrade => "upgrade",
        }
    }
}

/// What is known of an update.
#[derive(Debug)]
pub struct Progress {
    ordered: Action,
    /// What the device said before the order.
    before: Before,
    /// `swupdatestate`, `swupdateaction`, `swupdateresult`, once they were told after the order.
    state: String,
    action: String,
    result: u64,
    /// `lastupdate`: when the device changed its software last.
    last_update: Option<String>,
    /// The version on offer, the last that was told.
    offered: Option<String>,
    update_time: Option<DateTime<Utc>>,
    status: Status,
    /// Whether the device was seen at installing.
    was_upgrading: bool,
    /// Whether the device was seen at anything.
    has_begun: bool,
    /// How far the device's clock is ahead of ours, where it tells.
    clock_ahead: Option<TimeDelta>,
}

/// What counts as news is what differs from this.
#[derive(Clone, Debug, Default)]
struct Before {
    version: Option<String>,
    last_update: Option<String>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Under way, or waiting for its time.
    Running,
    /// It has ended well.
    Done(End),
    /// Not as ordered; why, in words.
    Failed(String),
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is new software.
    Available,
    /// The device reports nothing new.
    NothingNewer,
    /// New software is on the device and valid.
    Ready,
    /// The device was seen to install what was ordered.
    Installed,
    /// The device installed, although it was asked for less.
    InstalledUnasked,
    /// The device says success and has changed nothing.
    NothingToDo,
    /// The device says success, and whether it has changed anything cannot be seen.
    Succeeded,
}

impl Progress {
    /// Of an order that is about to be given.
    pub fn new(ordered: Action) -> Self {
        Self {
            ordered,
            before: Before::default(),
            state: String::new(),
            action: ordered.word().to_owned(),
            result: 0,
            last_update: None,
            offered: None,
            update_time: None,
            status: Status::default(),
            was_upgrading: false,
            has_begun: false,
            clock_ahead: None,
        }
    }

    /// A representation of the software update resource from before the order.
    pub fn was_update(&mut self, value: &Value) {
        self.before.last_update = body::get_text(value, "lastupdate").map(text::printable);
    }

    /// The version that runs before the order, by the device's description or its status.
    pub fn was_running(&mut self, version: Option<String>) {
        self.before.version = version.or(self.before.version.take());
    }

    /// How far the device's clock is ahead of ours.
    pub fn set_clock(&mut self, ahead: TimeDelta) {
        self.clock_ahead = Some(ahead);
    }

    /// A representation of the software update resource, later than the order.
    pub fn heard_update(&mut self, value: &Value) {
        let text = |key| body::get_text(value, key).map(text::printable);
        if let (Some(state), Some(action)) = (text("swupdatestate"), text("swupdateaction")) {
            self.was_upgrading |= state == "upgrading";
            self.has_begun |= state != "idle";
            self.state = state;
            self.action = action;
        }
        self.result = body::get_number(value, "swupdateresult").unwrap_or(self.result);
        self.last_update = text("lastupdate").or(self.last_update.take());
        if let Some(offered) = text("nv").filter(|version| !version.is_empty()) {
            self.offered = Some(offered);
        }
        self.update_time = body::get_text(value, "updatetime")
            .and_then(|time| DateTime::parse_from_rfc3339(time).ok())
            .map(|time| time.to_utc());
    }

    /// A representation of `/updatestatus`, later than the order.
    pub fn heard_status(&mut self, value: &Value) {
        let text = |key| body::get_text(value, key).map(text::printable);
        self.status = Status {
            phase: text("phase").unwrap_or_default(),
            running: text("running").or(self.status.running.take()),
            last_error: text("lasterror"),
            bytes_done: body::get_number(value, "bytesdone").unwrap_or(0),
            bytes_expected: body::get_number(value, "bytesexpected").unwrap_or(0),
        };
        self.was_upgrading |=
            matches!(&*self.status.phase, "installing" | "switching" | "trial" | "confirming");
        self.has_begun |= !matches!(&*self.status.phase, "" | "idle");
        if let Some(offered) = text("offered") {
            self.offered = Some(offered);
        }
    }

    /// The version that runs now, by the device's description.
    pub fn heard_running(&mut self, version: Option<String>) {
        self.status.running = version.or(self.status.running.take());
    }

    /// The version that runs, where the device tells.
    pub fn running(&self) -> Option<&str> {
        self.status.running.as_deref()
    }

    /// The version that ran before the order, where the device told.
    pub fn running_before(&self) -> Option<&str> {
        self.before.version.as_deref()
    }

    /// Whether the device was seen to change its software: at it, or by what it tells of itself.
    pub fn has_installed(&self) -> bool {
        let changed = |before: &Option<String>, now: &Option<String>| match (before, now) {
            (Some(before), Some(now)) => before != now,
            _ => false,
        };
        self.was_upgrading
            || changed(&self.before.last_update, &self.last_update)
            || changed(&self.before.version, &self.status.running)
    }

    /// How it stands. The action goes back to `idle` when nothing is left to do.
    pub fn standing(&self) -> Standing {
        if self.state.is_empty() || self.action != "idle" {
            return Standing::Running;
        }
        // Without a date of its last change a device can have changed unseen.
        let tells = self.before.last_update.is_some() && self.last_update.is_some();
        match (self.ordered, &*self.state, self.result) {
            (_, _, 2..) => Standing::Failed(self.reason()),
            (Action::Upgrade, "idle", 1) if self.has_installed() => Standing::Done(End::Installed),
            (Action::Isac | Action::Isvv, "idle", _) if self.has_installed() => {
                Standing::Done(End::InstalledUnasked)
            }
            (Action::Upgrade | Action::Isvv, "idle", 1) if tells => {
                Standing::Done(End::NothingToDo)
            }
            (_, "idle", 1) => Standing::Done(End::Succeeded),
            (Action::Isac, "nsa", _) => Standing::Done(End::Available),
            (Action::Isac, "idle", _) => Standing::Done(End::NothingNewer),
            (Action::Isvv, "sva", _) => Standing::Done(End::Ready),
            (_, "idle" | "nsa" | "sva", _) => Standing::Failed(
                "the device has stopped and gives no reason; somebody may have called it off"
                    .into(),
            ),
            _ => Standing::Running,
        }
    }

    /// How it ended, for a person.
    pub fn words(&self, end: End) -> String {
        let version = self.offered.as_deref().unwrap_or("new software");
        let running = self.running();
        match end {
            End::Available => format!("{version} is available"),
            End::NothingNewer => "the device reports nothing newer".into(),
            End::Ready => format!("{version} is downloaded, verified and ready to install"),
            End::Installed => match (self.running_before(), running) {
                (Some(before), Some(now)) if before != now => {
                    format!("the device runs {now} now, {before} before")
                }
                (_, Some(now)) => format!("the device has installed it and runs {now}"),
                _ => "the device says that it has installed it".into(),
            },
            End::InstalledUnasked => {
                let runs = running.map(|now| format!(" and runs {now}")).unwrap_or_default();
                let asked = self.ordered.word();
                format!("the device was asked for {asked} only, but it has installed{runs}")
            }
            End::NothingToDo => match running {
                Some(now) => format!("nothing to do, already {now}"),
                None => "nothing to do, the device has that software already".into(),
            },
            End::Succeeded => match (self.running_before(), running) {
                (Some(before), Some(now)) if before == now => {
                    format!("the device says success; it runs {now}, as before")
                }
                _ => "the device says success".into(),
            },
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
    pub fn result(&self) -> u64 {
        self.result
    }

    /// What goes on, for a person.
    pub fn doing(&self, now: DateTime<Utc>) -> String {
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
            _ if self.action == "idle" => "nothing is under way".to_owned(),
            ("idle", Some(time)) if self.waits(now) => {
                format!("waiting until {}", time.to_rfc3339())
            }
            ("nsa", _) => format!("{version} is available"),
            ("svv", _) => format!("downloading and verifying {version}"),
            ("sva", _) => format!("{version} is downloaded and verified"),
            ("upgrading", _) => format!("installing {version}"),
            _ if self.has_begun => "the device is at work".to_owned(),
            _ => "the device has the order and has not begun".to_owned(),
        }
    }

    /// Bytes done and expected, while that is what goes on.
    pub fn bytes(&self) -> Option<(u64, u64)> {
        let moving = matches!(&*self.status.phase, "fetching" | "installing");
        (moving && self.status.bytes_expected > 0)
            .then_some((self.status.bytes_done, self.status.bytes_expected))
    }

    /// Whether the device has nothing to tell before its time has come.
    pub fn waits(&self, now: DateTime<Utc>) -> bool {
        self.begins_in(now).is_some_and(|wait| wait > TimeDelta::zero())
    }

    /// How long the device is going to wait, by its own clock where it tells its time; none once it has
    /// begun.
    pub fn begins_in(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let theirs = now + self.clock_ahead.unwrap_or_default();
        let waits = self.state == "idle" && self.action != "idle" && self.status_is_idle();
        self.update_time.filter(|_| waits).map(|time| time - theirs)
    }

    fn status_is_idle(&self) -> bool {
        matches!(&*self.status.phase, "" | "idle")
    }

    /// When the order is due, as the device gives it back.
    pub fn update_time(&self) -> Option<DateTime<Utc>> {
        self.update_time
    }

    /// Whether nothing of anybody is under way or waiting any more.
    pub fn is_called_off(&self) -> bool {
        self.action == "idle"
            && matches!(&*self.state, "idle" | "nsa" | "sva")
            && matches!(&*self.status.phase, "" | "idle" | "available" | "staged")
    }
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;

    use super::*;

    fn update(state: &str, action: &str, result: u64) -> Value {
        cbor!({
            "purl" => "https://x/y", "nv" => "1.1.0", "swupdatestate" => state,
            "swupdateaction" => action, "swupdateresult" => result,
            "updatetime" => "2030-01-09T14:30:00Z"
        })
        .unwrap()
    }

    fn told(ordered: Action, steps: &[(&str, &str, u64)]) -> Progress {
        let mut progress = Progress::new(ordered);
        for (state, action, result) in steps {
            progress.heard_update(&update(state, action, *result));
        }
        progress
    }

    fn changed_last(time: &str) -> Value {
        cbor!({"lastupdate" => time}).unwrap()
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
        assert_eq!(done.standing(), Standing::Done(End::Installed));
    }

    #[test]
    fn new_software_is_said_to_run_only_where_that_was_seen() {
        let mut done = told(Action::Upgrade, &[("idle", "upgrade", 0), ("idle", "idle", 1)]);
        assert_eq!(done.standing(), Standing::Done(End::Succeeded));
        assert_eq!(done.words(End::Succeeded), "the device says success");
        done.was_running(Some("1.2.0".into()));
        done.heard_running(Some("1.2.0".into()));
        assert!(done.words(End::Succeeded).contains("it runs 1.2.0, as before"));
        // A device that tells when it changed last has not changed if that has not.
        done.was_update(&changed_last("2026-01-01T00:00:00Z"));
        done.heard_update(&changed_last("2026-01-01T00:00:00Z"));
        assert_eq!(done.standing(), Standing::Done(End::NothingToDo));
        assert_eq!(done.words(End::NothingToDo), "nothing to do, already 1.2.0");
        // And one whose date has changed has, however quick it was.
        done.heard_update(&changed_last("2026-01-02T00:00:00Z"));
        assert_eq!(done.standing(), Standing::Done(End::Installed));
        assert_eq!(done.words(End::Installed), "the device has installed it and runs 1.2.0");
        done.heard_running(Some("1.3.0".into()));
        assert_eq!(done.words(End::Installed), "the device runs 1.3.0 now, 1.2.0 before");
    }

    #[test]
    fn a_device_that_was_asked_to_look_and_installed_is_not_said_to_have_nothing_newer() {
        let steps = [("nsa", "isac", 0), ("upgrading", "isac", 0), ("idle", "idle", 1)];
        for result in [0, 1] {
            let mut progress = told(Action::Isac, &steps[..2]);
            progress.heard_update(&update("idle", "idle", result));
            assert_eq!(progress.standing(), Standing::Done(End::InstalledUnasked));
            let words = progress.words(End::InstalledUnasked);
            assert!(words.contains("asked for isac only, but it has installed"), "{words}");
        }
        // Nothing of it was seen but the end.
        let mut quick = told(Action::Isac, &[("idle", "idle", 1)]);
        assert_eq!(quick.standing(), Standing::Done(End::Succeeded));
        quick.was_running(Some("1.0.0".into()));
        quick.heard_running(Some("1.1.0".into()));
        assert_eq!(quick.standing(), Standing::Done(End::InstalledUnasked));
    }

    #[test]
    fn every_failure_has_a_reason() {
        for result in [2, 3, 4, 5, 6, 7, 8, 404, 503] {
            let mut progress = told(Action::Upgrade, &[("idle", "idle", result)]);
            let status = cbor!({"phase" => "idle", "lasterror" => "the digest\x1b differs"});
            progress.heard_status(&status.unwrap());
            let Standing::Failed(reason) = progress.standing() else { panic!("{result}") };
            assert!(reason.contains(&format!("(result {result})")), "{reason}");
            assert!(reason.contains("the device says: the digest\u{fffd} differs"), "{reason}");
        }
        for state in ["idle", "nsa", "sva"] {
            let off = told(Action::Upgrade, &[("svv", "upgrade", 0), (state, "idle", 0)]);
            let Standing::Failed(reason) = off.standing() else { panic!("{state}") };
            assert!(reason.contains("gives no reason"), "{reason}");
            assert!(off.is_called_off(), "{state}");
        }
    }

    #[test]
    fn lesser_orders_end_where_they_should() {
        let end = |ordered, state, result| told(ordered, &[(state, "idle", result)]).standing();
        assert_eq!(end(Action::Isac, "nsa", 0), Standing::Done(End::Available));
        assert_eq!(end(Action::Isac, "idle", 0), Standing::Done(End::NothingNewer));
        assert_eq!(end(Action::Isvv, "sva", 1), Standing::Done(End::Ready));
        assert!(matches!(end(Action::Isvv, "idle", 0), Standing::Failed(_)));
        assert!(matches!(end(Action::Isac, "idle", 404), Standing::Failed(_)));
    }

    #[test]
    fn nothing_is_said_to_have_begun_before_the_device_says_so() {
        let now = "2031-01-01T00:00:00Z".parse().unwrap();
        let mut progress = told(Action::Upgrade, &[("idle", "upgrade", 0)]);
        // By our clock its time has come; by its own, which stands at 1970, it has not.
        assert_eq!(progress.doing(now), "the device has the order and has not begun");
        progress.set_clock(TimeDelta::days(-61 * 365));
        assert!(progress.waits(now));
        assert!(progress.doing(now).starts_with("waiting until 2030"), "{}", progress.doing(now));
        assert!(progress.begins_in(now).unwrap() > TimeDelta::days(50 * 365));
        progress.heard_status(&cbor!({"phase" => "checking"}).unwrap());
        assert_eq!(progress.doing(now), "looking for new software");
        progress.heard_status(&cbor!({"phase" => "idle"}).unwrap());
        progress.set_clock(TimeDelta::zero());
        assert_eq!(progress.doing(now), "the device is at work");
    }

    #[test]
    fn progress_is_shown_in_the_devices_words_where_it_has_any() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut progress = told(Action::Upgrade, &[("idle", "upgrade", 0)]);
        assert!(progress.doing(now).starts_with("waiting until 2030") && progress.waits(now));
        let mut running = told(Action::Upgrade, &[("svv", "upgrade", 0)]);
        assert_eq!(running.doing(now), "downloading and verifying 1.1.0");
        let status = cbor!({"phase" => "fetching", "offered" => "1.2.0", "running" => "1.0.0",
                            "bytesdone" => 5, "bytesexpected" => 10});
        running.heard_status(&status.unwrap());
        assert_eq!(running.doing(now), "downloading 1.2.0");
        assert_eq!(running.bytes(), Some((5, 10)));
        assert_eq!(running.running(), Some("1.0.0"));
        progress.heard_status(&cbor!({"phase" => "trial", "bytesexpected" => 10}).unwrap());
        assert_eq!(progress.bytes(), None);
    }
}
