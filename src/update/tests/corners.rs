//! Where doors meet: each corner by its number in the list that the doors were designed from.

use chrono::TimeDelta;

use super::*;
use crate::package::Digest;

const FIRST: Door = Door::named("first");
const SECOND: Door = Door::named("second");
const SOURCE: &str = "https://v/a";

fn now() -> Now {
    at("2026-06-01T00:00:00Z")
}

fn after(minutes: i64) -> Now {
    Now { wall: now().wall + TimeDelta::minutes(minutes), ..now() }
}

fn device() -> State {
    State::new("1.0.0", now().wall - TimeDelta::days(100))
}

fn by(door: Door, stage: Stage, at: Option<i64>) -> Order {
    Order {
        origin: Origin::new(door, "somebody", ""),
        source: SOURCE.into(),
        at: at.map(|minutes| after(minutes).wall),
        ..order(stage, None)
    }
}

fn command(state: &State, command: Command, now: Now) -> Result<Step, Refusal> {
    step(state, Input::Command(command), &builtin(), now)
}

fn take(state: &State, order: Order) -> State {
    command(state, Command::Order(order), now()).unwrap().next
}

fn refuse(state: &State, order: Order) -> Refusal {
    command(state, Command::Order(order), now()).unwrap_err()
}

fn cancel(state: &State, door: Door) -> Result<State, Refusal> {
    let cancel = Cancel { origin: Origin::new(door, "somebody else", ""), job: None, draft: None };
    command(state, Command::Cancel(cancel), now()).map(|step| step.next)
}

fn report(state: &State, report: Report) -> State {
    let work = state.phase.work().unwrap();
    settle(step(state, Input::Reported { work, report }, &builtin(), now()).unwrap().next, now())
}

/// All that time alone brings.
fn settle(mut state: State, now: Now) -> State {
    while is_due(&state, &builtin(), now) {
        state = step(&state, Input::Tick, &builtin(), now).unwrap().next;
    }
    state
}

fn staged_by(door: Door) -> State {
    let state = take(&device(), by(door, Stage::Validate, None));
    report(&report(&state, Report::Checked(Ok(offer(1)))), Report::Fetched(Ok(())))
}

fn kind(state: &State, id: u64) -> Option<FailureKind> {
    match &state.entry(JobId(id))?.fate {
        Fate::Ended { outcome: Outcome::Failed(failure), .. } => Some(failure.kind),
        _ => None,
    }
}

#[test]
fn corner_01_what_one_door_has_downloaded_another_installs_without_a_new_download() {
    let state = staged_by(FIRST);
    assert!(matches!(&state.phase, Phase::Staged(Stop { job: None, .. })));
    assert!(!is_due(&state, &builtin(), after(10_000)), "nothing but an order moves it");
    // The built-in URL is the same source, said otherwise.
    for source in [SOURCE, ""] {
        let order = Order { source: source.into(), ..by(SECOND, Stage::Upgrade, None) };
        let state = settle(take(&state, order), now());
        assert!(matches!(state.phase, Phase::Installing(_)), "{state:?}");
    }
}

#[test]
fn corner_02_another_source_version_or_digest_starts_over() {
    let state = staged_by(FIRST);
    let other =
        |version: Option<&str>, digest| Expected { version: version.map(Into::into), digest };
    let meant = other(Some("1.0"), offer(1).envelope);
    let same = Order { expected: meant, ..by(SECOND, Stage::Upgrade, None) };
    assert!(matches!(take(&state, same).phase, Phase::Staged(_)));
    for expected in [other(Some("2.0"), None), other(None, Some(Digest([9; 32])))] {
        let order = Order { expected, ..by(SECOND, Stage::Upgrade, None) };
        let next = take(&state, order);
        assert!(matches!(next.phase, Phase::Checking(_)), "{next:?}");
        let next = report(&next, Report::Checked(Ok(offer(1))));
        assert_eq!(next.phase, Phase::Idle, "it is not what was ordered");
        assert!(matches!(kind(&next, 2), Some(FailureKind::OtherVersion | FailureKind::Digest)));
    }
    let order = Order { source: "https://v/b".into(), ..by(SECOND, Stage::Upgrade, None) };
    let step = command(&state, Command::Order(order), now()).unwrap();
    assert!(matches!(step.next.phase, Phase::Checking(_)));
    assert_eq!(step.effects[0], Effect::Tidy { keep: None }, "there is room for the other one");
}

