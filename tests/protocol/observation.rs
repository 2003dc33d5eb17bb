//! Observation (RFC 7641).

use std::time::Duration;

use freshen::coap::{
    CallError, Code, Endpoint, Notify, Output, Request, Response, Topic, limits, option,
};

use crate::application::{TOPIC, application, pattern, text};
use crate::pair::{Outcome, Pair, Reply, SERVER, Side, peer};
use crate::raw::{ACK, ALICE, BOB, CON, GET, NON, Parsed, RST, Server, converse, message, parse};

const SECOND: Duration = Duration::from_secs(1);

fn watch(id: u16, token: &[u8], observe: &[u8]) -> Vec<u8> {
    message(CON, GET, id, token, &[(6, observe), (11, b"watched")], &[])
}

fn watched() -> Server {
    let mut server = Server::new(application);
    assert_eq!(server.ask(&watch(1, &[1], b"")).uint(6), Some(0));
    server
}

fn tell(server: &mut Server, kind: Notify, body: &str) -> Vec<Parsed> {
    server.endpoint.notify(TOPIC, kind, server.now, |_| text(body));
    server.drain().into_iter().map(|(_, bytes)| parse(&bytes)).collect()
}

#[test]
fn an_entry_is_an_endpoint_and_a_token() {
    let mut server = watched();
    server.send(&watch(2, &[2], b""));
    server.send_from(BOB, &watch(2, &[2], b""));
    assert_eq!(server.endpoint.watchers(TOPIC), 3);
    let told = tell(&mut server, Notify::NonConfirmable, "x");
    assert_eq!(told.len(), 3, "each of them is told");
}

#[test]
fn registering_again_renews_the_entry() {
    let mut server = watched();
    server.send(&watch(2, &[1], b""));
    assert_eq!(server.endpoint.watchers(TOPIC), 1);
}

#[test]
fn observe_one_deregisters() {
    let mut server = watched();
    let answer = server.ask(&watch(2, &[2], &[1]));
    assert_eq!((answer.code, answer.option(6)), (205, None), "another token");
    assert_eq!(server.endpoint.watchers(TOPIC), 1);
    let answer = server.ask(&watch(3, &[1], &[1]));
    assert_eq!((answer.code, answer.option(6)), (205, None));
    assert_eq!(server.endpoint.watchers(TOPIC), 0);
}

#[test]
fn what_cannot_be_observed_is_answered_without_observe() {
    let mut server = Server::new(application);
    let get: &[(u16, &[u8])] = &[(6, b""), (11, b"long"), (11, b"3")];
    assert_eq!(server.ask(&message(CON, GET, 1, &[1], get, &[])).option(6), None);
    let get: &[(u16, &[u8])] = &[(6, b""), (11, b"nothing")];
    let answer = server.ask(&message(CON, GET, 2, &[1], get, &[]));
    assert_eq!((answer.code, answer.option(6)), (404, None));
}

#[test]
fn sequence_numbers_grow() {
    let mut server = watched();
    let mut last = 0;
    for _ in 0..100 {
        let told = tell(&mut server, Notify::Confirmable, "x");
        for message_told in &told {
            let number = message_told.uint(6).unwrap();
            assert!(number > last);
            last = number;
            server.send(&message(ACK, 0, message_told.id, &[], &[], &[]));
        }
    }
}

#[test]
fn a_reset_ends_an_observation_however_it_was_told() {
    for kind in [Notify::Confirmable, Notify::NonConfirmable] {
        let mut server = watched();
        let told = tell(&mut server, kind, "x");
        assert_eq!(told[0].kind, if kind == Notify::Confirmable { CON } else { NON });
        server.send(&message(RST, 0, told[0].id, &[], &[], &[]));
        assert_eq!(server.endpoint.watchers(TOPIC), 0);
        assert!(server.wait(SECOND * 300).is_empty());
    }
}

#[test]
fn a_reset_from_somebody_else_ends_nothing() {
    let mut server = watched();
    let told = tell(&mut server, Notify::NonConfirmable, "x");
    server.send_from(BOB, &message(RST, 0, told[0].id, &[], &[], &[]));
    assert_eq!(server.endpoint.watchers(TOPIC), 1);
}

