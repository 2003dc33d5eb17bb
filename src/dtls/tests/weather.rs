//! Handshakes on a network that loses, doubles and delays: in virtual time, exhaustively for one
//! mishap, and at random for many.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::network::{CLIENT, Pair, SERVER, Travelling, policies};
use crate::dtls::suite::ALL;
use crate::dtls::{ClientPolicy, Config, Endpoint, Error, Policy, Suite};

/// One mishap, to the datagram with this number.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    None,
    Lost(usize),
    /// Delivered twice, the second time after so many others.
    Doubled(usize, usize),
    /// Delivered after so many others, or last of all.
    Late(usize, usize),
}

/// Plays one handshake with one mishap; returns how many datagrams there were, and how long it took.
fn play(client: &ClientPolicy, server: &Policy, bytes_max: usize, mishap: Mishap) -> usize {
    let config = Config { datagram_bytes_max: bytes_max, ..Config::default() };
    let mut pair = Pair::new(config, server.clone());
    let began = pair.now.mono;
    pair.connect(client.clone());
    let mut count = 0;
    // A datagram that waits, and how many go before it.
    let mut held: Option<(Travelling, usize)> = None;
    let mut finished_at = None;
    loop {
        if let Some((datagram, left)) = held.take() {
            if left == 0 || pair.wire.is_empty() {
                pair.deliver(&datagram);
                continue;
            }
            held = Some((datagram, left - 1));
        }
        if let Some(datagram) = pair.wire.pop_front() {
            let number = count;
            count += 1;
            match mishap {
                Mishap::Lost(n) if n == number => continue,
                Mishap::Late(n, by) if n == number => held = Some((datagram, by)),
                Mishap::Doubled(n, by) if n == number => {
                    pair.deliver(&datagram);
                    held = Some((datagram, by));
                }
                _ => pair.deliver(&datagram),
            }
            continue;
        }
        if pair.sessions().is_some() {
            finished_at.get_or_insert(pair.now.mono);
            break;
        }
        assert!(pair.wait(began + Duration::from_secs(60)), "{mishap:?}: nothing more to wait for");
    }
    let took = finished_at.unwrap().since(began);
    assert!(took <= Duration::from_secs(3), "{mishap:?}: took {took:?}");
    pair.talk();
    for said in &pair.said {
        assert_eq!(said.connected.len(), 1, "{mishap:?}");
        assert_eq!(said.failed, [], "{mishap:?}");
        assert_eq!(said.closed, [], "{mishap:?}");
    }
    // No late copy may have left anything half open.
    pair.pass(Duration::from_secs(40));
    pair.settle();
    pair.talk();
    assert!(pair.said.iter().all(|said| said.failed.is_empty()), "{mishap:?}");
    count
}

#[test]
fn every_single_loss_double_and_delay_of_every_handshake_completes() {
    for suite in ALL {
        let (client, server) = policies(suite);
        for bytes_max in [1232, 250] {
            let count = play(&client, &server, bytes_max, Mishap::None);
            let mut played = 0;
            for n in 0..count {
                play(&client, &server, bytes_max, Mishap::Lost(n));
                for by in 0..count {
                    play(&client, &server, bytes_max, Mishap::Doubled(n, by));
                    play(&client, &server, bytes_max, Mishap::Late(n, by));
                }
                played += 1 + 2 * count;
            }
            println!("{suite:?} in datagrams of {bytes_max}: {count} datagrams, {played} mishaps");
        }
    }
}

/// How a handshake in bad weather ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Connected,
    Failed,
}

fn play_in_bad_weather(client: &ClientPolicy, server: &Policy, percent: u32, seed: u8) -> End {
    let mut pair = Pair::new(Config::default(), server.clone());
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let mut chance = |percent| rng.next_u32() % 100 < percent;
    let limit = pair.now.mono + Duration::from_secs(100);
    pair.connect(client.clone());
    loop {
        while let Some(datagram) = pair.wire.pop_front() {
            if chance(percent) {
                continue;
            }
            if chance(percent / 2) && !pair.wire.is_empty() {
                pair.wire.push_back(datagram);
                continue;
            }
            pair.deliver(&datagram);
            if chance(percent / 2) {
                pair.deliver(&datagram);
            }
        }
        if pair.sessions().is_some() || !pair.said[CLIENT].failed.is_empty() {
            break;
        }
        assert!(pair.wait(limit), "neither end nor deadline");
    }
    let client_failed = std::mem::take(&mut pair.said[CLIENT].failed);
    if client_failed.is_empty() {
        pair.wire.clear();
        pair.talk();
        return End::Connected;
    }
    assert_eq!(client_failed, [Error::TimedOut]);
    // The server gives up as well, or holds a session until it is idle; then nothing is left.
    while pair.wait(limit + Duration::from_secs(1000)) {
        pair.settle();
    }
    assert!(pair.ends.iter().all(|end| end.deadline().is_none()));
    End::Failed
}

#[test]
fn random_loss_up_to_forty_percent_connects_or_fails_cleanly() {
    for suite in [
        Suite::EcdhePskAes128CbcSha256,
        Suite::PskAes128Ccm8,
        Suite::EcdheEcdsaAes128Ccm8,
        Suite::EcdhAnonAes128CbcSha256,
    ] {
        let (client, server) = policies(suite);
        for percent in [0, 5, 10, 20, 30, 40] {
            let play = |seed| play_in_bad_weather(&client, &server, percent, seed);
            let connected = (0..100).filter(|seed| play(*seed) == End::Connected).count();
            println!("{suite:?}: {percent} % lost: {connected} of 100 connected");
            let least = [(0, 100), (5, 100), (10, 100), (20, 98), (30, 90), (40, 70)];
            let (_, least) = least.into_iter().find(|(loss, _)| *loss == percent).unwrap();
            assert!(connected >= least, "{suite:?}: {percent} %: only {connected}");
        }
    }
}

#[test]
fn retransmissions_double_from_a_second_and_end_at_the_deadline() {
    let (client, server) = policies(Suite::PskAes128Ccm8);
    let mut pair = Pair::new(Config::default(), server);
    let began = pair.now.mono;
    pair.connect(client);
    let mut sent = vec![];
    loop {
        if pair.wire.pop_front().is_some() {
            sent.push(pair.now.mono.since(began).as_secs());
        }
        if !pair.wait(began + Duration::from_secs(100)) {
            break;
        }
    }
    assert_eq!(sent, [0, 1, 3, 7, 15]);
    assert_eq!(pair.said[CLIENT].failed, [Error::TimedOut]);
    assert_eq!(pair.now.mono.since(began).as_secs(), 30);
    assert!(pair.ends[CLIENT].deadline().is_none());
    assert!(Endpoint::deadline(&pair.ends[SERVER]).is_none());
}