#[test]
fn corner_03_a_package_at_rest_is_discarded_and_one_under_way_is_not() {
    let origin = || Origin::new(SECOND, "platform", "");
    let state = staged_by(FIRST);
    let step = command(&state, Command::Discard(origin()), now()).unwrap();
    assert_eq!(step.next.phase, Phase::Idle);
    assert!(step.effects.contains(&Effect::Tidy { keep: None }));
    let state = take(&state, by(FIRST, Stage::Upgrade, None));
    let refusal = command(&state, Command::Discard(origin()), now()).unwrap_err();
    assert!(matches!(refusal, Refusal::Busy { .. }));
}

#[test]
fn corner_04_a_package_that_changed_on_disk_fails_when_it_is_to_be_installed() {
    let state = settle(take(&staged_by(FIRST), by(FIRST, Stage::Upgrade, None)), now());
    let changed = Failure::new(FailureKind::Digest, "the payload has changed");
    let state = report(&state, Report::Installed(Err(changed)));
    assert_eq!((kind(&state, 2), &state.phase), (Some(FailureKind::Digest), &Phase::Idle));
    let before = &state.entry(JobId(1)).unwrap().fate;
    let done = matches!(before, Fate::Ended { outcome: Outcome::Success, .. });
    assert!(done, "the download that was finished stays finished: {before:?}");
}

#[test]
fn corner_05_memory_and_storage_that_run_short_are_told_apart() {
    for short in [FailureKind::NoMemory, FailureKind::NoSpace] {
        let state = take(&device(), by(FIRST, Stage::Upgrade, None));
        let state = report(&state, Report::Checked(Ok(offer(1))));
        let work = state.phase.work().unwrap();
        let failed = Report::Fetched(Err(Failure::new(short, "full")));
        let input = Input::Reported { work, report: failed };
        let step = step(&state, input, &builtin(), now()).unwrap();
        assert_eq!((kind(&step.next, 1), &step.next.phase), (Some(short), &Phase::Idle));
        assert!(step.effects.contains(&Effect::Tidy { keep: None }), "what came is removed");
    }
}

#[test]
fn corner_06_a_source_is_judged_before_the_order_is_taken_unless_its_door_tells_by_results() {
    for (source, kind) in [
        ("updates.example.com/x", FailureKind::BadUrl),
        ("https://user@v/a", FailureKind::BadUrl),
        ("https://v/a#part", FailureKind::BadUrl),
        ("https://", FailureKind::BadUrl),
        (&*format!("https://v/{}", "a".repeat(60)), FailureKind::BadUrl),
        ("https://w/a", FailureKind::SourceRefused),
        ("http://v/a", FailureKind::UnsupportedScheme),
        ("ftp://v/a", FailureKind::UnsupportedScheme),
    ] {
        let order = Order { source: source.into(), ..by(FIRST, Stage::Upgrade, None) };
        let Refusal::Unusable(failure) = refuse(&device(), order.clone()) else { panic!() };
        assert_eq!(failure.kind, kind, "{source}");
        let order = Order { unusable: Unusable::Fail, ..order };
        assert!(matches!(take(&device(), order).phase, Phase::Checking(_)), "{source}");
    }
    // No source and no built-in one.
    let order = Order { source: String::new(), ..by(FIRST, Stage::Upgrade, None) };
    let none = Rules { builtin_url: None, ..builtin() };
    let input = |order| Input::Command(Command::Order(order));
    let refusal = step(&device(), input(order.clone()), &none, now()).unwrap_err();
    assert!(matches!(refusal, Refusal::Unusable(failure) if failure.kind == FailureKind::NoSource));
    let order = Order { unusable: Unusable::Fail, ..order };
    let taken = step(&device(), input(order), &none, now()).unwrap().next;
    assert_eq!((kind(&taken, 1), taken.phase), (Some(FailureKind::NoSource), Phase::Idle));
}

