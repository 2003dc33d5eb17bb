//! Requests to groups (RFC 7252 section 8).

use std::time::Duration;

use freshen::clock::Instant;
use freshen::coap::{CallError, Code, Endpoint, Output, Reception, Request, limits, option};

use crate::application::{application, pattern};
use crate::pair::{config, peer};
use crate::raw::{ACK, ALICE, BOB, CON, GET, NON, RST, Server, message, parse};

const TOKEN: [u8; 4] = [1, 2, 3, 4];

fn get(kind: u8, path: &[&[u8]], token: &[u8]) -> Vec<u8> {
    let options: Vec<(u16, &[u8])> = path.iter().map(|segment| (11, *segment)).collect();
    message(kind, GET, 1, token, &options, &[])
}

#[test]
fn an_answer_to_a_group_waits_a_random_while() {
    let mut waits = vec![];
    for id in 0..50u8 {
        let mut server = Server::new(application);
        let begin = server.now;
        let asked = get(NON, &[b"long", b"9"], &[id, 2, 3, 4]);
        let peer = peer(id, 4000);
        assert!(server.send_to_group(peer, &asked).is_empty());
        // Another endpoint has another seed; here the time is moved instead.
        for _ in 0..id {
            server.send_to_group(peer, &get(NON, &[b"long", b"9"], &[id, 9, 9, id]));
        }
        let (at, _) = server.endpoint.deadline().unwrap();
        waits.push(at - begin);
        let answers = server.wait(limits::DEFAULT_LEISURE);
        assert!(answers.iter().all(|it| (it.kind, it.code) == (NON, 205)));
    }
    assert!(waits.iter().all(|wait| *wait <= limits::DEFAULT_LEISURE));
    waits.dedup();
    assert!(waits.len() > 1, "not all the same");
}

#[test]
fn a_group_is_not_told_of_errors() {
    let mut server = Server::new(application);
    for (n, path) in [&b"nothing"[..], b"silent"].into_iter().enumerate() {
        assert!(server.send_to_group(ALICE, &get(NON, &[path], &[n as u8, 2, 3, 4])).is_empty());
    }
    let critical = message(NON, GET, 9, &[5, 5, 5, 5], &[(11, b"long"), (65001, b"")], &[]);
    assert!(server.send_to_group(ALICE, &critical).is_empty());
    assert!(server.wait(Duration::from_secs(60)).is_empty());
}

#[test]
fn a_group_is_asked_without_confirmation_or_not_at_all() {
    let mut server = Server::new(application);
    assert!(server.send_to_group(ALICE, &get(CON, &[b"long", b"9"], &TOKEN)).is_empty());
    assert!(server.send_to_group(ALICE, &message(CON, 0, 1, &[], &[], &[])).is_empty(), "ping");
    assert!(server.send_to_group(ALICE, &[0x40, 1, 0, 1, 0xff]).is_empty(), "malformed");
    let response = message(NON, 0x45, 1, &TOKEN, &[], b"x");
    assert!(server.send_to_group(ALICE, &response).is_empty(), "a response");
    assert!(server.send_to_group(ALICE, &message(RST, 0, 1, &[], &[], &[])).is_empty());
    assert!(server.wait(Duration::from_secs(60)).is_empty());
    assert!(server.executed.is_empty());
}

#[test]
fn one_answer_for_one_request_that_came_twice() {
    let mut server = Server::new(application);
    let asked = get(NON, &[b"long", b"9"], &TOKEN);
    server.send_to_group(ALICE, &asked);
    server.send_to_group(ALICE, &asked);
    let mut over_ipv6 = ALICE;
    over_ipv6.remote = "[fe80::1]:50001".parse().unwrap();
    over_ipv6.socket = 3;
    server.send_to_group(over_ipv6, &asked);
    let answers = server.wait(Duration::from_secs(60));
    assert_eq!(answers.len(), 1);
    assert_eq!(server.executed.len(), 1);
    let other = get(NON, &[b"long", b"9"], &[9, 9, 9, 9]);
    server.send_to_group(BOB, &other);
    assert_eq!(server.wait(Duration::from_secs(60)).len(), 1, "another request is another one");
}

