//! Clocks that are wrong, windows, and ends that nobody wishes for.

mod belief;
mod corners;

use chrono::{DateTime, Utc};

use super::*;
use crate::clock::{Instant, Now};
use crate::package::Digest;
use crate::source;

fn at(wall: &str) -> Now {
    Now { wall: wall.parse().unwrap(), mono: Instant::ZERO }
}

/// Of a package with this number.
fn offer(sequence: u64) -> Offer {
    Offer {
        package: Digest([sequence as u8; 32]),
        envelope: Some(Digest([!sequence as u8; 32])),
        sequence,
        version: format!("{sequence}.0"),
        size: 1,
        use_before: None,
        epoch: 0,
        trusted_until: None,
        requires: vec![],
        needs_approval: false,
    }
}

fn origin() -> Origin {
    Origin::new(Door::named("test"), "somebody", "")
}

fn order(stage: Stage, at: Option<DateTime<Utc>>) -> Order {
    Order {
        origin: origin(),
        source: String::new(),
        stage,
        at,
        expected: Expected::default(),
        replaces: Replaces::Own,
        unusable: Unusable::Refuse,
    }
}

fn cancel() -> Command {
    Command::Cancel(Cancel { origin: origin(), job: None, draft: None })
}

fn builtin() -> Rules {
    let sources = source::Policy {
        hosts: vec!["v".into()],
        schemes: vec!["https".into()],
        ..source::Policy::default()
    };
    Rules { builtin_url: Some("https://v/a".into()), sources, ..Rules::default() }
}

fn waiting_for(time: &str) -> State {
    let state = State::new("1.0.0", DateTime::UNIX_EPOCH);
    let early = Now { wall: DateTime::UNIX_EPOCH, mono: Instant::ZERO };
    let order = order(Stage::Upgrade, Some(time.parse().unwrap()));
    step(&state, Input::Command(Command::Order(order)), &builtin(), early).unwrap().next
}

fn staged() -> State {
    let mut state = State::new("1.0.0", DateTime::UNIX_EPOCH);
    let source = String::new();
    let job = Job {
        id: JobId(1),
        origin: origin(),
        source: source.clone(),
        stage: Stage::Upgrade,
        restarts: 0,
        knows: None,
        expected: Expected::default(),
    };
    state.phase = Phase::Staged(Stop { offer: offer(1), source, job: Some(job) });
    state
}

/// A device without a battery: the clock says 1970, then what a server told it.
#[test]
fn a_clock_that_is_wrong_at_boot_loses_nothing_and_fires_once_it_is_right() {
    let (state, rules) = (waiting_for("2026-01-09T14:30:00Z"), Rules::default());
    for early in ["1970-01-01T00:00:07Z", "2026-01-09T14:29:59Z"] {
        assert!(!is_due(&state, &rules, at(early)), "{early}");
        let wake = next_wake(&state, &rules, at(early)).unwrap();
        assert!(!wake.is_zero() && wake <= WAKE_MAX, "it looks at the clock again: {wake:?}");
    }
    for late in ["2026-01-09T14:30:00Z", "2031-01-01T00:00:00Z"] {
        assert!(is_due(&state, &rules, at(late)), "{late}");
    }
}

/// The zone is how a time is written; what is kept and compared is the moment.
#[test]
fn the_same_moment_in_any_zone_is_the_same_order() {
    for time in ["2026-01-09T14:30:00Z", "2026-01-10T04:30:00+14:00", "2026-01-09T02:30:00-12:00"] {
        let state = waiting_for(time);
        assert!(!is_due(&state, &Rules::default(), at("2026-01-09T14:29:59.999Z")), "{time}");
        assert!(is_due(&state, &Rules::default(), at("2026-01-09T14:30:00Z")), "{time}");
    }
}

/// Linux shows 23:59:59 twice, or half a second a second; neither fires early nor twice.
#[test]
fn a_leap_second_is_a_moment_like_others() {
    let state = waiting_for("2016-12-31T23:59:60Z");
    assert!(!is_due(&state, &Rules::default(), at("2016-12-31T23:59:59.999Z")));
    assert!(is_due(&state, &Rules::default(), at("2016-12-31T23:59:60Z")));
    assert!(is_due(&state, &Rules::default(), at("2017-01-01T00:00:00Z")));
    let state = waiting_for("2017-01-01T00:00:00Z");
    assert!(!is_due(&state, &Rules::default(), at("2016-12-31T23:59:60.999Z")));
    assert!(is_due(&state, &Rules::default(), at("2017-01-01T00:00:00Z")));
}

#[test]
fn what_is_ready_waits_for_the_window_and_is_looked_at_every_minute() {
    let rules = Rules { window: Window::parse("02:00-04:00"), ..Rules::default() };
    let state = staged();
    for (wall, due) in [
        ("2026-01-09T01:59:59Z", false),
        ("2026-01-09T02:00:00Z", true),
        ("2026-01-09T03:59:59Z", true),
        ("2026-01-09T04:00:00Z", false),
        // The clock steps into the window, and out of it.
        ("2026-03-01T03:00:00Z", true),
        ("1970-01-01T00:00:00Z", false),
    ] {
        assert_eq!(is_due(&state, &rules, at(wall)), due, "{wall}");
        let wake = next_wake(&state, &rules, at(wall)).unwrap();
        assert_eq!(wake.is_zero(), due, "{wall}");
        assert!(wake <= WAKE_MAX);
    }
    let opens = waits_for_window(&state, &rules, at("2026-01-09T05:00:00Z"));
    assert_eq!(opens, Some("2026-01-10T02:00:00Z".parse().unwrap()));
    assert!(is_due(&state, &Rules::default(), at("2026-01-09T05:00:00Z")));
}

#[test]
fn what_waits_for_its_hour_is_cancelled_and_stays_ready() {
    let rules = Rules { window: Window::parse("02:00-04:00"), ..builtin() };
    let now = at("2026-01-09T05:00:00Z");
    let next = step(&staged(), Input::Command(cancel()), &rules, now).unwrap().next;
    assert!(matches!(&next.phase, Phase::Staged(Stop { job: None, .. })), "{next:?}");
}

#[test]
fn where_there_is_nothing_to_go_back_to_the_job_ends_and_says_so() {
    let mut state = staged();
    let Phase::Staged(Stop { offer, job: Some(job), .. }) = state.phase else { panic!() };
    let work = WorkId(7);
    let failure = Some(Failure::new(FailureKind::Trial, "the health command failed"));
    state.phase = Phase::RollingBack { update: Update { offer, job, work }, failure };
    let report = |kind, words| {
        let report = Report::RolledBack(Err(Failure::new(kind, words)));
        let input = Input::Reported { work, report };
        step(&state, input, &Rules::default(), at("2026-01-09T05:00:00Z")).unwrap().next
    };
    let next = report(FailureKind::Storage, "the disk refuses");
    assert!(matches!(next.phase, Phase::RollingBack { .. }), "it is tried again");
    let next = report(FailureKind::NothingBefore, "there is no earlier version");
    assert_eq!(next.phase, Phase::Idle);
    let Outcome::Failed(failure) = next.outcome else { panic!() };
    assert_eq!(failure.kind, FailureKind::Trial);
    assert_eq!(failure.detail, "the health command failed; and there is no earlier version");
    assert_eq!(next.running, state.running);
}
