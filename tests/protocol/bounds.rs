//! Every limit of the room, filled. Those of observers, bodies, groups and Echo stand with their
//! subject; `docs/limits.md` says which is where.

use std::time::Duration;

use freshen::clock::Instant;
use freshen::coap::{CallError, Code, Endpoint, Output, Request, limits};

use crate::application::{application, text};
use crate::pair::{Reply, SERVER, config, peer};
use crate::raw::{ALICE, BOB, CON, GET, POST, Server, message};

fn late() -> Server {
    Server::new(|_| Reply::Later(Duration::ZERO, text("late"), None))
}

fn ask(server: &mut Server, n: u32) -> Vec<u32> {
    let get = message(CON, GET, n as u16, &n.to_be_bytes(), &[(11, b"r")], &[]);
    let peer = peer((n >> 8) as u8, n as u16);
    server.send_from(peer, &get).iter().map(|answer| answer.code).collect()
}

#[test]
fn requests_of_one_peer_that_wait_are_bounded() {
    let mut server = late();
    let mut codes = vec![];
    for n in 0..100u16 {
        let get = message(CON, GET, n, &n.to_be_bytes(), &[(11, b"r")], &[]);
        codes.extend(server.send(&get).iter().map(|answer| answer.code));
    }
    assert_eq!(server.executed.len(), limits::REQUESTS_PER_PEER_MAX);
    assert_eq!(codes, vec![503; 100 - limits::REQUESTS_PER_PEER_MAX]);
    let get = message(CON, GET, 1, &[1], &[(11, b"r")], &[]);
    assert!(server.send_from(BOB, &get).is_empty(), "others are served");
}

#[test]
fn requests_of_all_peers_that_wait_are_bounded() {
    let mut server = late();
    let refused: Vec<u32> =
        (0..limits::REQUESTS_MAX as u32 + 50).flat_map(|n| ask(&mut server, n)).collect();
    assert_eq!(server.executed.len(), limits::REQUESTS_MAX);
    assert_eq!(refused, vec![503; 50]);
    let tickets: Vec<_> = server.open.drain(..).collect();
    for ticket in tickets {
        server.respond(ticket, text("late"), None);
    }
    server.drain();
    assert!(ask(&mut server, 9999).is_empty(), "and there is room again");
    assert_eq!(server.executed.len(), limits::REQUESTS_MAX + 1);
}

#[test]
fn answers_that_may_be_forgotten_are_bounded_and_the_oldest_goes() {
    let mut server = Server::new(application);
    let get = |n: u32| {
        let path: &[(u16, &[u8])] = &[(11, b"long"), (11, b"500")];
        message(CON, GET, n as u16, &n.to_be_bytes(), path, &[])
    };
    for n in 0..5000 {
        server.send(&get(n));
        assert!(server.endpoint.memory().answers <= limits::FORGETTABLE_BYTES_MAX);
    }
    let executed = server.executed.len();
    server.send(&get(4999));
    assert_eq!(server.executed.len(), executed, "still known");
    server.send(&get(0));
    assert_eq!(server.executed.len(), executed + 1, "worked out again");
}

/// Posts from so many ports of this session until one is refused; how many were not.
fn post_until_refused(server: &mut Server, session: u64, ports: u32) -> u32 {
    for n in 0..200_000u32 {
        let post = message(CON, POST, n as u16, &n.to_be_bytes(), &[(11, b"sink")], &[7; 300]);
        let mut peer = peer(9, (n % ports) as u16 + 1);
        peer.session = session;
        match server.send_from(peer, &post)[0].code {
            204 => {}
            503 => return n,
            other => panic!("{other}"),
        }
    }
    panic!("never refused");
}

#[test]
fn when_changes_cannot_be_remembered_they_are_refused_and_others_are_not_locked_out() {
    let mut server = Server::new(application);
    let one = post_until_refused(&mut server, 7, 1);
    let post = message(CON, POST, 1, &[1], &[(11, b"sink")], b"upgrade");
    let mut owner = BOB;
    owner.session = 1;
    assert_eq!(server.send_from(owner, &post)[0].code, 204, "another still has room");
    let rest = post_until_refused(&mut server, 2, 5000);
    let all = server.endpoint.memory().answers;
    assert!(all <= limits::KEPT_BYTES_MAX + limits::FORGETTABLE_BYTES_MAX, "{all}");
    assert!(one > 1000 && one < rest, "{one} {rest}");
    assert_eq!(server.send_from(owner, &post)[0].code, 204, "known, not executed");
    let executed = server.executed.len();
    server.wait(limits::EXCHANGE_LIFETIME);
    let post = message(CON, POST, 2, &[2], &[(11, b"sink")], b"again");
    assert_eq!(server.send_from(owner, &post)[0].code, 204, "and there is room again");
    assert_eq!(server.executed.len(), executed + 1);
}