#[test]
fn corner_07_the_second_door_finds_the_device_busy_and_sees_the_job() {
    let state = take(&device(), by(FIRST, Stage::Upgrade, None));
    for stage in [Stage::Check, Stage::Validate, Stage::Upgrade] {
        let Refusal::Busy { door, running } = refuse(&state, by(SECOND, stage, None)) else {
            panic!()
        };
        assert_eq!((door, running), (FIRST, Stage::Upgrade));
    }
    // The same door, the same order: it is the one under way. Another is not.
    let again = command(&state, Command::Order(by(FIRST, Stage::Upgrade, None)), now()).unwrap();
    assert_eq!(again.job, Some(JobId(1)));
    assert_eq!(again.next.journal.len(), 1);
    assert!(matches!(refuse(&state, by(FIRST, Stage::Check, None)), Refusal::Busy { .. }));
    assert_eq!(state.phase.job().unwrap().origin.door, FIRST);
}

#[test]
fn corner_08_a_door_cancels_only_what_is_its_own() {
    let state = take(&device(), by(FIRST, Stage::Upgrade, None));
    let state = take(&state, by(SECOND, Stage::Check, Some(60)));
    let without = cancel(&state, SECOND).unwrap();
    assert!(without.phase.job().is_some(), "the first door's job goes on");
    assert_eq!(kind(&without, 2), Some(FailureKind::Cancelled));
    assert_eq!(cancel(&without, SECOND), Err(Refusal::NotYours { door: FIRST }));
    let without = cancel(&state, FIRST).unwrap();
    assert!(without.phase.job().is_none());
    assert_eq!(kind(&without, 1), Some(FailureKind::Cancelled));
    assert!(without.standing(&SECOND).unwrap().waiting, "the second door's order still waits");
    let Outcome::Failed(failure) = without.outcome else { panic!() };
    assert_eq!(failure.detail, "cancelled by somebody else by first");
    // One order of several, or none.
    let only = |job| {
        let origin = Origin::new(FIRST, "somebody", "");
        Command::Cancel(Cancel { origin, job: Some(JobId(job)), draft: None })
    };
    assert_eq!(command(&state, only(2), now()), Err(Refusal::NoSuchOrder(JobId(2))));
    assert!(command(&state, only(1), now()).is_ok());
}

#[test]
fn corner_08_everything_is_stopped_that_has_not_been_switched_to_and_nothing_after() {
    let checking = take(&device(), by(FIRST, Stage::Upgrade, None));
    let fetching = report(&checking, Report::Checked(Ok(offer(1))));
    let installing = report(&fetching, Report::Fetched(Ok(())));
    for state in [&checking, &fetching, &installing] {
        let cancel = Cancel { origin: Origin::new(FIRST, "x", ""), job: None, draft: None };
        let step = command(state, Command::Cancel(cancel), now()).unwrap();
        assert_eq!((step.effects[0].clone(), step.next.phase), (Effect::Abort, Phase::Idle));
    }
    let switching = report(&installing, Report::Installed(Ok(())));
    let trial = report(&switching, Report::Switched(Ok(())));
    let confirming = report(&trial, Report::Tried(Ok(())));
    let failure = Failure::new(FailureKind::Trial, "not healthy");
    let rolling_back = report(&trial, Report::Tried(Err(failure)));
    for state in [&switching, &trial, &confirming, &rolling_back] {
        assert_eq!(cancel(state, FIRST), Err(Refusal::TooLate { version: "1.0".into() }));
    }
}

#[test]
fn corner_09_what_waits_takes_no_place_and_begins_when_the_device_is_free() {
    let state = take(&device(), by(FIRST, Stage::Check, Some(30)));
    let state = take(&state, by(SECOND, Stage::Upgrade, None));
    assert!(state.phase.job().is_some(), "an order for now does not wait for one for later");
    let state = settle(state, after(30));
    assert!(state.standing(&FIRST).unwrap().waiting, "it waits for the device");
    let work = state.phase.work().unwrap();
    let failed = Report::Checked(Err(Failure::new(FailureKind::Http(404), "gone")));
    let input = Input::Reported { work, report: failed };
    let state = step(&state, input, &builtin(), after(31)).unwrap().next;
    let state = settle(state, after(31));
    assert_eq!(state.phase.job().map(|job| &job.origin.door), Some(&FIRST), "in its own name");
}

