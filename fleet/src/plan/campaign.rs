//! A campaign: what somebody wants a part of the fleet to run, in waves, and how far that is.
//!
//! What is here is small whatever the size of the fleet: policies and counts. Who is in which wave is
//! a set of device numbers beside it, see [`super::wave`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::failure::Class;
use super::queue::{Interval, Priority};
use super::rate::Bucket;
use super::time::Time;
use super::update::{Budget, Count, Rules, State as UpdateState};
use super::wave::Choice;
use super::window::{WindowError, Windows};

/// How many waves a campaign may have.
pub const WAVES_MAX: usize = 100;

/// How many abort rules a campaign may have.
pub const ABORT_RULES_MAX: usize = 32;

/// What somebody wants of a campaign. It does not change once it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Its place in the queue of each device.
    pub priority: Priority,
    /// When updates may begin.
    pub interval: Interval,
    /// The waves, one at least. The last one has everybody who is in none before it.
    pub waves: Vec<WavePolicy>,
    /// What stops it.
    pub abort: Vec<AbortRule>,
    /// How many devices may be at it at once.
    pub at_once: Option<u64>,
    /// How many may begin in a minute.
    pub starts_per_minute: Option<u32>,
    /// How many bytes may be begun in a second.
    pub bytes_per_second: Option<u64>,
    /// When devices may fetch and install.
    pub windows: Windows,
    /// Whether devices that come to match later join. Such a campaign ends with its interval.
    pub join: bool,
    /// Whether somebody else has to approve it.
    pub approval: bool,
    /// How many retries all devices may use together.
    pub retry_budget: u64,
    /// How each update is done.
    pub update: Rules,
}

impl Default for Policy {
    /// An install request: one wave, no limits.
    fn default() -> Self {
        Self {
            priority: Priority::default(),
            interval: Interval::default(),
            waves: vec![WavePolicy::default()],
            abort: vec![],
            at_once: None,
            starts_per_minute: None,
            bytes_per_second: None,
            windows: Windows::default(),
            join: false,
            approval: false,
            retry_budget: u64::MAX,
            update: Rules::default(),
        }
    }
}

/// One wave: who, and what lets the next one begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WavePolicy {
    /// Who is in it.
    pub choice: Choice,
    /// How many of a hundred have to be completed. A wave that cannot reach that any more pauses the
    /// campaign.
    pub success_percent: u8,
    /// How long to watch after that, in milliseconds.
    pub soak_ms: u64,
    /// Whether somebody outside is asked then.
    pub health: bool,
}

impl Default for WavePolicy {
    fn default() -> Self {
        Self { choice: Choice::Rest, success_percent: 0, soak_ms: 0, health: false }
    }
}

/// When to stop: at so many failures of a hundred updates that ended, once enough have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortRule {
    /// Which failures count; all but those that expired, if none is named.
    #[serde(default)]
    pub class: Option<Class>,
    /// So many of a hundred, or more, 1 to 100.
    pub percent: u8,
    /// How many updates have to have ended before the rule is asked, 1 at least.
    pub minimum_executed: u64,
    /// Where it counts.
    pub scope: Scope,
    /// What happens.
    pub action: Action,
}

/// Where an abort rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In each wave alone.
    Wave,
    /// In all of them together.
    Campaign,
}

