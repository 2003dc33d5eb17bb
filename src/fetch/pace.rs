//! How fast is too slow, and how fast is too fast. Pure: time comes in.

use std::time::Duration;

use crate::clock::Instant;

/// Judges a server by what it sends while we wait for it. Time that we spend elsewhere (writing,
/// holding back) is not its fault and does not count.
#[derive(Debug)]
pub(super) struct Patience {
    window: Duration,
    rate_min: u64,
    waited: Duration,
    bytes: u64,
}

/// The average over a window was below the least rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

impl Patience {
    pub(super) fn new(window: Duration, rate_min: u64) -> Self {
        Self { window, rate_min, waited: Duration::ZERO, bytes: 0 }
    }

    /// We waited so long and got so many bytes.
    pub(super) fn waited(&mut self, time: Duration, bytes: u64) -> Result<(), TooSlow> {
        self.waited += time;
        self.bytes += bytes;
        if self.waited < self.window {
            return Ok(());
        }
        let least = self.rate_min.saturating_mul(self.window.as_millis() as u64) / 1000;
        let enough = self.bytes >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if enough { Ok(()) } else { Err(TooSlow) }
    }
}

/// Holds us back so that others can use the network too: a token bucket.
#[derive(Debug)]
pub(super) struct Bandwidth {
    rate: u64,
    /// When everything taken so far would have come at the allowed rate.
    paid_until: Instant,
}

impl Bandwidth {
    /// `rate` in bytes a second; 0 for no limit.
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        Self { rate, paid_until: now }
    }

    /// Accounts for `bytes` taken and says how long to wait before the next.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let cost = Duration::from_nanos(bytes.saturating_mul(NANOS) / self.rate);
        // What was not used in the last moment may be used now, not what was not used for hours.
        let since = Instant::at(now.since(Instant::ZERO).saturating_sub(BURST));
        self.paid_until = self.paid_until.max(since) + cost;
        self.paid_until.since(now)
    }
}

const NANOS: u64 = 1_000_000_000;

/// How much idle time is made up for at full speed.
const BURST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_byte_a_second_ends_with_the_window() {
        let mut patience = Patience::new(60 * SECOND, 1024);
        for _ in 0..59 {
            patience.waited(SECOND, 1).unwrap();
        }
        assert_eq!(patience.waited(SECOND, 1), Err(TooSlow));
    }

    #[test]
    fn a_burst_does_not_excuse_the_window_after_it() {
        let mut patience = Patience::new(60 * SECOND, 1024);
        patience.waited(60 * SECOND, 1 << 30).unwrap();
        assert_eq!(patience.waited(60 * SECOND, 60 * 1024 - 1), Err(TooSlow));
        patience.waited(60 * SECOND, 60 * 1024).unwrap();
    }

    #[test]
    fn the_average_stays_at_the_allowed_rate() {
        let mut now = Instant::at(100 * SECOND);
        let begun = now;
        let mut bandwidth = Bandwidth::new(1_000_000, now);
        for _ in 0..1000 {
            now = now + bandwidth.take(64 * 1024, now);
        }
        let took = now - begun;
        let fair = Duration::from_millis(65_536);
        assert!(took <= fair && took >= fair - BURST, "{took:?}");
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut bandwidth = Bandwidth::new(0, Instant::ZERO);
        assert_eq!(bandwidth.take(u64::MAX, Instant::ZERO), Duration::ZERO);
    }
}
