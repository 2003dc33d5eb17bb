//! What is believed and what is not: sequence numbers, ends, approvals and failures.

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::{Instant, Now};
use crate::package::{Digest, VersionMatch};
use crate::update::*;

use super::{offer, order};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> Now {
    Now { wall: time("2026-06-01T00:00:00Z"), mono: Instant::ZERO }
}

fn device() -> State {
    State::new("1.0.0", time("2026-01-01T00:00:00Z"))
}

fn rules() -> Rules {
    Rules { builtin_url: Some("https://example.com/x".into()), ..Rules::default() }
}

fn ask(state: &State, stage: Stage, now: Now) -> State {
    let command = Command::Order(order(stage, Some(now.wall)));
    step(state, Input::Command(command), &rules(), now).unwrap().next
}

fn report(state: &State, report: Report, now: Now) -> State {
    let work = state.phase.work().unwrap();
    let step = step(state, Input::Reported { work, report }, &rules(), now).unwrap();
    let mut next = step.next;
    while is_due(&next, &rules(), now) {
        next = crate::update::step(&next, Input::Tick, &rules(), now).unwrap().next;
    }
    next
}

/// From an order to the end of the check.
fn find(state: &State, offer: Offer, stage: Stage, now: Now) -> State {
    report(&ask(state, stage, now), Report::Checked(Ok(offer)), now)
}

fn kind(state: &State) -> Option<FailureKind> {
    match &state.outcome {
        Outcome::Failed(failure) => Some(failure.kind),
        _ => None,
    }
}

fn install(state: &State, offer: Offer, now: Now) -> State {
    let reports = [Report::Fetched(Ok(())), Report::Installed(Ok(())), Report::Switched(Ok(()))];
    let state = find(state, offer, Stage::Upgrade, now);
    reports.into_iter().fold(state, |state, next| report(&state, next, now))
}

fn updated(state: &State, offer: Offer, now: Now) -> State {
    let state = report(&install(state, offer, now), Report::Tried(Ok(())), now);
    report(&state, Report::Confirmed(Ok(())), now)
}

fn failed_trial(state: &State, offer: Offer, now: Now) -> State {
    let failure = Failure::new(FailureKind::Trial, "not healthy");
    let state = report(&install(state, offer, now), Report::Tried(Err(failure)), now);
    report(&state, Report::RolledBack(Ok(())), now)
}

#[test]
fn nothing_older_is_installed_on_any_path() {
    let state = updated(&device(), offer(5), now());
    assert_eq!(state.running.version, "5.0");
    for stage in [Stage::Check, Stage::Validate, Stage::Upgrade] {
        for sequence in 0..5 {
            let state = find(&state, offer(sequence), stage, now());
            assert_eq!(kind(&state), Some(FailureKind::OlderSequence), "{sequence}");
            assert_eq!(state.phase, Phase::Idle);
        }
        let other = Offer { package: Digest([99; 32]), ..offer(5) };
        assert_eq!(kind(&find(&state, other, stage, now())), Some(FailureKind::OlderSequence));
        assert_eq!(find(&state, offer(5), stage, now()).phase, Phase::Idle, "it runs already");
    }
    // Found before, judged again when it goes on.
    let mut waiting = find(&device(), offer(3), Stage::Check, now());
    waiting.floor = state.floor;
    let waiting = ask(&waiting, Stage::Upgrade, now());
    let state = step(&waiting, Input::Tick, &rules(), now()).unwrap().next;
    assert_eq!(kind(&state), Some(FailureKind::OlderSequence));
}

#[test]
fn a_failed_update_does_not_raise_the_floor() {
    let state = failed_trial(&updated(&device(), offer(5), now()), offer(9), now());
    assert_eq!(state.floor.unwrap().sequence, 5);
    assert_eq!(state.running.version, "5.0");
}

#[test]
fn new_keys_begin_new_sequence_numbers_and_old_keys_do_not() {
    let state = updated(&device(), offer(u64::MAX), now());
    let state = updated(&state, Offer { epoch: 1, ..offer(2) }, now());
    assert_eq!(state.running.version, "2.0");
    for old in [offer(u64::MAX - 1), offer(3), Offer { epoch: 1, ..offer(1) }] {
        let state = find(&state, old, Stage::Upgrade, now());
        assert_eq!(kind(&state), Some(FailureKind::OlderSequence));
    }
}

#[test]
fn what_has_expired_stays_expired_when_the_clock_goes_back() {
    let end = now().wall + TimeDelta::days(1);
    for offer in [
        Offer { use_before: Some(end), ..offer(1) },
        Offer { trusted_until: Some(end), ..offer(1) },
    ] {
        let state = find(&device(), offer.clone(), Stage::Check, now());
        assert!(matches!(state.phase, Phase::Available(_)), "{state:?}");
        let later = Now { wall: end, ..now() };
        // Found before its end, judged again when it goes on.
        let state = ask(&state, Stage::Upgrade, later);
        let state = step(&state, Input::Tick, &rules(), later).unwrap().next;
        assert_eq!(kind(&state), Some(FailureKind::Expired));
        assert_eq!(state.time_floor, end);
        let back = Now { wall: time("1970-01-01T00:00:00Z"), ..now() };
        for stage in [Stage::Check, Stage::Upgrade] {
            assert_eq!(kind(&find(&state, offer.clone(), stage, back)), Some(FailureKind::Expired));
        }
    }
}