#[test]
fn corner_09_an_order_that_comes_too_late_is_dropped_and_the_reason_is_kept() {
    let state = take(&device(), by(FIRST, Stage::Check, Some(30)));
    let state = take(&state, by(SECOND, Stage::Upgrade, None));
    let state = settle(state, after(30));
    assert!(!is_due(&state, &builtin(), after(89)));
    let wake = next_wake(&state, &builtin(), after(89)).unwrap();
    assert!(wake <= WAKE_MAX && !wake.is_zero());
    let state = settle(state, after(90));
    assert!(!state.standing(&FIRST).unwrap().waiting);
    assert_eq!(kind(&state, 1), Some(FailureKind::Late));
    assert_eq!(state.phase.job().map(|job| job.id), Some(JobId(2)), "the other goes on");
    assert_eq!(state.outcome, Outcome::None, "and nobody takes this for its end");
}

/// A device without a battery begins in 1970 with the job of its last life, and then hears the time.
#[test]
fn corner_09_a_clock_that_leaps_over_the_hour_loses_no_order_of_a_busy_device() {
    let state = take(&device(), by(FIRST, Stage::Check, Some(30)));
    let state = take(&state, by(SECOND, Stage::Upgrade, None));
    let state = settle(resume(&state, &builtin(), at("1970-01-01T00:00:09Z")).next, after(100_000));
    assert!(state.standing(&FIRST).unwrap().waiting);
}

#[test]
fn corner_09_one_order_waits_at_a_door_and_the_next_takes_its_place_if_it_may() {
    let waiting = take(&device(), by(FIRST, Stage::Check, Some(30)));
    let again = take(&waiting, by(FIRST, Stage::Upgrade, Some(60)));
    assert_eq!(kind(&again, 1), Some(FailureKind::Replaced));
    assert_eq!(again.waiting().count(), 1);
    let other = |replaces| Order {
        origin: Origin::new(FIRST, "another", ""),
        replaces,
        ..by(FIRST, Stage::Upgrade, Some(60))
    };
    let refusal = refuse(&waiting, other(Replaces::Own));
    assert!(matches!(refusal, Refusal::Waiting { .. }), "{refusal:?}");
    let replaced = take(&waiting, other(Replaces::Anyones));
    let told = replaced.entry(JobId(2)).unwrap().replaced.as_ref();
    assert_eq!(told, Some(&Origin::new(FIRST, "somebody", "")));
    // Another door has a place of its own; an order for now needs none.
    assert_eq!(take(&waiting, by(SECOND, Stage::Check, Some(30))).waiting().count(), 2);
    assert_eq!(take(&waiting, by(FIRST, Stage::Check, None)).waiting().count(), 1);
}

#[test]
fn corner_10_each_order_has_its_own_end_and_all_doors_see_the_last() {
    let state = take(&device(), by(FIRST, Stage::Upgrade, None));
    let lost = Failure::new(FailureKind::ConnectionLost, "gone");
    let state = report(&state, Report::Checked(Err(lost.clone())));
    assert_eq!(state.outcome, Outcome::Failed(lost));
    let state = take(&state, by(SECOND, Stage::Check, None));
    let state = report(&state, Report::Checked(Ok(offer(1))));
    assert_eq!(kind(&state, 1), Some(FailureKind::ConnectionLost));
    assert_eq!(kind(&state, 2), None);
    assert_eq!(state.entry(JobId(2)).unwrap().version.as_deref(), Some("1.0"));
    assert_eq!(state.outcome, Outcome::None);
}

#[test]
fn corner_11_the_old_failure_is_gone_in_the_very_step_that_begins_the_next_job() {
    let state = take(&device(), by(FIRST, Stage::Upgrade, None));
    let failed = Report::Checked(Err(Failure::new(FailureKind::Http(500), "broken")));
    let state = report(&state, failed);
    assert!(matches!(state.outcome, Outcome::Failed(_)));
    let next = take(&state, by(SECOND, Stage::Validate, None));
    assert!(matches!(next.phase, Phase::Checking(_)));
    assert_eq!(next.outcome, Outcome::None);
}

#[test]
fn corner_12_a_job_keeps_its_door_and_its_number_through_a_power_cut() {
    let state = take(&device(), by(SECOND, Stage::Upgrade, None));
    let state = report(&state, Report::Checked(Ok(offer(1))));
    let state = report(&report(&state, Report::Fetched(Ok(()))), Report::Installed(Ok(())));
    let job = |state: &State| state.phase.job().map(|job| (job.id, job.origin.clone()));
    let resumed = resume(&state, &builtin(), now()).next;
    assert_eq!(job(&resumed), job(&state));
    let trial = report(&resumed, Report::Switched(Ok(())));
    let state = report(&report(&trial, Report::Tried(Ok(()))), Report::Confirmed(Ok(())));
    let end = &state.entry(JobId(1)).unwrap().fate;
    assert!(matches!(end, Fate::Ended { outcome: Outcome::Success, .. }), "{end:?}");
}

