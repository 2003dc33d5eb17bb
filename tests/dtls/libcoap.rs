//! libcoap, built with OpenSSL and with GnuTLS: a GET over coaps each way.

use freshen::dtls::{ClientPolicy, Config, IdentityRule, PreSharedKey, Suite};

use crate::driver::{Driver, Event, Server};
use crate::pki::{IDENTITY, Pki, assert_theirs};
use harness::ports::free_address;
use harness::process::{Process, wait_until_taken};

/// Suites in the order a device of ours would have them.
const ALL: [Suite; 3] =
    [Suite::EcdheEcdsaAes128Ccm8, Suite::PskAes128Ccm8, Suite::EcdhePskAes128CbcSha256];

/// A 2.05 (Content) for whatever was asked (RFC 7252 section 3): same message id, same token.
fn content(request: &[u8]) -> Vec<u8> {
    let token = usize::from(request[0] & 0x0F);
    let mut answer = vec![0x60 | request[0] & 0x0F, 0x45];
    answer.extend(&request[2..4 + token]);
    answer.push(0xFF);
    answer.extend(b"fresh");
    answer
}

#[test]
fn coap_clients_get_over_psk_and_certificates() {
    let pki = Pki::new();
    for program in ["coap-client-openssl", "coap-client-gnutls"] {
        let (chain, key, root) = (pki.chain(), pki.key(), pki.root());
        let psk = ["-u", IDENTITY, "-k", "secret"];
        let certificate = ["-c", &chain, "-j", &key, "-C", &root, "-n"];
        for credentials in [&psk[..], &certificate] {
            let mut policy = pki.server(&ALL);
            policy.psks = vec![PreSharedKey::new(IDENTITY, b"secret")];
            policy.anchors = vec![pki.middle()];
            let server = Server::start_with(Config::default(), policy, content);
            let uri = format!("coaps://{}/x", server.address);
            let arguments = [&["-v", "7", "-m", "get"], credentials, &[&uri]].concat();
            let mut client = Process::start(program, &arguments, "libcoap3-bin");
            let info = server.connected();
            assert_theirs(&info.peer);
            client.wait_for("fresh");
            println!("{program} {credentials:?}: {:?}", info.suite);
        }
    }
}

#[test]
fn our_client_gets_from_coap_servers_over_psk_and_certificates() {
    let pki = Pki::new();
    for program in ["coap-server-openssl", "coap-server-gnutls"] {
        let (chain, key, root) = (pki.chain(), pki.key(), pki.root());
        let psk = ["-k", "secret"];
        let certificate = ["-c", &chain, "-j", &key, "-C", &root, "-n"];
        for (credentials, suite) in
            [(&psk[..], Suite::PskAes128Ccm8), (&certificate, Suite::EcdheEcdsaAes128Ccm8)]
        {
            // The secure port is the next one.
            let clear = free_address();
            let secure = (clear.ip(), clear.port() + 1).into();
            let port = clear.port().to_string();
            let arguments = [&["-v", "7", "-A", "127.0.0.1", "-p", &port], credentials].concat();
            let _server = Process::start(program, &arguments, "libcoap3-bin");
            wait_until_taken(secure);
            let policy = ClientPolicy {
                psk: Some(PreSharedKey::new(IDENTITY, b"secret")),
                anchors: vec![pki.middle()],
                server_identity: IdentityRule::ChainOnly,
                ..pki.client(suite)
            };
            let mut driver = Driver::new(Config::default());
            let (session, info) = driver.connect(secure, policy);
            assert_eq!(info.suite, suite);
            // CON GET / with token 7.
            driver.say(session, &[0x41, 0x01, 0x00, 0x01, 0x07]);
            driver.until("answer", |event| match event {
                Event::Data(_, heard) => {
                    (heard.starts_with(&[0x61, 0x45, 0x00, 0x01, 0x07])).then_some(())
                }
                _ => None,
            });
            println!("{program} {suite:?}: 2.05");
        }
    }
}
