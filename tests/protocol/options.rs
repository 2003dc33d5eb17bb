//! Options that are unknown, repeated or misshapen (RFC 7252 section 5.4), and methods.

use freshen::coap::Code;

use crate::application::text;
use crate::pair::{Outcome, Pair, Reply, Side};
use crate::raw::{ACK, CON, GET, NON, POST, RST, Server, message, parse};

fn server() -> Server {
    Server::new(|_| Reply::Now(text("done"), None))
}

fn code(options: &[(u16, &[u8])]) -> u32 {
    server().ask(&message(CON, GET, 1, &[1], options, &[])).code
}

#[test]
fn an_unknown_critical_option_is_a_bad_option() {
    assert_eq!(code(&[(65001, b"x")]), 402);
    assert_eq!(code(&[(9, b"")]), 402, "OSCORE");
    let mut server = server();
    assert_eq!(server.ask(&message(NON, GET, 1, &[1], &[(65001, b"")], &[])).code, 402);
    assert!(server.executed.is_empty());
}

#[test]
fn an_unknown_elective_option_is_ignored() {
    assert_eq!(code(&[(65000, b"x")]), 205);
}

#[test]
fn what_the_rooms_above_understand_is_no_bad_option() {
    assert_eq!(code(&[(2049, &[8, 0])]), 205);
    assert_eq!(code(&[(2053, &[8, 0])]), 205);
    assert_eq!(code(&[(2049, &[8, 0]), (2049, &[8, 0])]), 402, "twice");
}

#[test]
fn conditional_requests_are_refused_rather_than_ignored() {
    assert_eq!(code(&[(1, b"tag")]), 402, "If-Match");
    assert_eq!(code(&[(5, b"")]), 402, "If-None-Match");
}

#[test]
fn a_critical_option_of_wrong_length_counts_as_unknown() {
    let long = [b'x'; 256];
    for (number, value) in [
        (3, &b""[..]),
        (3, &long),
        (7, &[1, 2, 3]),
        (11, &long),
        (15, &long),
        (17, &[0, 0, 1]),
        (23, &[0, 0, 0, 6]),
        (27, &[0, 0, 0, 6]),
        (31, &[0, 0, 0, 6]),
    ] {
        assert_eq!(code(&[(number, value)]), 402, "option {number}, {} bytes", value.len());
    }
}

#[test]
fn an_elective_option_of_wrong_length_is_ignored() {
    for (number, value) in [
        (4, &b""[..]),
        (4, b"123456789"),
        (6, &[0, 0, 0, 1]),
        (12, &[0, 0, 1]),
        (14, &[0; 5]),
        (28, &[0; 5]),
        (60, &[0; 5]),
        (252, b""),
        (252, &[0; 41]),
        (258, &[0, 2]),
        (292, &[0; 9]),
    ] {
        let mut server = server();
        let answer = server.ask(&message(CON, GET, 1, &[1], &[(number, value)], &[]));
        assert_eq!(answer.code, 205, "option {number}, {} bytes", value.len());
        assert_eq!(server.executed[0].options.first(number), None, "option {number}");
    }
}

#[test]
fn a_critical_option_that_must_not_be_repeated_counts_as_unknown() {
    for number in [3, 7, 17, 23, 27] {
        assert_eq!(code(&[(number, &[6]), (number, &[6])]), 402, "option {number}");
    }
}

#[test]
fn an_elective_option_that_must_not_be_repeated_counts_once() {
    let mut server = server();
    let options: &[(u16, &[u8])] = &[(12, &[40]), (12, &[60]), (65000, b"x")];
    assert_eq!(server.ask(&message(CON, POST, 1, &[1], options, b"x")).code, 205);
    let kept: Vec<&[u8]> = server.executed[0].options.all(12).collect();
    assert_eq!(kept, [&[40]]);
}

#[test]
fn options_that_may_be_repeated_all_arrive_in_order() {
    let mut server = server();
    let options: &[(u16, &[u8])] =
        &[(11, b"a"), (11, b""), (11, b"b%2F"), (15, b"x=1"), (15, b"y=2")];
    server.ask(&message(CON, GET, 1, &[1], options, &[]));
    let path: Vec<_> = server.executed[0].path().collect();
    assert_eq!(path, [Some("a"), Some(""), Some("b%2F")], "a segment is not a path");
    let queries: Vec<_> = server.executed[0].queries().collect();
    assert_eq!(queries, [Some("x=1"), Some("y=2")]);
}