/// What an abort rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Somebody has to look.
    Pause,
    /// It is over.
    Cancel,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// None, or too many.
    #[error("a campaign has 1 to {WAVES_MAX} waves")]
    Waves,
    /// Somebody would be in no wave.
    #[error("the last wave, and no other, has the choice rest")]
    LastWave,
    /// The next wave would begin with this one.
    #[error("wave {0} needs a success_percent of 1 to 100: it lets the next wave begin")]
    Success(usize),
    /// Shares that are none, or more than everybody.
    #[error("a wave's percent is 1 to 100, and all of them together are at most 100")]
    Percent,
    /// A rule that means nothing.
    #[error("abort rule {0} needs a percent of 1 to 100 and a minimum_executed of 1 at least")]
    Abort(usize),
    /// Too many rules.
    #[error("a campaign has at most {ABORT_RULES_MAX} abort rules and as many retries")]
    TooManyRules,
    /// A limit under which nothing ever begins.
    #[error("at_once, starts_per_minute and bytes_per_second are 1 at least, or left out")]
    Zero,
    /// Nobody would be timed out, or everybody.
    #[error("silence_ms is 1000 at least")]
    Silence,
    /// Not such a failure.
    #[error("failures of the class {0} are not tried again by themselves")]
    Retry(Class),
    /// A window that is none.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// It would never end.
    #[error("a campaign that devices join later needs an end: not_after")]
    NoEnd,
}

impl Policy {
    /// Whether it makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), PolicyError> {
        if !(1..=WAVES_MAX).contains(&self.waves.len()) {
            return Err(PolicyError::Waves);
        }
        let last = self.waves.len() - 1;
        let mut shares = 0_u64;
        for (n, wave) in self.waves.iter().enumerate() {
            if (wave.choice == Choice::Rest) != (n == last) {
                return Err(PolicyError::LastWave);
            }
            if wave.success_percent > 100 || (n < last && wave.success_percent == 0) {
                return Err(PolicyError::Success(n + 1));
            }
            if let Choice::Percent(share) = wave.choice {
                shares += u64::from(share);
                if share == 0 || shares > 100 {
                    return Err(PolicyError::Percent);
                }
            }
        }
        if self.abort.len().max(self.update.retries.len()) > ABORT_RULES_MAX {
            return Err(PolicyError::TooManyRules);
        }
        for (n, rule) in self.abort.iter().enumerate() {
            if !(1..=100).contains(&rule.percent) || rule.minimum_executed == 0 {
                return Err(PolicyError::Abort(n + 1));
            }
        }
        if self.at_once == Some(0)
            || self.starts_per_minute == Some(0)
            || self.bytes_per_second == Some(0)
        {
            return Err(PolicyError::Zero);
        }
        if self.update.silence_ms < 1_000 {
            return Err(PolicyError::Silence);
        }
        if let Some(retry) = self.update.retries.iter().find(|retry| !retry.class.may_be_retried())
        {
            return Err(PolicyError::Retry(retry.class));
        }
        if self.join && self.interval.not_after.is_none() {
            return Err(PolicyError::NoEnd);
        }
        Ok(self.windows.check()?)
    }
}

/// How far a campaign is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// What it does.
    pub state: State,
    /// Each wave.
    pub waves: Vec<Wave>,
    /// How many waves have begun. They begin one after the other.
    pub begun: usize,
    /// How many retries were paid for.
    pub retries: u64,
    /// What is left of its starts.
    pub starts: Bucket,
    /// What is left of its bytes.
    pub bytes: Bucket,
}

/// What a campaign does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Somebody is still at it.
    Draft,
    /// Somebody else has to say yes.
    WaitingForApproval,
    /// It begins when its interval does.
    Scheduled,
    /// It runs.
    Running,
    /// It orders nothing; what is in flight goes on.
    Paused(Why),
    /// Everything has ended.
    Finished,
    /// Nothing more is ordered.
    Cancelled,
}

/// Why a campaign is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Somebody said so.
    Person,
    /// An abort rule, by its place in the policy, in a wave or in all of them.
    Aborted {
        /// Which rule.
        rule: usize,
        /// Which wave, if it counts in one.
        wave: Option<usize>,
    },
    /// A wave cannot reach its success threshold.
    Missed {
        /// Which wave.
        wave: usize,
    },
    /// Who was asked about a wave's health said no.
    Unhealthy {
        /// Which wave.
        wave: usize,
    },
}

