//! Lines of the log that strangers cause, counted: whoever sends a thousand requests a second must not
//! fill the disk, or bury what a person looks for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Instant;

/// Lines of one kind within [`PERIOD`]; those beyond are counted.
pub(super) const LINES_MAX: u64 = 20;

/// How long a kind of line counts as one story.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// How often each kind of line was said, or was to be said.
#[derive(Debug, Default)]
pub(super) struct Said {
    kinds: BTreeMap<&'static str, Kind>,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    lines: u64,
}

/// Which of the lines that were left out are to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// Where the time is over.
    WhatIsDue,
    /// At the end.
    Everything,
}

impl Said {
    /// Whether a line of this kind may be said now; it is counted if not. `kind` is what the line says,
    /// whoever it is about.
    pub(super) fn may_say(&mut self, kind: &'static str, now: Instant) -> bool {
        let entry = self.kinds.entry(kind).or_insert(Kind { since: now, lines: 0 });
        entry.lines += 1;
        entry.lines <= LINES_MAX
    }

    /// When there is something to tell.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.kinds.values().map(|kind| kind.since + PERIOD).min()
    }

    /// Tells how many lines were left out, and begins to count anew.
    pub(super) fn tell(&mut self, what: LeftOut, now: Instant) {
        for (kind, more) in self.left_out(what, now) {
            tracing::warn!("and {more} more like this: {kind}");
        }
    }

    fn left_out(&mut self, what: LeftOut, now: Instant) -> Vec<(&'static str, u64)> {
        let over = |kind: &Kind| what == LeftOut::Everything || kind.since + PERIOD <= now;
        let over = self.kinds.extract_if(.., |_, kind| over(kind));
        let counted = over.map(|(kind, one)| (kind, one.lines.saturating_sub(LINES_MAX)));
        counted.filter(|(_, more)| *more > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_like_each_other_the_first_are_said_and_the_rest_is_counted() {
        let at = |seconds| Instant::at(Duration::from_secs(seconds));
        let mut said = Said::default();
        let knocks = (0..1000).filter(|_| said.may_say("could not connect", at(1))).count();
        assert_eq!(knocks as u64, LINES_MAX);
        assert!(said.may_say("is denied", at(30)), "each kind has its own");
        assert_eq!(said.deadline(), Some(at(61)));
        assert_eq!(said.left_out(LeftOut::WhatIsDue, at(60)), []);
        assert_eq!(
            said.left_out(LeftOut::WhatIsDue, at(61)),
            [("could not connect", 1000 - LINES_MAX)]
        );
        assert!(said.may_say("could not connect", at(61)), "a new minute");
        assert_eq!(said.left_out(LeftOut::Everything, at(62)), [], "nothing was left out since");
        assert_eq!(said.deadline(), None);
    }
}
