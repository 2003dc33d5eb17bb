//! The transition table, as the engine has it: what each phase makes of each input. The table is a
//! golden file, and the diagram in `docs/architecture.md` is drawn from it.
//!
//! `BLESS=1 cargo test --test transitions` writes both anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::{env, fs};

use chrono::{DateTime, TimeDelta, Utc};
use freshen::clock::{Instant, Now};
use freshen::package::Digest;
use freshen::update::{
    Cancel, Checking, Command, Door, Effect, Expected, Failure, FailureKind, Input, Job, JobId,
    Offer, Order, Origin, Outcome, Phase, Replaces, Report, Rules, Stage, Standing, State, Stop,
    Task, Unusable, Update, WorkId, resume, step,
};

/// The door whose job is under way, and another.
const OWN: Door = Door::named("own");
const OTHER: Door = Door::named("other");

const TABLE: &str = "tests/vectors/transitions.txt";
const ARCHITECTURE: &str = "docs/architecture.md";

struct Row {
    from: String,
    input: &'static str,
    to: String,
    effects: String,
}

#[test]
fn the_table_is_the_golden_one_and_the_diagram_is_drawn_from_it() {
    let rows = rows();
    let (table, diagram) = (table(&rows), diagram(&rows));
    let document = fs::read_to_string(ARCHITECTURE).unwrap();
    if env::var("BLESS").is_ok() {
        fs::write(TABLE, table).unwrap();
        let (before, rest) = document.split_once("```mermaid\n").unwrap();
        let (_, after) = rest.split_once("```").unwrap();
        let drawn = format!("{before}```mermaid\n{diagram}```{after}");
        return fs::write(ARCHITECTURE, drawn).unwrap();
    }
    assert_eq!(table, fs::read_to_string(TABLE).unwrap(), "BLESS=1 when the change is meant");
    assert!(document.contains(&diagram), "BLESS=1 draws the diagram anew");
}

fn rows() -> Vec<Row> {
    let rules = Rules { builtin_url: Some("https://v/a".into()), ..Rules::default() };
    let now = now();
    let mut rows = vec![];
    for (from, state) in states() {
        for (name, input) in inputs(&state) {
            let Ok(step) = step(&state, input, &rules, now) else { continue };
            let to = described(&step.next);
            let effects = effects(&step.effects);
            rows.push(Row { from: from.clone(), input: name, to, effects });
        }
        let step = resume(&state, &rules, now);
        let (to, effects) = (described(&step.next), effects(&step.effects));
        rows.push(Row { from: from.clone(), input: "start of a new life", to, effects });
    }
    rows
}

fn now() -> Now {
    Now { wall: "2026-01-09T14:30:00Z".parse().unwrap(), mono: Instant::ZERO }
}

fn origin(door: Door) -> Origin {
    Origin::new(door, "somebody", "")
}

/// Both doors have an order whose time has come: the other door's has waited longer.
fn both_due(mut state: State) -> State {
    for (door, id, at) in [(OWN, 8, "2026-01-09T14:20:00Z"), (OTHER, 9, "2026-01-09T14:10:00Z")] {
        state.orders.push(Standing {
            id: JobId(id),
            origin: origin(door),
            source: String::new(),
            stage: Some(Stage::Check),
            at: at.parse().unwrap(),
            waiting: true,
            due_since: None,
            knows: None,
            expected: Expected::default(),
        });
    }
    state
}

/// The same, and the device has been too busy for too long.
fn both_late(state: State) -> State {
    let mut state = both_due(state);
    for standing in &mut state.orders {
        standing.due_since = Some("2026-01-09T13:30:00Z".parse().unwrap());
    }
    state
}