#[test]
fn who_does_not_acknowledge_is_forgotten_with_all_it_observes() {
    let mut server = watched();
    server.send(&watch(2, &[2], b""));
    let sent = tell(&mut server, Notify::Confirmable, "x").len() + server.wait(SECOND * 94).len();
    assert_eq!(sent, 5, "one notification at a time to one peer, five times");
    assert_eq!(server.endpoint.watchers(TOPIC), 0);
    assert!(server.wait(SECOND * 1000).is_empty());
}

#[test]
fn a_retransmission_brings_the_newest_state_with_what_is_left_of_its_tries() {
    let mut server = watched();
    let first = tell(&mut server, Notify::Confirmable, "first");
    assert!(tell(&mut server, Notify::Confirmable, "second").is_empty(), "one is on its way");
    assert!(tell(&mut server, Notify::NonConfirmable, "third").is_empty());
    let again = server.wait(SECOND * 90);
    assert_eq!(again.len(), limits::MAX_RETRANSMIT as usize);
    for message in &again {
        assert_eq!(message.payload, b"third");
        assert_ne!(message.id, first[0].id, "other content, another message");
        assert!(message.uint(6) > first[0].uint(6));
    }
}

#[test]
fn what_changed_while_one_was_on_its_way_goes_after_its_acknowledgement() {
    let mut server = watched();
    let first = tell(&mut server, Notify::Confirmable, "first");
    for state in ["second", "third"] {
        tell(&mut server, Notify::Confirmable, state);
    }
    let next = server.send(&message(ACK, 0, first[0].id, &[], &[], &[]));
    assert_eq!((next.len(), &next[0].payload[..]), (1, &b"third"[..]), "merged");
    assert!(server.send(&message(ACK, 0, next[0].id, &[], &[], &[])).is_empty());
}

#[test]
fn an_error_is_the_last_notification() {
    let mut server = watched();
    let now = server.now;
    let gone = Response::new(Code::NOT_FOUND);
    server.endpoint.notify(TOPIC, Notify::NonConfirmable, now, |_| gone.clone());
    let told = parse(&server.drain()[0].1);
    assert_eq!((told.kind, told.code, told.option(6)), (CON, 404, None));
    assert_eq!(server.endpoint.watchers(TOPIC), 0);
}

#[test]
fn lost_access_ends_observations_with_its_error() {
    let mut server = watched();
    server.send_from(BOB, &watch(1, &[9], b""));
    let (now, error) = (server.now, Response::new(Code::FORBIDDEN));
    server
        .endpoint
        .end_observations(&error, now, |topic, watcher| topic == TOPIC && watcher.peer == BOB);
    let told = server.drain();
    assert_eq!(told.len(), 1);
    let (to, told) = (told[0].0, parse(&told[0].1));
    assert_eq!((to, told.code, told.token), (BOB, 403, vec![9]));
    assert_eq!(server.endpoint.watchers(TOPIC), 1);
}

#[test]
fn a_session_takes_its_observations_with_it() {
    let mut server = watched();
    server.endpoint.session_ended(ALICE);
    assert_eq!(server.endpoint.watchers(TOPIC), 0);
    assert!(server.wait(SECOND * 1000).is_empty());
    assert_eq!(server.endpoint.memory().observers, 0);
}

#[test]
fn a_state_is_told_again_before_it_grows_stale_and_must_be_acknowledged() {
    let mut server = watched();
    let mut sequence = 0;
    for _ in 0..5 {
        let mut waited = Duration::ZERO;
        let told = loop {
            let told = server.wait(SECOND);
            waited += SECOND;
            if let Some(told) = told.into_iter().next() {
                break told;
            }
        };
        assert!(waited < SECOND * 60, "Max-Age is 60 s where it is not stated");
        assert!(waited >= SECOND * 30);
        assert_eq!((told.kind, &told.payload[..]), (CON, &b"first"[..]));
        assert!(told.uint(6).unwrap() > sequence);
        sequence = told.uint(6).unwrap();
        server.send(&message(ACK, 0, told.id, &[], &[], &[]));
    }
}

#[test]
fn an_observer_that_has_gone_is_found_out_without_news() {
    let mut server = watched();
    server.wait(SECOND * (60 + 100));
    assert_eq!(server.endpoint.watchers(TOPIC), 0);
}

