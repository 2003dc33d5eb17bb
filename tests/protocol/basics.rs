//! The main paths in fine weather.

use std::time::Duration;

use freshen::coap::{Code, Notify, Request, option};

use crate::application::{TOPIC, application, pattern, text};
use crate::pair::{Outcome, Pair};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_get_is_answered_in_one_round_trip() {
    let mut pair = Pair::new(1, application);
    let call = pair.request(Request::new(Code::GET, "/long/20"));
    pair.run(MINUTE);
    assert_eq!(pair.response(call).payload, pattern(20));
    assert_eq!(pair.log.len(), 2);
}

#[test]
fn a_slow_answer_comes_separately_and_is_executed_once() {
    let mut pair = Pair::new(1, application);
    let call = pair.request(Request::new(Code::GET, "/slow"));
    pair.run(MINUTE);
    assert_eq!(pair.response(call).payload, b"slow");
    assert_eq!(pair.executed.len(), 1);
    assert_eq!(pair.log.len(), 4, "request, ACK, response, ACK");
}

#[test]
fn long_bodies_go_both_ways() {
    for length in [0, 1, 1023, 1024, 1025, 2048, 5000, 60_000] {
        let mut pair = Pair::new(1, application);
        let mut request = Request::new(Code::POST, "/sink");
        request.payload = pattern(length);
        let call = pair.request(request);
        pair.run(MINUTE);
        assert_eq!(pair.response(call).payload, pattern(length), "{length} bytes");
        assert_eq!(pair.executed.len(), 1, "{length} bytes");
    }
}

#[test]
fn an_observer_hears_each_state_and_cancels() {
    let mut pair = Pair::new(1, application);
    let mut request = Request::new(Code::GET, "/watched");
    request.options.set_uint(option::OBSERVE, 0);
    let call = pair.request(request);
    pair.run(MINUTE / 60);
    for state in ["second", "third"] {
        pair.notify(TOPIC, Notify::Confirmable, &text(state));
        pair.run(MINUTE / 60);
    }
    let heard: Vec<_> = pair
        .outcomes
        .iter()
        .map(|(_, _, outcome)| match outcome {
            Outcome::Response(response, true) => String::from_utf8_lossy(&response.payload),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(heard, ["first", "second", "third"]);
    assert_eq!(pair.server.watchers(TOPIC), 1);
    pair.client.cancel(call, pair.now);
    pair.run(MINUTE);
    assert_eq!(pair.server.watchers(TOPIC), 0);
}

#[test]
fn a_download_comes_in_parts() {
    let mut pair = Pair::new(1, application);
    let request = Request::new(Code::GET, "/long/200000");
    let call = pair.client.download(crate::pair::SERVER, request, 0, pair.now);
    pair.run(MINUTE);
    let mut body = vec![];
    for (_, _, outcome) in &pair.outcomes {
        if let Outcome::Part(offset, bytes) = outcome {
            assert_eq!(*offset, body.len() as u64);
            body.extend_from_slice(bytes);
        }
    }
    assert_eq!(body, pattern(200_000));
    assert!(pair.response(call).payload.is_empty());
    assert_eq!(pair.executed.len(), 1, "the rest comes from the snapshot");
}

#[test]
fn a_request_that_nobody_answers_fails_after_all_retransmissions() {
    let mut pair = Pair::new(1, application);
    pair.weather.loss = 100;
    let call = pair.request(Request::new(Code::GET, "/long/20"));
    pair.run(MINUTE * 3);
    assert_eq!(pair.outcome(call), Some(&Outcome::Failed(freshen::coap::CallError::TimedOut)));
    assert_eq!(pair.log.len(), 5);
}
