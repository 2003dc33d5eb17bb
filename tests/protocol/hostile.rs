//! Inputs that broke other implementations, and floods.

use std::time::Duration;

use freshen::coap::{Config, Peer, Reception, limits};

use crate::application::{application, text};
use crate::pair::{Reply, config, peer};
use crate::raw::{ACK, ALICE, BOB, CON, GET, NON, POST, PUT, RST, Server, message};

fn server() -> Server {
    Server::new(|_| Reply::Now(text("done"), None))
}

/// What goes back to a datagram as (kind, code).
fn reaction(bytes: &[u8]) -> Vec<(u8, u32)> {
    server().send(bytes).iter().map(|answer| (answer.kind, answer.code)).collect()
}

const RESET: &[(u8, u32)] = &[(RST, 0)];

#[test]
fn another_version_is_ignored_silently() {
    for version in [0, 2, 3] {
        let mut get = message(CON, GET, 1, &[1], &[(11, b"r")], &[]);
        get[0] = get[0] & 0x3f | version << 6;
        assert_eq!(reaction(&get), [], "version {version}");
    }
}

#[test]
fn less_than_a_header_is_ignored_silently() {
    for length in 0..4 {
        assert_eq!(reaction(&[0x40, 1, 0, 1][..length]), []);
    }
}

#[test]
fn a_payload_marker_without_payload_is_a_format_error() {
    let mut get = message(CON, GET, 1, &[1], &[(11, b"r")], &[]);
    get.push(0xff);
    assert_eq!(reaction(&get), RESET);
    get[0] |= 0x10;
    assert_eq!(reaction(&get), [], "non-confirmable");
}

#[test]
fn an_empty_message_with_anything_behind_it_is_a_format_error() {
    for tail in [&[0][..], &[0xff, 1], b"token"] {
        let mut ping = message(CON, 0, 1, &[], &[], &[]);
        ping.extend(tail);
        assert_eq!(reaction(&ping), RESET);
        assert_eq!(reaction(&message(CON, 0, 1, &[7], &[], &[])), RESET);
    }
}

#[test]
fn a_reserved_token_length_is_a_format_error() {
    assert_eq!(reaction(&[0x4f, 1, 0, 1, 0, 0, 0, 0]), RESET);
    assert_eq!(reaction(&[0x5f, 1, 0, 1, 0, 0, 0, 0]), []);
}

#[test]
fn a_token_longer_than_the_datagram_is_a_format_error() {
    for first in [0x41, 0x48, 0x4d, 0x4e] {
        assert_eq!(reaction(&[first, 1, 0, 1]), RESET, "{first:#x}");
    }
    assert_eq!(reaction(&[0x4d, 1, 0, 1, 200, 1, 2, 3]), RESET);
}

#[test]
fn extended_tokens_are_echoed() {
    for length in [9, 12, 13, 20, limits::TOKEN_BYTES_MAX] {
        let token: Vec<u8> = (0..length as u8).collect();
        let answer = server().ask(&message(CON, GET, 1, &token, &[(11, b"r")], &[]));
        assert_eq!((answer.code, answer.token), (205, token), "{length} bytes");
    }
    let token = vec![1; limits::TOKEN_BYTES_MAX + 1];
    assert_eq!(reaction(&message(CON, GET, 1, &token, &[(11, b"r")], &[])), RESET);
    assert_eq!(reaction(&message(CON, GET, 1, &[1; 300], &[(11, b"r")], &[])), RESET);
}

#[test]
fn an_overlong_token_from_a_group_gets_neither_reset_nor_error() {
    let mut server = server();
    let get = message(NON, GET, 1, &[1; 300], &[(11, b"r")], &[]);
    assert!(server.send_to_group(ALICE, &get).is_empty());
    assert!(server.wait(Duration::from_secs(60)).is_empty());
}

#[test]
fn malformed_acknowledgements_and_resets_are_dropped() {
    for kind in [ACK, RST] {
        for bytes in [
            message(kind, 0, 1, &[1], &[], &[]),
            message(kind, GET, 1, &[], &[], &[]),
            message(kind, 0x25, 1, &[], &[], &[]),
            vec![0x40 | kind << 4 | 15, 0, 0, 1],
            vec![0x40 | kind << 4, 0x45, 0, 1, 0xff],
            vec![0x40 | kind << 4, 0x45, 0, 1, 0xf0],
        ] {
            assert_eq!(reaction(&bytes), [], "{bytes:x?}");
        }
    }
    assert_eq!(reaction(&message(RST, 0x45, 1, &[], &[], b"x")), []);
}

#[test]
fn reserved_option_nibbles_are_format_errors() {
    for option in [0xf0, 0x0f, 0xf1, 0x1f, 0xfe] {
        let mut get = message(CON, GET, 1, &[], &[], &[]);
        get.push(option);
        get.extend([0; 20]);
        assert_eq!(reaction(&get), RESET, "{option:#x}");
    }
}