/// Every phase, with each job that can be in it.
fn states() -> Vec<(String, State)> {
    let base = State::new("0.9", "2026-01-09T14:30:00Z".parse().unwrap());
    let offer = Offer {
        package: Digest([7; 32]),
        envelope: None,
        sequence: 2,
        version: "2.0".into(),
        size: 1,
        use_before: None,
        epoch: 0,
        trusted_until: None,
        requires: vec![],
        needs_approval: false,
    };
    let source = String::new();
    let work = WorkId(1);
    let job = |stage| Job {
        id: JobId(1),
        origin: origin(OWN),
        source: String::new(),
        stage,
        restarts: 0,
        knows: None,
        expected: Expected::default(),
    };
    let stop = |job| Stop { offer: offer.clone(), source: source.clone(), job };
    let update = |stage| Update { offer: offer.clone(), job: job(stage), work };
    let failure = Some(Failure::new(FailureKind::Trial, "not healthy"));
    let upgrade = || update(Stage::Upgrade);
    let phases = [
        Phase::Idle,
        Phase::Checking(Checking { job: job(Stage::Check), work }),
        Phase::Checking(Checking { job: job(Stage::Validate), work }),
        Phase::Checking(Checking { job: job(Stage::Upgrade), work }),
        Phase::Available(stop(None)),
        Phase::Available(stop(Some(job(Stage::Validate)))),
        Phase::Available(stop(Some(job(Stage::Upgrade)))),
        Phase::Fetching(update(Stage::Validate)),
        Phase::Fetching(update(Stage::Upgrade)),
        Phase::Staged(stop(None)),
        Phase::Staged(stop(Some(job(Stage::Upgrade)))),
        Phase::Installing(upgrade()),
        Phase::Switching(upgrade()),
        Phase::Trial { update: upgrade(), tries_left: 1 },
        Phase::Trial { update: upgrade(), tries_left: 0 },
        Phase::Confirming(upgrade()),
        Phase::RollingBack { update: upgrade(), failure },
    ];
    let mut states = vec![];
    for phase in phases {
        let state = State { phase, works: work, jobs: JobId(1), ..base.clone() };
        let tries = match &state.phase {
            Phase::Trial { tries_left, .. } => format!(", {tries_left} left"),
            _ => String::new(),
        };
        let name = named(&state.phase) + &tries;
        states.push((name.clone(), state.clone()));
        states.push((name.clone() + ", both doors' orders due", both_due(state.clone())));
        if state.phase.job().is_some() {
            states.push((name + ", both doors' orders late", both_late(state)));
        }
    }
    states
}

fn inputs(state: &State) -> Vec<(&'static str, Input)> {
    if !state.orders.is_empty() {
        // All other inputs are as without them.
        return vec![
            ("tick", Input::Tick),
            ("cancelled", cancel(OWN)),
            ("cancelled by another door", cancel(OTHER)),
            ("reset", Input::Command(Command::Reset)),
        ];
    }
    let later = now().wall + TimeDelta::hours(1);
    let now = |door, stage| order(door, stage, None);
    let at = |door, stage, at| order(door, stage, Some(at));
    let offer = Offer {
        package: Digest([8; 32]),
        envelope: None,
        sequence: 3,
        version: "3.0".into(),
        size: 1,
        use_before: None,
        epoch: 0,
        trusted_until: None,
        requires: vec![],
        needs_approval: false,
    };
    let failure = || Failure::new(FailureKind::ConnectionLost, "fate");
    let work = state.phase.work().unwrap_or_default();
    let reported = |report| Input::Reported { work, report };
    vec![
        ("check ordered", now(OWN, Stage::Check)),
        ("validation ordered", now(OWN, Stage::Validate)),
        ("upgrade ordered", now(OWN, Stage::Upgrade)),
        ("check ordered by another door", now(OTHER, Stage::Check)),
        ("validation ordered by another door", now(OTHER, Stage::Validate)),
        ("upgrade ordered by another door", now(OTHER, Stage::Upgrade)),
        ("upgrade scheduled for now", at(OWN, Stage::Upgrade, self::now().wall)),
        ("upgrade scheduled", at(OWN, Stage::Upgrade, later)),
        ("upgrade scheduled by another door", at(OTHER, Stage::Upgrade, later)),
        ("cancelled", cancel(OWN)),
        ("cancelled by another door", cancel(OTHER)),
        ("discarded", Input::Command(Command::Discard(origin(OTHER)))),
        ("reset", Input::Command(Command::Reset)),
        ("tick", Input::Tick),
        ("newer found", reported(Report::Checked(Ok(offer)))),
        ("check failed", reported(Report::Checked(Err(failure())))),
        ("fetched", reported(Report::Fetched(Ok(())))),
        ("fetch failed", reported(Report::Fetched(Err(failure())))),
        ("installed", reported(Report::Installed(Ok(())))),
        ("installation failed", reported(Report::Installed(Err(failure())))),
        ("switched", reported(Report::Switched(Ok(())))),
        ("switch failed", reported(Report::Switched(Err(failure())))),
        ("proved itself", reported(Report::Tried(Ok(())))),
        ("failed its trial", reported(Report::Tried(Err(failure())))),
        ("confirmed", reported(Report::Confirmed(Ok(())))),
        ("confirmation failed", reported(Report::Confirmed(Err(failure())))),
        ("rolled back", reported(Report::RolledBack(Ok(())))),
        ("rollback failed", reported(Report::RolledBack(Err(failure())))),
    ]
}

