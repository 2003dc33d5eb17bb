//! One update on one device, from pending to its end: what each phase makes of what happens.
//!
//! An update is completed only when the device was *seen* to run what was ordered. A device that
//! reports success without that is `verifying`, until an inventory says so, or shows the old version
//! again, or the time is up.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::{Class, Failure};
use super::time::Time;
use super::words::PackageId;

/// Where an update stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not begun, or begins again later.
    Pending,
    /// The device is at it.
    InFlight(Phase),
    /// The device was seen to run it.
    Completed,
    /// It came to nothing.
    Failed(Failure),
    /// Nobody wants it any more.
    Cancelled(By),
}

/// How far a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was told, and has not begun to fetch.
    Notified,
    /// It fetches.
    Downloading,
    /// It has everything, and waits for its window or for a person.
    Downloaded,
    /// It installs.
    Installing,
    /// It says that it is done, and was not seen to run it yet.
    Verifying,
}

/// Who cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The campaign, before the device had begun.
    Campaign,
    /// A person, this one update; the device may have been at it, and what it says last counts.
    Force,
}

/// Which of the five counts an update is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// [`State::Pending`]
    Pending,
    /// [`State::InFlight`]
    InFlight,
    /// [`State::Completed`]
    Completed,
    /// [`State::Failed`]
    Failed,
    /// [`State::Cancelled`]
    Cancelled,
}

/// An update of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// What it is to run.
    pub ordered: PackageId,
    /// Where it stands.
    pub state: State,
    /// How often it was begun.
    pub attempts: u32,
    /// It does not begin again before this.
    pub not_before: Option<Time>,
    /// When something was last heard about it.
    pub heard: Time,
}

/// Something that happened to an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The device was told about it.
    Notified,
    /// The device begins, or goes on, to fetch it.
    Started,
    /// Bytes were fetched: a sign of life.
    Fetched,
    /// It waits for its campaign, which is paused or outside its windows: that is not silence.
    Held,
    /// The device has everything and checked it.
    Downloaded,
    /// The device installs it.
    Installing,
    /// Somebody on the device said no.
    Declined(String),
    /// The device says that it is done, and what it runs after its restart.
    Succeeded(BTreeSet<PackageId>),
    /// The device says why it is not.
    Failed(Failure),
    /// What the device runs, said for another reason.
    Running(BTreeSet<PackageId>),
    /// Time went by.
    Tick,
    /// Its interval is over.
    Expire,
    /// The campaign is cancelled.
    Cancel,
    /// This update is to end now.
    ForceCancel,
    /// A person wants it to be tried again.
    Retry,
}

/// How a campaign wants its updates done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// What is asked of the device and its user.
    pub mode: Mode,
    /// Whether a device that runs the version gets it again.
    pub reinstall: bool,
    /// How long nothing may be heard of a device that is at it, in milliseconds.
    pub silence_ms: u64,
    /// What is tried again by itself.
    pub retries: Vec<Retry>,
}

/// What is asked of a device and its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The device installs it when the campaign says so.
    #[default]
    Forced,
    /// The device, or its user, says when.
    Soft,
    /// The device fetches it and keeps it; nothing is installed.
    DownloadOnly,
}

/// How failures of one class are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Which failures.
    pub class: Class,
    /// How often an update may be begun in all.
    pub attempts: u32,
    /// How long to wait after the first failure, in milliseconds; twice as long after each further one.
    pub first_ms: u64,
    /// The longest wait, in milliseconds.
    pub most_ms: u64,
}

impl Retry {
    /// How long to wait before the attempt after this many.
    fn wait(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(40);
        Duration::from_millis(
            (self.first_ms << doublings.min(self.first_ms.leading_zeros())).min(self.most_ms),
        )
    }
}

impl Default for Rules {
    /// Forced, no retries, a week of silence.
    fn default() -> Self {
        let week = Duration::from_secs(7 * 86_400);
        Self {
            mode: Mode::Forced,
            reinstall: false,
            silence_ms: week.as_millis() as u64,
            retries: vec![],
        }
    }
}

/// Whether the campaign can still pay for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// It can.
    Left,
    /// Its budget is spent.
    Spent,
}

