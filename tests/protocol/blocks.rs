//! Bodies in blocks (RFC 7959), and what keeps them apart (RFC 9175 section 3).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use freshen::coap::{CallError, Code, Config, Endpoint, Output, Request, Response, limits, option};

use crate::application::{application, pattern, text};
use crate::pair::{Outcome, Pair, Reply, SERVER, Side, config};
use crate::raw::{
    ACK, ALICE, BOB, CON, FETCH, GET, POST, PUT, Parsed, Server, converse, message, parse,
};

const BLOCK2: u16 = option::BLOCK2;
const BLOCK1: u16 = option::BLOCK1;

fn uint(value: u32) -> Vec<u8> {
    value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

fn get_block(server: &mut Server, id: u16, path: &[&[u8]], value: u32) -> Parsed {
    let value = uint(value);
    let mut options: Vec<(u16, &[u8])> = path.iter().map(|segment| (11, *segment)).collect();
    options.push((BLOCK2, &value));
    server.ask(&message(CON, GET, id, &id.to_be_bytes(), &options, &[]))
}

#[test]
fn a_short_body_has_no_block_option() {
    let mut server = Server::new(application);
    let options: &[(u16, &[u8])] = &[(11, b"long"), (11, b"1024")];
    let answer = server.ask(&message(CON, GET, 1, &[1], options, &[]));
    assert_eq!((answer.option(BLOCK2), answer.payload.len()), (None, 1024));
}

#[test]
fn the_first_block_says_size_and_etag() {
    let mut server = Server::new(application);
    let options: &[(u16, &[u8])] = &[(11, b"long"), (11, b"1025")];
    let answer = server.ask(&message(CON, GET, 1, &[1], options, &[]));
    assert_eq!(answer.block(BLOCK2), Some((0, true, 1024)));
    assert_eq!(answer.uint(option::SIZE2), Some(1025));
    assert_eq!(answer.option(option::ETAG).map(<[u8]>::len), Some(8));
    let last = get_block(&mut server, 2, &[b"long", b"1025"], 1 << 4 | 6);
    assert_eq!(last.block(BLOCK2), Some((1, false, 1024)));
    assert_eq!(last.payload, pattern(1025)[1024..]);
    assert_eq!(last.option(option::ETAG), answer.option(option::ETAG));
    assert_eq!(server.executed.len(), 1, "the rest comes from the snapshot");
}

#[test]
fn every_block_size_gives_the_same_body() {
    for exponent in 0..=6u32 {
        let mut server = Server::new(application);
        let (mut body, mut number) = (vec![], 0);
        loop {
            let value = number << 4 | exponent;
            let answer = get_block(&mut server, number as u16, &[b"long", b"3000"], value);
            let (at, more, size) = answer.block(BLOCK2).unwrap();
            assert_eq!((at, size), (number, 16 << exponent));
            body.extend(answer.payload);
            number += 1;
            if !more {
                break;
            }
        }
        assert_eq!(body, pattern(3000));
    }
}

#[test]
fn a_client_may_ask_for_smaller_blocks_in_the_middle() {
    let mut server = Server::new(application);
    let first = get_block(&mut server, 1, &[b"long", b"3000"], 6);
    let second = get_block(&mut server, 2, &[b"long", b"3000"], 16 << 4 | 2);
    assert_eq!(second.block(BLOCK2), Some((16, true, 64)));
    assert_eq!([first.payload, second.payload].concat(), pattern(3000)[..1088]);
}

#[test]
fn block_numbers_beyond_4096_and_65536_are_right() {
    let mut config = config();
    config.body_bytes_max = 4 << 20;
    let body = pattern(1_100_000);
    let mut server = Server::with_config(config, move |_| Reply::Now(text(body.clone()), None));
    for number in [4095u32, 4096, 65_535, 65_536, 68_749] {
        let answer = get_block(&mut server, number as u16, &[b"r"], number << 4);
        assert_eq!(answer.block(BLOCK2), Some((number, number != 68_749, 16)));
        assert_eq!(answer.payload, pattern(1_100_000)[number as usize * 16..][..16]);
    }
    let past = get_block(&mut server, 9, &[b"r"], 68_750 << 4);
    assert_eq!(past.code, 400);
}

#[test]
fn a_number_past_the_end_is_a_bad_request() {
    let mut server = Server::new(application);
    assert_eq!(get_block(&mut server, 1, &[b"long", b"3000"], 3 << 4 | 6).code, 400);
    assert_eq!(get_block(&mut server, 2, &[b"long", b"20"], 1 << 4 | 6).code, 400);
}

/// A body that is another one every time it is asked for.
fn changing() -> Server {
    let version = Rc::new(Cell::new(0));
    Server::new(move |_| {
        version.set(version.get() + 1);
        Reply::Now(text(vec![version.get(); 3000]), None)
    })
}

#[test]
fn a_body_that_changes_in_the_middle_is_never_mixed() {
    let mut server = changing();
    let first = get_block(&mut server, 1, &[b"r"], 6);
    // Somebody else sees the next version; the reader of the first goes on with the first.
    server.send_from(BOB, &message(CON, GET, 1, &[1], &[(11, b"r")], &[]));
    let second = get_block(&mut server, 2, &[b"r"], 1 << 4 | 6);
    assert_eq!(second.payload, vec![1; 1024]);
    assert_eq!(first.option(option::ETAG), second.option(option::ETAG));
}

#[test]
fn another_body_has_another_etag() {
    let mut server = changing();
    let first = get_block(&mut server, 1, &[b"r"], 6);
    server.wait(limits::SNAPSHOT_LIFETIME);
    let second = get_block(&mut server, 2, &[b"r"], 1 << 4 | 6);
    assert_eq!(second.payload, vec![2; 1024]);
    assert_ne!(first.option(option::ETAG), second.option(option::ETAG));
}

#[test]
fn the_same_body_has_the_same_etag_after_its_snapshot_is_gone() {
    let mut server = Server::new(application);
    let first = get_block(&mut server, 1, &[b"long", b"3000"], 6);
    server.wait(limits::SNAPSHOT_LIFETIME);
    let second = get_block(&mut server, 2, &[b"long", b"3000"], 1 << 4 | 6);
    assert_eq!(first.option(option::ETAG), second.option(option::ETAG));
    assert_eq!(second.payload, pattern(3000)[1024..2048]);
}

/// A server whose body is another one from its third answer on.
fn changes_after_two(asked: &Parsed, answers: &mut u32, changes: u32) -> Vec<Vec<u8>> {
    *answers += 1;
    let version = if *answers <= 2 { 0 } else { (*answers - 3) / changes + 1 } as u8;
    let number = asked.block(BLOCK2).map_or(0, |(number, ..)| number);
    let value = uint(number << 4 | if number < 3 { 8 } else { 0 } | 6);
    let options: &[(u16, &[u8])] = &[(option::ETAG, &[version]), (BLOCK2, &value)];
    vec![message(ACK, 0x45, asked.id, &asked.token, options, &[version; 1024])]
}

#[test]
fn a_client_starts_again_when_the_body_changes_under_it() {
    let mut answers = 0;
    let begin = |client: &mut Endpoint, now| {
        client.request(SERVER, Request::new(Code::GET, "/r"), now);
    };
    let told = converse(begin, |asked| changes_after_two(asked, &mut answers, 100));
    assert!(
        matches!(&told[..], [Output::Response { response, .. }] if response.payload == [1; 4096])
    );
    assert_eq!(answers, 2 + 1 + 4);
}

#[test]
fn a_body_that_changes_faster_than_it_is_read_fails() {
    let mut answers = 0;
    let begin = |client: &mut Endpoint, now| {
        client.request(SERVER, Request::new(Code::GET, "/r"), now);
    };
    let told = converse(begin, |asked| changes_after_two(asked, &mut answers, 1));
    assert!(matches!(&told[..], [Output::Failed { error: CallError::Blocks(_), .. }]), "{told:?}");
}

#[test]
fn the_changed_result_of_a_post_is_not_asked_for_again() {
    let (mut answers, mut posts) = (0, 0);
    let begin = |client: &mut Endpoint, now| {
        client.request(SERVER, Request::new(Code::POST, "/r"), now);
    };
    let told = converse(begin, |asked| {
        posts += u32::from(asked.block(BLOCK2).is_none());
        changes_after_two(asked, &mut answers, 100)
    });
    assert!(matches!(&told[..], [Output::Failed { error: CallError::Blocks(_), .. }]));
    assert_eq!(posts, 1);
}

#[test]
fn the_result_of_a_post_is_read_in_blocks_and_the_post_executed_once() {
    let mut pair = Pair::new(5, application);
    let mut request = Request::new(Code::POST, "/sink");
    request.payload = pattern(5000);
    let call = pair.request(request);
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.response(call).payload, pattern(5000));
    assert_eq!(pair.executed.len(), 1);
}

