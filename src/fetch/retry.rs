//! When to try again: soon at first, later each time, never at the same moment as everybody else, and
//! not at all when the answer was a decision. Pure: time and chance come in.

use std::time::Duration;

use super::{Error, Limits};

/// One thing that went wrong, and what the server said about trying again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry_after: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry_after: None }
    }
}

/// Counts attempts that brought nothing new.
#[derive(Debug)]
pub(super) struct Retry<'a> {
    limits: &'a Limits,
    fruitless: u32,
}

impl<'a> Retry<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, fruitless: 0 }
    }

    /// How long to wait before the next attempt, or the error to end with. An attempt that brought
    /// something new counts as the first again: a bad line that moves is better than none.
    pub(super) fn after(
        &mut self,
        failure: Failure,
        brought_something: bool,
        time_left: Duration,
        chance: u16,
    ) -> Result<Duration, Error> {
        if brought_something {
            self.fruitless = 0;
        }
        self.fruitless += 1;
        let asked = failure.retry_after.unwrap_or(Duration::ZERO).min(self.limits.pause_max);
        let pause = self.pause(chance).max(asked);
        let hopeless = self.fruitless >= self.limits.attempts || pause >= time_left;
        if hopeless || !failure.error.is_passing() { Err(failure.error) } else { Ok(pause) }
    }

    /// Doubles with each attempt, between half and one and a half of that by chance.
    fn pause(&self, chance: u16) -> Duration {
        let doubled = self.limits.pause_first.saturating_mul(1 << (self.fruitless - 1).min(16));
        let fraction = 0.5 + f64::from(chance) / f64::from(u16::MAX);
        doubled.mul_f64(fraction).min(self.limits.pause_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Asked;

    const SECOND: Duration = Duration::from_secs(1);

    fn lost() -> Failure {
        Error::ConnectionLost { host: "a".into(), why: "b".into() }.into()
    }

    fn status(status: u16, retry_after: Option<u64>) -> Failure {
        Failure {
            error: Error::HttpStatus(status, Asked::of(&"https://a.example/b".parse().unwrap())),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_double_and_the_fifth_fruitless_attempt_is_the_last() {
        let limits = Limits::default();
        let mut retry = Retry::new(&limits);
        let mut attempt = || retry.after(lost(), false, 600 * SECOND, u16::MAX / 2).ok();
        let pauses: Vec<_> =
            (0..5).map(|_| attempt().map(|pause| pause.as_secs_f64().round())).collect();
        assert_eq!(pauses, [Some(1.), Some(2.), Some(4.), Some(8.), None]);
    }

    #[test]
    fn chance_spreads_the_pause_over_half_to_one_and_a_half() {
        let limits = Limits::default();
        let pause =
            |chance| Retry::new(&limits).after(lost(), false, 600 * SECOND, chance).unwrap();
        assert_eq!(pause(0), SECOND / 2);
        assert_eq!(pause(u16::MAX), SECOND * 3 / 2);
    }

    #[test]
    fn an_attempt_that_brings_something_starts_the_count_anew() {
        let limits = Limits::default();
        let mut retry = Retry::new(&limits);
        for _ in 0..100 {
            assert!(retry.after(lost(), true, 600 * SECOND, 0).is_ok());
        }
    }

    #[test]
    fn a_decision_is_not_asked_for_again() {
        let limits = Limits::default();
        for code in [400, 401, 403, 404, 410, 416, 501, 505] {
            let error = Retry::new(&limits).after(status(code, Some(1)), false, 600 * SECOND, 0);
            assert!(matches!(error, Err(Error::HttpStatus(same, _)) if same == code), "{code}");
        }
    }

    #[test]
    fn the_server_may_ask_for_patience_but_not_for_more_than_there_is() {
        let limits = Limits { pause_max: 50 * SECOND, ..Limits::default() };
        let after = |wish, left| Retry::new(&limits).after(status(503, Some(wish)), false, left, 0);
        assert_eq!(after(20, 600 * SECOND).unwrap(), 20 * SECOND);
        assert_eq!(after(9999, 600 * SECOND).unwrap(), 50 * SECOND);
        assert!(matches!(after(20, 10 * SECOND), Err(Error::HttpStatus(503, _))));
    }
}