#[test]
fn a_segment_that_is_not_text_is_not_dropped() {
    let mut server = server();
    server.ask(&message(CON, GET, 1, &[1], &[(11, b"a"), (11, &[0xff])], &[]));
    let path: Vec<_> = server.executed[0].path().collect();
    assert_eq!(path, [Some("a"), None]);
}

#[test]
fn host_and_port_are_understood() {
    assert_eq!(code(&[(3, b"example.com"), (7, &[0x16, 0x33])]), 205);
}

#[test]
fn proxy_requests_are_refused() {
    assert_eq!(code(&[(35, b"coap://elsewhere/")]), 505);
    assert_eq!(code(&[(39, b"coap")]), 505);
}

#[test]
fn methods_without_a_meaning_are_not_allowed_and_the_others_are_the_applications() {
    for method in 8..32 {
        let answer = server().ask(&message(CON, method, 1, &[1], &[], &[]));
        assert_eq!(answer.code, 405, "0.{method:02}");
    }
    for method in 1..8 {
        let mut server = server();
        assert_eq!(server.ask(&message(CON, method, 1, &[1], &[], &[])).code, 205);
        assert_eq!(server.executed[0].code, Code(method));
    }
}

#[test]
fn reserved_code_classes_are_format_errors() {
    for code in (0x20..0x40).chain(0xc0..=0xff) {
        let mut server = server();
        let answer = server.ask(&message(CON, code, 8, &[], &[], &[]));
        assert_eq!((answer.kind, answer.code, answer.id), (RST, 0, 8), "{code:#x}");
        assert!(server.send(&message(NON, code, 9, &[], &[], &[])).is_empty());
    }
}

#[test]
fn a_confirmable_response_with_an_unknown_critical_option_is_reset() {
    let mut pair = Pair::new(3, |_| Reply::Never);
    let call = pair.request(freshen::coap::Request::new(Code::GET, "/r"));
    pair.run(std::time::Duration::from_secs(1));
    let token = parse(pair.sent(Side::Client)[0]).token;
    pair.inject(Side::Server, &message(CON, 0x45, 9, &token, &[(65001, b"")], b"hello"));
    pair.run(std::time::Duration::from_secs(1));
    let answer = parse(pair.sent(Side::Client).last().unwrap());
    assert_eq!((answer.kind, answer.id), (RST, 9));
    assert_eq!(pair.outcome(call), None);
}

#[test]
fn an_acknowledgement_with_an_unknown_critical_option_fails_the_request() {
    let mut pair = Pair::new(3, |_| {
        let mut response = text("x");
        response.options.set(65001, b"x");
        Reply::Now(response, None)
    });
    let call = pair.request(freshen::coap::Request::new(Code::GET, "/r"));
    pair.run(std::time::Duration::from_secs(1));
    let failed = Outcome::Failed(freshen::coap::CallError::NotUnderstood);
    assert_eq!(pair.outcome(call), Some(&failed));
}

#[test]
fn request_options_in_a_response_do_not_disturb() {
    let mut pair = Pair::new(3, |_| {
        let mut response = text("lite");
        response.options.set_uint(17, 10000);
        response.options.set_uint(2049, 2048);
        Reply::Now(response, None)
    });
    let call = pair.request(freshen::coap::Request::new(Code::GET, "/r"));
    pair.run(std::time::Duration::from_secs(1));
    assert_eq!(pair.response(call).payload, b"lite");
}

#[test]
fn options_come_out_as_they_went_in() {
    let mut server = Server::new(|_| {
        let mut response = text("x");
        for (number, length) in [(8, 0), (8, 12), (8, 13), (20, 255), (65000, 268), (65002, 300)] {
            response.options.push(number, vec![b'o'; length]);
        }
        Reply::Now(response, None)
    });
    let answer = server.ask(&message(CON, GET, 1, &[1], &[], &[]));
    assert_eq!((answer.kind, answer.code), (ACK, 205));
    let lengths: Vec<_> =
        answer.options.iter().map(|(number, value)| (*number, value.len())).collect();
    let expected = [(8, 0), (8, 12), (8, 13), (12, 0), (20, 255), (65000, 268), (65002, 300)];
    assert_eq!(lengths, expected);
}