/// How far a wave is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// Its updates by where they stand.
    pub counts: Counts,
    /// Those that failed, by class. They add up to the count of the failed.
    pub failures: BTreeMap<Class, u64>,
    /// How near it is to letting the next one begin.
    pub stage: Stage,
    /// What had ended when somebody resumed the campaign after an abort: it is not held against it
    /// again.
    pub forgiven: Executed,
}

/// Updates that were tried and ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executed {
    /// Well.
    pub completed: u64,
    /// Badly, by class.
    pub failures: BTreeMap<Class, u64>,
}

/// How near a wave is to letting the next one begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It has not begun.
    #[default]
    Waiting,
    /// Too few are completed.
    Begun,
    /// Enough are; it is watched.
    Soaking {
        /// Until then.
        until: Time,
    },
    /// Somebody is asked whether all is well.
    Asked,
    /// The next one may begin.
    Passed,
}

/// The five counts. They add up to everybody in the wave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Not begun.
    pub pending: u64,
    /// At it.
    pub in_flight: u64,
    /// Seen to run it.
    pub completed: u64,
    /// Came to nothing; the expired are among them.
    pub failed: u64,
    /// Not wanted any more.
    pub cancelled: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.pending + self.in_flight + self.completed + self.failed + self.cancelled
    }

    /// Whether nothing more is to come.
    pub fn is_over(&self) -> bool {
        self.pending == 0 && self.in_flight == 0
    }

    fn of(&mut self, count: Count) -> &mut u64 {
        match count {
            Count::Pending => &mut self.pending,
            Count::InFlight => &mut self.in_flight,
            Count::Completed => &mut self.completed,
            Count::Failed => &mut self.failed,
            Count::Cancelled => &mut self.cancelled,
        }
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            pending: self.pending + other.pending,
            in_flight: self.in_flight + other.in_flight,
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
        }
    }
}

/// Where an update stands, as far as counts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    count: Count,
    class: Option<Class>,
}

impl From<&UpdateState> for Place {
    fn from(state: &UpdateState) -> Self {
        let class = match state {
            UpdateState::Failed(failure) => Some(failure.class()),
            _ => None,
        };
        Self { count: state.count(), class }
    }
}

impl Place {
    /// Which of the five counts.
    pub fn count(self) -> Count {
        self.count
    }
}

/// Counts that do not add up: a store that forgot something. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counts of a wave do not have what is to leave them")]
pub struct Miscounted;

impl Wave {
    /// A wave with so many devices that wait.
    pub fn of(devices: u64) -> Self {
        Self { counts: Counts { pending: devices, ..Counts::default() }, ..Self::default() }
    }

    pub(super) fn enter(&mut self, place: Place, devices: u64) {
        *self.counts.of(place.count) += devices;
        if let Some(class) = place.class.filter(|_| devices > 0) {
            *self.failures.entry(class).or_default() += devices;
        }
    }

    pub(super) fn leave(&mut self, place: Place, devices: u64) -> Result<(), Miscounted> {
        let count = self.counts.of(place.count);
        *count = count.checked_sub(devices).ok_or(Miscounted)?;
        if let Some(class) = place.class {
            let failures = self.failures.entry(class).or_default();
            *failures = failures.checked_sub(devices).ok_or(Miscounted)?;
            if *failures == 0 {
                self.failures.remove(&class);
            }
        }
        Ok(())
    }

    /// All that wait go there at once.
    pub(super) fn sweep(&mut self, place: Place) -> u64 {
        let pending = std::mem::take(&mut self.counts.pending);
        self.enter(place, pending);
        pending
    }

    /// Of how many a hundred are meant: everybody but those that nobody wants any more.
    pub(super) fn meant(&self) -> u64 {
        self.counts.total() - self.counts.cancelled
    }
}