#[test]
fn a_group_cannot_observe_nor_send_bodies() {
    let mut server = Server::new(application);
    let options: &[(u16, &[u8])] = &[(6, b""), (11, b"watched")];
    server.send_to_group(ALICE, &message(NON, GET, 1, &TOKEN, options, &[]));
    let answers = server.wait(Duration::from_secs(60));
    assert_eq!((answers.len(), answers[0].option(6)), (1, None));
    let options: &[(u16, &[u8])] = &[(11, b"sink"), (27, &[0x08])];
    server.send_to_group(ALICE, &message(NON, 3, 2, &[8, 8, 8, 8], options, &[1; 16]));
    assert!(server.wait(Duration::from_secs(60)).is_empty());
    assert_eq!(server.executed.len(), 1);
}

#[test]
fn answers_that_wait_are_bounded() {
    let mut server = Server::new(application);
    for n in 0..2000u32 {
        let asked = get(NON, &[b"long", b"9"], &n.to_be_bytes());
        server.send_to_group(peer((n >> 8) as u8, 4000 + n as u16), &asked);
    }
    assert!(server.endpoint.memory().delayed <= limits::DELAYED_MAX * limits::DATAGRAM_BYTES_MAX);
    assert_eq!(server.wait(Duration::from_secs(60)).len(), limits::DELAYED_MAX);
}

#[test]
fn answers_of_a_group_are_collected_and_long_ones_completed() {
    let mut client = Endpoint::new(config(), [3; 32]);
    let group = peer(224, 5683);
    let mut now = Instant::at(Duration::from_secs(1));
    let collect = Duration::from_secs(5);
    let call = client.request_multicast(group, Request::new(Code::GET, "/oic/res"), collect, now);
    let Some(Output::Datagram { peer: to, bytes }) = client.poll_output() else { panic!() };
    let asked = parse(&bytes);
    assert_eq!((to, asked.kind), (group, NON));
    // One answers in one message, one in two blocks, one confirmably.
    let unicast = Reception::Unicast;
    let short = message(NON, 0x45, 1, &asked.token, &[], b"short");
    client.handle_datagram(ALICE, unicast, &short, now);
    let body = pattern(1100);
    let first = message(NON, 0x45, 2, &asked.token, &[(4, b"e"), (23, &[0x0e])], &body[..1024]);
    client.handle_datagram(BOB, unicast, &first, now);
    let carol = peer(77, 1);
    let confirmable = message(CON, 0x45, 3, &asked.token, &[], b"con");
    client.handle_datagram(carol, unicast, &confirmable, now);
    let mut told = vec![];
    while let Some(output) = client.poll_output() {
        match output {
            Output::Datagram { peer, bytes } if peer == BOB => {
                let asked = parse(&bytes);
                assert_eq!(asked.block(23), Some((1, false, 1024)));
                let options: &[(u16, &[u8])] = &[(4, b"e"), (23, &[0x16])];
                let rest = message(ACK, 0x45, asked.id, &asked.token, options, &body[1024..]);
                client.handle_datagram(BOB, unicast, &rest, now);
            }
            Output::Datagram { peer, bytes } => {
                assert_eq!((peer, parse(&bytes).kind), (carol, ACK));
            }
            Output::Response { call: of, peer, response, more } => {
                assert_eq!((of, more), (call, true));
                told.push((peer, response.payload));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, [(ALICE, b"short".to_vec()), (carol, b"con".to_vec()), (BOB, body)]);
    now = now + collect;
    client.handle_timeout(now);
    assert!(matches!(
        client.poll_output(),
        Some(Output::Failed { error: CallError::TimedOut, .. })
    ));
    client.handle_datagram(ALICE, unicast, &short, now);
    assert!(client.poll_output().is_none(), "too late");
    assert_eq!(option::OBSERVE, 6);
}