#[test]
fn options_that_run_past_the_end_are_format_errors() {
    for tail in
        [&[0xd0][..], &[0xe0], &[0xe0, 0], &[0x0d], &[0x0e], &[0x0e, 0], &[0x05, 1], &[0x0d, 9]]
    {
        let mut get = message(CON, GET, 1, &[], &[], &[]);
        get.extend(tail);
        assert_eq!(reaction(&get), RESET, "{tail:x?}");
    }
}

#[test]
fn option_numbers_beyond_sixteen_bits_are_format_errors() {
    let mut get = message(CON, GET, 1, &[], &[], &[]);
    get.extend([0xe0, 0xff, 0xff]);
    assert_eq!(reaction(&get), RESET);
    let mut get = message(CON, GET, 1, &[], &[], &[]);
    get.extend([0xe0, 0xfe, 0xf2, 0x10]);
    assert_eq!(reaction(&get), RESET, "65535 and one more");
}

/// Ended a coap-rs server: one Uri-Query of 1300 bytes.
#[test]
fn more_than_1276_bytes_of_options_end_nothing() {
    let query = [b'x'; 1300];
    assert_eq!(reaction(&message(CON, GET, 2, &[], &[(15, &query)], &[])), [(ACK, 402)]);
    assert_eq!(server().ask(&message(CON, GET, 3, &[], &[(11, b"r")], &[])).code, 205);
}

/// Divided by zero in coap-lite's block handler.
#[test]
fn options_of_1140_bytes_and_a_payload_end_nothing() {
    let query = [b'x'; 250];
    let options: Vec<(u16, &[u8])> = (0..4).map(|_| (15, &query[..])).collect();
    assert_eq!(reaction(&message(CON, POST, 2, &[], &options, &[7; 200])), [(ACK, 205)]);
}

#[test]
fn a_datagram_of_empty_options_costs_nothing() {
    let mut get = message(CON, GET, 1, &[], &[], &[]);
    get.resize(limits::DATAGRAM_BYTES_MAX, 0);
    assert_eq!(reaction(&get), RESET, "too many options");
    get.resize(65_507, 0);
    assert_eq!(reaction(&get), [(ACK, 413)], "too long");
    get[0] |= 0x10;
    assert_eq!(reaction(&get), []);
}

#[test]
fn a_datagram_longer_than_we_read_is_told_how_to_do_it() {
    let put = message(CON, PUT, 5, &[1, 2], &[(11, b"r")], &[1; 1500]);
    let mut server = server();
    let answer = server.ask(&put);
    assert_eq!((answer.kind, answer.code, answer.id), (ACK, 413, 5));
    assert_eq!(answer.token, [1, 2]);
    assert_eq!(answer.uint(60), Some(Config::default().body_bytes_max as u32));
    assert!(server.executed.is_empty());
}

/// Block1 number 4096 needs three bytes; coap-lite ignored the option and took the block for the body.
#[test]
fn a_late_block_alone_is_never_the_whole_body() {
    for number in [1u32, 4095, 4096, 65_535, 65_536, (1 << 20) - 1] {
        for more in [0, 8] {
            let value = (number << 4 | more).to_be_bytes();
            let value: &[u8] = &value[value.iter().take_while(|byte| **byte == 0).count()..];
            let block = [1u8; 16];
            let mut config = config();
            config.body_bytes_max = usize::MAX >> 1;
            let mut server = Server::with_config(config, |_| Reply::Now(text("done"), None));
            let put = message(CON, PUT, 1, &[1], &[(11, b"r"), (27, value)], &block);
            assert_eq!(server.ask(&put).code, 408, "block {number}");
            assert!(server.executed.is_empty());
        }
    }
}

/// coap-lite filled the hole with zeros.
#[test]
fn a_hole_in_a_body_is_not_filled() {
    let mut server = server();
    let block = [1u8; 16];
    let first = message(CON, PUT, 1, &[1], &[(11, b"r"), (27, &[0x08])], &block);
    assert_eq!(server.ask(&first).code, 231);
    let fifth = message(CON, PUT, 2, &[2], &[(11, b"r"), (27, &[0x50])], &block);
    assert_eq!(server.ask(&fifth).code, 408);
    assert!(server.executed.is_empty());
}

#[test]
fn block_size_exponent_seven_is_a_bad_request() {
    for number in [23, 27, 31] {
        let get = message(CON, GET, 1, &[1], &[(11, b"r"), (number, &[0x0f])], &[]);
        assert_eq!(reaction(&get), [(ACK, 400)], "option {number}");
    }
}

