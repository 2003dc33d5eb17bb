//! Handshakes on a network that loses nothing: who is let in, as whom, and who is not.

use super::network::{
    Authority, CLIENT, CLIENT_NAME, IDENTITY, Pair, SERVER, SERVER_NAME, policies,
};
use crate::dtls::suite::{ALL, Exchange};
use crate::dtls::{
    ClientPolicy, Config, Error, HintedKey, IdentityRule, PeerIdentity, PreSharedKey, Role, Suite,
};

fn pair(suite: Suite) -> Pair {
    let (client, server) = policies(suite);
    let mut pair = Pair::new(Config::default(), server);
    pair.connect(client);
    pair
}

fn uuid(peer: &PeerIdentity) -> String {
    let PeerIdentity::Certificate { uuid: Some(uuid), chain, .. } = peer else {
        panic!("{peer:?}")
    };
    assert_eq!(chain.len(), 1);
    format!("uuid:{uuid}")
}

#[test]
fn every_suite_connects_and_says_who_is_there() {
    for suite in ALL {
        let mut pair = pair(suite);
        pair.settle();
        assert_eq!(pair.said[CLIENT].failed, [], "{suite:?}");
        assert_eq!(pair.said[SERVER].failed, [], "{suite:?}");
        pair.talk();
        for (end, role) in [(CLIENT, Role::Client), (SERVER, Role::Server)] {
            let (_, info) = &pair.said[end].connected[0];
            assert_eq!((info.suite, info.role), (suite, role));
            match suite.exchange() {
                Exchange::EcdheEcdsa => {
                    let name = if end == CLIENT { SERVER_NAME } else { CLIENT_NAME };
                    assert_eq!(uuid(&info.peer), name);
                }
                Exchange::EcdhAnon => assert_eq!(info.peer, PeerIdentity::Anonymous),
                _ => assert_eq!(info.peer, PeerIdentity::Psk(IDENTITY.to_vec())),
            }
        }
        let [client, server] = pair.sessions().unwrap();
        let secrets = [
            pair.ends[CLIENT].secrets(client).unwrap(),
            pair.ends[SERVER].secrets(server).unwrap(),
        ];
        assert_eq!(secrets[0].master_secret, secrets[1].master_secret);
        assert!(pair.ends[SERVER].secrets(server).is_none(), "handed out once");
    }
}

#[test]
fn a_path_of_a_hundred_bytes_is_enough_even_for_the_hello() {
    for suite in ALL {
        let (client, server) = policies(suite);
        let config = Config { datagram_bytes_max: 100, ..Config::default() };
        let mut pair = Pair::new(config, server);
        pair.connect(client);
        let mut cookie_came = false;
        while !cookie_came {
            let datagram = pair.wire.pop_front().unwrap();
            cookie_came = datagram.from == SERVER;
            pair.deliver(&datagram);
        }
        assert!(pair.wire.len() > 1, "{suite:?}: the hello with the cookie is in pieces");
        pair.settle();
        assert!(pair.sessions().is_some(), "{suite:?}: {:?}", pair.said[SERVER].failed);
    }
}

/// What a certificate may be like, and whether it is let in under the rules of OCF.
type Case = (&'static str, &'static str, fn(&mut rcgen::CertificateParams), bool);

