//! What an update and a campaign make of each input, as golden tables.
//!
//! `BLESS=1 cargo test -p freshen-fleet --test transitions` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::time::Duration;
use std::{env, fs};

use freshen_fleet::plan::campaign::{
    AbortRule, Action, Campaign, Policy, Scope, State as Does, WavePolicy, Why,
};
use freshen_fleet::plan::failure::Failure;
use freshen_fleet::plan::queue::Interval;
use freshen_fleet::plan::step::{self, Approver, Health, Move};
use freshen_fleet::plan::time::Time;
use freshen_fleet::plan::update::{self, Budget, By, Input, Phase, Rules, State, Update};
use freshen_fleet::plan::wave::Choice;
use freshen_fleet::plan::words::PackageId;

const NOW: Time = Time::from_secs(1_800_000_000);

fn golden(path: &str, table: &str) {
    if env::var("BLESS").is_ok() {
        return fs::write(path, table).unwrap();
    }
    let known = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(table, known, "BLESS=1 when the change is meant");
}

fn package(version: &str) -> PackageId {
    PackageId::new("ivi", version).unwrap()
}

#[test]
fn the_table_of_updates_is_the_golden_one() {
    let mut table = String::new();
    let failure = || Failure::new("install_failed".parse().unwrap(), "");
    let states = [
        ("pending", State::Pending),
        ("notified", State::InFlight(Phase::Notified)),
        ("downloading", State::InFlight(Phase::Downloading)),
        ("downloaded", State::InFlight(Phase::Downloaded)),
        ("installing", State::InFlight(Phase::Installing)),
        ("verifying", State::InFlight(Phase::Verifying)),
        ("completed", State::Completed),
        ("failed", State::Failed(failure())),
        ("cancelled", State::Cancelled(By::Campaign)),
        ("cancelled by force", State::Cancelled(By::Force)),
    ];
    let inputs = [
        ("notified", Input::Notified),
        ("started", Input::Started),
        ("fetched", Input::Fetched),
        ("held", Input::Held),
        ("downloaded", Input::Downloaded),
        ("installing", Input::Installing),
        ("declined", Input::Declined(String::new())),
        ("success, new runs", Input::Succeeded([package("2")].into())),
        ("success, old runs", Input::Succeeded([package("1")].into())),
        ("failure", Input::Failed(failure())),
        ("inventory, new runs", Input::Running([package("2")].into())),
        ("inventory, old runs", Input::Running([package("1")].into())),
        ("inventory, neither", Input::Running([].into())),
        ("tick after silence", Input::Tick),
        ("expire", Input::Expire),
        ("cancel", Input::Cancel),
        ("cancel by force", Input::ForceCancel),
        ("retry", Input::Retry),
    ];
    for (from, state) in &states {
        for (name, input) in &inputs {
            let attempts = u32::from(*state != State::Pending);
            let update =
                Update { state: state.clone(), attempts, ..Update::new(package("2"), NOW) };
            let later = NOW + Duration::from_secs(30 * 86_400);
            let result = update::step(&update, input, &Rules::default(), Budget::Left, later);
            let told = match result {
                Err(refusal) => format!("refused: {refusal}"),
                Ok(step) if step.next == update => "-".to_owned(),
                Ok(step) => {
                    let known = states.iter().find(|(_, state)| *state == step.next.state);
                    let to = match (&step.next.state, known) {
                        (_, Some((name, _))) => (*name).to_owned(),
                        (State::Failed(failure), None) => format!("failed({})", failure.code),
                        (other, None) => format!("{other:?}"),
                    };
                    let effects: Vec<_> = step.effects.iter().map(|e| format!("{e:?}")).collect();
                    format!("{to:18} {}", effects.join(", ")).trim_end().to_owned()
                }
            };
            writeln!(table, "{from:18} | {name:20} | {told}").unwrap();
        }
    }
    golden("tests/vectors/update-transitions.txt", &table);
}

fn policy() -> Policy {
    let canary = WavePolicy {
        choice: Choice::Number(2),
        success_percent: 100,
        soak_ms: 60_000,
        health: true,
    };
    let rule = AbortRule {
        class: None,
        percent: 50,
        minimum_executed: 2,
        scope: Scope::Campaign,
        action: Action::Pause,
    };
    Policy { waves: vec![canary, WavePolicy::default()], abort: vec![rule], ..Policy::default() }
}