#[test]
fn a_clock_before_the_last_update_is_not_believed() {
    let state = updated(&device(), offer(1), now());
    let old = Offer { use_before: Some(now().wall - TimeDelta::days(1)), ..offer(2) };
    let back = Now { wall: time("2020-01-01T00:00:00Z"), ..now() };
    let state = find(&state, old, Stage::Upgrade, back);
    assert_eq!(kind(&state), Some(FailureKind::Expired));
    // A clock that is wrong for a moment rules out what had an end, not everything.
    let wrong = Now { wall: time("2090-01-01T00:00:00Z"), ..now() };
    let soon = Offer { use_before: Some(time("2027-01-01T00:00:00Z")), ..offer(3) };
    let state = find(&state, soon, Stage::Check, wrong);
    assert_eq!(state.time_floor, time("2027-01-01T00:00:00Z"));
}

#[test]
fn a_package_that_failed_its_trial_is_not_fetched_again_until_there_is_a_newer_one() {
    let state = failed_trial(&device(), offer(4), now());
    assert_eq!(kind(&state), Some(FailureKind::Trial));
    for stage in [Stage::Check, Stage::Validate, Stage::Upgrade] {
        let again = find(&state, offer(4), stage, now());
        assert_eq!((kind(&again), &again.phase), (Some(FailureKind::Trial), &Phase::Idle));
    }
    assert_eq!(updated(&state, offer(5), now()).running.version, "5.0");
    // A reset forgets: the next owner begins anew.
    let state = step(&state, Input::Command(Command::Reset), &rules(), now()).unwrap().next;
    assert!(matches!(find(&state, offer(4), Stage::Check, now()).phase, Phase::Available(_)));
}

#[test]
fn only_what_is_the_packages_own_fault_is_remembered() {
    let fetching = find(&device(), offer(4), Stage::Upgrade, now());
    let installing = report(&fetching, Report::Fetched(Ok(())), now());
    let fail = |state: &State, make: fn(Result<(), Failure>) -> Report, kind| {
        report(state, make(Err(Failure::new(kind, "fate"))), now()).failed.len()
    };
    for kind in [FailureKind::ConnectionLost, FailureKind::Digest, FailureKind::NoSpace] {
        assert_eq!(fail(&fetching, Report::Fetched, kind), 0, "{kind:?}");
    }
    for (kind, remembered) in [
        (FailureKind::NoSpace, 0),
        (FailureKind::Install, 0),
        (FailureKind::Storage, 0),
        (FailureKind::Unfit, 1),
    ] {
        assert_eq!(fail(&installing, Report::Installed, kind), remembered, "{kind:?}");
    }
}

#[test]
fn as_many_failed_packages_are_remembered_as_the_limit_says() {
    let last = State::FAILED_MAX as u64 + 3;
    let state = (1..=last).fold(device(), |state, n| failed_trial(&state, offer(n), now()));
    assert_eq!(state.failed.len(), State::FAILED_MAX);
    assert_eq!(state.failed.last().unwrap().package, offer(last).package);
}

#[test]
fn a_package_that_makes_the_device_start_anew_for_ever_is_remembered() {
    let mut state = find(&device(), offer(4), Stage::Upgrade, now());
    let rules = rules();
    for _ in 0..=rules.restarts_max {
        state = resume(&state, &rules, now()).next;
    }
    assert_eq!(kind(&state), Some(FailureKind::Interrupted));
    assert_eq!(state.failed.len(), 1);
}

#[test]
fn an_unapproved_package_waits_for_an_order_that_knows_it() {
    let careful = |n| Offer { needs_approval: true, ..offer(n) };
    // Ordered blindly: found, shown, not installed.
    let state = find(&device(), careful(2), Stage::Upgrade, now());
    assert!(matches!(&state.phase, Phase::Available(Stop { job: None, .. })), "{state:?}");
    // Ordered again, knowing it: the work goes on.
    let approved = ask(&state, Stage::Upgrade, now());
    let approved = step(&approved, Input::Tick, &rules(), now()).unwrap().next;
    assert!(matches!(approved.phase, Phase::Fetching(_)), "{approved:?}");
    // To look at it, and to download it, takes no approval.
    let staged = find(&device(), careful(2), Stage::Validate, now());
    assert!(matches!(staged.phase, Phase::Fetching(_)), "{staged:?}");
    let staged = report(&staged, Report::Fetched(Ok(())), now());
    let approved = ask(&staged, Stage::Upgrade, now());
    let approved = step(&approved, Input::Tick, &rules(), now()).unwrap().next;
    assert!(matches!(approved.phase, Phase::Installing(_)), "{approved:?}");
}

#[test]
fn an_approval_of_one_package_is_none_of_the_next() {
    let careful = |n| Offer { needs_approval: true, ..offer(n) };
    let state = find(&device(), careful(2), Stage::Check, now());
    let later = now().wall + TimeDelta::hours(1);
    let command = Command::Order(order(Stage::Upgrade, Some(later)));
    let state = step(&state, Input::Command(command), &rules(), now()).unwrap().next;
    // Before its time comes, somebody looks and finds another package.
    let command = Command::Order(order(Stage::Check, None));
    let state = step(&state, Input::Command(command), &rules(), now()).unwrap().next;
    let state = report(&state, Report::Checked(Ok(careful(3))), now());
    let due = Now { wall: later, ..now() };
    let state = step(&state, Input::Tick, &rules(), due).unwrap().next;
    let state = report(&state, Report::Checked(Ok(careful(3))), due);
    assert!(matches!(&state.phase, Phase::Available(Stop { job: None, .. })), "{state:?}");
}

#[test]
fn a_package_for_other_versions_is_not_installed() {
    let wants = |text| Offer { requires: vec![VersionMatch::from_text(text).unwrap()], ..offer(2) };
    let state = find(&device(), wants(">=1.1"), Stage::Upgrade, now());
    assert_eq!(kind(&state), Some(FailureKind::WrongVersion));
    assert_eq!(updated(&device(), wants(">=1.0"), now()).running.version, "2.0");
}
