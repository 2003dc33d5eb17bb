//! All orders of messages: only the right one connects.

use super::puppet::{Puppet, Say, Stage};
use crate::dtls::record::content;
use crate::dtls::suite::{self, Exchange};
use crate::dtls::{ClientCertificates, Suite};

const ALL: [Say; 10] = [
    Say::ClientHello,
    Say::Certificate,
    Say::NoCertificate,
    Say::KeyExchange,
    Say::Verify,
    Say::ChangeCipher,
    Say::Finished,
    Say::PlainFinished,
    Say::FalseFinished,
    Say::ServerHelloDone,
];

/// Plays one order from the start.
fn play(stage: &Stage, order: &[Say]) -> Puppet {
    let mut puppet = stage.puppet();
    order.iter().for_each(|what| puppet.say(*what));
    puppet
}

/// What has to happen: the messages are the right ones in the right order, and the change of cipher
/// came at some time (on a datagram network it may overtake, or be overtaken).
fn is_right(order: &[Say], right: &[&[Say]]) -> bool {
    let messages: Vec<Say> =
        order.iter().copied().filter(|what| *what != Say::ChangeCipher).collect();
    order.contains(&Say::ChangeCipher) && right.iter().any(|right| messages.starts_with(right))
}

/// Tries every order up to `depth`. Where the end is known (connected, given up, or a sealed message
/// before there were keys, whose number the server waits for in vain), that is checked for one more
/// message and not beyond.
fn explore(
    stage: &Stage,
    right: &[&[Say]],
    depth: usize,
    order: &mut Vec<Say>,
    tried: &mut [usize; 2],
) {
    for what in ALL {
        order.push(what);
        let puppet = play(stage, order);
        let connected = puppet.connected == 1;
        assert_eq!(connected, is_right(order, right), "{:?}: {order:?}", stage.suite);
        assert!(puppet.connected + puppet.failed <= 1, "{:?}: {order:?}", stage.suite);
        tried[usize::from(connected)] += 1;
        let is_over = connected || puppet.failed > 0 || puppet.spoke_too_early;
        if order.len() < depth && !is_over {
            explore(stage, right, depth, order, tried);
        } else if order.len() < depth {
            for last in ALL {
                order.push(last);
                assert_eq!(play(stage, order).connected == 1, connected, "{order:?}");
                tried[usize::from(connected)] += 1;
                order.pop();
            }
        }
        order.pop();
    }
}

#[test]
fn only_the_right_order_connects() {
    const KEYS_ONLY: &[Say] = &[Say::KeyExchange, Say::Finished];
    const MUTUAL: &[Say] = &[Say::Certificate, Say::KeyExchange, Say::Verify, Say::Finished];
    const NAMELESS: &[Say] = &[Say::NoCertificate, Say::KeyExchange, Say::Finished];
    use ClientCertificates::{NotAsked, Optional, Required};
    let cases: [(Suite, ClientCertificates, &[&[Say]], usize); 6] = [
        (Suite::PskAes128Ccm8, Required, &[KEYS_ONLY], 5),
        (Suite::EcdhePskAes128CbcSha256, Required, &[KEYS_ONLY], 5),
        (Suite::EcdhAnonAes128CbcSha256, Required, &[KEYS_ONLY], 5),
        (Suite::EcdheEcdsaAes128Ccm8, NotAsked, &[KEYS_ONLY], 5),
        (Suite::EcdheEcdsaAes128Ccm8, Required, &[MUTUAL], 7),
        (Suite::EcdheEcdsaAes128Ccm8, Optional, &[MUTUAL, NAMELESS], 7),
    ];
    for (suite, client_certificates, right, depth) in cases {
        let mut stage = Stage::new(suite);
        stage.policy.client_certificates = client_certificates;
        let mut tried = [0; 2];
        explore(&stage, right, depth, &mut vec![], &mut tried);
        let [refused, connected] = tried;
        println!("{suite:?} {client_certificates:?}: {refused} orders refused, {connected} right");
        assert!(refused > 100 && connected > 10);
    }
}

#[test]
fn t4_a_finished_that_does_not_match_is_refused() {
    for suite in suite::ALL {
        let mut puppet = Stage::new(suite).puppet();
        let is_mutual = suite.exchange() == Exchange::EcdheEcdsa;
        if is_mutual {
            puppet.say(Say::Certificate);
        }
        puppet.say(Say::KeyExchange);
        if is_mutual {
            puppet.say(Say::Verify);
        }
        puppet.say(Say::ChangeCipher);
        puppet.say(Say::FalseFinished);
        assert_eq!((puppet.connected, puppet.failed), (0, 1), "{suite:?}");
        puppet.send(1, content::APPLICATION_DATA, b"let me in");
        assert!(puppet.data.is_empty());
    }
}
