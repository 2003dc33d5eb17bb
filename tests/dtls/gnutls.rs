//! GnuTLS: `gnutls-cli --udp` and `gnutls-serv --udp`; for clients with a pre-shared key the library
//! itself, see `gnutls_peer.py`.

use freshen::dtls::{Config, Error, Suite};

use crate::driver::{Driver, Server};
use crate::pki::{IDENTITY, KEY_HEX, Pki, assert_theirs};
use harness::ports::free_address;
use harness::process::{Process, wait_until_taken};

/// Every suite that GnuTLS knows too: key exchange, cipher and MAC by its names.
const SUITES: [(Suite, &str); 8] = [
    (Suite::EcdhePskAes128CbcSha256, "+ECDHE-PSK:+AES-128-CBC:+SHA256"),
    (Suite::PskAes128Ccm8, "+PSK:+AES-128-CCM-8:+AEAD"),
    (Suite::EcdheEcdsaAes128Ccm8, "+ECDHE-ECDSA:+AES-128-CCM-8:+AEAD"),
    (Suite::EcdheEcdsaAes128Ccm, "+ECDHE-ECDSA:+AES-128-CCM:+AEAD"),
    (Suite::EcdheEcdsaAes256Ccm8, "+ECDHE-ECDSA:+AES-256-CCM-8:+AEAD"),
    (Suite::EcdheEcdsaAes256Ccm, "+ECDHE-ECDSA:+AES-256-CCM:+AEAD"),
    (Suite::EcdheEcdsaAes128GcmSha256, "+ECDHE-ECDSA:+AES-128-GCM:+AEAD"),
    (Suite::EcdheEcdsaAes128CbcSha256, "+ECDHE-ECDSA:+AES-128-CBC:+SHA256"),
];

fn is_psk(suite: Suite) -> bool {
    matches!(suite, Suite::EcdhePskAes128CbcSha256 | Suite::PskAes128Ccm8)
}

fn priority(suite: &str) -> String {
    format!("NONE:+VERS-DTLS1.2:+COMP-NULL:+SIGN-ALL:+GROUP-ALL:{suite}")
}

fn client(server: &Server, suite: Suite, name: &str, key: &str, mtu: &str, pki: &Pki) -> Process {
    let (address, port) = (server.address.ip().to_string(), server.address.port().to_string());
    let priority = priority(name);
    if is_psk(suite) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dtls/gnutls_peer.py");
        let arguments = [script, &port, &priority, IDENTITY, key, mtu];
        return Process::start("python3", &arguments, "python3 and gnutls-bin");
    }
    let (chain, private) = (pki.chain(), pki.key());
    let mut arguments = vec!["--udp", "--port", &port, "--priority", &priority, "--mtu", mtu];
    arguments.extend(["--x509certfile", &chain, "--x509keyfile", &private]);
    arguments.extend(["--no-ca-verification", &address]);
    let mut client = Process::start("gnutls-cli", &arguments, "gnutls-bin");
    client.say("hello\n");
    client
}

#[test]
fn gnutls_clients_connect_with_every_suite() {
    let pki = Pki::new();
    for (suite, name) in SUITES {
        for mtu in ["300", "1200"] {
            let server = Server::start(pki.server(&[suite]));
            let mut client = client(&server, suite, name, KEY_HEX, mtu, &pki);
            let info = server.connected();
            assert_eq!(info.suite, suite);
            assert_theirs(&info.peer);
            client.wait_for("echo: hello");
            println!("GnuTLS client {name} mtu {mtu}: connected");
        }
    }
}

#[test]
fn a_gnutls_client_with_a_wrong_key_is_refused() {
    let pki = Pki::new();
    let (suite, name) = SUITES[0];
    let server = Server::start(pki.server(&[suite]));
    let mut client = client(&server, suite, name, "ff", "1200", &pki);
    assert_eq!(server.failed(), Error::KeyMismatch);
    client.wait_for("fatal alert");
}

#[test]
fn our_client_connects_to_gnutls_serv_with_every_suite() {
    let pki = Pki::new();
    for (suite, name) in SUITES {
        let address = free_address();
        let (port, priority) = (address.port().to_string(), priority(name));
        let (chain, key, root, psk) = (pki.chain(), pki.key(), pki.root(), pki.psk_file());
        let mut arguments = vec!["--udp", "--echo", "--port", &port, "--priority", &priority];
        if is_psk(suite) {
            arguments.extend(["--pskpasswd", &psk]);
        } else {
            arguments.extend(["--x509certfile", &chain, "--x509keyfile", &key]);
            arguments.extend(["--x509cafile", &root, "--require-client-cert"]);
        }
        let _server = Process::start("gnutls-serv", &arguments, "gnutls-bin");
        wait_until_taken(address);
        let mut driver = Driver::new(Config::default());
        let (session, info) = driver.connect(address, pki.client(suite));
        assert_eq!(info.suite, suite);
        driver.say(session, b"hello\n");
        driver.hear(b"hello\n");
        println!("gnutls-serv {name}: connected");
    }
}
