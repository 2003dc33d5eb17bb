//! Mbed TLS, the engine of real OCF devices, through the package python-mbedtls.

use std::time::Duration;

use freshen::dtls::{Config, Error, Suite};

use crate::driver::{Driver, Server, echo};
use crate::pki::{IDENTITY, KEY_HEX, Pki};
use harness::ports::free_address;
use harness::process::{Process, wait_until_taken};

/// Every suite that Mbed TLS knows too, under the name it gives it.
const SUITES: [(Suite, &str); 8] = [
    (Suite::EcdhePskAes128CbcSha256, "TLS-ECDHE-PSK-WITH-AES-128-CBC-SHA256"),
    (Suite::PskAes128Ccm8, "TLS-PSK-WITH-AES-128-CCM-8"),
    (Suite::EcdheEcdsaAes128Ccm8, "TLS-ECDHE-ECDSA-WITH-AES-128-CCM-8"),
    (Suite::EcdheEcdsaAes128Ccm, "TLS-ECDHE-ECDSA-WITH-AES-128-CCM"),
    (Suite::EcdheEcdsaAes256Ccm8, "TLS-ECDHE-ECDSA-WITH-AES-256-CCM-8"),
    (Suite::EcdheEcdsaAes256Ccm, "TLS-ECDHE-ECDSA-WITH-AES-256-CCM"),
    (Suite::EcdheEcdsaAes128GcmSha256, "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256"),
    (Suite::EcdheEcdsaAes128CbcSha256, "TLS-ECDHE-ECDSA-WITH-AES-128-CBC-SHA256"),
];

fn start(role: &str, port: u16, suite: Suite, name: &str, pki: &Pki, key: &str) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dtls/mbedtls_peer.py");
    let (port, chain, private, root) = (port.to_string(), pki.chain(), pki.key(), pki.root());
    let is_psk = matches!(suite, Suite::EcdhePskAes128CbcSha256 | Suite::PskAes128Ccm8);
    let more =
        if is_psk { vec!["psk", IDENTITY, key] } else { vec!["cert", &chain, &private, &root] };
    let arguments = [&[script, role, &port, name][..], &more].concat();
    Process::start("python3", &arguments, "python3 and python-mbedtls")
}

#[test]
fn an_mbed_tls_client_connects_with_every_suite() {
    let pki = Pki::new();
    for (suite, name) in SUITES {
        let server = Server::start(pki.server(&[suite]));
        let mut client = start("client", server.address.port(), suite, name, &pki, KEY_HEX);
        client.wait_for("echo: hello");
        assert_eq!(server.connected().suite, suite);
        println!("Mbed TLS client {name}: connected");
    }
}

#[test]
fn an_mbed_tls_client_with_a_wrong_key_is_refused() {
    let pki = Pki::new();
    let (suite, name) = SUITES[0];
    // It does not repeat its Finished, so that the deadline decides.
    let config = Config { handshake_max: Duration::from_secs(5), ..Config::default() };
    let server = Server::start_with(config, pki.server(&[suite]), echo);
    let _client = start("client", server.address.port(), suite, name, &pki, "ff");
    assert_eq!(server.failed(), Error::KeyMismatch);
}

#[test]
fn our_client_connects_to_an_mbed_tls_server_with_every_suite() {
    let pki = Pki::new();
    for (suite, name) in SUITES {
        let address = free_address();
        let mut server = start("server", address.port(), suite, name, &pki, KEY_HEX);
        wait_until_taken(address);
        let mut driver = Driver::new(Config::default());
        let (session, info) = driver.connect(address, pki.client(suite));
        assert_eq!(info.suite, suite);
        driver.say(session, b"hello");
        driver.hear(b"echo: hello");
        server.wait_for("hello");
        println!("Mbed TLS server {name}: connected");
    }
}
