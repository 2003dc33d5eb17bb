//! Downloads from libcoap's server, which we did not write, also over a line that loses datagrams.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use freshen::fetch::{Error, Fetcher, Settings};
use freshen::worker::{Cancel, Progress};
use url::Url;

use crate::{bytes, certs, component, fetch, settings};

struct CoapServer {
    child: Child,
    address: SocketAddr,
}

impl CoapServer {
    fn start() -> Self {
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("coap-server-notls")
            .args(["-A", "127.0.0.1", "-d", "10", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("libcoap is needed for this test: apt-get install libcoap3-bin");
        Self { child, address }
    }

    /// Makes a resource with libcoap's client.
    fn put(&self, name: &str, bytes: &[u8], dir: &Path) {
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
    let settings = settings(&certs::make().ca);
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
    assert!(matches!(error, Error::CoapStatus(404)), "{error:?}");
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
