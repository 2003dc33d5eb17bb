//! Handshakes on a network that loses nothing: who is let in, as whom, and who is not.

use super::network::{CLIENT, CLIENT_NAME, IDENTITY, Pair, SERVER, SERVER_NAME, policies};
use crate::dtls::suite::{ALL, Exchange};
use crate::dtls::{Config, Error, PeerIdentity, Role, Suite};

fn pair(suite: Suite) -> Pair {
    let (client, server) = policies(suite);
    let mut pair = Pair::new(Config::default(), server);
    pair.connect(client);
    pair
}

fn uuid(peer: &PeerIdentity) -> String {
    let PeerIdentity::Certificate { uuid: Some(uuid), chain } = peer else { panic!("{peer:?}") };
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
