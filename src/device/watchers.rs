//! What watchers were told last, and when they are told of progress.

use std::time::Duration;

use crate::clock::Instant;
use crate::ocf::Progress;
use crate::worker;

/// How often progress is looked at while work goes on. A person's eye needs no more.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Turns a worker's counts into what the status resource shows.
#[derive(Debug, Default)]
pub(super) struct Meter {
    shown: Progress,
    last: Option<(Instant, u64)>,
}

impl Meter {
    /// What is shown.
    pub(super) fn shown(&self) -> &Progress {
        &self.shown
    }

    /// What the start of an installation waits for, in words; says whether that has changed.
    pub(super) fn defer(&mut self, deferred: Option<String>) -> bool {
        let changed = self.shown.deferred != deferred;
        self.shown.deferred = deferred;
        changed
    }

    /// When to read again; `None` when no work goes on.
    pub(super) fn next(&self) -> Option<Instant> {
        self.last.map(|(at, _)| at + PROGRESS_EVERY)
    }

    /// New work has begun, or none is left.
    pub(super) fn restart(&mut self, work: Option<&worker::Progress>, now: Instant) {
        self.shown = Progress::default();
        self.last = work.map(|work| (now, work.done()));
        if let Some(work) = work {
            self.shown.expected = work.expected();
        }
    }

    /// Reads the counts when it is time; says whether anything has changed.
    pub(super) fn read(&mut self, work: &worker::Progress, now: Instant) -> bool {
        let Some((at, before)) = self.last.filter(|(at, _)| now - *at >= PROGRESS_EVERY) else {
            return false;
        };
        let done = work.done();
        let micros = (now - at).as_micros().max(1);
        let rate = u128::from(done.saturating_sub(before)) * 1_000_000 / micros;
        let shown = Progress {
            done,
            expected: work.expected(),
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            attempt: work.attempt(),
            trouble: work.trouble(),
            deferred: self.shown.deferred.clone(),
        };
        self.last = Some((now, done));
        let changed = shown != self.shown;
        self.shown = shown;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_over_the_time_since_the_last_reading() {
        let work = worker::Progress::new(1000);
        let mut meter = Meter::default();
        meter.restart(Some(&work), Instant::ZERO);
        work.add(500);
        assert!(!meter.read(&work, Instant::at(Duration::from_millis(999))));
        assert!(meter.read(&work, Instant::at(Duration::from_secs(2))));
        assert_eq!((meter.shown().done, meter.shown().rate), (500, 250));
        assert!(meter.read(&work, Instant::at(Duration::from_secs(3))), "the rate has changed");
        assert!(!meter.read(&work, Instant::at(Duration::from_secs(4))));
    }
}