impl Campaign {
    /// A campaign with so many devices in each wave.
    pub fn new(devices: &[u64]) -> Self {
        Self {
            state: State::Draft,
            waves: devices.iter().map(|devices| Wave::of(*devices)).collect(),
            begun: 0,
            retries: 0,
            starts: Bucket::default(),
            bytes: Bucket::default(),
        }
    }

    /// Whether it can pay for another retry.
    pub fn budget(&self, policy: &Policy) -> Budget {
        if self.retries < policy.retry_budget { Budget::Left } else { Budget::Spent }
    }

    /// The five counts of all waves.
    pub fn counts(&self) -> Counts {
        self.waves.iter().fold(Counts::default(), |sum, wave| sum + wave.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::update::Retry;

    #[test]
    fn an_install_request_is_a_campaign_of_one_wave() {
        assert_eq!(Policy::default().check(), Ok(()));
        let policy: Policy = serde_json::from_str("{}").unwrap();
        assert_eq!(policy, Policy::default());
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        assert!(serde_json::from_str::<Policy>("{\"wafes\": []}").is_err());
    }

    #[test]
    fn a_policy_that_could_not_work_is_refused_with_the_reason() {
        let canary =
            WavePolicy { choice: Choice::Number(5), success_percent: 90, ..WavePolicy::default() };
        let good =
            Policy { waves: vec![canary.clone(), WavePolicy::default()], ..Policy::default() };
        assert_eq!(good.check(), Ok(()), "the control");
        let rule = AbortRule {
            class: None,
            percent: 10,
            minimum_executed: 1,
            scope: Scope::Wave,
            action: Action::Pause,
        };
        let retry = Retry { class: Class::Validation, attempts: 3, first_ms: 1, most_ms: 1 };
        let share = |percent| WavePolicy { choice: Choice::Percent(percent), ..canary.clone() };
        let rest = WavePolicy::default();
        for (policy, expected) in [
            (Policy { waves: vec![], ..good.clone() }, PolicyError::Waves),
            (Policy { waves: vec![rest.clone(); 101], ..good.clone() }, PolicyError::Waves),
            (Policy { waves: vec![canary.clone()], ..good.clone() }, PolicyError::LastWave),
            (
                Policy { waves: vec![rest.clone(), rest.clone()], ..good.clone() },
                PolicyError::LastWave,
            ),
            (
                Policy {
                    waves: vec![WavePolicy { success_percent: 0, ..canary.clone() }, rest.clone()],
                    ..good.clone()
                },
                PolicyError::Success(1),
            ),
            (
                Policy {
                    waves: vec![WavePolicy { success_percent: 101, ..rest.clone() }],
                    ..good.clone()
                },
                PolicyError::Success(1),
            ),
            (
                Policy { waves: vec![share(60), share(41), rest.clone()], ..good.clone() },
                PolicyError::Percent,
            ),
            (Policy { waves: vec![share(0), rest.clone()], ..good.clone() }, PolicyError::Percent),
            (
                Policy { abort: vec![AbortRule { percent: 0, ..rule }], ..good.clone() },
                PolicyError::Abort(1),
            ),
            (
                Policy {
                    abort: vec![rule, AbortRule { minimum_executed: 0, ..rule }],
                    ..good.clone()
                },
                PolicyError::Abort(2),
            ),
            (
                Policy { abort: vec![rule; ABORT_RULES_MAX + 1], ..good.clone() },
                PolicyError::TooManyRules,
            ),
            (Policy { at_once: Some(0), ..good.clone() }, PolicyError::Zero),
            (
                Policy { update: Rules { silence_ms: 1, ..Rules::default() }, ..good.clone() },
                PolicyError::Silence,
            ),
            (
                Policy {
                    update: Rules { retries: vec![retry], ..Rules::default() },
                    ..good.clone()
                },
                PolicyError::Retry(Class::Validation),
            ),
            (Policy { join: true, ..good.clone() }, PolicyError::NoEnd),
        ] {
            assert_eq!(policy.check(), Err(expected));
        }
    }
}