/// What follows from an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The update as it is now.
    pub next: Update,
    /// What is to be done once that is on disk.
    pub effects: Vec<Effect>,
}

/// Something to be done in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Its address for the download is good no more.
    RevokeAddress,
    /// The device is to be told to leave it.
    TellIdle,
    /// The campaign's budget paid for a retry.
    Retried,
    /// The device is free for what comes next.
    OfferNext,
}

/// Why an input changes nothing and is no repetition either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A device reports on what it never began.
    #[error("this update has not begun on the device")]
    NotBegun,
    /// It is over.
    #[error("this update is over: it {0}")]
    Over(&'static str),
    /// Only failed updates are tried again.
    #[error("only an update that failed can be tried again")]
    NotFailed,
}

impl State {
    /// Which of the five counts it is in.
    pub fn count(&self) -> Count {
        match self {
            Self::Pending => Count::Pending,
            Self::InFlight(_) => Count::InFlight,
            Self::Completed => Count::Completed,
            Self::Failed(_) => Count::Failed,
            Self::Cancelled(_) => Count::Cancelled,
        }
    }

    fn over(&self) -> Refusal {
        Refusal::Over(match self {
            Self::Completed => "is completed",
            Self::Failed(_) => "failed",
            _ => "was cancelled",
        })
    }
}

impl Update {
    /// An update that waits.
    pub fn new(ordered: PackageId, now: Time) -> Self {
        Self { ordered, state: State::Pending, attempts: 0, not_before: None, heard: now }
    }

    fn runs(&self, running: &BTreeSet<PackageId>) -> bool {
        running.contains(&self.ordered)
    }

    /// Whether another version of the ordered package runs, and the ordered one does not.
    fn runs_another(&self, running: &BTreeSet<PackageId>) -> bool {
        !self.runs(running) && running.iter().any(|package| package.name == self.ordered.name)
    }
}

/// What an update makes of an input. A repetition gives the same update again, without effects: a
/// report may come twice.
///
/// # Errors
///
/// A [`Refusal`] when the input does not belong to where the update stands.
pub fn step(
    update: &Update,
    input: &Input,
    rules: &Rules,
    budget: Budget,
    now: Time,
) -> Result<Step, Refusal> {
    Transition { update, rules, budget, now }.step(input)
}

struct Transition<'a> {
    update: &'a Update,
    rules: &'a Rules,
    budget: Budget,
    now: Time,
}

