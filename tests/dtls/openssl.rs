//! OpenSSL: `openssl s_client` and `openssl s_server`.

use freshen::dtls::{ClientCertificates, Config, Error, PeerIdentity, Suite};

use crate::driver::{Driver, Server, echo};
use crate::pki::{IDENTITY, KEY_HEX, Pki, assert_theirs};
use harness::ports::free_address;
use harness::process::{Process, wait_until_taken};

/// Every suite that OpenSSL knows too, under the name it gives it.
const SUITES: [(Suite, &str); 8] = [
    (Suite::EcdhePskAes128CbcSha256, "ECDHE-PSK-AES128-CBC-SHA256"),
    (Suite::PskAes128Ccm8, "PSK-AES128-CCM8"),
    (Suite::EcdheEcdsaAes128Ccm8, "ECDHE-ECDSA-AES128-CCM8"),
    (Suite::EcdheEcdsaAes128Ccm, "ECDHE-ECDSA-AES128-CCM"),
    (Suite::EcdheEcdsaAes256Ccm8, "ECDHE-ECDSA-AES256-CCM8"),
    (Suite::EcdheEcdsaAes256Ccm, "ECDHE-ECDSA-AES256-CCM"),
    (Suite::EcdheEcdsaAes128GcmSha256, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (Suite::EcdheEcdsaAes128CbcSha256, "ECDHE-ECDSA-AES128-SHA256"),
];

fn is_psk(suite: Suite) -> bool {
    matches!(suite, Suite::EcdhePskAes128CbcSha256 | Suite::PskAes128Ccm8)
}

fn s_client(server: &Server, cipher: &str, more: &[&str]) -> Process {
    let address = server.address.to_string();
    let cipher = format!("{cipher}:@SECLEVEL=0");
    let arguments = ["s_client", "-dtls1_2", "-connect", &address, "-cipher", &cipher];
    Process::start("openssl", &[&arguments, more].concat(), "openssl")
}

/// The arguments with which OpenSSL proves itself.
fn credentials(pki: &Pki, suite: Suite) -> Vec<String> {
    let list: Vec<String> = if is_psk(suite) {
        ["-psk_identity", IDENTITY, "-psk", KEY_HEX].map(str::to_owned).to_vec()
    } else {
        let (chain, key, root) = (pki.chain(), pki.key(), pki.root());
        ["-cert", &chain, "-cert_chain", &chain, "-key", &key, "-CAfile", &root]
            .map(str::to_owned)
            .to_vec()
    };
    list
}

fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// One session with `s_client`: who it is, and a word each way.
fn client_talks(server: &Server, suite: Suite, client: &mut Process) {
    let info = server.connected();
    assert_eq!(info.suite, suite);
    assert_theirs(&info.peer);
    client.say("hello\n");
    client.wait_for("echo: hello");
}

#[test]
fn s_client_connects_with_every_suite() {
    let pki = Pki::new();
    for (suite, cipher) in SUITES {
        let server = Server::start(pki.server(&[suite]));
        let more = credentials(&pki, suite);
        let mut client = s_client(&server, cipher, &words(&more));
        client_talks(&server, suite, &mut client);
        println!("s_client {cipher}: connected");
    }
}

#[test]
fn s_client_connects_without_encrypt_then_mac_and_without_extended_master_secret() {
    let pki = Pki::new();
    let configuration = tempfile::NamedTempFile::new().unwrap();
    let text = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n\
                Options = -EncryptThenMac,-ExtendedMasterSecret\n";
    std::fs::write(&configuration, text).unwrap();
    let path = configuration.path().to_str().unwrap();
    for suite in [Suite::EcdhePskAes128CbcSha256, Suite::EcdheEcdsaAes128CbcSha256] {
        let cipher = SUITES.iter().find(|(one, _)| *one == suite).unwrap().1;
        let server = Server::start(pki.server(&[suite]));
        let more = credentials(&pki, suite);
        let address = server.address.to_string();
        let cipher = format!("{cipher}:@SECLEVEL=0");
        let variable = format!("OPENSSL_CONF={path}");
        let start = [
            &variable, "openssl", "s_client", "-dtls1_2", "-connect", &address, "-cipher", &cipher,
        ];
        let mut client = Process::start("env", &[&start, &words(&more)[..]].concat(), "openssl");
        client_talks(&server, suite, &mut client);
        assert!(client.output().contains("Extended master secret: no"));
    }
}

#[test]
fn s_client_connects_over_narrow_paths_both_ways() {
    let pki = Pki::new();
    for suite in [Suite::EcdheEcdsaAes128Ccm8, Suite::EcdhePskAes128CbcSha256] {
        let cipher = SUITES.iter().find(|(one, _)| *one == suite).unwrap().1;
        for mtu in [256, 500, 1280] {
            let config = Config { datagram_bytes_max: mtu - 28, ..Config::default() };
            let server = Server::start_with(config, pki.server(&[suite]), echo);
            let mut more = credentials(&pki, suite);
            more.extend(["-mtu".to_owned(), mtu.to_string()]);
            let mut client = s_client(&server, cipher, &words(&more));
            client_talks(&server, suite, &mut client);
        }
    }
}

#[test]
fn s_client_connects_with_every_group_we_have() {
    let (small, large) = (Pki::new(), Pki::on(&rcgen::PKCS_ECDSA_P384_SHA384));
    let suite = Suite::EcdheEcdsaAes128Ccm8;
    for (pki, groups) in [
        (&small, "P-256"),
        (&small, "P-384:P-256"),
        (&small, "P-521:X25519:P-256"),
        (&large, "P-384"),
        (&large, "P-256:P-384"),
    ] {
        let server = Server::start(pki.server(&[suite]));
        let mut more = credentials(pki, suite);
        more.extend(["-groups".to_owned(), groups.to_owned()]);
        let mut client = s_client(&server, "ECDHE-ECDSA-AES128-CCM8", &words(&more));
        client_talks(&server, suite, &mut client);
    }
}

#[test]
fn s_client_without_a_certificate_is_refused_or_let_in_as_nobody() {
    let pki = Pki::new();
    let suite = Suite::EcdheEcdsaAes128Ccm8;
    for certificates in
        [ClientCertificates::Required, ClientCertificates::Optional, ClientCertificates::NotAsked]
    {
        let policy =
            freshen::dtls::Policy { client_certificates: certificates, ..pki.server(&[suite]) };
        let server = Server::start(policy);
        let mut client = s_client(&server, "ECDHE-ECDSA-AES128-CCM8", &["-CAfile", &pki.root()]);
        if certificates == ClientCertificates::Required {
            assert_eq!(server.failed(), Error::NoCertificate);
            client.wait_for("alert");
        } else {
            assert_eq!(server.connected().peer, PeerIdentity::Anonymous);
        }
    }
}

#[test]
fn s_client_with_a_strange_certificate_key_or_suite_is_refused_with_an_alert() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let suite = Suite::EcdheEcdsaAes128Ccm8;
    let server = Server::start(pki.server(&[suite]));
    let more = credentials(&stranger, suite);
    let mut client = s_client(&server, "ECDHE-ECDSA-AES128-CCM8", &words(&more));
    assert!(matches!(server.failed(), Error::Certificate(_)));
    client.wait_for("alert bad certificate");

    let server = Server::start(pki.server(&[Suite::EcdhePskAes128CbcSha256]));
    let wrong = ["-psk_identity", IDENTITY, "-psk", "ff"];
    let mut client = s_client(&server, "ECDHE-PSK-AES128-CBC-SHA256", &wrong);
    assert_eq!(server.failed(), Error::KeyMismatch);
    client.wait_for("alert bad record mac");

    let mut client = s_client(&server, "PSK-AES128-CCM8", &["-psk", KEY_HEX]);
    assert!(matches!(server.failed(), Error::NoSharedSuite(_)));
    client.wait_for("alert handshake failure");
}

#[test]
fn our_client_connects_to_s_server_with_every_suite() {
    let pki = Pki::new();
    for (suite, cipher) in SUITES {
        for mtu in [None, Some("400")] {
            let address = free_address();
            let cipher = format!("{cipher}:@SECLEVEL=0");
            let accept = address.to_string();
            let mut arguments =
                vec!["s_server", "-dtls1_2", "-accept", &accept, "-cipher", &cipher];
            let more = credentials(&pki, suite);
            arguments.extend(words(&more));
            if is_psk(suite) {
                arguments.push("-nocert");
            } else {
                arguments.extend(["-Verify", "3", "-verify_return_error"]);
            }
            if let Some(mtu) = mtu {
                arguments.extend(["-mtu", mtu]);
            }
            let mut server = Process::start("openssl", &arguments, "openssl");
            wait_until_taken(address);
            let mut driver = Driver::new(Config::default());
            let (session, info) = driver.connect(address, pki.client(suite));
            assert_eq!(info.suite, suite);
            driver.say(session, b"hello\n");
            server.wait_for("hello");
            server.say("answer\n");
            driver.hear(b"answer\n");
            println!("s_server {cipher} mtu {mtu:?}: connected");
        }
    }
}