#[test]
fn the_rest_of_a_post_result_that_is_gone_is_incomplete_not_executed_again() {
    let mut server = Server::new(application);
    for (code, path) in [(POST, &b"sink"[..]), (FETCH, b"sink")] {
        let options: &[(u16, &[u8])] = &[(11, path), (BLOCK2, &[0x16])];
        let answer = server.ask(&message(CON, code, code.into(), &[1], options, &[]));
        assert_eq!(answer.code, 408);
    }
    assert!(server.executed.is_empty());
}

#[test]
fn blocks_of_a_body_are_asked_for_and_the_last_one_is_answered() {
    let mut server = Server::new(application);
    let options: &[(u16, &[u8])] = &[(11, b"sink"), (BLOCK1, &[0x08])];
    let answer = server.ask(&message(CON, PUT, 1, &[1], options, &[1; 16]));
    assert_eq!((answer.kind, answer.code, answer.block(BLOCK1)), (ACK, 231, Some((0, true, 16))));
    let options: &[(u16, &[u8])] = &[(11, b"sink"), (BLOCK1, &[0x10])];
    let answer = server.ask(&message(CON, PUT, 2, &[2], options, &[2; 5]));
    assert_eq!((answer.code, answer.block(BLOCK1)), (204, Some((1, false, 16))));
    assert_eq!(server.executed[0].payload, [vec![1; 16], vec![2; 5]].concat());
    assert!(server.executed[0].options.first(BLOCK1).is_none(), "the room above sees no blocks");
}

