//! Echo (RFC 9175), No-Response (RFC 7967).

use std::time::Duration;

use freshen::coap::{Code, Config, Endpoint, Output, Request, limits, option};

use crate::application::application;
use crate::pair::{Pair, SERVER, config};
use crate::raw::{ACK, ALICE, BOB, CON, GET, NON, POST, PUT, Server, converse, message};

const ECHO: u16 = option::ECHO;
const BLOCK2: u16 = option::BLOCK2;

fn careful() -> Config {
    Config { echo_before_changes: true, echo_before_long_answers: true, ..config() }
}

fn post(id: u16, echo: Option<&[u8]>) -> Vec<u8> {
    let mut options: Vec<(u16, &[u8])> = vec![(11, b"sink")];
    options.extend(echo.map(|value| (ECHO, value)));
    message(CON, POST, id, &[1], &options, b"upgrade")
}

#[test]
fn a_change_in_clear_has_to_be_fresh() {
    let mut server = Server::with_config(careful(), application);
    let challenge = server.ask(&post(1, None));
    assert_eq!((challenge.kind, challenge.code), (ACK, 401));
    let value = challenge.option(ECHO).unwrap().to_vec();
    assert!((1..=40).contains(&value.len()));
    assert!(server.executed.is_empty());
    assert_eq!(server.ask(&post(2, Some(&value))).code, 204);
    assert_eq!(server.executed.len(), 1);
    assert!(server.executed[0].options.first(ECHO).is_none());
}

#[test]
fn the_value_of_an_echo_is_for_one_peer_and_a_short_while() {
    let mut server = Server::with_config(careful(), application);
    let value = server.ask(&post(1, None)).option(ECHO).unwrap().to_vec();
    assert_eq!(server.send_from(BOB, &post(2, Some(&value)))[0].code, 401, "another peer");
    for n in 0..value.len() {
        let mut forged = value.clone();
        forged[n] ^= 1;
        assert_eq!(server.ask(&post(100 + n as u16, Some(&forged))).code, 401, "byte {n}");
    }
    server.wait(limits::ECHO_FRESH + Duration::from_secs(1));
    assert_eq!(server.ask(&post(3, Some(&value))).code, 401, "too old");
    assert!(server.executed.is_empty());
}

#[test]
fn a_change_in_a_session_needs_no_echo() {
    let mut server = Server::with_config(careful(), application);
    let mut secure = ALICE;
    secure.session = 7;
    assert_eq!(server.send_from(secure, &post(1, None))[0].code, 204);
}

#[test]
fn a_long_answer_goes_whole_only_to_who_can_be_reached() {
    let mut server = Server::with_config(careful(), application);
    let get = |id, path: &'static [u8], more: &[(u16, &[u8])]| {
        let mut options = [&[(11, &b"long"[..]), (11, path)][..], more].concat();
        options.sort_by_key(|(number, _)| *number);
        message(CON, GET, id, &[1], &options, &[])
    };
    assert_eq!(server.ask(&get(1, b"100", &[])).payload.len(), 100, "short enough for anybody");
    let first = server.ask(&get(2, b"900", &[]));
    assert_eq!((first.code, first.payload.len()), (205, 64));
    assert_eq!(first.option(BLOCK2), Some(&[0x0a][..]), "the first of many, 64 bytes each");
    // Observation is nothing that a small block would make harmless.
    let challenge = server.ask(&get(3, b"900", &[(6, b"")]));
    assert_eq!(challenge.code, 401);
    let value = challenge.option(ECHO).unwrap().to_vec();
    assert_eq!(server.ask(&get(4, b"900", &[(ECHO, &value)])).payload.len(), 900);
    assert_eq!(server.ask(&get(5, b"901", &[])).payload.len(), 901, "known now");
}

