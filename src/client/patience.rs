//! How long to wait.

use std::time::Duration;

use crate::clock::Instant;

/// For how long each answer is waited for, and until when the whole may take.
///
/// ```
/// use std::time::Duration;
/// use freshen::client::Patience;
///
/// let now = freshen::clock::now().mono;
/// let patience = Patience::new(Duration::from_secs(20)).until(now + Duration::from_secs(300));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    answer: Duration,
    until: Option<Instant>,
}

impl Patience {
    /// So long for each answer; the whole takes what it takes.
    pub const fn new(answer: Duration) -> Self {
        Self { answer, until: None }
    }

    /// The whole ends at `instant` at the latest, with [`super::Failure::TimeOver`].
    pub const fn until(self, instant: Instant) -> Self {
        Self { until: Some(instant), ..self }
    }

    /// No longer than that for each answer.
    pub(super) fn at_most(self, answer: Duration) -> Self {
        Self { answer: self.answer.min(answer), ..self }
    }

    /// When an answer to what is asked now comes too late.
    pub(super) fn deadline(self, now: Instant) -> Instant {
        let answer = now + self.answer;
        self.until.map_or(answer, |until| until.min(answer))
    }

    /// When something that takes `time` of itself ends, unless the whole is over before.
    pub(super) fn whole(self, now: Instant, time: Duration) -> Instant {
        Self { answer: time, ..self }.deadline(now)
    }

    /// Whether the time for the whole is over.
    pub(super) fn is_over(self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}