#[test]
fn the_same_block_again_in_a_new_message_does_no_harm() {
    let mut server = Server::new(application);
    let mut put = |id, block: u8, byte: u8| {
        let options: &[(u16, &[u8])] = &[(11, b"sink"), (BLOCK1, &[block])];
        server.ask(&message(CON, PUT, id, &[1], options, &[byte; 16])).code
    };
    assert_eq!([put(1, 0x08, 1), put(2, 0x18, 2), put(3, 0x18, 2)], [231; 3]);
    assert_eq!(put(4, 0x18, 9), 408, "but not with other bytes");
    assert_eq!(put(5, 0x20, 3), 204);
    assert_eq!(server.executed[0].payload.len(), 48);
}

#[test]
fn block_zero_begins_anew() {
    let mut server = Server::new(application);
    let mut put = |id, block: u8, byte: u8| {
        let options: &[(u16, &[u8])] = &[(11, b"sink"), (BLOCK1, &[block])];
        server.ask(&message(CON, PUT, id, &[1], options, &[byte; 16])).code
    };
    assert_eq!([put(1, 0x08, 1), put(2, 0x18, 1), put(3, 0x08, 2)], [231; 3]);
    assert_eq!(put(4, 0x10, 2), 204);
    assert_eq!(server.executed[0].payload, [2; 32]);
}