#[test]
fn corner_13_an_order_that_nobody_asks_about_is_remembered_and_the_oldest_is_forgotten() {
    let last = State::JOURNAL_MAX as u64 + 5;
    let mut state = take(&device(), by(SECOND, Stage::Check, Some(600)));
    for _ in 1..last {
        state = report(&take(&state, by(FIRST, Stage::Check, None)), Report::Checked(Ok(offer(1))));
        let discard = Command::Discard(Origin::new(FIRST, "somebody", ""));
        state = command(&state, discard, now()).unwrap().next;
    }
    assert_eq!(state.journal.len(), State::JOURNAL_MAX);
    assert_eq!(state.entry(JobId(1)).unwrap().fate, Fate::Waiting, "what lives is not forgotten");
    assert_eq!(state.entry(JobId(2)), None);
    assert!(state.entry(JobId(last)).is_some());
}

#[test]
fn corner_14_the_same_version_is_a_success_without_work_and_an_older_one_a_failure() {
    let mut state = device();
    let Offer { epoch, sequence, package, .. } = offer(5);
    state.floor = Some(Floor { epoch, sequence, package });
    let asked =
        |stage, n| report(&take(&state, by(FIRST, stage, None)), Report::Checked(Ok(offer(n))));
    assert_eq!(asked(Stage::Upgrade, 5).outcome, Outcome::Success);
    assert_eq!(asked(Stage::Check, 5).outcome, Outcome::None);
    assert_eq!(kind(&asked(Stage::Upgrade, 4), 1), Some(FailureKind::OlderSequence));
}

#[test]
fn corner_16_without_a_believable_clock_orders_for_later_wait_and_those_for_now_do_not() {
    let mut state = device();
    state.time_floor = now().wall;
    let boot = at("1970-01-01T00:00:09Z");
    assert!(state.is_clock_behind(boot.wall) && !state.is_clock_behind(now().wall));
    let order = by(FIRST, Stage::Check, Some(30));
    let waiting = command(&state, Command::Order(order), boot).unwrap().next;
    assert!(!is_due(&waiting, &builtin(), boot));
    assert!(is_due(&waiting, &builtin(), after(30)));
    let order = by(SECOND, Stage::Check, None);
    let begun = command(&waiting, Command::Order(order), boot).unwrap().next;
    assert!(matches!(begun.phase, Phase::Checking(_)));
}

#[test]
fn as_many_doors_have_a_place_as_the_limit_says() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    assert_eq!(names.len(), State::DOORS_MAX);
    let full = names
        .iter()
        .fold(device(), |state, name| take(&state, by(Door::named(name), Stage::Check, Some(30))));
    let one_more = by(Door::named("i"), Stage::Check, Some(30));
    assert_eq!(refuse(&full, one_more.clone()), Refusal::TooManyDoors);
    // A door that only shows what is over gives its place up.
    let room = cancel(&full, Door::named("c")).unwrap();
    assert_eq!(take(&room, one_more).waiting().count(), State::DOORS_MAX);
}

#[test]
fn after_a_reset_nobody_learns_what_was_ordered_before() {
    let state = take(&device(), by(SECOND, Stage::Check, Some(30)));
    let state = take(&state, by(FIRST, Stage::Upgrade, None));
    let fetching = report(&state, Report::Checked(Ok(offer(1))));
    let installing = report(&fetching, Report::Fetched(Ok(())));
    let switching = report(&installing, Report::Installed(Ok(())));
    for state in [state, fetching, installing, switching] {
        let mut next = command(&state, Command::Reset, now()).unwrap().next;
        if let Phase::RollingBack { .. } = next.phase {
            next = report(&next, Report::RolledBack(Ok(())));
        }
        assert_eq!((next.phase, next.outcome), (Phase::Idle, Outcome::None));
        assert!(next.orders.is_empty() && next.journal.is_empty());
    }
}
