//! Why something waits. The same questions decide and explain: [`may_begin`] and [`may_install`] give
//! the reason whenever they say no.

use std::fmt;

use super::campaign::{Campaign, Policy, Stage, State, Why};
use super::judge;
use super::rate::{Needed, Rate};
use super::time::Time;
use super::window::{Activity, Offset};

/// Why something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its author has not started it.
    Draft,
    /// Somebody has to approve it.
    Approval,
    /// It begins then.
    Scheduled(Time),
    /// It is paused.
    Paused(Why),
    /// It has ended.
    Ended,
    /// Its interval is over.
    Expired,
    /// Its wave has not begun; this one has to pass first.
    Wave {
        /// Which wave has to pass.
        behind: usize,
    },
    /// Too few of a wave are completed.
    Threshold {
        /// Which wave.
        wave: usize,
        /// How many are completed.
        completed: u64,
        /// Of how many.
        of: u64,
        /// How many of a hundred there have to be.
        percent: u8,
    },
    /// A wave is watched until then.
    Soaking {
        /// Which wave.
        wave: usize,
        /// Until when.
        until: Time,
    },
    /// Somebody is asked whether a wave is well.
    Health {
        /// Which wave.
        wave: usize,
    },
    /// It is tried again then.
    Retry(Time),
    /// As many are at it as may be.
    AtOnce(u64),
    /// As many began as may, until then.
    Starts(Time),
    /// As many bytes were begun as may be, until then.
    Bytes(Time),
    /// The next window for it opens then.
    Window(Activity, Time),
    /// It is larger than what is left of the billing cycle; the next one begins then.
    Oversize {
        /// How large it is.
        bytes: u64,
        /// How much is left.
        left: u64,
        /// When the next cycle begins, if there is one.
        next: Option<Time>,
    },
    /// The device has something more important to do first.
    Behind,
    /// The device is not connected, and was last seen then.
    Away(Option<Time>),
    /// The device, or its user, has to agree.
    Consent,
    /// The device is at it.
    AtIt,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |time: Time| Shown(time);
        match *self {
            Self::Draft => f.write_str("the campaign is a draft; start it"),
            Self::Approval => {
                f.write_str("somebody other than its author has to approve the campaign")
            }
            Self::Scheduled(time) => write!(f, "the campaign begins {}", at(time)),
            Self::Paused(why) => match why {
                Why::Person => f.write_str("somebody paused the campaign; resume it"),
                Why::Aborted { rule, wave: Some(wave) } => {
                    write!(f, "abort rule {} stopped the campaign in wave {}", rule + 1, wave + 1)
                }
                Why::Aborted { rule, wave: None } => {
                    write!(f, "abort rule {} stopped the campaign", rule + 1)
                }
                Why::Missed { wave } => write!(
                    f,
                    "so many of wave {} failed that it cannot reach its threshold; retry them or cancel",
                    wave + 1
                ),
                Why::Unhealthy { wave } => {
                    write!(f, "the devices of wave {} are said to be unwell", wave + 1)
                }
            },
            Self::Ended => f.write_str("the campaign has ended"),
            Self::Expired => f.write_str("the campaign's interval is over"),
            Self::Wave { behind } => write!(f, "wave {} has to pass first", behind + 1),
            Self::Threshold { wave, completed, of, percent } => write!(
                f,
                "{completed} of {of} devices of wave {} are completed, and it takes {percent} %",
                wave + 1
            ),
            Self::Soaking { wave, until } => {
                write!(f, "wave {} is watched until {}", wave + 1, at(until))
            }
            Self::Health { wave } => {
                write!(f, "whether wave {} is well was asked and not answered", wave + 1)
            }
            Self::Retry(time) => write!(f, "it failed and is tried again {}", at(time)),
            Self::AtOnce(limit) => {
                write!(f, "{limit} devices are at it, which is the most at once")
            }
            Self::Starts(time) => {
                write!(f, "the campaign's starts a minute are used up until {}", at(time))
            }
            Self::Bytes(time) => {
                write!(f, "the campaign's bytes a second are used up until {}", at(time))
            }
            Self::Window(Activity::Download, time) => {
                write!(f, "the next window to download opens {}", at(time))
            }
            Self::Window(Activity::Install, time) => {
                write!(f, "the next window to install opens {}", at(time))
            }
            Self::Oversize { bytes, left, next } => {
                write!(f, "it has {bytes} bytes and {left} are left of the billing cycle")?;
                match next {
                    Some(time) => write!(f, "; the next one begins {}", at(time)),
                    None => f.write_str("; no further cycle is known"),
                }
            }
            Self::Behind => f.write_str("the device has something more important to do first"),
            Self::Away(Some(time)) => {
                write!(f, "the device is not connected; it was last seen {}", at(time))
            }
            Self::Away(None) => f.write_str("the device was never seen"),
            Self::Consent => f.write_str("the device or its user has to agree"),
            Self::AtIt => f.write_str("the device is at it"),
        }
    }
}

/// A moment as RFC 3339 has it, to the second.
struct Shown(Time);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days to a date, counting eras of 400 years from 0000-03-01.
        let z = days + 719_468;
        let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// What a campaign has to know about a device that could begin.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its wave.
    pub wave: usize,
    /// How far its clock is ahead.
    pub offset: Offset,
    /// It is not tried again before this.
    pub not_before: Option<Time>,
}

