//! Q-Block2 (RFC 9177).

use std::time::Duration;

use freshen::coap::{CallError, Code, Config, Endpoint, Output, Request, limits, option};

use crate::application::{application, pattern};
use crate::pair::{Outcome, Pair, SERVER, Side, config};
use crate::raw::{ACK, CON, GET, NON, RST, Server, converse, message, parse};

const Q_BLOCK2: u16 = option::Q_BLOCK2;

/// Puts the parts of a download together; a lower offset begins anew.
fn body(pair: &Pair) -> Vec<u8> {
    let mut body = vec![];
    for (_, _, outcome) in &pair.outcomes {
        if let Outcome::Part(offset, bytes) = outcome {
            assert!(*offset <= body.len() as u64, "no hole");
            body.truncate(*offset as usize);
            body.extend_from_slice(bytes);
        }
    }
    body
}

fn download(pair: &mut Pair, length: usize) -> freshen::coap::Call {
    let request = Request::new(Code::GET, &format!("/long/{length}"));
    pair.client.download(SERVER, request, 0, pair.now)
}

/// How many a download of 1 MiB takes.
fn round_trips(pair: &mut Pair) -> u128 {
    let begin = pair.now;
    let call = download(pair, 1 << 20);
    assert!(pair.run_until(Duration::from_secs(60), |pair| {
        pair.outcome(call).is_some_and(|outcome| matches!(outcome, Outcome::Response(..)))
    }));
    assert!(body(pair) == pattern(1 << 20), "the body came whole");
    (pair.now - begin).as_millis() / 20
}

#[test]
fn ten_blocks_come_for_one_request() {
    let mut server = Server::new(application);
    let path: &[(u16, &[u8])] = &[(11, b"long"), (11, b"25000"), (Q_BLOCK2, &[0x0e])];
    let answers = server.send(&message(CON, GET, 1, &[1], path, &[]));
    assert_eq!(answers.len(), 10);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.kind, if n == 0 { ACK } else { NON });
        assert_eq!(answer.block(Q_BLOCK2), Some((n as u32, true, 1024)));
        assert_eq!((answer.uint(28), &answer.token), (Some(25_000), &vec![1]));
        assert_eq!(answer.option(4), answers[0].option(4), "one ETag");
        assert_eq!(answer.payload, pattern(25_000)[n * 1024..][..1024]);
    }
    let go_on: &[(u16, &[u8])] = &[(11, b"long"), (11, b"25000"), (Q_BLOCK2, &[0x01, 0x4e])];
    let answers = server.send(&message(NON, GET, 2, &[2], go_on, &[]));
    let numbers: Vec<u32> = answers.iter().map(|it| it.block(Q_BLOCK2).unwrap().0).collect();
    assert_eq!(numbers, [20, 21, 22, 23, 24]);
    assert!(!answers[4].block(Q_BLOCK2).unwrap().1, "the last");
    assert_eq!(server.executed.len(), 1);
}

#[test]
fn single_blocks_and_the_rest_of_a_set_can_be_asked_for() {
    let mut server = Server::new(application);
    let mut ask = |id, values: &[&[u8]]| -> Vec<u32> {
        let mut options: Vec<(u16, &[u8])> = vec![(11, b"long"), (11, b"25000")];
        options.extend(values.iter().map(|value| (Q_BLOCK2, *value)));
        let answers = server.send(&message(NON, GET, id, &[1], &options, &[]));
        answers.iter().map(|answer| answer.block(Q_BLOCK2).unwrap().0).collect()
    };
    assert_eq!(ask(1, &[&[0x0e]]).len(), 10);
    assert_eq!(ask(2, &[&[0x36], &[0x56]]), [3, 5]);
    assert_eq!(ask(3, &[&[0x7e]]), [7, 8, 9]);
    assert_eq!(ask(4, &[&[0x06]]), [0]);
    assert_eq!(ask(5, &[&[0x0e], &[0x0e], &[0x0e]]).len(), 10, "never more");
}

#[test]
fn a_short_body_needs_one_message() {
    let mut pair = Pair::new(1, application);
    let call = download(&mut pair, 20);
    pair.run(Duration::from_secs(9));
    assert_eq!((body(&pair), pair.log.len()), (pattern(20), 2));
    assert_eq!(pair.response(call).code, Code::CONTENT);
}

#[test]
fn a_download_takes_a_tenth_of_the_round_trips() {
    for quick_downloads in [true, false] {
        let config = Config { quick_downloads, ..config() };
        let mut pair = Pair::with_config(1, config, application);
        assert_eq!(round_trips(&mut pair), if quick_downloads { 103 } else { 1024 });
    }
}

#[test]
fn larger_sets_can_be_agreed_on() {
    for (agreed, expected) in [(16, 64), (32, 32), (1000, 32)] {
        let config = Config { max_payloads: agreed, ..config() };
        let mut pair = Pair::with_config(1, config, application);
        assert_eq!(round_trips(&mut pair), expected);
    }
}

#[test]
fn sides_that_do_not_agree_on_a_set_are_slow_but_whole() {
    for sets in [[32, 10], [10, 32]] {
        let configs = sets.map(|max_payloads| Config { max_payloads, ..config() });
        let mut pair = Pair::with_configs(1, configs, application);
        let call = download(&mut pair, 100_000);
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.response(call).code, Code::CONTENT, "{sets:?}");
        assert_eq!(body(&pair), pattern(100_000), "{sets:?}");
    }
}