#[test]
fn who_cannot_answer_a_challenge_reads_a_long_answer_in_small_blocks() {
    for first in [None, Some(6), Some(1)] {
        let mut server = Server::with_config(careful(), application);
        let mut body: Vec<u8> = vec![];
        let mut block = first;
        loop {
            let id = body.len() as u16 + 1;
            let value = block.map(|value: u16| value.to_be_bytes());
            let mut options: Vec<(u16, &[u8])> = vec![(11, b"long"), (11, b"5000")];
            options.extend(value.as_ref().map(|value| (BLOCK2, &value[..])));
            let get = message(CON, GET, id, &id.to_be_bytes(), &options, &[]);
            let answer = server.ask(&get);
            assert_eq!(answer.code, 205);
            body.extend(&answer.payload);
            let value = answer.option(BLOCK2).unwrap();
            let value = value.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
            assert_eq!(value & 7, first.unwrap_or(6).min(2), "64 bytes or fewer");
            if value & 8 == 0 {
                break;
            }
            block = Some(((value >> 4) + 1) << 4 | value & 7);
        }
        assert_eq!(body.len(), 5000);
        assert_eq!(server.executed.len(), 1, "one body, cut into blocks");
    }
}

#[test]
fn nothing_is_amplified_more_than_threefold_for_a_stranger() {
    for way in [freshen::coap::Reception::Unicast, freshen::coap::Reception::Multicast] {
        let mut id = 0;
        for length in (0..2500).step_by(50) {
            let path = length.to_string();
            let blocks: [&[(u16, &[u8])]; 8] = [
                &[],
                &[(31, &[0x0e])],
                &[(BLOCK2, &[6])],
                &[(BLOCK2, &[0])],
                &[(BLOCK2, &[0x16])],
                &[(BLOCK2, &[0x22])],
                &[(BLOCK2, &[0x46])],
                &[(15, &[b'q'; 200])],
            ];
            let mut server = Server::with_config(careful(), application);
            for extra in blocks {
                let mut options: Vec<(u16, &[u8])> = vec![(11, b"long"), (11, path.as_bytes())];
                options.extend(extra);
                options.sort_by_key(|(number, _)| *number);
                id += 1;
                let get = message(NON, GET, id, &id.to_be_bytes(), &options, &[]);
                let now = server.now;
                server.endpoint.handle_datagram(ALICE, way, &get, now);
                let mut sent: usize = server.drain().iter().map(|(_, bytes)| bytes.len()).sum();
                server.wait(limits::DEFAULT_LEISURE + Duration::from_secs(1));
                sent += server.drain().iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
                let most = limits::AMPLIFICATION_MAX * get.len();
                let most = limits::ANSWER_TO_ANYBODY_BYTES.max(most);
                assert!(sent <= most, "{sent} bytes for {}: {length} {extra:?}", get.len());
                let silent = sent == 0 && way == freshen::coap::Reception::Unicast;
                assert!(!silent, "an answer of {length} bytes to {extra:?}");
            }
        }
    }
}

#[test]
fn an_observer_in_clear_has_to_be_reachable() {
    let mut server = Server::with_config(careful(), application);
    let get = |id, echo: Option<&[u8]>| {
        let mut options: Vec<(u16, &[u8])> = vec![(6, b""), (11, b"watched")];
        options.extend(echo.map(|value| (ECHO, value)));
        message(CON, GET, id, &[1], &options, &[])
    };
    let challenge = server.ask(&get(1, None));
    assert_eq!(challenge.code, 401);
    assert_eq!(server.endpoint.watchers(crate::application::TOPIC), 0);
    let value = challenge.option(ECHO).unwrap().to_vec();
    assert!(server.ask(&get(2, Some(&value))).option(6).is_some());
}

#[test]
fn our_client_answers_a_challenge_also_in_the_middle_of_a_body() {
    let mut pair = Pair::with_config(1, careful(), application);
    let mut request = Request::new(Code::PUT, "/sink");
    request.payload = vec![5; 3000];
    let call = pair.request(request);
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.response(call).payload, [5; 3000]);
    assert_eq!(pair.executed.len(), 1);
}

#[test]
fn our_client_does_not_answer_challenges_for_ever() {
    let mut asked_times = 0;
    let begin = |client: &mut Endpoint, now| {
        client.request(SERVER, Request::new(Code::POST, "/r"), now);
    };
    let told = converse(begin, |asked| {
        asked_times += 1;
        vec![message(ACK, 0x81, asked.id, &asked.token, &[(ECHO, b"again")], &[])]
    });
    assert!(
        matches!(&told[..], [Output::Response { response, .. }] if response.code == Code::UNAUTHORIZED)
    );
    assert_eq!(asked_times, 1 + u32::from(limits::RESTARTS_MAX));
}