#[test]
fn certificates_that_break_a_rule_of_ocf_are_refused_on_both_sides() {
    let cases: [Case; 8] = [
        ("as it should be", CLIENT_NAME, |_| {}, true),
        ("no OCF identity usage", CLIENT_NAME, |one| drop(one.extended_key_usages.pop()), false),
        ("no usage at all", CLIENT_NAME, |one| one.extended_key_usages.clear(), false),
        ("a name that is no UUID", "camera", |_| {}, false),
        ("half a UUID", "uuid:00000000-0000-4000-8000", |_| {}, false),
        ("expired", CLIENT_NAME, |one| one.not_after = rcgen::date_time_ymd(2029, 1, 1), false),
        (
            "not yet valid",
            CLIENT_NAME,
            |one| one.not_before = rcgen::date_time_ymd(2031, 1, 1),
            false,
        ),
        (
            "a key that may not sign",
            CLIENT_NAME,
            |one| one.key_usages = vec![rcgen::KeyUsagePurpose::KeyAgreement],
            false,
        ),
    ];
    let suite = Suite::EcdheEcdsaAes128Ccm8;
    for (what, name, change, is_good) in cases {
        let authority = Authority::new("root");
        let odd = authority.issue_with(name, change, &rcgen::PKCS_ECDSA_P256_SHA256);
        let good = authority.issue(SERVER_NAME);
        for (ours, theirs) in [(&odd, &good), (&good, &odd)] {
            let (mut client, mut server) = policies(suite);
            (client.anchors, server.anchors) = (vec![authority.anchor()], vec![authority.anchor()]);
            (client.certificate, server.certificate) = (Some(ours.clone()), Some(theirs.clone()));
            let mut pair = Pair::new(Config::default(), server);
            pair.connect(client);
            pair.settle();
            assert_eq!(pair.sessions().is_some(), is_good, "{what}");
            let failed: Vec<&Error> = pair.said.iter().flat_map(|said| &said.failed).collect();
            let because = failed.iter().any(|error| matches!(error, Error::Certificate(_)));
            assert_eq!(because, !is_good, "{what}: {failed:?}");
        }
    }
}

#[test]
fn a_client_that_wants_one_device_does_not_talk_to_another() {
    let (client, server) = policies(Suite::EcdheEcdsaAes128Ccm8);
    for (wanted, is_met) in [(SERVER_NAME, true), (CLIENT_NAME, false)] {
        let device = wanted.strip_prefix("uuid:").unwrap().parse().unwrap();
        let rule = IdentityRule::OcfDevice(device);
        let mut pair = Pair::new(Config::default(), server.clone());
        pair.connect(ClientPolicy { server_identity: rule, ..client.clone() });
        pair.settle();
        assert_eq!(pair.sessions().is_some(), is_met);
    }
}

#[test]
fn a_client_takes_the_key_for_the_server_that_the_hint_names() {
    for suite in [Suite::EcdhePskAes128CbcSha256, Suite::PskAes128Ccm8] {
        for hint in [&b"zero\0inside"[..], b"another"] {
            let (mut client, mut server) = policies(suite);
            let psk = client.psk.take().unwrap();
            let wrong = PreSharedKey::new(IDENTITY, b"wrong");
            client.psks_by_hint = vec![
                HintedKey { hint: b"zero".to_vec(), psk: wrong },
                HintedKey { hint: b"zero\0inside".to_vec(), psk },
            ];
            server.identity_hint = hint.to_vec();
            let mut pair = Pair::new(Config::default(), server);
            pair.connect(client);
            pair.settle();
            if hint == b"another" {
                assert_eq!(pair.said[CLIENT].failed, [Error::NoKey], "{suite:?}");
                assert_eq!(pair.said[CLIENT].connected.len(), 0);
            } else {
                pair.talk();
            }
        }
    }
}

#[test]
fn a_wrong_key_is_refused_with_the_same_alert_as_a_wrong_identity() {
    for suite in [Suite::EcdhePskAes128CbcSha256, Suite::PskAes128Ccm8] {
        for (identity, key) in [(IDENTITY, &b"wrong"[..]), (b"nobody", b"wrong")] {
            let (mut client, server) = policies(suite);
            client.psk = Some(crate::dtls::PreSharedKey::new(identity, key));
            let mut pair = Pair::new(Config::default(), server);
            pair.connect(client);
            let limit = pair.now.mono + std::time::Duration::from_secs(5);
            pair.settle();
            while pair.said[SERVER].failed.is_empty() && pair.wait(limit) {
                pair.settle();
            }
            let expected =
                if identity == IDENTITY { Error::KeyMismatch } else { Error::UnknownPskIdentity };
            assert_eq!(pair.said[SERVER].failed, [expected]);
            assert_eq!(pair.said[CLIENT].failed, [Error::Alert(20)]);
            assert!(pair.said.iter().all(|said| said.connected.is_empty()));
        }
    }
}