/// coap-lite keyed transfers by path and endpoint only.
#[test]
fn two_bodies_with_different_queries_are_not_mixed() {
    let mut server = server();
    let mut ask = |id, query: &[u8], block: u8, byte: u8| {
        let options: &[(u16, &[u8])] = &[(11, b"r"), (15, query), (27, &[block])];
        server.ask(&message(CON, PUT, id, &[1], options, &[byte; 16])).code
    };
    assert_eq!(ask(1, b"a", 0x08, 1), 231);
    assert_eq!(ask(2, b"b", 0x08, 2), 231);
    assert_eq!(ask(3, b"a", 0x10, 1), 205);
    assert_eq!(ask(4, b"b", 0x10, 2), 205);
    let bodies: Vec<_> = server.executed.iter().map(|request| request.payload.clone()).collect();
    assert_eq!(bodies, [vec![1; 32], vec![2; 32]]);
}

#[test]
fn two_bodies_with_different_request_tags_are_not_mixed() {
    let mut server = server();
    let mut ask = |id, tag: &[u8], block: u8, byte: u8| {
        let options: &[(u16, &[u8])] = &[(11, b"r"), (27, &[block]), (292, tag)];
        server.ask(&message(CON, PUT, id, &[1], options, &[byte; 16])).code
    };
    assert_eq!(ask(1, b"a", 0x08, 1), 231);
    assert_eq!(ask(2, b"b", 0x08, 2), 231);
    assert_eq!(ask(3, b"a", 0x10, 1), 205);
    assert_eq!(server.executed[0].payload, [1; 32]);
}

fn spoofed(n: u32) -> Peer {
    let mut peer = peer(0, (n % 60_000) as u16 + 1024);
    peer.remote.set_ip(std::net::Ipv4Addr::from(0x0b00_0000 + n / 7).into());
    peer
}

/// An honest client gets its answer in the middle of whatever `flood` does.
fn an_honest_client_is_served_during(mut flood: impl FnMut(&mut Server, u32), config: Config) {
    let mut server = Server::with_config(config, application);
    for n in 0..100_000 {
        flood(&mut server, n);
        if n % 10_000 == 0 {
            let get =
                message(CON, GET, n as u16, &n.to_be_bytes(), &[(11, b"long"), (11, b"9")], &[]);
            let answers = server.send_from(BOB, &get);
            assert_eq!(answers.len(), 1);
            assert_eq!(answers[0].code, 205);
        }
        if n % 1000 == 0 {
            server.wait(Duration::from_millis(100));
        }
    }
    let held = server.endpoint.memory();
    assert!(held.total() <= limits::MEMORY_BYTES_MAX, "{held:?}");
}

#[test]
fn a_hundred_thousand_spoofed_gets_leave_little_behind() {
    let flood = |server: &mut Server, n: u32| {
        let path: &[(u16, &[u8])] = &[(11, b"long"), (11, b"5000")];
        let get = message(CON, GET, n as u16, &n.to_be_bytes(), path, &[]);
        server.endpoint.handle_datagram(spoofed(n), Reception::Unicast, &get, server.now);
        server.drain();
    };
    an_honest_client_is_served_during(flood, config());
}

#[test]
fn a_hundred_thousand_spoofed_observers_leave_little_behind() {
    let flood = |server: &mut Server, n: u32| {
        let options: &[(u16, &[u8])] = &[(6, b""), (11, b"watched")];
        let get = message(CON, GET, n as u16, &n.to_be_bytes(), options, &[]);
        server.endpoint.handle_datagram(spoofed(n), Reception::Unicast, &get, server.now);
        server.drain();
    };
    an_honest_client_is_served_during(flood, config());
}

#[test]
fn a_hundred_thousand_spoofed_bodies_leave_little_behind() {
    let flood = |server: &mut Server, n: u32| {
        let options: &[(u16, &[u8])] = &[(11, b"sink"), (27, &[0x0e])];
        let put = message(CON, PUT, n as u16, &n.to_be_bytes(), options, &[7; 1024]);
        server.endpoint.handle_datagram(spoofed(n), Reception::Unicast, &put, server.now);
        server.drain();
    };
    an_honest_client_is_served_during(flood, config());
}

#[test]
fn a_hundred_thousand_spoofed_posts_leave_little_behind() {
    let flood = |server: &mut Server, n: u32| {
        let options: &[(u16, &[u8])] = &[(11, b"sink")];
        let post = message(CON, POST, n as u16, &n.to_be_bytes(), options, &[7; 200]);
        server.endpoint.handle_datagram(spoofed(n), Reception::Unicast, &post, server.now);
        server.drain();
    };
    an_honest_client_is_served_during(flood, config());
}

#[test]
fn a_duplicate_storm_executes_once() {
    let mut server = server();
    let post = message(CON, POST, 1, &[1], &[(11, b"r")], b"upgrade");
    for _ in 0..100_000 {
        server.send(&post);
    }
    assert_eq!(server.executed.len(), 1);
}
