//! The message layer (RFC 7252 section 4).

use std::time::Duration;

use freshen::coap::{CallError, Code, Config, Request, limits};

use crate::application::{application, pattern, text};
use crate::pair::{CLIENT, Outcome, Pair, Reply, Side, config};
use crate::raw::{ACK, ALICE, BOB, CON, GET, NON, POST, RST, Server, message, parse};

const PATH_R: (u16, &[u8]) = (11, b"r");

fn counting() -> Server {
    Server::new(|_| Reply::Now(text("done"), None))
}

#[test]
fn a_confirmable_get_is_answered_in_its_acknowledgement() {
    let mut server = counting();
    let answer = server.ask(&message(CON, GET, 77, &[1, 2, 3], &[PATH_R], &[]));
    assert_eq!((answer.kind, answer.code, answer.id), (ACK, 205, 77));
    assert_eq!((answer.token, answer.payload), (vec![1, 2, 3], b"done".to_vec()));
}

#[test]
fn a_non_confirmable_request_gets_a_non_confirmable_answer() {
    let mut server = counting();
    let answer = server.ask(&message(NON, GET, 77, &[9], &[PATH_R], &[]));
    assert_eq!((answer.kind, answer.code, answer.token), (NON, 205, vec![9]));
}

#[test]
fn a_ping_is_answered_with_a_reset() {
    let answer = counting().ask(&message(CON, 0, 5, &[], &[], &[]));
    assert_eq!((answer.kind, answer.code, answer.id), (RST, 0, 5));
}

#[test]
fn a_duplicate_post_is_answered_from_the_store_and_not_executed() {
    let mut server = counting();
    let post = message(CON, POST, 1, &[1], &[PATH_R], b"upgrade");
    let first = server.ask(&post);
    assert_eq!(server.ask(&post), first);
    server.wait(limits::EXCHANGE_LIFETIME - Duration::from_secs(1));
    assert_eq!(server.ask(&post), first);
    assert_eq!(server.executed.len(), 1);
}

#[test]
fn a_message_id_is_free_again_after_its_lifetime() {
    for (kind, lifetime) in [(CON, limits::EXCHANGE_LIFETIME), (NON, limits::NON_LIFETIME)] {
        let mut server = counting();
        let post = message(kind, POST, 1, &[1], &[PATH_R], b"x");
        server.send(&post);
        server.wait(lifetime - Duration::from_secs(1));
        server.send(&post);
        assert_eq!(server.executed.len(), 1);
        server.wait(Duration::from_secs(1));
        server.send(&post);
        assert_eq!(server.executed.len(), 2);
    }
}

#[test]
fn the_same_id_from_another_endpoint_is_another_message() {
    let mut server = counting();
    let post = message(CON, POST, 1, &[1], &[PATH_R], b"x");
    server.send_from(ALICE, &post);
    server.send_from(BOB, &post);
    assert_eq!(server.executed.len(), 2);
}

#[test]
fn an_id_reused_too_early_for_something_else_is_no_duplicate() {
    let mut server = counting();
    server.send(&message(CON, GET, 1, &[1], &[PATH_R], &[]));
    server.send(&message(CON, GET, 1, &[2], &[PATH_R], &[]));
    assert_eq!(server.executed.len(), 2);
}

#[test]
fn a_duplicate_of_a_request_in_work_is_acknowledged_again_but_not_executed() {
    let mut server = Server::new(|_| Reply::Later(Duration::from_secs(9), text("late"), None));
    let post = message(CON, POST, 1, &[1], &[PATH_R], b"x");
    assert!(server.send(&post).is_empty());
    assert!(server.send(&post).is_empty(), "its acknowledgement may still bring the answer");
    let acknowledged = server.wait(Duration::from_secs(1));
    assert_eq!((acknowledged[0].kind, acknowledged[0].code), (ACK, 0));
    assert_eq!(server.ask(&post).kind, ACK);
    assert_eq!(server.executed.len(), 1);
    let ticket = server.open[0];
    server.respond(ticket, text("late"), None);
    let answer = parse(&server.drain()[0].1);
    assert_eq!((answer.kind, answer.code, answer.token), (CON, 205, vec![1]));
    assert_ne!(answer.id, 1);
}