#[test]
fn a_confirmable_notification_comes_at_least_every_day() {
    let mut server = Server::new(|_| {
        let mut response = text("first");
        response.options.set_uint(option::MAX_AGE, u32::MAX);
        Reply::Now(response, Some(TOPIC))
    });
    server.ask(&watch(1, &[1], b""));
    let mut confirmed = server.now;
    for _ in 0..100 {
        for told in server.wait(SECOND * 3600) {
            assert!(server.now - confirmed <= SECOND * 24 * 3600);
            assert_eq!(told.kind, CON);
            confirmed = server.now;
            server.send(&message(ACK, 0, told.id, &[], &[], &[]));
        }
        server.endpoint.notify(TOPIC, Notify::NonConfirmable, server.now, |_| {
            let mut response = text("more");
            response.options.set_uint(option::MAX_AGE, u32::MAX);
            response
        });
        for (_, bytes) in server.drain() {
            let told = parse(&bytes);
            if told.kind == CON {
                confirmed = server.now;
                server.send(&message(ACK, 0, told.id, &[], &[], &[]));
            }
        }
    }
    assert!(server.now - confirmed <= SECOND * 24 * 3600);
}

#[test]
fn a_flood_of_news_to_one_observer_becomes_confirmable() {
    let mut server = watched();
    let kinds: Vec<u8> = (0..40)
        .flat_map(|_| tell(&mut server, Notify::NonConfirmable, "x"))
        .map(|told| told.kind)
        .collect();
    let free = limits::BURST_MAX as usize;
    assert_eq!(kinds.len(), free + 1, "then it waits for the acknowledgement");
    assert!(kinds[..free].iter().all(|kind| *kind == NON));
    assert_eq!(kinds[free], CON);
}

#[test]
fn the_first_block_of_a_long_state_carries_observe_and_the_rest_none() {
    let mut pair = Pair::new(2, |request: &Request| {
        let topic = request.options.first(option::OBSERVE).map(|_| TOPIC);
        Reply::Now(text(pattern(3000)), topic)
    });
    let mut request = Request::new(Code::GET, "/r");
    request.options.set_uint(option::OBSERVE, 0);
    let call = pair.request(request);
    pair.run(SECOND);
    assert_eq!(pair.response(call).payload, pattern(3000));
    let longer = text(pattern(5000));
    pair.notify(TOPIC, Notify::Confirmable, &longer);
    pair.run(SECOND);
    assert_eq!(pair.response(call).payload, pattern(5000));
    for bytes in pair.sent(Side::Server) {
        let sent = parse(bytes);
        if let Some((number, ..)) = sent.block(option::BLOCK2) {
            assert_eq!(sent.option(6).is_some(), number == 0);
            assert!(sent.option(option::ETAG).is_some());
        }
    }
    let asked = pair.sent(Side::Client).into_iter().map(parse);
    let registrations = asked.filter(|asked| asked.option(6).is_some()).count();
    assert_eq!(registrations, 1, "the rest is asked for without Observe");
    assert_eq!(pair.executed.len(), 1);
}

/// What a client's caller is told of these notifications: (sequence number, payload).
fn hears(notifications: &[(u32, &str)]) -> Vec<String> {
    let mut told = vec![];
    let begin = |client: &mut Endpoint, now| {
        let mut request = Request::new(Code::GET, "/r");
        request.options.set_uint(option::OBSERVE, 0);
        client.request(SERVER, request, now);
    };
    let outputs = converse(begin, |asked| {
        if asked.code != 1 {
            return vec![];
        }
        let value = |sequence: u32| sequence.to_be_bytes()[1..].to_vec();
        let mut messages =
            vec![message(ACK, 0x45, asked.id, &asked.token, &[(6, &value(100))], b"first")];
        messages.extend(notifications.iter().enumerate().map(|(n, (sequence, body))| {
            let options: &[(u16, &[u8])] = &[(6, &value(*sequence))];
            message(NON, 0x45, 900 + n as u16, &asked.token, options, body.as_bytes())
        }));
        messages
    });
    for output in outputs {
        if let Output::Response { response, more: true, .. } = output {
            told.push(String::from_utf8_lossy(&response.payload).into_owned());
        }
    }
    told
}