#[test]
fn who_was_reachable_is_remembered_in_bounds() {
    let mut server = Server::with_config(careful(), application);
    for n in 0..limits::REACHABLE_MAX as u32 + 500 {
        let mut peer = ALICE;
        peer.remote.set_port(n as u16 + 1);
        let value = server.send_from(peer, &post(1, None))[0].option(ECHO).unwrap().to_vec();
        assert_eq!(server.send_from(peer, &post(2, Some(&value)))[0].code, 204);
    }
    let get = message(CON, GET, 3, &[1], &[(11, b"long"), (11, b"900")], &[]);
    let mut first = ALICE;
    first.remote.set_port(1);
    assert_eq!(server.send_from(first, &get)[0].payload.len(), 64, "the oldest was forgotten");
}

#[test]
fn unwanted_answers_are_not_sent_but_requests_are_acknowledged() {
    let ask = |kind, path: &[u8], value: &[u8]| {
        let mut server = Server::new(application);
        let options: &[(u16, &[u8])] = &[(11, path), (option::NO_RESPONSE, value)];
        let answers = server.send(&message(kind, PUT, 1, &[1], options, b"x"));
        assert_eq!(server.executed.len(), 1);
        answers.iter().map(|answer| (answer.kind, answer.code)).collect::<Vec<_>>()
    };
    assert_eq!(ask(NON, b"sink", &[2]), [], "2.xx is not wanted");
    assert_eq!(ask(CON, b"sink", &[2]), [(ACK, 0)]);
    assert_eq!(ask(NON, b"nothing", &[2]), [(NON, 404)], "4.xx is");
    assert_eq!(ask(NON, b"nothing", &[8]), []);
    assert_eq!(ask(CON, b"nothing", &[26]), [(ACK, 0)]);
    assert_eq!(ask(CON, b"sink", &[24]), [(ACK, 204)]);
    assert_eq!(ask(CON, b"sink", &[]), [(ACK, 204)], "empty: all are wanted");
}

#[test]
fn a_body_in_blocks_goes_on_although_no_answer_is_wanted() {
    let mut server = Server::new(application);
    let options: &[(u16, &[u8])] = &[(11, b"sink"), (27, &[0x08]), (258, &[26])];
    assert_eq!(server.ask(&message(CON, PUT, 1, &[1], options, &[1; 16])).code, 231);
}

/// A stranger reads what a group is asked for in blocks: the first comes after the question to the group, and
/// the others from the socket that it came from. What it read there before must not be among them.
#[test]
fn the_blocks_after_an_answer_to_a_group_are_of_that_answer() {
    let mut asked = 0u8;
    let answers = move |_: &Request| {
        asked += 1;
        let body = vec![b'a' + asked; 300];
        crate::pair::Reply::Now(crate::application::text(body), None)
    };
    let mut server = Server::with_config(careful(), answers);
    let (mut by_group, mut by_socket) = (ALICE, ALICE);
    (by_group.socket, by_socket.socket) = (3, 1);
    let block = |id, number: u8| {
        let value = [number << 4 | 2];
        let options: [(u16, &[u8]); 2] = [(11, b"oic"), (BLOCK2, &value)];
        message(NON, GET, id, &[id as u8], &options, &[])
    };
    let to_group = |id| message(NON, GET, id, &[id as u8], &[(11, b"oic")], &[]);
    let mut id = 0;
    for round in 1..4 {
        let expected = b'a' + round;
        id += 1;
        server.send_to_group(by_group, &to_group(id));
        let first = server.wait(Duration::from_secs(60)).remove(0);
        assert_eq!(first.block(BLOCK2), Some((0, true, 64)), "round {round}");
        let mut body = first.payload.clone();
        for number in 1..5 {
            id += 1;
            body.extend(&server.send_from(by_socket, &block(id, number))[0].payload);
        }
        assert_eq!(body, vec![expected; 300], "round {round}");
    }
}