impl Transition<'_> {
    fn step(&self, input: &Input) -> Result<Step, Refusal> {
        match &self.update.state {
            State::Pending => self.pending(input),
            State::InFlight(phase) => self.in_flight(*phase, input),
            State::Completed => self.completed(input),
            State::Failed(failure) => self.failed(failure, input),
            State::Cancelled(by) => self.cancelled(*by, input),
        }
    }

    fn pending(&self, input: &Input) -> Result<Step, Refusal> {
        match input {
            Input::Notified => Ok(self.begin(Phase::Notified)),
            Input::Started => Ok(self.begin(Phase::Downloading)),
            Input::Declined(text) => {
                Ok(self.fail(Failure::declined(text), vec![Effect::OfferNext]))
            }
            // Somebody else installed it: there is nothing left to do.
            Input::Running(running) | Input::Succeeded(running)
                if self.update.runs(running) && !self.rules.reinstall =>
            {
                Ok(self.to(State::Completed, vec![Effect::OfferNext]))
            }
            Input::Expire => Ok(self.fail(Failure::expired(), vec![])),
            Input::Cancel => Ok(self.to(State::Cancelled(By::Campaign), vec![])),
            Input::ForceCancel => {
                Ok(self
                    .to(State::Cancelled(By::Force), vec![Effect::RevokeAddress, Effect::TellIdle]))
            }
            Input::Running(_) | Input::Tick | Input::Held => Ok(self.same()),
            Input::Retry => Err(Refusal::NotFailed),
            Input::Fetched
            | Input::Downloaded
            | Input::Installing
            | Input::Succeeded(_)
            | Input::Failed(_) => Err(Refusal::NotBegun),
        }
    }

    fn in_flight(&self, phase: Phase, input: &Input) -> Result<Step, Refusal> {
        match input {
            Input::Notified => Ok(self.same()),
            Input::Started => Ok(self.forward(phase, Phase::Downloading)),
            Input::Fetched if phase < Phase::Downloading => {
                Ok(self.to(State::InFlight(Phase::Downloading), vec![]))
            }
            // A write for each sign of life would be many: one in a while is enough.
            Input::Fetched | Input::Held if self.was_heard_lately() => Ok(self.same()),
            Input::Fetched if phase == Phase::Downloading => {
                Ok(self.to(State::InFlight(phase), vec![]))
            }
            Input::Held if phase == Phase::Downloaded => {
                Ok(self.to(State::InFlight(phase), vec![]))
            }
            // A device that goes on to fetch what it has does not put off its end.
            Input::Fetched | Input::Held => Ok(self.same()),
            Input::Downloaded if self.rules.mode == Mode::DownloadOnly => {
                Ok(self.end(State::Completed))
            }
            Input::Downloaded => Ok(self.forward(phase, Phase::Downloaded)),
            Input::Installing => Ok(self.forward(phase, Phase::Installing)),
            Input::Declined(text) => Ok(self.end(State::Failed(Failure::declined(text)))),
            Input::Succeeded(running) if self.update.runs(running) => {
                Ok(self.end(State::Completed))
            }
            Input::Succeeded(_) => Ok(self.forward(phase, Phase::Verifying)),
            Input::Failed(failure) => Ok(self.stumble(failure.clone())),
            Input::Running(running) => Ok(self.running(phase, running)),
            Input::Tick if self.is_silent() => Ok(self.stumble(Failure::timed_out())),
            // It is on its way, and allowed to arrive.
            Input::Tick | Input::Expire | Input::Cancel => Ok(self.same()),
            Input::ForceCancel => {
                Ok(self
                    .to(State::Cancelled(By::Force), vec![Effect::RevokeAddress, Effect::TellIdle]))
            }
            Input::Retry => Err(Refusal::NotFailed),
        }
    }

    fn running(&self, phase: Phase, running: &BTreeSet<PackageId>) -> Step {
        // A device that gets again what it runs is seen to run it all the time.
        let tells = match phase {
            Phase::Verifying => true,
            Phase::Installing => !self.rules.reinstall,
            _ => false,
        };
        if tells && self.update.runs(running) {
            self.end(State::Completed)
        } else if phase == Phase::Verifying && self.update.runs_another(running) {
            self.stumble(Failure::rolled_back())
        } else {
            self.same()
        }
    }

    fn completed(&self, input: &Input) -> Result<Step, Refusal> {
        match input {
            Input::Retry => Err(Refusal::NotFailed),
            Input::ForceCancel | Input::Started => Err(self.update.state.over()),
            // Late words, and repetitions of the last ones.
            _ => Ok(self.same()),
        }
    }

    fn failed(&self, failure: &Failure, input: &Input) -> Result<Step, Refusal> {
        match input {
            Input::Retry => {
                let mut step = self.to(State::Pending, vec![]);
                step.next.attempts = 0;
                Ok(step)
            }
            Input::Failed(again) if again.code == failure.code => Ok(self.same()),
            Input::Running(_)
            | Input::Tick
            | Input::Held
            | Input::Expire
            | Input::Cancel
            | Input::Declined(_) => Ok(self.same()),
            _ => Err(self.update.state.over()),
        }
    }

    fn cancelled(&self, by: By, input: &Input) -> Result<Step, Refusal> {
        match input {
            // The order to stop came too late: what the device says is the end.
            Input::Succeeded(running) | Input::Running(running)
                if by == By::Force && self.update.attempts > 0 && self.update.runs(running) =>
            {
                Ok(self.to(State::Completed, vec![]))
            }
            Input::Retry => Err(Refusal::NotFailed),
            Input::Started | Input::Fetched | Input::Installing | Input::Notified => {
                Err(self.update.state.over())
            }
            _ => Ok(self.same()),
        }
    }

    fn same(&self) -> Step {
        Step { next: self.update.clone(), effects: vec![] }
    }

    fn to(&self, state: State, effects: Vec<Effect>) -> Step {
        let next = Update { state, heard: self.now, not_before: None, ..self.update.clone() };
        Step { next, effects }
    }

    fn begin(&self, phase: Phase) -> Step {
        let mut step = self.to(State::InFlight(phase), vec![]);
        step.next.attempts = step.next.attempts.saturating_add(1);
        step
    }

    /// Phases are only ever passed in one direction; what was passed is not gone back to.
    fn forward(&self, from: Phase, to: Phase) -> Step {
        if to > from { self.to(State::InFlight(to), vec![]) } else { self.same() }
    }

    fn end(&self, state: State) -> Step {
        self.to(state, vec![Effect::RevokeAddress, Effect::OfferNext])
    }

    fn fail(&self, failure: Failure, effects: Vec<Effect>) -> Step {
        self.to(State::Failed(failure), effects)
    }

    /// A failure that may be tried again.
    fn stumble(&self, failure: Failure) -> Step {
        let class = failure.class();
        let retry = self.rules.retries.iter().find(|retry| retry.class == class);
        match retry {
            Some(retry)
                if class.may_be_retried()
                    && self.budget == Budget::Left
                    && self.update.attempts < retry.attempts =>
            {
                let effects = vec![Effect::RevokeAddress, Effect::Retried, Effect::OfferNext];
                let mut step = self.to(State::Pending, effects);
                step.next.not_before = Some(self.now + retry.wait(self.update.attempts));
                step
            }
            _ => self.end(State::Failed(failure)),
        }
    }

    fn was_heard_lately(&self) -> bool {
        self.now.since(self.update.heard) < Duration::from_millis(self.rules.silence_ms / 8)
    }

    fn is_silent(&self) -> bool {
        self.now.since(self.update.heard) >= Duration::from_millis(self.rules.silence_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_000_000);

    fn package(version: &str) -> PackageId {
        PackageId::new("ivi", version).unwrap()
    }

    fn update(state: State) -> Update {
        let attempts = u32::from(state != State::Pending);
        Update { state, attempts, ..Update::new(package("2"), NOW) }
    }

    fn after(update: &Update, input: Input) -> Update {
        step(update, &input, &Rules::default(), Budget::Left, NOW).unwrap().next
    }

    fn running(versions: &[&str]) -> BTreeSet<PackageId> {
        versions.iter().map(|version| package(version)).collect()
    }

    #[test]
    fn success_without_the_new_version_is_not_success() {
        let installing = update(State::InFlight(Phase::Installing));
        assert_eq!(after(&installing, Input::Succeeded(running(&["2"]))).state, State::Completed);
        for seen in [&[][..], &["1"], &["3"]] {
            let verifying = after(&installing, Input::Succeeded(running(seen)));
            assert_eq!(verifying.state, State::InFlight(Phase::Verifying), "{seen:?}");
            assert_eq!(after(&verifying, Input::Running(running(&["2"]))).state, State::Completed);
            let back = after(&verifying, Input::Running(running(&["1"])));
            assert_eq!(back.state, State::Failed(Failure::rolled_back()));
            assert_eq!(after(&verifying, Input::Running(running(&[]))), verifying);
        }
    }

    #[test]
    fn a_report_that_comes_twice_changes_nothing_the_second_time() {
        let installing = update(State::InFlight(Phase::Installing));
        let failure = Failure::new("install_failed".parse().unwrap(), "no");
        for input in [
            Input::Succeeded(running(&["2"])),
            Input::Failed(failure),
            Input::Declined("no".into()),
        ] {
            let once = after(&installing, input.clone());
            let twice = step(&once, &input, &Rules::default(), Budget::Left, NOW).unwrap();
            assert_eq!((twice.next, twice.effects), (once, vec![]));
        }
    }

    #[test]
    fn silence_ends_what_is_in_flight_and_a_sign_of_life_defers_that() {
        let rules = Rules { silence_ms: 8_000, ..Rules::default() };
        let downloading = update(State::InFlight(Phase::Downloading));
        let at = |update: &Update, input: Input, seconds: u64| {
            step(update, &input, &rules, Budget::Left, NOW + Duration::from_secs(seconds))
                .unwrap()
                .next
        };
        assert_eq!(at(&downloading, Input::Tick, 7), downloading);
        assert_eq!(at(&downloading, Input::Tick, 8).state, State::Failed(Failure::timed_out()));
        let fetched = at(&downloading, Input::Fetched, 7);
        assert_eq!(at(&fetched, Input::Tick, 8), fetched);
        let pending = update(State::Pending);
        assert_eq!(at(&pending, Input::Tick, 1_000_000), pending, "who waits is not silent");
    }

    #[test]
    fn a_failure_is_tried_again_by_its_class_with_growing_waits_and_a_budget() {
        let retry = Retry { class: Class::Transport, attempts: 4, first_ms: 1_000, most_ms: 3_000 };
        let rules = Rules { retries: vec![retry], ..Rules::default() };
        let lost = Input::Failed(Failure::new("connection_lost".parse().unwrap(), ""));
        let mut now = update(State::Pending);
        for wait in [1_000, 2_000, 3_000] {
            now = step(&now, &Input::Started, &rules, Budget::Left, NOW).unwrap().next;
            let spent = step(&now, &lost, &rules, Budget::Spent, NOW).unwrap();
            assert!(matches!(spent.next.state, State::Failed(_)));
            let step = step(&now, &lost, &rules, Budget::Left, NOW).unwrap();
            assert!(step.effects.contains(&Effect::Retried));
            now = step.next;
            assert_eq!(now.state, State::Pending);
            assert_eq!(now.not_before, Some(NOW + Duration::from_millis(wait)));
        }
        now = step(&now, &Input::Started, &rules, Budget::Left, NOW).unwrap().next;
        let last = step(&now, &lost, &rules, Budget::Left, NOW).unwrap().next;
        assert!(matches!(last.state, State::Failed(_)), "the fourth attempt was the last");
        let invalid = Input::Failed(Failure::numbered(3, "").unwrap());
        let rules = Rules { retries: vec![Retry { class: Class::Validation, ..retry }], ..rules };
        let first = update(State::InFlight(Phase::Downloaded));
        let ended = step(&first, &invalid, &rules, Budget::Left, NOW).unwrap().next;
        assert!(matches!(ended.state, State::Failed(_)), "a wrong signature is not tried again");
    }

    #[test]
    fn waits_do_not_overflow() {
        let retry = Retry {
            class: Class::Other,
            attempts: u32::MAX,
            first_ms: u64::MAX / 3,
            most_ms: u64::MAX,
        };
        assert!(retry.wait(u32::MAX) >= retry.wait(1));
        let zero = Retry { first_ms: 0, ..retry };
        assert_eq!(zero.wait(u32::MAX), Duration::ZERO);
    }

    #[test]
    fn cancel_leaves_what_is_in_flight_and_force_does_not() {
        for phase in [
            Phase::Notified,
            Phase::Downloading,
            Phase::Downloaded,
            Phase::Installing,
            Phase::Verifying,
        ] {
            let flying = update(State::InFlight(phase));
            assert_eq!(after(&flying, Input::Cancel), flying);
            assert_eq!(after(&flying, Input::Expire), flying);
            let forced = after(&flying, Input::ForceCancel);
            assert_eq!(forced.state, State::Cancelled(By::Force));
            assert_eq!(after(&forced, Input::Succeeded(running(&["2"]))).state, State::Completed);
            let failure = Failure::new("install_failed".parse().unwrap(), "");
            assert_eq!(after(&forced, Input::Failed(failure)), forced);
        }
        assert_eq!(
            after(&update(State::Pending), Input::Cancel).state,
            State::Cancelled(By::Campaign)
        );
    }

    #[test]
    fn who_only_downloads_is_done_when_it_has_everything() {
        let rules = Rules { mode: Mode::DownloadOnly, ..Rules::default() };
        let downloading = update(State::InFlight(Phase::Downloading));
        let done = step(&downloading, &Input::Downloaded, &rules, Budget::Left, NOW).unwrap();
        assert_eq!(done.next.state, State::Completed);
    }

    #[test]
    fn a_device_that_lies_about_what_it_never_began_is_refused() {
        let pending = update(State::Pending);
        for input in [
            Input::Downloaded,
            Input::Installing,
            Input::Succeeded(running(&["1"])),
            Input::Fetched,
        ] {
            let refused = step(&pending, &input, &Rules::default(), Budget::Left, NOW);
            assert_eq!(refused, Err(Refusal::NotBegun), "{input:?}");
        }
    }
}
