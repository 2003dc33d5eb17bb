//! Our own second opinion in Python: the only peer for 0xFF00, and one that lies.

use std::time::Duration;

use freshen::dtls::{Config, Error, PeerIdentity, Suite};

use crate::driver::{Driver, Event, Server, echo, now, path};
use crate::pki::{IDENTITY, KEY_HEX, Pki};
use harness::ports::free_address;
use harness::process::{Process, wait_until_taken};

const SUITES: [(Suite, &str); 2] =
    [(Suite::EcdhePskAes128CbcSha256, "c037"), (Suite::EcdhAnonAes128CbcSha256, "ff00")];

/// What makes OpenSSL speak 0xC037 with our key.
const WITH_KEY: [&str; 6] = [
    "-psk_identity",
    IDENTITY,
    "-psk",
    KEY_HEX,
    "-cipher",
    "ECDHE-PSK-AES128-CBC-SHA256:@SECLEVEL=0",
];

fn adversary(role: &str, port: u16, suite: &str, lie: &str) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dtls/adversary.py");
    let port = port.to_string();
    let mut arguments = vec![script, role, &port, suite];
    if !lie.is_empty() {
        arguments.push(lie);
    }
    Process::start("python3", &arguments, "python3 and cryptography (PyPI)")
}

fn server(pki: &Pki, suite: Suite) -> Server {
    // Lies that end in silence should not last.
    let config = Config { handshake_max: Duration::from_secs(4), ..Config::default() };
    Server::start_with(config, pki.server(&[suite]), echo)
}

#[test]
fn the_adversary_itself_agrees_with_openssl() {
    let address = free_address();
    let accept = address.to_string();
    let arguments =
        [&["s_server", "-dtls1_2", "-accept", &accept, "-nocert"][..], &WITH_KEY].concat();
    for lie in ["", "bad-finished"] {
        let mut openssl = Process::start("openssl", &arguments, "openssl");
        wait_until_taken(address);
        let mut client = adversary("client", address.port(), "c037", lie);
        if lie.is_empty() {
            client.wait_for("connected");
            openssl.wait_for("hello");
            openssl.say("echo: hello\n");
            client.wait_for("echo: hello");
        } else {
            client.wait_for("alert 51");
        }
        drop(openssl);
    }

    let address = free_address();
    let mut server = adversary("server", address.port(), "c037", "");
    wait_until_taken(address);
    let connect = address.to_string();
    let arguments = [&["s_client", "-dtls1_2", "-connect", &connect][..], &WITH_KEY].concat();
    let mut openssl = Process::start("openssl", &arguments, "openssl");
    openssl.wait_for("Cipher is ECDHE-PSK-AES128-CBC-SHA256");
    openssl.say("hello\n");
    server.wait_for("hello");
    openssl.wait_for("echo: hello");
}

#[test]
fn an_honest_client_connects_with_every_suite_it_knows() {
    let pki = Pki::new();
    let plain = (Suite::PskAes128Ccm8, "c0a8");
    for (suite, name) in SUITES.into_iter().chain([plain]) {
        let server = server(&pki, suite);
        let mut client = adversary("client", server.address.port(), name, "");
        client.wait_for("once, 0 lies");
        assert!(client.output().contains("echo: hello"));
        let info = server.connected();
        let expected = match suite {
            Suite::EcdhAnonAes128CbcSha256 => PeerIdentity::Anonymous,
            _ => PeerIdentity::Psk(IDENTITY.into()),
        };
        assert_eq!((info.suite, info.peer), (suite, expected));
    }
}

#[test]
fn the_anonymous_suite_is_refused_unless_the_policy_has_it() {
    let pki = Pki::new();
    let server = server(&pki, Suite::EcdhePskAes128CbcSha256);
    let mut client = adversary("client", server.address.port(), "ff00", "");
    client.wait_for("alert 40");
    assert!(matches!(server.failed(), Error::NoSharedSuite(_)));
}

#[test]
fn lies_in_the_handshake_are_refused() {
    let pki = &Pki::new();
    let try_all = |(suite, name): (Suite, &'static str)| {
        let lies = [
            ("bad-finished", "alert 51"),
            ("no-finished", "silence"),
            ("plain-finished", "alert 10"),
            ("skip-key-exchange", "silence"),
            ("repeat-key-exchange", "alert 10"),
            ("early-change-cipher", "silence"),
            ("zero-keys", "alert 20"),
            ("unasked-certificate", "alert 10"),
            ("bad-point", "alert 47"),
            ("no-change-cipher", "silence"),
            ("downgrade", "alert 70"),
        ];
        std::thread::scope(|scope| {
            for (lie, answer) in lies {
                scope.spawn(move || {
                    let server = server(pki, suite);
                    let mut client = adversary("client", server.address.port(), name, lie);
                    client.wait_for(answer);
                    let error = server.failed();
                    assert!(!client.output().contains("echo"), "{lie}");
                    println!("{name} {lie}: {answer}; {error}");
                });
            }
        });
    };
    SUITES.into_iter().for_each(try_all);
}

#[test]
fn lies_in_a_session_and_odd_handshakes_are_shrugged_off() {
    let pki = Pki::new();
    for (suite, name) in SUITES {
        for lie in
            ["fragments", "replay", "flip", "truncate", "padding", "plain-alerts", "repeat-flight"]
        {
            let server = server(&pki, suite);
            let mut client = adversary("client", server.address.port(), name, lie);
            client.wait_for("once,");
            let said = client.output();
            assert!(said.contains("echo: hello"), "{lie}: {said}");
            println!("{name} {}", said.lines().last().unwrap_or_default());
        }
    }
}

#[test]
fn our_client_connects_to_an_honest_server_and_refuses_a_liar() {
    let pki = Pki::new();
    for (suite, name) in SUITES {
        let address = free_address();
        let mut server = adversary("server", address.port(), name, "");
        wait_until_taken(address);
        let mut driver = Driver::new(Config::default());
        let (session, info) = driver.connect(address, pki.client(suite));
        assert_eq!(info.suite, suite);
        driver.say(session, b"hello");
        driver.hear(b"echo: hello");
        server.wait_for("hello");

        for (lie, error) in [
            ("bad-finished", Error::FinishedMismatch),
            ("bad-point", Error::Illegal("a public key")),
            ("other-suite", Error::Illegal("a cipher suite")),
        ] {
            let address = free_address();
            let _server = adversary("server", address.port(), name, lie);
            wait_until_taken(address);
            let mut driver = Driver::new(Config::default());
            driver.endpoint.connect(path(address), pki.client(suite), now()).unwrap();
            let found = driver.until("failure", |event| match event {
                Event::Failed(error) => Some(error.clone()),
                Event::Connected(..) => panic!("{lie}: connected"),
                _ => None,
            });
            assert_eq!(found, error, "{lie}");
        }
    }
}