fn place(state: State) -> freshen_fleet::plan::campaign::Place {
    (&state).into()
}

fn moved(wave: usize, from: State, to: State) -> step::Input {
    step::Input::Moved(Move { wave, from: place(from), to: place(to), devices: 1, bytes: 0 })
}

/// A campaign after these inputs.
fn after(inputs: &[step::Input], policy: &Policy) -> Campaign {
    inputs.iter().fold(Campaign::new(&[2, 3]), |campaign, input| {
        step::step(&campaign, input, policy, NOW).unwrap().next
    })
}

#[test]
fn the_table_of_campaigns_is_the_golden_one() {
    use step::Input::{Approve, Cancel, Health as Say, Pause, Resume, Start, Tick};
    let flying = || State::InFlight(Phase::Downloading);
    let failed = || State::Failed(Failure::rolled_back());
    let begin = moved(0, State::Pending, flying());
    let complete = moved(0, flying(), State::Completed);
    let fail = moved(0, flying(), failed());
    let (approval, ahead) = (
        Policy { approval: true, ..policy() },
        Policy {
            interval: Interval::new(Some(NOW + Duration::from_secs(60)), None).unwrap(),
            ..policy()
        },
    );
    let soaking = [Start, begin.clone(), begin.clone(), complete.clone(), complete.clone()];
    let canary_failed = [Start, begin.clone(), begin.clone(), complete.clone(), fail.clone()];
    let states = [
        ("draft", policy(), after(&[], &policy())),
        ("draft to approve", approval.clone(), after(&[], &approval)),
        ("waiting for approval", approval.clone(), after(&[Start], &approval)),
        ("scheduled", ahead.clone(), after(&[Start], &ahead)),
        ("first wave", policy(), after(&[Start, begin.clone()], &policy())),
        ("soaking", policy(), after(&soaking, &policy())),
        ("paused by a person", policy(), after(&[Start, begin.clone(), Pause], &policy())),
        ("canary failed", policy(), after(&canary_failed, &policy())),
        ("cancelled", policy(), after(&[Start, begin.clone(), Cancel], &policy())),
    ];
    let inputs = [
        ("start", Start, 0),
        ("approve, author", Approve(Approver::Author), 0),
        ("approve, another", Approve(Approver::Another), 0),
        ("pause", Pause, 0),
        ("resume", Resume, 0),
        ("cancel", Cancel, 0),
        ("tick", Tick, 0),
        ("tick a minute later", Tick, 60),
        ("well", Say { wave: 0, answer: Health::Good }, 0),
        ("begins", begin, 0),
        ("completes", complete, 0),
        ("fails", fail, 0),
        ("is tried again", moved(0, failed(), State::Pending), 0),
    ];
    let mut table = String::new();
    for (from, policy, campaign) in &states {
        for (name, input, seconds) in &inputs {
            let told =
                match step::step(campaign, input, policy, NOW + Duration::from_secs(*seconds)) {
                    Err(refusal) => format!("refused: {refusal}"),
                    Ok(step) if step.next == *campaign && step.effects.is_empty() => "-".to_owned(),
                    Ok(step) => {
                        let counts = step.next.counts();
                        let does = match step.next.state {
                            Does::Paused(Why::Person) => "paused by a person".to_owned(),
                            Does::Paused(why) => format!("paused: {why:?}"),
                            other => format!("{other:?}").to_lowercase(),
                        };
                        let effects: Vec<_> =
                            step.effects.iter().map(|e| format!("{e:?}")).collect();
                        let counts = [
                            counts.pending,
                            counts.in_flight,
                            counts.completed,
                            counts.failed,
                            counts.cancelled,
                        ];
                        format!(
                            "{does}, {} begun, {counts:?} {}",
                            step.next.begun,
                            effects.join(", ")
                        )
                        .trim_end()
                        .to_owned()
                    }
                };
            writeln!(table, "{from:20} | {name:20} | {told}").unwrap();
        }
    }
    golden("tests/vectors/campaign-transitions.txt", &table);
}
