//! The defects that were reproduced in other implementations (T1 to T9), each as a test of ours.
//! T4 is beside the other orders of messages.

use std::time::Duration;

use super::network::{CLIENT, KEY, Pair, SERVER, path_at, policies, start};
use crate::dtls::record::{Records, content, number, put_header};
use crate::dtls::suite::ALL;
use crate::dtls::{
    ClientPolicy, CloseReason, Config, Endpoint, Output, Path, Policy, PreSharedKey, Suite,
};

fn connected(suite: Suite) -> Pair {
    let (client, server) = policies(suite);
    let mut pair = Pair::new(Config::default(), server);
    pair.connect(client);
    pair.settle();
    pair.talk();
    pair
}

fn record(content: u8, number: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put_header(&mut out, content, number, body.len());
    out.extend(body);
    out
}

/// Throws a datagram at both ends and checks that nothing is said and the session lives.
fn survives(pair: &mut Pair, bytes: &[u8]) {
    for end in [CLIENT, SERVER] {
        pair.ends[end].handle_datagram(path_at(end), bytes, pair.now);
    }
    pair.collect();
    assert!(pair.wire.is_empty(), "it was answered");
    for said in &pair.said {
        assert!(said.closed.is_empty() && said.failed.is_empty() && said.data.is_empty());
    }
    pair.talk();
}

#[test]
fn t1_a_record_that_cannot_be_opened_does_not_end_a_session() {
    for suite in ALL {
        let mut pair = connected(suite);
        for content in [
            content::APPLICATION_DATA,
            content::ALERT,
            content::HANDSHAKE,
            content::CHANGE_CIPHER_SPEC,
            99,
        ] {
            for body in [&[][..], &[0x55; 24], &[0x55; 64], &[0x55; 80], &[0x55; 1000]] {
                survives(&mut pair, &record(content, number(1, 1000), body));
                survives(&mut pair, &record(content, number(7, 1000), body));
            }
        }
        assert!(pair.ends[SERVER].counters().records_dropped >= 50);
    }
}

#[test]
fn t2_plain_records_do_not_end_a_session_and_are_not_data() {
    for suite in ALL {
        let mut pair = connected(suite);
        for alert in [[1, 0], [2, 0], [2, 40], [2, 20], [1, 90]] {
            survives(&mut pair, &record(content::ALERT, number(0, 500), &alert));
        }
        survives(&mut pair, &record(content::APPLICATION_DATA, number(0, 501), b"plain text"));
        survives(&mut pair, &record(content::CHANGE_CIPHER_SPEC, number(0, 502), &[1]));
        survives(&mut pair, &record(content::HANDSHAKE, number(0, 503), &[20; 24]));
    }
}

#[test]
fn t3_a_lost_last_flight_is_sent_again() {
    for suite in ALL {
        let (client, server) = policies(suite);
        let mut pair = Pair::new(Config::default(), server);
        pair.connect(client);
        // Everything arrives but what the server says once it stands; three times over.
        for _ in 0..3 {
            while let Some(datagram) = pair.wire.pop_front() {
                if datagram.from == CLIENT || pair.said[SERVER].connected.is_empty() {
                    pair.deliver(&datagram);
                }
            }
            assert_eq!(pair.said[SERVER].connected.len(), 1);
            assert!(pair.said[CLIENT].connected.is_empty());
            assert!(pair.wait(pair.now.mono + Duration::from_secs(20)));
        }
        pair.settle();
        pair.talk();
    }
}

#[test]
fn t5_tiny_fragments_of_a_hello_are_cheap_and_leave_nothing() {
    let mut server = Endpoint::new(Config::default(), [1; 32]);
    let (_, policy) = policies(Suite::PskAes128Ccm8);
    server.set_policy(policy, start());
    // Type 1, one byte at a time, of a message said to be 60,000 long.
    for n in 0..150_000u32 {
        let offset = n % 60_000;
        let mut fragment = vec![1, 0, 0xEA, 0x60, 0, 0];
        fragment.extend(&offset.to_be_bytes()[1..]);
        fragment.extend([0, 0, 1, 0xFE]);
        let bytes = record(content::HANDSHAKE, number(0, u64::from(n)), &fragment);
        server.handle_datagram(path_at(SERVER), &bytes, start());
        assert!(server.poll_output().is_none());
    }
    assert_eq!(server.footprint(), (0, 0));
    assert_eq!(server.counters().records_dropped, 150_000);
}

/// The first ClientHello of a client of ours.
fn hello(policy: ClientPolicy, seed: u8) -> Vec<u8> {
    let mut client = Endpoint::new(Config::default(), [seed; 32]);
    client.connect(path_at(CLIENT), policy, start()).unwrap();
    let Some(Output::Datagram { bytes, .. }) = client.poll_output() else { panic!("no hello") };
    bytes
}

fn path(port: u16) -> Path {
    Path { remote: ([198, 51, 100, 1], port).into(), socket: 0 }
}