#[test]
fn every_length_arrives_whole_under_loss_and_disorder() {
    for (seed, length) in [10_239, 10_240, 10_241, 20_480, 50_000, 102_400].into_iter().enumerate()
    {
        let mut pair = Pair::new(seed as u64, application);
        pair.weather.loss = 10;
        pair.weather.duplication = 10;
        pair.weather.reordering = 30;
        let call = download(&mut pair, length);
        pair.run(Duration::from_secs(600));
        assert_eq!(pair.response(call).code, Code::CONTENT, "{length}");
        assert_eq!(body(&pair), pattern(length), "{length}");
    }
}

#[test]
fn a_download_can_begin_in_the_middle() {
    for quick_downloads in [true, false] {
        let config = Config { quick_downloads, ..config() };
        let mut pair = Pair::with_config(1, config, application);
        let request = Request::new(Code::GET, "/long/50000");
        let call = pair.client.download(SERVER, request, 30_000, pair.now);
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.response(call).code, Code::CONTENT);
        let Some((_, _, Outcome::Part(offset, _))) = pair.outcomes.first() else { panic!() };
        assert_eq!(*offset, 30_000 / 1024 * 1024);
        let got: Vec<u8> = pair
            .outcomes
            .iter()
            .filter_map(|(_, _, outcome)| match outcome {
                Outcome::Part(_, bytes) => Some(bytes.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(got, pattern(50_000)[30_000 / 1024 * 1024..]);
    }
}

/// What a client's caller is told when the server answers the request with Q-Block2 in this way.
fn falls_back(refuse: impl Fn(&crate::raw::Parsed) -> Vec<u8>) -> Vec<Output> {
    let begin = |client: &mut Endpoint, now| {
        client.download(SERVER, Request::new(Code::GET, "/r"), 0, now);
    };
    converse(begin, |asked| {
        if asked.option(Q_BLOCK2).is_some() {
            return vec![refuse(asked)];
        }
        let number = asked.block(23).map_or(0, |(number, ..)| number);
        let value = [(number << 4 | if number < 2 { 8 } else { 0 } | 6) as u8];
        vec![message(ACK, 0x45, asked.id, &asked.token, &[(23, &value)], &[7; 1024])]
    })
}

#[test]
fn a_server_that_does_not_know_q_block2_is_asked_with_block2() {
    let refusals: [fn(&crate::raw::Parsed) -> Vec<u8>; 2] = [
        |asked| message(ACK, 0x82, asked.id, &asked.token, &[], &[]),
        |asked| message(RST, 0, asked.id, &[], &[], &[]),
    ];
    for refuse in refusals {
        let told = falls_back(refuse);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            matches!(&told[3], Output::Response { response, .. } if response.payload.is_empty())
        );
    }
}

#[test]
fn a_server_that_ignores_q_block2_may_use_block2() {
    let told = falls_back(|asked| {
        message(ACK, 0x45, asked.id, &asked.token, &[(23, &[0x0e])], &[7; 1024])
    });
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn an_error_is_the_answer() {
    let told = falls_back(|asked| message(ACK, 0x84, asked.id, &asked.token, &[], b"none"));
    assert!(
        matches!(&told[..], [Output::Response { response, .. }] if response.code == Code::NOT_FOUND)
    );
}

#[test]
fn a_transfer_whose_server_goes_away_fails() {
    let mut pair = Pair::new(1, application);
    let call = download(&mut pair, 100_000);
    pair.run(Duration::from_millis(50));
    assert!(!body(&pair).is_empty());
    pair.weather.loss = 100;
    let sent = pair.sent(Side::Client).len();
    pair.run(Duration::from_secs(600));
    assert_eq!(pair.outcome(call), Some(&Outcome::Failed(CallError::TimedOut)));
    let tries = pair.sent(Side::Client).len() - sent;
    assert!(tries <= limits::NON_MAX_RETRANSMIT as usize + 1, "{tries}");
}

#[test]
fn block2_and_q_block2_together_are_a_bad_request() {
    let mut server = Server::new(application);
    let options: &[(u16, &[u8])] = &[(11, b"long"), (11, b"9"), (23, &[6]), (Q_BLOCK2, &[6])];
    assert_eq!(server.ask(&message(CON, GET, 1, &[1], options, &[])).code, 400);
}

#[test]
fn nothing_is_sent_unasked() {
    let mut server = Server::new(application);
    let path: &[(u16, &[u8])] = &[(11, b"long"), (11, b"25000"), (Q_BLOCK2, &[0x0e])];
    server.send(&message(NON, GET, 1, &[1], path, &[]));
    assert!(server.wait(Duration::from_secs(300)).is_empty());
    let q_block1: &[(u16, &[u8])] = &[(11, b"r"), (19, &[0x0e])];
    assert_eq!(parse(&message(CON, GET, 2, &[], q_block1, &[])).code, 1);
    assert_eq!(server.ask(&message(CON, GET, 2, &[], q_block1, &[])).code, 402, "Q-Block1");
}