/// Whether a device of this campaign may begin now.
///
/// # Errors
///
/// Why it may not.
pub fn may_begin(
    campaign: &Campaign,
    policy: &Policy,
    device: &Candidate,
    now: Time,
) -> Result<(), Wait> {
    running(campaign, policy)?;
    if policy.interval.is_ahead(now) {
        return Err(Wait::Scheduled(policy.interval.not_before.unwrap_or(now)));
    }
    if policy.interval.is_over(now) {
        return Err(Wait::Expired);
    }
    if device.wave >= campaign.begun {
        return Err(Wait::Wave { behind: campaign.begun.saturating_sub(1) });
    }
    if let Some(time) = device.not_before.filter(|time| now < *time) {
        return Err(Wait::Retry(time));
    }
    policy
        .windows
        .open(Activity::Download, device.offset, now)
        .map_err(|time| Wait::Window(Activity::Download, time))?;
    if let Some(limit) = policy.at_once.filter(|limit| campaign.counts().in_flight >= *limit) {
        return Err(Wait::AtOnce(limit));
    }
    if let Some(rate) = policy.starts_per_minute {
        let ready = campaign.starts.ready(Rate::per_minute(rate), Needed::One, now);
        ready.map_err(Wait::Starts)?;
    }
    if let Some(rate) = policy.bytes_per_second {
        let ready = campaign.bytes.ready(Rate::per_second(rate), Needed::Some, now);
        ready.map_err(Wait::Bytes)?;
    }
    Ok(())
}

/// Whether a device that has everything may install now. A cancel leaves what is in flight, so it may
/// go on then; a pause orders nothing.
///
/// # Errors
///
/// Why it may not.
pub fn may_install(
    campaign: &Campaign,
    policy: &Policy,
    offset: Offset,
    now: Time,
) -> Result<(), Wait> {
    if let State::Paused(why) = campaign.state {
        return Err(Wait::Paused(why));
    }
    let open = policy.windows.open(Activity::Install, offset, now);
    open.map_err(|time| Wait::Window(Activity::Install, time))
}

fn running(campaign: &Campaign, policy: &Policy) -> Result<(), Wait> {
    match campaign.state {
        State::Running => Ok(()),
        State::Draft => Err(Wait::Draft),
        State::WaitingForApproval => Err(Wait::Approval),
        State::Scheduled => Err(Wait::Scheduled(policy.interval.not_before.unwrap_or_default())),
        // Resuming would be refused, so nobody is told to.
        State::Paused(Why::Person) => {
            let missed = judge::missed(campaign, policy);
            Err(Wait::Paused(missed.map_or(Why::Person, |wave| Why::Missed { wave })))
        }
        State::Paused(why) => Err(Wait::Paused(why)),
        State::Finished | State::Cancelled => Err(Wait::Ended),
    }
}

/// What a campaign as a whole waits for; nothing when all of its waves have begun.
pub fn campaign(campaign: &Campaign, policy: &Policy) -> Option<Wait> {
    if let Err(wait) = running(campaign, policy) {
        return Some(wait);
    }
    let wave = campaign.begun.checked_sub(1)?;
    (campaign.begun < campaign.waves.len()).then(|| self::wave(campaign, policy, wave)).flatten()
}

/// What a wave waits for: to begin, or to let the next one begin. Nothing when it has passed.
pub fn wave(campaign: &Campaign, policy: &Policy, wave: usize) -> Option<Wait> {
    let (state, rules) = (campaign.waves.get(wave)?, policy.waves.get(wave)?);
    match state.stage {
        Stage::Waiting => running(campaign, policy)
            .err()
            .or(wave.checked_sub(1).map(|behind| Wait::Wave { behind })),
        Stage::Begun if !judge::has_reached(state, rules.success_percent) => {
            Some(Wait::Threshold {
                wave,
                completed: state.counts.completed,
                of: state.meant(),
                percent: rules.success_percent,
            })
        }
        Stage::Soaking { until } => Some(Wait::Soaking { wave, until }),
        Stage::Asked => Some(Wait::Health { wave }),
        Stage::Begun | Stage::Passed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::campaign::{Counts, WavePolicy};
    use crate::plan::step::{Input, Refusal, step};

    #[test]
    fn nobody_is_told_to_resume_what_would_not_be_resumed() {
        let policy = Policy {
            waves: vec![WavePolicy { success_percent: 50, ..WavePolicy::default() }],
            ..Policy::default()
        };
        let mut paused = Campaign::new(&[3]);
        (paused.state, paused.begun) = (State::Paused(Why::Person), 1);
        let resume = |campaign: &Campaign| step(campaign, &Input::Resume, &policy, Time::default());

        assert_eq!(campaign(&paused, &policy), Some(Wait::Paused(Why::Person)), "the control");
        assert_eq!(resume(&paused).unwrap().next.state, State::Running);

        paused.waves[0].counts = Counts { in_flight: 1, failed: 2, ..Counts::default() };
        assert_eq!(resume(&paused), Err(Refusal::StillMissed(0)));
        let said = campaign(&paused, &policy).unwrap();
        assert_eq!(said, Wait::Paused(Why::Missed { wave: 0 }));
        assert!(said.to_string().contains("cancel"), "{said}");
    }

    #[test]
    fn moments_are_shown_as_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_826_149, "2000-02-29T12:09:09Z"),
            (1_795_305_599, "2026-11-21T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Shown(Time::from_secs(seconds)).to_string(), expected);
        }
    }
}