#[test]
fn a_request_that_is_ignored_is_still_acknowledged() {
    let mut server = Server::new(|_| Reply::Never);
    let answer = server.ask(&message(CON, GET, 3, &[1], &[PATH_R], &[]));
    assert_eq!((answer.kind, answer.code, answer.id), (ACK, 0, 3));
    assert!(server.send(&message(NON, GET, 4, &[1], &[PATH_R], &[])).is_empty());
}

#[test]
fn a_separate_response_is_sent_again_until_it_is_acknowledged() {
    let mut server = Server::new(|_| Reply::Later(Duration::from_secs(9), text("late"), None));
    server.send(&message(CON, GET, 1, &[1], &[PATH_R], &[]));
    server.wait(Duration::from_secs(1));
    let ticket = server.open[0];
    server.respond(ticket, text("late"), None);
    let first = parse(&server.drain()[0].1);
    let again = server.wait(Duration::from_secs(4));
    assert_eq!(again, std::slice::from_ref(&first));
    server.send(&message(ACK, 0, first.id, &[], &[], &[]));
    assert!(server.wait(Duration::from_secs(200)).is_empty());
}

#[test]
fn waits_double_from_a_first_wait_of_two_to_three_seconds() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, application);
        pair.weather.loss = 100;
        let begin = pair.now;
        let call = pair.request(Request::new(Code::GET, "/r"));
        pair.run(Duration::from_secs(300));
        let times: Vec<Duration> = pair.log.iter().map(|(at, ..)| *at - begin).collect();
        assert_eq!(times.len(), 1 + limits::MAX_RETRANSMIT as usize);
        let first = times[1];
        assert!((2.0..=3.0).contains(&first.as_secs_f64()), "{first:?}");
        for (n, pair) in times.windows(2).enumerate() {
            assert_eq!(pair[1] - pair[0], first * (1 << n));
        }
        let (at, _, outcome) = pair.outcomes.last().unwrap();
        assert_eq!(*outcome, Outcome::Failed(CallError::TimedOut));
        assert_eq!(*at - begin, first * 31, "MAX_TRANSMIT_WAIT");
        assert_eq!(pair.outcome(call), Some(outcome));
    }
}

#[test]
fn first_waits_are_spread() {
    let waits: Vec<Duration> = (0..100)
        .map(|seed| {
            let mut pair = Pair::new(seed, application);
            pair.lose = vec![0];
            pair.request(Request::new(Code::GET, "/long/3"));
            pair.run(Duration::from_secs(10));
            pair.log[1].0 - pair.log[0].0
        })
        .collect();
    let mean = waits.iter().sum::<Duration>() / 100;
    assert!((2.4..2.6).contains(&mean.as_secs_f64()), "{mean:?}");
}

#[test]
fn a_lost_answer_is_given_again_without_executing_again() {
    let mut pair = Pair::new(3, application);
    pair.lose = vec![1];
    let mut request = Request::new(Code::POST, "/sink");
    request.payload = b"once".to_vec();
    let call = pair.request(request);
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.response(call).payload, b"once");
    assert_eq!(pair.executed.len(), 1);
}

#[test]
fn a_separate_response_that_overtakes_its_acknowledgement_counts() {
    let mut pair = Pair::new(3, application);
    let call = pair.request(Request::new(Code::GET, "/slow"));
    // Both the empty acknowledgement and the retransmission are lost.
    pair.lose = vec![1, 2];
    pair.run(Duration::from_secs(3) + Duration::from_millis(100));
    assert_eq!(pair.response(call).payload, b"slow");
    pair.run(Duration::from_secs(100));
    assert_eq!(pair.executed.len(), 1);
    assert_eq!(pair.outcomes.len(), 1);
}

#[test]
fn a_duplicate_response_is_acknowledged_again_and_delivered_once() {
    let mut pair = Pair::new(3, application);
    pair.weather.duplication = 100;
    let call = pair.request(Request::new(Code::GET, "/slow"));
    pair.run(Duration::from_secs(100));
    assert_eq!(pair.response(call).payload, b"slow");
    assert_eq!(pair.outcomes.len(), 1);
    assert_eq!(pair.executed.len(), 1);
}

#[test]
fn a_confirmable_response_that_nobody_asked_for_is_reset() {
    let mut pair = Pair::new(3, application);
    pair.inject(Side::Server, &message(CON, 0x45, 9, &[1, 2, 3, 4], &[], b"hello"));
    pair.run(Duration::from_secs(1));
    let answer = parse(pair.sent(Side::Client)[0]);
    assert_eq!((answer.kind, answer.code, answer.id), (RST, 0, 9));
}