#[test]
fn a_block_of_another_size_than_it_states_is_a_bad_request() {
    for (block, length) in [(0x08, 15), (0x08, 17), (0x00, 17), (0x0e, 16)] {
        let mut server = Server::new(application);
        let options: &[(u16, &[u8])] = &[(11, b"sink"), (BLOCK1, &[block])];
        assert_eq!(server.ask(&message(CON, PUT, 1, &[1], options, &vec![1; length])).code, 400);
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_as_soon_as_that_is_known() {
    let config = Config { body_bytes_max: 40, ..config() };
    let mut server = Server::with_config(config, application);
    let options: &[(u16, &[u8])] = &[(11, b"sink"), (BLOCK1, &[0x08]), (60, &[41])];
    let answer = server.ask(&message(CON, PUT, 1, &[1], options, &[1; 16]));
    assert_eq!((answer.code, answer.uint(60)), (413, Some(40)), "announced");
    for (id, block, code) in [(2, 0x08, 231), (3, 0x18, 231), (4, 0x28, 413)] {
        let options: &[(u16, &[u8])] = &[(11, b"sink"), (BLOCK1, &[block])];
        let answer = server.ask(&message(CON, PUT, id, &[1], options, &[1; 16]));
        assert_eq!(answer.code, code, "block {block:#x}");
    }
    assert_eq!(server.endpoint.memory().uploads, 0);
    let whole = message(CON, PUT, 9, &[1], &[(11, b"sink")], &[1; 41]);
    assert_eq!(server.ask(&whole).code, 413, "without blocks as well");
    assert!(server.executed.is_empty());
}

#[test]
fn an_unfinished_body_is_given_up_after_its_lifetime() {
    let mut server = Server::new(application);
    let put = |server: &mut Server, id, block: u8| {
        let options: &[(u16, &[u8])] = &[(11, b"sink"), (BLOCK1, &[block])];
        server.ask(&message(CON, PUT, id, &[1], options, &[1; 16])).code
    };
    assert_eq!(put(&mut server, 1, 0x08), 231);
    server.wait(limits::UPLOAD_LIFETIME);
    assert_eq!(put(&mut server, 2, 0x10), 408);
}

#[test]
fn a_client_obeys_a_server_that_wants_smaller_blocks() {
    let bodies = Rc::new(std::cell::RefCell::new(vec![]));
    let seen = bodies.clone();
    let mut pair = Pair::new(5, move |request: &Request| {
        seen.borrow_mut().push(request.payload.len());
        Reply::Now(Response::new(Code::CHANGED), None)
    });
    let mut request = Request::new(Code::PUT, "/r");
    request.payload = pattern(3000);
    let call = pair.request(request);
    let first = parse(pair.sent(Side::Client)[0]);
    assert_eq!(first.block(BLOCK1), Some((0, true, 1024)));
    assert_eq!(first.uint(60), Some(3000));
    assert!(first.option(292).is_some(), "Request-Tag");
    // A server of 64-byte blocks, which keeps what it got.
    let answer = message(ACK, 0x5f, first.id, &first.token, &[(BLOCK1, &[0x0a])], &[]);
    let now = pair.now;
    let reception = freshen::coap::Reception::Unicast;
    pair.client.handle_datagram(SERVER, reception, &answer, now);
    let freshen::coap::Output::Datagram { bytes, .. } = pair.client.poll_output().unwrap() else {
        panic!("the next block");
    };
    let second = parse(&bytes);
    assert_eq!((second.block(BLOCK1), second.payload.len()), (Some((16, true, 64)), 64));
    assert_eq!(second.payload, pattern(3000)[1024..1088]);
    pair.client.cancel(call, now);
}

#[test]
fn a_client_begins_again_with_smaller_blocks_after_413() {
    let mut pair = Pair::new(5, application);
    let mut request = Request::new(Code::PUT, "/r");
    request.payload = pattern(3000);
    pair.request(request);
    let first = parse(pair.sent(Side::Client)[0]);
    let answer = message(ACK, 0x8d, first.id, &first.token, &[(BLOCK1, &[0x0b])], &[]);
    let now = pair.now;
    pair.client.handle_datagram(SERVER, freshen::coap::Reception::Unicast, &answer, now);
    let freshen::coap::Output::Datagram { bytes, .. } = pair.client.poll_output().unwrap() else {
        panic!("the first block again");
    };
    let again = parse(&bytes);
    assert_eq!((again.block(BLOCK1), again.payload.len()), (Some((0, true, 128)), 128));
}

#[test]
fn a_client_takes_no_body_that_is_too_long() {
    let mut pair =
        Pair::with_config(5, Config { body_bytes_max: 3000, ..config() }, |_: &Request| {
            Reply::Now(text(pattern(5000)), None)
        });
    let call = pair.request(Request::new(Code::GET, "/r"));
    pair.run(Duration::from_secs(60));
    let failed = Outcome::Failed(CallError::Blocks("it is longer than we take"));
    assert_eq!(pair.outcome(call), Some(&failed));
}

#[test]
fn a_client_refuses_blocks_that_do_not_fit() {
    for (value, length) in [(0x08u32, 15), (0x08, 17), (0x18, 16), (0x0f, 16)] {
        let mut pair = Pair::new(5, move |_: &Request| {
            let mut response = text(vec![1; length]);
            response.options.set_uint(BLOCK2, value);
            Reply::Now(response, None)
        });
        let call = pair.request(Request::new(Code::GET, "/r"));
        pair.run(Duration::from_secs(60));
        assert!(
            matches!(pair.outcome(call), Some(Outcome::Failed(CallError::Blocks(_)))),
            "{value:#x} with {length} bytes: {:?}",
            pair.outcome(call)
        );
    }
}

#[test]
fn what_stalls_gives_way_and_what_moves_stays() {
    let mut server = Server::new(application);
    let block = |id: u16, name: &[u8], value: u8| {
        message(CON, PUT, id, &[1], &[(11, b"sink"), (15, name), (BLOCK1, &[value])], &[1; 1024])
    };
    server.send_from(BOB, &block(1, b"honest", 0x0e));
    for round in 0..10u16 {
        for n in 0..120u16 {
            let mut peer = ALICE;
            peer.remote.set_port(1000 + round * 120 + n);
            server.send_from(peer, &block(1, b"x", 0x0e));
        }
        server.wait(Duration::from_secs(1));
        let value = ((round + 1) << 4 | 0xe) as u8;
        let answers = server.send_from(BOB, &block(round + 2, b"honest", value));
        assert_eq!(answers[0].code, 231, "round {round}");
    }
    assert!(server.endpoint.memory().uploads <= limits::UPLOAD_BYTES_MAX);
}

#[test]
fn one_peer_has_so_many_bodies_under_way_and_no_more() {
    let mut server = Server::new(application);
    for n in 0..100u8 {
        let options: &[(u16, &[u8])] = &[(11, b"sink"), (15, &[n]), (BLOCK1, &[0x0e])];
        server.ask(&message(CON, PUT, n.into(), &[1], options, &[1; 1024]));
    }
    let each = 1024 + 300;
    assert!(server.endpoint.memory().uploads <= limits::UPLOADS_PER_PEER_MAX * each);
}
