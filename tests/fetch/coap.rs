//! Downloads from libcoap's server, which we did not write, also over a line that loses datagrams.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use freshen::dtls::{Anchor, ClientPolicy, PreSharedKey, Suite};
use freshen::fetch::{Error, Fetcher, Limits, Settings};
use freshen::worker::{Cancel, Progress};
use url::Url;

use crate::{bytes, component, fetch, settings};
use harness::ports::free_address;

/// libcoap's server, in a process of its own.
pub(crate) struct CoapServer {
    child: Child,
    address: SocketAddr,
}

impl CoapServer {
    fn start() -> Self {
        Self::start_as("coap-server-notls", &[])
    }

    pub(crate) fn start_as(program: &str, credentials: &[&str]) -> Self {
        let address = free_address();
        let child = Command::new(program)
            .args(["-A", "127.0.0.1", "-d", "10", "-p", &address.port().to_string()])
            .args(credentials)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("libcoap is needed for this test: apt-get install libcoap3-bin");
        Self { child, address }
    }

    /// Where it speaks `coaps`: at the port after the one of clear text.
    pub(crate) fn secure(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    fn secure_url(&self, host: &str, name: &str) -> Url {
        Url::parse(&format!("coaps://{host}:{}/{name}", self.secure().port())).unwrap()
    }

    /// Makes a resource with libcoap's client.
    pub(crate) fn put(&self, name: &str, bytes: &[u8], dir: &Path) {
        let file = dir.join("upload");
        fs::write(&file, bytes).unwrap();
        let mut client = Command::new("coap-client-notls");
        client.args(["-m", "put", "-b", "1024", "-B", "20", "-f"]).arg(&file);
        client.arg(self.url(name).as_str());
        assert!(client.stdout(Stdio::null()).status().unwrap().success());
    }

    fn url(&self, name: &str) -> Url {
        Url::parse(&format!("coap://{}/{name}", self.address)).unwrap()
    }
}

impl Drop for CoapServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fetcher() -> Fetcher {
    let settings = settings(&harness::certs::make().ca);
    Fetcher::new(Settings { allow_schemes: vec!["coap".into()], ..settings }).unwrap()
}

#[test]
fn an_envelope_and_a_payload_come_in_blocks() {
    let server = CoapServer::start();
    let dir = tempfile::tempdir().unwrap();
    let (envelope, body) = (bytes(900, 1), bytes(150_001, 2));
    server.put("release.suit", &envelope, dir.path());
    server.put("release.bin", &body, dir.path());
    let fetcher = fetcher();
    let fetched = fetcher.envelope(server.url("release.suit").as_str(), &Cancel::new()).unwrap();
    assert_eq!(fetched.bytes, envelope);
    let into = dir.path().join("0");
    let component = component(&body, "release.bin");
    fetch(&fetcher, &fetched.final_url, &component, &into).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
}

#[test]
fn a_second_life_goes_on_from_the_last_whole_block() {
    let server = CoapServer::start();
    let dir = tempfile::tempdir().unwrap();
    let body = bytes(10_000, 3);
    server.put("release.bin", &body, dir.path());
    let fetcher = fetcher();
    let component = component(&body, "release.bin");
    for end in [1, 1023, 1024, 1025, 5000, 9999] {
        let into = dir.path().join(end.to_string());
        crate::plain::leave_partial(&into, &component, &body[..end]);
        let progress = Progress::new(0);
        fetcher.payload(&server.url(""), &component, &into, &progress, &Cancel::new()).unwrap();
        assert_eq!(fs::read(&into).unwrap(), body, "{end}");
        assert_eq!((progress.done(), progress.attempt()), (10_000, 1));
    }
    let into = dir.path().join("other");
    crate::plain::leave_partial(&into, &component, &bytes(5000, 4));
    fetch(&fetcher, &server.url(""), &component, &into).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body, "pieces of another version are not kept");
}