#[test]
fn a_response_from_another_endpoint_does_not_count() {
    let mut pair = Pair::new(3, application);
    pair.weather.loss = 100;
    let call = pair.request(Request::new(Code::GET, "/r"));
    let asked = parse(pair.sent(Side::Client)[0]);
    let forged = message(CON, 0x45, 9, &asked.token, &[], b"forged");
    let now = pair.now;
    let reception = freshen::coap::Reception::Unicast;
    pair.client.handle_datagram(BOB, reception, &forged, now);
    let forged = message(ACK, 0x45, asked.id, &asked.token, &[], b"forged");
    pair.client.handle_datagram(BOB, reception, &forged, now);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.outcome(call), None);
}

#[test]
fn an_acknowledgement_with_another_token_is_no_answer() {
    let mut pair = Pair::new(3, application);
    pair.weather.loss = 100;
    let call = pair.request(Request::new(Code::GET, "/r"));
    let asked = parse(pair.sent(Side::Client)[0]);
    pair.inject(Side::Server, &message(ACK, 0x45, asked.id, b"other", &[], b"forged"));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.outcome(call), None);
}

#[test]
fn a_reset_ends_a_request() {
    let mut pair = Pair::new(3, application);
    pair.weather.loss = 100;
    let call = pair.request(Request::new(Code::GET, "/r"));
    let asked = parse(pair.sent(Side::Client)[0]);
    pair.inject(Side::Server, &message(RST, 0, asked.id, &[], &[], &[]));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.outcome(call), Some(&Outcome::Failed(CallError::Reset)));
    pair.run(Duration::from_secs(100));
    assert_eq!(pair.log.len(), 1, "nothing is sent again");
}

#[test]
fn one_confirmable_message_at_a_time_goes_to_a_peer() {
    let mut pair = Pair::new(3, application);
    let calls: Vec<_> =
        (0..10).map(|n| pair.request(Request::new(Code::GET, &format!("/long/{n}")))).collect();
    assert_eq!(pair.log.len(), limits::NSTART);
    pair.run(Duration::from_secs(10));
    for (n, call) in calls.iter().enumerate() {
        assert_eq!(pair.response(*call).payload, pattern(n));
    }
}

#[test]
fn an_acknowledged_request_frees_its_lane_and_fails_if_no_response_comes() {
    let mut pair = Pair::new(3, |_: &Request| Reply::Never);
    let first = pair.request(Request::new(Code::GET, "/r"));
    pair.run(Duration::from_secs(1));
    let second = pair.request(Request::new(Code::GET, "/r"));
    assert_eq!(parse(pair.sent(Side::Client).last().unwrap()).code, 1, "sent at once");
    pair.run(limits::RESPONSE_WAIT + Duration::from_secs(2));
    for call in [first, second] {
        assert_eq!(pair.outcome(call), Some(&Outcome::Failed(CallError::TimedOut)));
    }
}

#[test]
fn message_ids_do_not_come_back_soon() {
    let mut server = counting();
    let mut seen = std::collections::HashSet::new();
    for n in 0..60_000u32 {
        let get = message(NON, GET, n as u16, &n.to_be_bytes(), &[PATH_R], &[]);
        assert!(seen.insert(server.ask(&get).id), "after {n}");
    }
}

#[test]
fn tokens_do_not_come_back() {
    let mut pair = Pair::new(3, application);
    for n in 0..2000 {
        let call = pair.request(Request::new(Code::GET, "/long/1"));
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.response(call).code, Code::CONTENT, "{n}");
    }
    let tokens: std::collections::HashSet<_> =
        pair.sent(Side::Client).into_iter().map(|bytes| parse(bytes).token).collect();
    assert_eq!(tokens.len(), 2000);
    assert!(tokens.iter().all(|token| token.len() == 8));
}

#[test]
fn what_a_session_left_open_ends_with_it() {
    let mut pair = Pair::with_config(3, Config { ..config() }, application);
    pair.weather.loss = 100;
    let call = pair.request(Request::new(Code::GET, "/r"));
    let waiting = pair.request(Request::new(Code::GET, "/r"));
    pair.client.session_ended(crate::pair::SERVER);
    pair.run(Duration::from_secs(300));
    for call in [call, waiting] {
        assert_eq!(pair.outcome(call), Some(&Outcome::Failed(CallError::SessionEnded)));
    }
    assert_eq!(pair.log.len(), 1);
    assert_eq!(CLIENT.session, 0);
}