#[test]
fn what_strangers_fill_with_changes_the_next_change_in_clear_empties() {
    let mut server = Server::new(application);
    let posts = 20_000;
    for n in 0..posts {
        let post = message(CON, POST, n as u16, &u32::to_be_bytes(n), &[(11, b"sink")], &[7; 300]);
        let peer = peer(9, n as u16 % 5000 + 1);
        assert_eq!(server.send_from(peer, &post)[0].code, 204, "{n}");
        let held = server.endpoint.memory().answers;
        assert!(held <= limits::KEPT_BYTES_CLEAR_MAX + limits::FORGETTABLE_BYTES_MAX, "{held}");
    }
    let last = message(CON, POST, 1, &[1], &[(11, b"sink")], b"upgrade");
    assert_eq!(server.ask(&last).code, 204, "an honest one is taken at once");
    assert_eq!(server.ask(&last).code, 204);
    assert_eq!(server.executed.len() as u32, posts + 1, "and known when it comes again");
    let all = post_until_refused(&mut server, 1, 1);
    assert!(all > 1000, "those with a session have all of their own room: {all}");
}

#[test]
fn refused_changes_take_no_room() {
    let mut server = Server::new(application);
    for n in 0..50_000u32 {
        let post = message(CON, POST, n as u16, &n.to_be_bytes(), &[(11, b"nothing")], b"x");
        assert_eq!(server.send(&post)[0].code, 404, "{n}");
    }
    assert!(server.endpoint.memory().answers <= limits::FORGETTABLE_BYTES_MAX);
}

#[test]
fn calls_are_bounded() {
    let mut client = Endpoint::new(config(), [3; 32]);
    let now = Instant::at(Duration::from_secs(1));
    let mut failed = 0;
    for n in 0..limits::CALLS_MAX as u16 + 10 {
        client.request(peer(1, n + 1), Request::new(Code::GET, "/r"), now);
    }
    let collect = Duration::from_secs(1);
    client.request_multicast(SERVER, Request::new(Code::GET, "/r"), collect, now);
    while let Some(output) = client.poll_output() {
        if let Output::Failed { error, .. } = output {
            assert_eq!(error, CallError::Busy);
            failed += 1;
        }
    }
    assert_eq!(failed, 11);
}

#[test]
fn what_waits_for_one_peer_is_bounded() {
    let mut client = Endpoint::new(config(), [3; 32]);
    let now = Instant::at(Duration::from_secs(1));
    let (mut failed, mut sent) = (0, 0);
    for _ in 0..200 {
        client.request(SERVER, Request::new(Code::GET, "/r"), now);
    }
    while let Some(output) = client.poll_output() {
        match output {
            Output::Failed { error, .. } => {
                assert_eq!(error, CallError::Busy);
                failed += 1;
            }
            _ => sent += 1,
        }
    }
    assert_eq!((sent, failed), (limits::NSTART, 200 - limits::NSTART - limits::LANE_WAITING_MAX));
}

#[test]
fn snapshots_are_bounded_and_the_rest_is_still_read() {
    let mut server = Server::new(application);
    let get = |n: u32, block: &[u8]| {
        let path: &[(u16, &[u8])] = &[(11, b"long"), (11, b"60000"), (23, block)];
        message(CON, GET, n as u16, &n.to_be_bytes(), path, &[])
    };
    let first = server.ask(&get(1, &[0x06]));
    for n in 0..200u32 {
        server.send_from(peer(5, n as u16 + 1), &get(n, &[0x06]));
        assert!(server.endpoint.memory().snapshots <= limits::SNAPSHOT_BYTES_MAX);
    }
    let executed = server.executed.len();
    let second = server.ask(&get(2, &[0x16]));
    assert_eq!(server.executed.len(), executed + 1, "its snapshot was given up");
    assert_eq!(second.option(4), first.option(4), "but the body is the same");
    let mut many = Server::new(application);
    for n in 0..100u32 {
        let path = n.to_string();
        let options: &[(u16, &[u8])] = &[(11, b"long"), (11, b"5000"), (15, path.as_bytes())];
        many.send(&message(CON, GET, n as u16, &n.to_be_bytes(), options, &[]));
    }
    assert!(many.endpoint.memory().snapshots <= limits::SNAPSHOTS_PER_PEER_MAX * 5600);
    assert_eq!(ALICE.session, 0);
}

#[test]
fn what_waits_keeps_no_place_when_its_session_ends() {
    let mut server = late();
    for n in 0..10u16 {
        server.send(&message(CON, GET, n, &n.to_be_bytes(), &[(11, b"r")], &[]));
    }
    server.endpoint.session_ended(ALICE);
    assert_eq!(server.endpoint.memory().requests, 0);
    let tickets: Vec<_> = server.open.drain(..).collect();
    for ticket in tickets {
        server.respond(ticket, text("late"), None);
    }
    assert!(server.drain().is_empty());
}