#[test]
fn codes_lengths_and_digests_are_told_apart() {
    let server = CoapServer::start();
    let dir = tempfile::tempdir().unwrap();
    let body = bytes(5000, 5);
    server.put("release.bin", &body, dir.path());
    let fetcher = fetcher();
    let error = fetcher.envelope(server.url("none").as_str(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::CoapStatus(404, _)), "{error:?}");
    let into = dir.path().join("0");
    let try_fetch = |body: &[u8]| {
        fetch(&fetcher, &server.url(""), &component(body, "release.bin"), &into).unwrap_err()
    };
    assert!(matches!(try_fetch(&body[..4999]), Error::SizeMismatch { .. }));
    assert!(matches!(try_fetch(&bytes(5001, 5)), Error::SizeMismatch { .. }));
    assert!(matches!(try_fetch(&bytes(5000, 6)), Error::DigestMismatch { .. }));
    assert!(!into.exists());
    let long = bytes(freshen::package::ENVELOPE_BYTES_MAX + 1, 7);
    server.put("long.suit", &long, dir.path());
    let error = fetcher.envelope(server.url("long.suit").as_str(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error:?}");
}

#[test]
fn a_line_that_loses_datagrams_only_takes_longer() {
    let server = CoapServer::start();
    let dir = tempfile::tempdir().unwrap();
    let body = bytes(40_000, 8);
    server.put("release.bin", &body, dir.path());
    let relay = losing_relay(server.address, 37);
    let base = Url::parse(&format!("coap://{relay}/")).unwrap();
    let into = dir.path().join("0");
    fetch(&fetcher(), &base, &component(&body, "release.bin"), &into).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
}

pub(crate) const KEY: &str = "sixteen byte key";

pub(crate) fn with_key(key: &str) -> ClientPolicy {
    ClientPolicy {
        suites: vec![Suite::PskAes128Ccm8],
        psk: Some(PreSharedKey::new("camera-7", key)),
        ..ClientPolicy::default()
    }
}

fn believing(ca: &str) -> ClientPolicy {
    ClientPolicy {
        suites: vec![Suite::EcdheEcdsaAes128Ccm8],
        anchors: Anchor::from_pem(ca.as_bytes()).unwrap(),
        ..ClientPolicy::default()
    }
}

fn secure_fetcher(coaps: ClientPolicy) -> Fetcher {
    let settings = settings(&harness::certs::make().ca);
    // A server that has another key says nothing: it is asked once, and not for long.
    let limits = Limits { connect: Duration::from_secs(5), attempts: 1, ..settings.limits };
    let settings = Settings { allow_schemes: vec!["coaps".into()], coaps, limits, ..settings };
    Fetcher::with_lookup(settings, |_, port| Ok(vec![([127, 0, 0, 1], port).into()])).unwrap()
}

#[test]
fn coaps_brings_the_same_with_a_key_and_with_a_certificate() {
    let (dir, certs) = (tempfile::tempdir().unwrap(), harness::certs::make());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let files = [("ca.pem", &certs.ca), ("cert.pem", &certs.cert), ("key.pem", &certs.key)];
    let [ca, cert, key] = files.map(|(name, text)| {
        fs::write(path(name), text).unwrap();
        path(name)
    });
    let certified = ["-c", &cert, "-j", &key, "-C", &ca, "-n"];
    for program in ["coap-server-openssl", "coap-server-gnutls"] {
        for (credentials, policy) in
            [(&["-k", KEY][..], with_key(KEY)), (&certified, believing(&certs.ca))]
        {
            let server = CoapServer::start_as(program, credentials);
            let (envelope, body) = (bytes(900, 1), bytes(150_001, 2));
            server.put("release.suit", &envelope, dir.path());
            server.put("release.bin", &body, dir.path());
            let fetcher = secure_fetcher(policy);
            let url = server.secure_url("localhost", "release.suit");
            let fetched = fetcher.envelope(url.as_str(), &Cancel::new()).unwrap();
            assert_eq!(fetched.bytes, envelope);
            let component = component(&body, "release.bin");
            let into = dir.path().join(format!("{program}-{}", credentials.len()));
            // An earlier life left some of it.
            crate::plain::leave_partial(&into, &component, &body[..70_000]);
            let progress = Progress::new(0);
            let cancel = Cancel::new();
            fetcher.payload(&fetched.final_url, &component, &into, &progress, &cancel).unwrap();
            assert_eq!(fs::read(&into).unwrap(), body);
        }
    }
}

#[test]
fn coaps_servers_that_cannot_be_trusted_are_not_asked() {
    let (dir, certs) = (tempfile::tempdir().unwrap(), harness::certs::make());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("cert.pem"), &certs.cert).unwrap();
    fs::write(path("key.pem"), &certs.key).unwrap();
    let credentials = ["-c", &path("cert.pem"), "-j", &path("key.pem"), "-n", "-k", KEY];
    let server = CoapServer::start_as("coap-server-openssl", &credentials);
    server.put("x", b"not to be had", dir.path());
    let outcome = |policy: ClientPolicy, host: &str| {
        let url = server.secure_url(host, "x");
        secure_fetcher(policy).envelope(url.as_str(), &Cancel::new()).map(|fetched| fetched.bytes)
    };
    assert_eq!(outcome(believing(&certs.ca), "localhost").unwrap(), b"not to be had");
    let untrusted = [
        (believing(&harness::certs::make().ca), "localhost"),
        // The certificate is one of localhost and 127.0.0.1.
        (believing(&certs.ca), "depot.example"),
    ];
    for (policy, host) in untrusted {
        let error = outcome(policy, host).unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{host}: {error}");
    }
    let error = outcome(with_key("another key of 16"), "localhost").unwrap_err();
    assert!(matches!(error, Error::Tls { .. } | Error::TimedOut { .. }), "{error}");
    let error = outcome(ClientPolicy::default(), "localhost").unwrap_err();
    assert!(matches!(error, Error::NoCredentials), "{error}");
}

#[test]
fn a_line_that_loses_datagrams_only_makes_coaps_slower() {
    let server = CoapServer::start_as("coap-server-openssl", &["-k", KEY]);
    let dir = tempfile::tempdir().unwrap();
    let body = bytes(40_000, 8);
    server.put("release.bin", &body, dir.path());
    let relay = losing_relay(server.secure(), 37);
    let base = Url::parse(&format!("coaps://{relay}/")).unwrap();
    let into = dir.path().join("0");
    let fetcher = secure_fetcher(with_key(KEY));
    fetch(&fetcher, &base, &component(&body, "release.bin"), &into).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
}

#[test]
fn nobody_there_is_a_lost_connection() {
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetcher().envelope(&format!("coap://{address}/x"), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
}

/// Forwards datagrams of one client, except each `nth`.
fn losing_relay(server: SocketAddr, nth: usize) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = front.local_addr().unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").unwrap();
    back.connect(server).unwrap();
    for socket in [&front, &back] {
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    }
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let (mut client, mut count) = (None, 0);
        loop {
            let mut lose = || {
                count += 1;
                count % nth == 0
            };
            if let Ok((length, from)) = front.recv_from(&mut buffer) {
                client = Some(from);
                if !lose() {
                    let _ = back.send(&buffer[..length]);
                }
            }
            if let (Ok(length), Some(client)) = (back.recv(&mut buffer), client)
                && !lose()
            {
                let _ = front.send_to(&buffer[..length], client);
            }
        }
    });
    address
}
