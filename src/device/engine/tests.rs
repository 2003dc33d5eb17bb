//! A third door, of a line protocol: it orders, watches and cancels, and knows nothing but this room.

use std::net::TcpListener;
use std::path::Path;

use tokio::net::UnixDatagram;

use super::*;
use crate::clock;
use crate::config::{Overrides, Settings};
use crate::device::setup::Parts;
use crate::device::sleep;
use crate::update::{Expected, Fate, Outcome, Phase, Replaces, Stage, Unusable};

/// The whole door: a datagram is a line, and so is an answer.
async fn door(lines: UnixDatagram, engine: Handle) {
    let mut watch = engine.watch();
    let mut bytes = [0; 200];
    loop {
        let said = tokio::select! {
            line = lines.recv(&mut bytes) => {
                let line = String::from_utf8_lossy(&bytes[..line.unwrap()]).into_owned();
                match line.split_once(' ') {
                    Some(("upgrade", source)) => {
                        let order = order(engine.origin("pat", "7"), source, None);
                        engine.order(order).await.map(|id| format!("taken as {}", id.0))
                    }
                    _ => {
                        let origin = engine.origin("pat", "8");
                        let cancel = Cancel { origin, job: None, draft: None };
                        engine.cancel(cancel).await.map(|()| "cancelled".to_owned())
                    }
                }
                .unwrap_or_else(|declined| declined.to_string())
            }
            news = watch.next() => match news.unwrap() {
                News::Step(told) => format!("step {}: {}", told.step, told.state.phase.name()),
                News::Missed(steps) => format!("{steps} steps were missed"),
            },
        };
        lines.send(said.as_bytes()).await.unwrap();
    }
}

fn order(origin: Origin, source: &str, at: Option<chrono::DateTime<chrono::Utc>>) -> Order {
    Order {
        origin,
        source: source.to_owned(),
        stage: Stage::Upgrade,
        at,
        expected: Expected::default(),
        replaces: Replaces::Own,
        unusable: Unusable::Refuse,
    }
}

fn engine(directory: &Path) -> Engine {
    let file = directory.join("device.toml");
    let text = r#"
        [listen]
        coap = ["127.0.0.1:0"]
        coaps = []
        multicast = false
        insecure = true

        [update]
        allow_hosts = ["*"]
        allow_schemes = ["http", "https"]
        allow_loopback = true
    "#;
    std::fs::write(&file, text).unwrap();
    let settings = Settings::load(Some(&file), &Overrides::default()).unwrap();
    let parts = Parts::make(settings, directory).unwrap();
    let workshop = Workshop::open(parts.bench).unwrap();
    Engine::start(parts.ledger, &parts.state, parts.rules, workshop, clock::now()).unwrap()
}

/// The loop's part, without any other door.
async fn live(engine: &mut Engine, gate: Gate) {
    loop {
        let now = clock::now();
        let deadline = engine.deadline(now);
        tokio::select! {
            woken = engine.woken() => match woken {
                Some(Woken::Report(work, report)) => engine.reported(work, report, clock::now()),
                Some(Woken::Request(request)) => drop(engine.serve(request, gate, clock::now())),
                None => panic!("the workshop is gone"),
            },
            () = sleep::until(deadline, now.mono) => {}
        }
        engine.wake(clock::now());
        while {
            while engine.poll_told().is_some() {}
            engine.act(clock::now());
            engine.tick(clock::now())
        } {}
    }
}

