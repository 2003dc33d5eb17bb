//! Every kind of exchange in every kind of weather, in virtual time. The table is kept in
//! `weather.golden`; to write it anew run the test with `WRITE_GOLDEN=1`.

use std::fmt::Write;
use std::time::Duration;

use freshen::coap::{CallError, Code, Notify, Request, option};

use crate::application::{TOPIC, application, pattern, text};
use crate::pair::{Outcome, Pair, SERVER};

/// Runs of each cell of the table.
const SEEDS: u64 = 20;

/// Longer than MAX_TRANSMIT_WAIT and EXCHANGE_LIFETIME together, for each block again.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// What became of one run.
enum End {
    Done,
    /// It failed, and said so, as RFC 7252 section 4.2 wants it after MAX_RETRANSMIT.
    TimedOut,
}

type Exchange = fn(&mut Pair) -> End;

#[test]
fn every_exchange_completes_or_fails_as_it_should_in_any_weather() {
    let exchanges: [(&str, Exchange); 7] = [
        ("GET", get),
        ("separate response", separate),
        ("POST 5000 bytes", post),
        ("GET 20000 bytes", get_long),
        ("download Q-Block2", download),
        ("observe, 10 states CON", observe_confirmable),
        ("observe, 10 states NON", observe_unconfirmed),
    ];
    let mut table = String::from(
        "exchange                loss dup reorder | done timed-out | datagrams mean | seconds mean\n",
    );
    for (name, exchange) in exchanges {
        for loss in [0, 5, 20, 40] {
            for (duplication, reordering) in [(0, 0), (20, 0), (0, 30), (20, 30)] {
                let (mut done, mut datagrams, mut time) = (0, 0, Duration::ZERO);
                for seed in 0..SEEDS {
                    let mut pair = Pair::new(seed, application);
                    pair.weather.loss = loss;
                    pair.weather.duplication = duplication;
                    pair.weather.reordering = reordering;
                    let begin = pair.now;
                    if matches!(exchange(&mut pair), End::Done) {
                        done += 1;
                    }
                    datagrams += pair.log.len() as u64;
                    time += pair.log.last().map_or(begin, |(at, ..)| *at) - begin;
                }
                writeln!(
                    table,
                    "{name:<23} {loss:>4} {duplication:>3} {reordering:>7} | {done:>4} {:>9} | {:>14} | {:>12.1}",
                    SEEDS - done,
                    datagrams / SEEDS,
                    time.as_secs_f64() / SEEDS as f64,
                )
                .unwrap();
                assert!(loss > 5 || done == SEEDS, "{name} at {loss} % loss");
            }
        }
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protocol/weather.golden");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(golden, &table).unwrap();
    }
    let kept = std::fs::read_to_string(golden).unwrap();
    for (now, before) in table.lines().zip(kept.lines()) {
        assert_eq!(now, before, "the table has changed");
    }
    assert_eq!(table.len(), kept.len());
}

/// Runs a request to its end; what is executed, is executed once.
fn ask(pair: &mut Pair, request: Request, body: &[u8]) -> End {
    let changes = !request.code.is_safe();
    let call = pair.request(request);
    assert!(pair.run_until(LONG, |pair| pair.outcome(call).is_some()), "it never ends");
    // What is still on its way must do no harm.
    let ended = pair.outcomes.len();
    pair.run(Duration::from_secs(600));
    assert_eq!(pair.outcomes.len(), ended, "one outcome");
    assert!(!changes || pair.executed.len() <= 1, "executed twice");
    match pair.outcome(call) {
        Some(Outcome::Response(response, false)) => {
            assert_eq!(response.payload, body);
            End::Done
        }
        Some(Outcome::Failed(CallError::TimedOut)) => End::TimedOut,
        other => panic!("{other:?}"),
    }
}

fn get(pair: &mut Pair) -> End {
    ask(pair, Request::new(Code::GET, "/long/100"), &pattern(100))
}

fn separate(pair: &mut Pair) -> End {
    ask(pair, Request::new(Code::GET, "/slow"), b"slow")
}

fn post(pair: &mut Pair) -> End {
    let mut request = Request::new(Code::POST, "/sink");
    request.payload = pattern(5000);
    ask(pair, request, &pattern(5000))
}

fn get_long(pair: &mut Pair) -> End {
    ask(pair, Request::new(Code::GET, "/long/20000"), &pattern(20_000))
}

fn download(pair: &mut Pair) -> End {
    let request = Request::new(Code::GET, "/long/20000");
    let call = pair.client.download(SERVER, request, 0, pair.now);
    let ended = |pair: &Pair| !matches!(pair.outcome(call), None | Some(Outcome::Part(..)));
    assert!(pair.run_until(LONG, ended), "it never ends");
    let mut body = vec![];
    for (_, _, outcome) in &pair.outcomes {
        if let Outcome::Part(offset, bytes) = outcome {
            body.truncate(*offset as usize);
            assert_eq!(*offset, body.len() as u64, "no hole");
            body.extend_from_slice(bytes);
        }
    }
    match pair.outcome(call) {
        Some(Outcome::Response(..)) => {
            assert_eq!(body, pattern(20_000));
            End::Done
        }
        Some(Outcome::Failed(CallError::TimedOut)) => End::TimedOut,
        other => panic!("{other:?}"),
    }
}

fn observe_confirmable(pair: &mut Pair) -> End {
    observe(pair, Notify::Confirmable)
}

fn observe_unconfirmed(pair: &mut Pair) -> End {
    observe(pair, Notify::NonConfirmable)
}

/// Ten states, one a second; in the end the observer must know the last (RFC 7641 section 1.3), or
/// the observation must have ended and said so.
fn observe(pair: &mut Pair, kind: Notify) -> End {
    let mut request = Request::new(Code::GET, "/watched");
    request.options.set_uint(option::OBSERVE, 0);
    let call = pair.request(request);
    assert!(pair.run_until(LONG, |pair| pair.outcome(call).is_some()), "it never begins");
    for state in 0..10 {
        let last = state == 9;
        let kind = if last { Notify::Confirmable } else { kind };
        pair.notify(TOPIC, kind, &text(format!("state {state}")));
        pair.run(Duration::from_secs(1));
    }
    pair.run(Duration::from_secs(300));
    let mut newest = -1;
    for (_, _, outcome) in &pair.outcomes {
        if let Outcome::Response(response, _) = outcome {
            let body = String::from_utf8_lossy(&response.payload).into_owned();
            let state = body.strip_prefix("state ").map_or(-1, |state| state.parse().unwrap());
            // After a renewal the resource answers "first" again.
            assert!(state >= newest || state == -1, "{state} after {newest}");
            newest = newest.max(state);
        }
    }
    let failed = matches!(pair.outcome(call), Some(Outcome::Failed(CallError::TimedOut)));
    let forgotten = pair.executed.len() > 1;
    assert!(newest == 9 || failed || forgotten, "the last state is {newest}");
    if newest == 9 { End::Done } else { End::TimedOut }
}