fn order(door: Door, stage: Stage, at: Option<DateTime<Utc>>) -> Input {
    Input::Command(Command::Order(Order {
        origin: origin(door),
        source: String::new(),
        stage,
        at,
        expected: Expected::default(),
        replaces: Replaces::Own,
        unusable: Unusable::Refuse,
    }))
}

fn cancel(door: Door) -> Input {
    Input::Command(Command::Cancel(Cancel { origin: origin(door), job: None, draft: None }))
}

fn named(phase: &Phase) -> String {
    match phase.job() {
        Some(job) => format!("{} for {}", phase.name(), format!("{:?}", job.stage).to_lowercase()),
        None => phase.name().to_owned(),
    }
}

fn described(state: &State) -> String {
    let outcome = match &state.outcome {
        Outcome::None => String::new(),
        Outcome::Success => ", success".into(),
        Outcome::Failed(_) => ", failure told".into(),
    };
    let waiting: String = state
        .waiting()
        .map(|standing| match standing.due_since {
            Some(_) => format!(", {}'s waits for this to end", standing.origin.door),
            None => format!(", {}'s waits", standing.origin.door),
        })
        .collect();
    named(&state.phase) + &outcome + &waiting
}

fn effects(effects: &[Effect]) -> String {
    let words = effects.iter().map(|effect| match effect {
        Effect::Notify { terminal: true } => "notify (ended)".into(),
        Effect::Notify { terminal: false } => "notify".into(),
        Effect::Abort => "abort".into(),
        Effect::Tidy { keep: Some(_) } => "tidy but this".into(),
        Effect::Tidy { keep: None } => "tidy".into(),
        Effect::Work { task, .. } => task_name(task).to_owned(),
    });
    words.collect::<Vec<String>>().join(", ")
}

fn task_name(task: &Task) -> &'static str {
    match task {
        Task::Check { .. } => "check",
        Task::Fetch(_) => "fetch",
        Task::Install(_) => "install",
        Task::Switch(_) => "switch",
        Task::Try(_) => "try",
        Task::Confirm(_) => "confirm",
        Task::RollBack(_) => "roll back",
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut last = "";
    for row in rows {
        if row.from != last {
            let _ = writeln!(text, "\n{}", row.from);
            last = &row.from;
        }
        let _ = writeln!(text, "  {:<34} -> {:<52} {}", row.input, row.to, row.effects);
    }
    text
}

/// The phases as boxes and what leads from one to the other as arrows; what leads nowhere is left out.
fn diagram(rows: &[Row]) -> String {
    let phase = |text: &str| text.split([' ', ',']).next().unwrap_or_default().to_owned();
    let arrows: BTreeSet<(String, String, &str)> = rows
        .iter()
        .map(|row| (phase(&row.from), phase(&row.to), row.input))
        .filter(|(from, to, _)| from != to)
        .collect();
    let mut text = String::from("stateDiagram-v2\n    [*] --> Idle\n");
    for (from, to, input) in arrows {
        let _ = writeln!(text, "    {from} --> {to}: {input}");
    }
    text
}