#[test]
fn t7_a_hello_without_a_cookie_leaves_nothing_behind_and_is_not_amplified() {
    let (client, policy) = policies(Suite::EcdheEcdsaAes128Ccm8);
    let mut server = Endpoint::new(Config::default(), [1; 32]);
    server.set_policy(policy, start());
    let hello = hello(client, 9);
    for port in 1..=3000 {
        server.handle_datagram(path(port), &hello, start());
        let Some(Output::Datagram { path: to, bytes }) = server.poll_output() else {
            panic!("no cookie")
        };
        assert_eq!(to, path(port));
        assert!(bytes.len() < hello.len());
        assert!(server.poll_output().is_none());
    }
    assert_eq!(server.footprint(), (0, 0));
    assert_eq!(server.deadline(), None);
    assert_eq!(server.counters().cookies_sent, 3000);
}

/// A client at its own port that has had its cookie and then says nothing more.
fn silent_client(server: &mut Endpoint, port: u16, policy: &ClientPolicy, now: crate::clock::Now) {
    let mut client = Endpoint::new(Config::default(), [port as u8; 32]);
    client.connect(path_at(CLIENT), policy.clone(), now).unwrap();
    for _ in 0..2 {
        let mut said = vec![];
        while let Some(Output::Datagram { bytes, .. }) = client.poll_output() {
            said.push(bytes);
        }
        for bytes in said {
            server.handle_datagram(path(port), &bytes, now);
        }
        while let Some(output) = server.poll_output() {
            if let Output::Datagram { bytes, .. } = output
                && Records::new(&bytes).next().is_some_and(|record| record.body[0] == 3)
            {
                client.handle_datagram(path_at(CLIENT), &bytes, now);
            }
        }
    }
}

#[test]
fn t8_silent_clients_do_not_keep_others_out() {
    let (client, server) = policies(Suite::PskAes128Ccm8);
    let config = Config { half_open_max: 10, ..Config::default() };
    let mut pair = Pair::new(config, server);
    for port in 1..=10 {
        silent_client(&mut pair.ends[SERVER], port, &client, pair.now);
    }
    assert_eq!(pair.ends[SERVER].footprint(), (10, 10));
    // One of them gives way at once, and goes on giving way while they come back.
    pair.connect(client.clone());
    for port in 11.. {
        let Some(datagram) = pair.wire.pop_front() else { break };
        pair.deliver(&datagram);
        silent_client(&mut pair.ends[SERVER], port, &client, pair.now);
    }
    assert!(pair.sessions().is_some(), "kept out");
    pair.talk();
    assert_eq!(pair.ends[SERVER].counters().hellos_refused, 0);
}

#[test]
fn one_datagram_brings_one_cookie_at_most() {
    let (client, policy) = policies(Suite::PskAes128Ccm8);
    let mut server = Endpoint::new(Config::default(), [1; 32]);
    server.set_policy(policy, start());
    let hello = hello(client, 9);
    server.handle_datagram(path(1), &hello.repeat(12), start());
    assert_eq!(server.counters().cookies_sent, 1);
    // The control: each of them, alone, is worth a cookie.
    for _ in 0..12 {
        server.handle_datagram(path(1), &hello, start());
    }
    assert_eq!(server.counters().cookies_sent, 13);
}

#[test]
fn malformed_plain_fragments_end_nobody_elses_handshake() {
    let malformed: [&[u8]; 4] = [
        &[],
        &[11],
        &[16, 0, 0, 4, 0, 2, 0, 0, 9, 0, 0, 1, 7],
        &[11, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0],
    ];
    for suite in ALL {
        let (client, server) = policies(suite);
        let mut pair = Pair::new(Config::default(), server);
        pair.connect(client);
        let mut turns = 0;
        while let Some(datagram) = pair.wire.pop_front() {
            for (n, end) in [CLIENT, SERVER].into_iter().cycle().take(8).enumerate() {
                let bytes = record(content::HANDSHAKE, number(0, 700 + n as u64), malformed[n / 2]);
                pair.ends[end].handle_datagram(path_at(end), &bytes, pair.now);
            }
            pair.collect();
            pair.deliver(&datagram);
            turns += 1;
        }
        assert!(
            turns > 4 && pair.sessions().is_some(),
            "{suite:?}: {:?}",
            pair.said[SERVER].failed
        );
        pair.talk();
    }
}

#[test]
fn t9_a_client_that_lost_its_session_comes_back_from_the_same_port() {
    for suite in ALL {
        let mut pair = connected(suite);
        let (new_client, new_server) = policies(suite);
        pair.ends[SERVER].set_policy(new_server, pair.now);
        for round in 1..4 {
            let [_, old] = pair.sessions().unwrap();
            // The client forgets everything.
            pair.ends[CLIENT] = Endpoint::new(Config::default(), [100 + round; 32]);
            let client = new_client.clone();
            pair.ends[CLIENT].connect(path_at(CLIENT), client, pair.now).unwrap();
            pair.collect();
            pair.settle();
            assert_eq!(pair.said[SERVER].closed.pop(), Some((old, CloseReason::Replaced)));
            pair.talk();
        }
        assert_eq!(pair.ends[SERVER].footprint(), (1, 1));
    }
}

