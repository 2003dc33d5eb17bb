//! Keys that can be guessed, and handshakes whose policy is gone.

use std::time::Duration;

use super::network::{IDENTITY, KEY, Pair, SERVER, policies, start};
use super::puppet::{Puppet, Say, Stage};
use crate::dtls::record::content;
use crate::dtls::{Config, Error, Policy, PreSharedKey, Suite};

const SUITE: Suite = Suite::EcdhePskAes128CbcSha256;

/// A server whose only key comes from a few digits.
fn guessable(policy: Policy) -> Policy {
    Policy { psks: vec![PreSharedKey::guessable(IDENTITY, KEY)], ..policy }
}

/// A client that has said everything but its Finished, and has the right key.
fn puppet() -> Puppet {
    let mut stage = Stage::new(SUITE);
    stage.policy = guessable(stage.policy);
    let mut puppet = stage.puppet();
    puppet.say(Say::KeyExchange);
    puppet.say(Say::ChangeCipher);
    puppet
}

#[test]
fn one_word_under_a_wrong_key_is_one_guess_and_the_end() {
    for (key, connects) in [(KEY, true), (&b"another key"[..], false)] {
        let (mut client, server) = policies(SUITE);
        client.psk = Some(PreSharedKey::new(IDENTITY, key));
        let mut pair = Pair::new(Config::default(), guessable(server));
        pair.connect(client);
        pair.settle();
        assert_eq!(pair.said[SERVER].connected.len(), usize::from(connects));
        let failed: &[Error] = if connects { &[] } else { &[Error::KeyMismatch] };
        assert_eq!(pair.said[SERVER].failed, failed);
        assert_eq!(pair.ends[SERVER].counters().guesses, 1);
    }
}

#[test]
fn before_the_finished_nothing_else_is_opened() {
    let mut puppet = puppet();
    for (content, body) in [
        (content::ALERT, &[2, 40][..]),
        (content::ALERT, &[1, 0]),
        (content::APPLICATION_DATA, b"x"),
    ] {
        puppet.send(1, content, body);
    }
    assert_eq!((puppet.connected, puppet.failed), (0, 0));
    puppet.say(Say::Finished);
    assert_eq!((puppet.connected, puppet.server.counters().guesses), (1, 1));
}

/// Half a Finished under the right key is an answer to a guess as well: there is none.
#[test]
fn a_guess_is_told_however_the_handshake_ends() {
    type End = fn(&mut Puppet);
    let silence: End = |puppet| {
        puppet.now.mono = puppet.now.mono + Duration::from_secs(60);
        puppet.server.handle_timeout(puppet.now);
    };
    let alert: End = |puppet| puppet.send(0, content::ALERT, &[2, 90]);
    let policy: End = |puppet| puppet.server.set_policy(Policy::default(), start());
    let wrong: End = |puppet| puppet.say(Say::FalseFinished);
    for (n, end) in [silence, alert, policy, wrong].into_iter().enumerate() {
        for tries in [true, false] {
            let mut puppet = puppet();
            // Finished, twelve bytes, the first two of them.
            let half = [20, 0, 0, 12, 0, 2, 0, 0, 0, 0, 0, 2, 1, 2];
            if tries {
                puppet.send(1, content::HANDSHAKE, &half);
            }
            assert_eq!((puppet.connected, puppet.failed), (0, 0));
            end(&mut puppet);
            puppet.listen();
            let guessed = tries || n == 3;
            assert_eq!((puppet.failed, puppet.guessed), (1, usize::from(guessed)), "{n} {tries}");
        }
    }
}

#[test]
fn a_key_that_can_be_guessed_is_for_ephemeral_exchanges_only() {
    for strength in ["full", "guessable"] {
        let (client, mut server) = policies(Suite::PskAes128Ccm8);
        server.suites.push(SUITE);
        if strength == "guessable" {
            server = guessable(server);
        }
        let mut pair = Pair::new(Config::default(), server);
        pair.connect(client);
        pair.settle();
        assert_eq!(pair.said[SERVER].connected.len(), usize::from(strength == "full"));
        assert_eq!(pair.said[SERVER].failed.len(), usize::from(strength != "full"));
    }
}

#[test]
fn a_handshake_ends_with_the_policy_that_it_met() {
    for same in [true, false] {
        let (client, server) = policies(SUITE);
        let mut pair = Pair::new(Config::default(), server.clone());
        pair.connect(client);
        // Hello, cookie, hello, the server's flight; the client's answer is on its way.
        for _ in 0..4 {
            let datagram = pair.wire.pop_front().unwrap();
            pair.deliver(&datagram);
        }
        let hint = if same { server.identity_hint.clone() } else { b"another".to_vec() };
        pair.ends[SERVER].set_policy(Policy { identity_hint: hint, ..server }, pair.now);
        pair.collect();
        pair.settle();
        assert_eq!(pair.said[SERVER].connected.len(), usize::from(same));
        let failed: &[Error] = if same { &[] } else { &[Error::PolicyChanged] };
        assert_eq!(pair.said[SERVER].failed, failed);
    }
}