#[test]
fn an_older_notification_that_comes_later_is_dropped() {
    assert_eq!(hears(&[(102, "c"), (101, "b"), (103, "d")]), ["first", "c", "d"]);
    assert_eq!(hears(&[(100, "same")]), ["first"]);
}

#[test]
fn sequence_numbers_wrap() {
    let top = 0xff_ffff;
    assert_eq!(hears(&[(top, "older")]), ["first"], "100 - 2^24 is older");
    let far = 100 + (1 << 23) - 1;
    assert_eq!(
        hears(&[(far, "b"), (top, "c"), (3, "d"), (top, "older")]),
        ["first", "b", "c", "d"]
    );
}

#[test]
fn a_notification_for_nobody_is_reset() {
    let mut pair = Pair::new(2, application);
    pair.inject(Side::Server, &message(NON, 0x45, 7, &[1, 2, 3], &[(6, &[5])], b"x"));
    pair.run(SECOND);
    let answer = parse(pair.sent(Side::Client)[0]);
    assert_eq!((answer.kind, answer.id), (RST, 7));
}

#[test]
fn a_client_that_hears_nothing_registers_again() {
    let mut pair = Pair::new(2, application);
    let mut request = Request::new(Code::GET, "/watched");
    request.options.set_uint(option::OBSERVE, 0);
    pair.request(request);
    pair.run(SECOND);
    pair.server.session_ended(crate::pair::CLIENT);
    assert_eq!(pair.server.watchers(TOPIC), 0);
    pair.run(SECOND * 76);
    assert_eq!(pair.server.watchers(TOPIC), 1);
    assert_eq!(pair.executed.len(), 2);
}

#[test]
fn an_observation_ends_when_the_server_says_so() {
    let mut pair = Pair::new(2, application);
    let mut request = Request::new(Code::GET, "/watched");
    request.options.set_uint(option::OBSERVE, 0);
    let call = pair.request(request);
    pair.run(SECOND);
    pair.notify(TOPIC, Notify::Confirmable, &Response::new(Code::NOT_FOUND));
    pair.run(SECOND);
    let Some(Outcome::Response(response, false)) = pair.outcome(call) else { panic!() };
    assert_eq!(response.code, Code::NOT_FOUND);
    pair.run(SECOND * 1000);
    assert_eq!(pair.executed.len(), 1, "it is over");
    assert_ne!(pair.outcome(call), Some(&Outcome::Failed(CallError::TimedOut)));
}

#[test]
fn five_thousand_observers_are_told_from_one_rendering() {
    let mut server = Server::new(application);
    for n in 0..5000u16 {
        server.send_from(peer(3, 1000 + n), &watch(1, &n.to_be_bytes(), b""));
    }
    assert_eq!(server.endpoint.watchers(TOPIC), 5000);
    let told = tell(&mut server, Notify::NonConfirmable, "news");
    assert_eq!(told.len(), 5000);
    let tokens: std::collections::HashSet<_> = told.iter().map(|told| &told.token).collect();
    assert_eq!(tokens.len(), 5000);
    let sequence = told[0].uint(6);
    assert!(told.iter().all(|told| told.payload == b"news" && told.uint(6) == sequence));
}

#[test]
fn the_list_of_observers_is_bounded() {
    let mut server = Server::new(application);
    for n in 0..40u8 {
        let answer = server.ask(&watch(n.into(), &[n], b""));
        let room = usize::from(n) < limits::OBSERVERS_PER_PEER_MAX;
        assert_eq!((answer.code, answer.option(6).is_some()), (205, room));
    }
    for n in 0..limits::OBSERVERS_MAX as u32 + 100 {
        let mut far = peer(4 + (n >> 15) as u8, (n & 0x7fff) as u16 + 1);
        server.send_from(far, &watch(1, &[1], b""));
        far.session = 1 + u64::from(n);
        server.send_from(far, &watch(1, &[1], b""));
    }
    assert_eq!(server.endpoint.watchers(TOPIC), limits::OBSERVERS_MAX);
    assert!(server.endpoint.memory().observers <= limits::OBSERVER_BYTES_MAX);
    assert_eq!(TOPIC, Topic(7));
}