/// Somebody at the other end of the line.
async fn says(lines: &UnixDatagram, line: &str, answers: &[&str]) {
    lines.send(line.as_bytes()).await.unwrap();
    let mut left: Vec<&str> = answers.to_vec();
    let mut bytes = [0; 200];
    while !left.is_empty() {
        let heard = lines.recv(&mut bytes).await.unwrap();
        let heard = String::from_utf8_lossy(&bytes[..heard]).into_owned();
        let found = left.iter().position(|words| heard.contains(words));
        left.remove(found.unwrap_or_else(|| panic!("{line}: {heard}, not {left:?}")));
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_third_door_orders_watches_and_cancels_through_the_engine_alone() {
    let directory = tempfile::tempdir().unwrap();
    // A server that takes connections and never answers.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("http://{}/camera.suit", server.local_addr().unwrap());
    let mut engine = run(async { engine(directory.path()) });
    run(async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let person = async {
            says(&ours, "cancel what", &["cancelled", "step 1: Idle"]).await;
            says(&ours, &format!("upgrade {source}"), &["taken as 1", "step 2: Checking"]).await;
            says(&ours, "upgrade https://other/", &["the device is busy"]).await;
            says(&ours, "cancel it", &["cancelled", "step 3: Idle"]).await;
        };
        let handle = engine.handle(Door::named("line"));
        tokio::select! {
            () = live(&mut engine, Gate::Open) => {}
            () = door(theirs, handle) => {}
            () = person => {}
        }
    });
    let entry = engine.state().entry(JobId(1)).unwrap();
    assert_eq!(entry.origin, Origin::new(Door::named("line"), "pat", "7"));
    let Fate::Ended { outcome: Outcome::Failed(failure), .. } = &entry.fate else { panic!() };
    assert_eq!(failure.detail, "cancelled by pat (8) by line");
}

#[test]
fn an_order_is_answered_before_anything_is_done_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("http://{}/", server.local_addr().unwrap());
    run(async {
        let mut engine = engine(directory.path());
        let origin = Origin::new(Door::named("line"), "pat", "");
        let command = Command::Order(order(origin, &source, None));
        assert_eq!(engine.command(command, clock::now()), Ok(Some(JobId(1))));
        assert!(engine.workshop.progress().is_none(), "nothing has begun");
        let told = engine.poll_told().unwrap();
        assert!(matches!(told.state.phase, Phase::Checking(_)));
        assert!(engine.workshop.progress().is_none(), "all are told first");
        engine.act(clock::now());
        assert!(engine.workshop.progress().is_some());
    });
}

#[test]
fn a_door_that_sleeps_is_told_how_much_it_has_missed() {
    let directory = tempfile::tempdir().unwrap();
    run(async {
        let mut engine = engine(directory.path());
        let handle = engine.handle(Door::named("line"));
        let mut watch = handle.watch();
        let steps = STEPS_MAX as u64 + 6;
        for n in 0..steps {
            let at = clock::now().wall + chrono::TimeDelta::hours(1);
            let order = order(handle.origin("pat", n.to_string()), "https://v/", Some(at));
            engine.command(Command::Order(order), clock::now()).unwrap();
            engine.poll_told().unwrap();
        }
        let Some(News::Missed(missed)) = watch.next().await else { panic!() };
        assert_eq!(missed, 6);
        for step in missed + 1..=steps {
            let Some(News::Step(told)) = watch.next().await else { panic!() };
            assert_eq!(told.step, step);
        }
        assert_eq!(engine.state().journal.len(), State::JOURNAL_MAX);
    });
}

#[test]
fn a_door_speaks_in_its_own_name_and_not_while_the_owner_repairs_or_resets() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = run(async { engine(directory.path()) });
    for gate in [Gate::Repairing, Gate::Resetting, Gate::Locked] {
        run(async {
            let handle = engine.handle(Door::named("line"));
            let order = order(handle.origin("pat", ""), "https://v/", None);
            tokio::select! {
                () = live(&mut engine, gate) => {}
                result = handle.order(order) => assert_eq!(result, Err(Declined::Closed(gate))),
            }
        });
    }
    run(async {
        let handle = engine.handle(Door::named("line"));
        let at = clock::now().wall + chrono::TimeDelta::hours(1);
        let forged = Origin::new(Door::named("ocf"), "the owner", "");
        tokio::select! {
            () = live(&mut engine, Gate::Open) => {}
            result = handle.order(order(forged, "https://v/", Some(at))) => { result.unwrap(); }
        }
    });
    assert_eq!(engine.state().orders[0].origin.door, Door::named("line"));
}

#[test]
fn requests_that_wait_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    run(async {
        let engine = engine(directory.path());
        let handle = engine.handle(Door::named("line"));
        for _ in 0..REQUESTS_MAX + 3 {
            let handle = handle.clone();
            tokio::spawn(async move { handle.view().await });
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.requests.capacity(), 0);
        assert_eq!(engine.inbox.len(), REQUESTS_MAX);
    });
}