#[test]
fn t9_the_old_session_lives_until_the_new_one_stands() {
    let mut pair = connected(Suite::EcdhePskAes128CbcSha256);
    let (mut stranger, _) = policies(Suite::EcdhePskAes128CbcSha256);
    stranger.psk = Some(PreSharedKey::new(b"nobody", KEY));
    // Somebody with the same address and another key gets as far as the Finished, and no farther.
    let mut other = Endpoint::new(Config::default(), [77; 32]);
    other.connect(path_at(CLIENT), stranger, pair.now).unwrap();
    for _ in 0..20 {
        while let Some(output) = other.poll_output() {
            if let Output::Datagram { bytes, .. } = output {
                pair.ends[SERVER].handle_datagram(path_at(SERVER), &bytes, pair.now);
            }
        }
        while let Some(output) = pair.ends[SERVER].poll_output() {
            if let Output::Datagram { bytes, .. } = output {
                other.handle_datagram(path_at(CLIENT), &bytes, pair.now);
            }
        }
        pair.talk();
        pair.pass(Duration::from_millis(600));
        other.handle_timeout(pair.now);
    }
    assert!(pair.said[SERVER].closed.is_empty());
    assert_eq!(pair.ends[SERVER].footprint(), (1, 1));
}

#[test]
fn a_repeated_record_is_delivered_once() {
    for suite in ALL {
        let mut pair = connected(suite);
        let [client, _] = pair.sessions().unwrap();
        pair.ends[CLIENT].send(client, b"once", pair.now).unwrap();
        pair.collect();
        let datagram = pair.wire.pop_front().unwrap();
        (0..5).for_each(|_| pair.deliver(&datagram));
        assert_eq!(pair.said[SERVER].data.len(), 1, "{suite:?}");
    }
}

#[test]
fn both_sides_learn_of_the_end() {
    for (closing, suite) in [(CLIENT, ALL[0]), (SERVER, ALL[6])] {
        let mut pair = connected(suite);
        let sessions = pair.sessions().unwrap();
        pair.ends[closing].close(sessions[closing], pair.now);
        pair.collect();
        pair.settle();
        let ended = |end: usize, reason| vec![(sessions[end], reason)];
        assert_eq!(pair.said[closing].closed, ended(closing, CloseReason::Here));
        assert_eq!(pair.said[1 - closing].closed, ended(1 - closing, CloseReason::ByPeer));
        assert!(pair.ends.iter().all(|end| end.footprint() == (0, 0) && end.deadline().is_none()));
    }
}

#[test]
fn an_idle_session_is_closed_and_one_in_use_is_not() {
    let mut pair = connected(Suite::PskAes128Ccm8);
    for _ in 0..5 {
        pair.pass(Duration::from_secs(500));
        pair.talk();
    }
    pair.pass(Duration::from_secs(599));
    assert!(pair.said.iter().all(|said| said.closed.is_empty()));
    pair.pass(Duration::from_secs(1));
    assert!(pair.said.iter().all(|said| said.closed.len() == 1));
    assert!(pair.ends.iter().all(|end| end.footprint() == (0, 0)));
}

#[test]
fn a_full_table_gives_up_the_session_that_is_idle_the_longest() {
    let (client, policy) = policies(Suite::PskAes128Ccm8);
    let config = Config { sessions_max: 3, ..Config::default() };
    let mut server = Endpoint::new(config, [1; 32]);
    server.set_policy(Policy { keep_secrets: false, ..policy }, start());
    let mut now = start();
    let mut closed = vec![];
    let mut stood = vec![];
    for port in 1..=6 {
        let mut end = Endpoint::new(Config::default(), [port as u8; 32]);
        end.connect(path_at(CLIENT), client.clone(), now).unwrap();
        for _ in 0..6 {
            while let Some(output) = end.poll_output() {
                if let Output::Datagram { bytes, .. } = output {
                    server.handle_datagram(path(port), &bytes, now);
                }
            }
            while let Some(output) = server.poll_output() {
                match output {
                    Output::Datagram { path: to, bytes } if to == path(port) => {
                        end.handle_datagram(path_at(CLIENT), &bytes, now);
                    }
                    Output::Connected { session, .. } => stood.push(session),
                    Output::Closed { session, reason } => closed.push((session, reason)),
                    _ => {}
                }
            }
        }
        now.mono = now.mono + Duration::from_secs(1);
    }
    assert_eq!(stood.len(), 6);
    let evicted: Vec<_> = stood[..3].iter().map(|one| (*one, CloseReason::Evicted)).collect();
    assert_eq!(closed, evicted);
    assert_eq!(server.footprint(), (3, 3));
    assert!(server.secrets(stood[5]).is_none(), "not kept unless asked for");
}
