//! A process that is killed in the middle of a download, and another one that goes on.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use freshen::fetch::{Fetcher, Settings};
use freshen::worker::{Cancel, Progress};
use url::Url;

use crate::coap::{CoapServer, KEY, with_key};
use crate::faulty::{Faulty, begin_well};
use crate::{bytes, component, settings};

/// Tells the child what to fetch: the URL, the directory that it works in.
const JOB: [&str; 2] = ["FRESHEN_TEST_URL", "FRESHEN_TEST_DIR"];

/// What one life may bring in vain: what the process had not written yet.
const LOST_BYTES_MAX: u64 = 65_536;

/// The child: one life of a download.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    let [Ok(url), Ok(dir)] = JOB.map(std::env::var) else { return };
    let (url, dir) = (Url::parse(&url).unwrap(), Path::new(&dir));
    let settings = Settings {
        allow_schemes: vec!["https".into(), "coaps".into()],
        coaps: with_key(KEY),
        ..settings(&fs::read_to_string(dir.join("ca.pem")).unwrap())
    };
    let component = component(&fs::read(dir.join("signed")).unwrap(), "body");
    let (progress, cancel) = (Progress::new(component.size), Cancel::new());
    let fetcher = Fetcher::new(settings).unwrap();
    fetcher.payload(&url, &component, &dir.join("0"), &progress, &cancel).unwrap();
}

fn start(url: &Url, dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "killed::child", "--ignored", "--test-threads", "1"]);
    child.env(JOB[0], url.as_str()).env(JOB[1], dir);
    child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Lets so many bytes of the body pass, and no more until it is opened again.
#[derive(Default)]
struct Gate {
    /// What may still pass, and what has passed.
    bytes: Mutex<(u64, u64)>,
    closed: Condvar,
}

impl Gate {
    fn open(&self, bytes: u64) {
        self.bytes.lock().unwrap().0 = bytes;
    }

    /// How many of `wanted` pass.
    fn pass(&self, wanted: usize) -> usize {
        let mut bytes = self.bytes.lock().unwrap();
        let passes = bytes.0.min(wanted as u64);
        *bytes = (bytes.0 - passes, bytes.1 + passes);
        if bytes.0 == 0 {
            self.closed.notify_all();
        }
        passes as usize
    }

    /// Waits until everything that may pass has passed.
    fn wait_until_closed(&self) {
        let patience = Duration::from_secs(60);
        let open = |bytes: &mut (u64, u64)| bytes.0 > 0;
        let waited = self.closed.wait_timeout_while(self.bytes.lock().unwrap(), patience, open);
        assert!(!waited.unwrap().1.timed_out(), "the child asks for nothing");
    }

    fn passed(&self) -> u64 {
        self.bytes.lock().unwrap().1
    }
}

/// A server behind a gate.
struct Line {
    url: Url,
    gate: Arc<Gate>,
    /// What passes at once, or not at all, bytes.
    unit: u64,
    dir: tempfile::TempDir,
    _server: Option<CoapServer>,
}

impl Line {
    fn parts(body: &[u8]) -> (Arc<Gate>, tempfile::TempDir) {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        fs::write(dir.path().join("signed"), body).unwrap();
        (Arc::default(), dir)
    }

    fn https(body: &[u8]) -> Self {
        let (gate, dir) = Self::parts(body);
        let (served, through) = (body.to_vec(), gate.clone());
        let server = Faulty::start(move |request, stream| {
            use std::io::{Read, Write};
            let from = begin_well(&served, request, stream)?;
            for part in served[from..].chunks(16_384) {
                let passes = through.pass(part.len());
                stream.write_all(&part[..passes])?;
                stream.flush()?;
                if passes < part.len() {
                    // Until the other side is dead.
                    let _ = stream.sock.read(&mut [0; 16]);
                    return Err(std::io::ErrorKind::BrokenPipe.into());
                }
            }
            Ok(())
        });
        fs::write(dir.path().join("ca.pem"), &server.certs.ca).unwrap();
        Self { url: server.base.join("body").unwrap(), gate, unit: 1, dir, _server: None }
    }

    /// libcoap's server with OpenSSL; blocks of 1024 bytes pass whole.
    fn coaps(body: &[u8]) -> Self {
        let (gate, dir) = Self::parts(body);
        let server = CoapServer::start_as("coap-server-openssl", &["-k", KEY]);
        server.put("body", body, dir.path());
        fs::write(dir.path().join("ca.pem"), harness::certs::make().ca).unwrap();
        let relay = gated_relay(server.secure(), gate.clone());
        let url = Url::parse(&format!("coaps://{relay}/body")).unwrap();
        Self { url, gate, unit: 1024, dir, _server: Some(server) }
    }

    /// One download, whose process is killed when so many of its bytes have come, for each of the
    /// rising offsets. Returns how many times.
    fn kill_at(&self, offsets: impl IntoIterator<Item = u64>, body: &[u8]) -> u64 {
        let into = self.dir.path().join("0");
        let part = into.with_extension("part");
        let length = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        let (before, mut kills) = (self.gate.passed(), 0);
        for offset in offsets {
            let Some(more) = offset.checked_sub(length(&part)) else { continue };
            self.gate.open(more.next_multiple_of(self.unit));
            let mut child = start(&self.url, self.dir.path());
            self.gate.wait_until_closed();
            // What waits in the sockets between is not the process's to keep.
            while !into.exists() && length(&part) + LOST_BYTES_MAX < offset {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        self.gate.open(u64::MAX);
        let mut child = start(&self.url, self.dir.path());
        assert!(child.wait().unwrap().success(), "the last life brings the rest");
        assert!(fs::read(&into).unwrap() == body, "another file came");
        let passed = self.gate.passed() - before;
        let lost = kills * if self.unit == 1 { LOST_BYTES_MAX } else { self.unit };
        let most = body.len() as u64 + lost;
        assert!(passed <= most, "{kills} kills: {passed} bytes were sent, more than {most}");
        fs::remove_file(into).unwrap();
        kills
    }
}

/// Forwards datagrams of all clients; blocks of the body only as far as the gate is open.
fn gated_relay(server: SocketAddr, gate: Arc<Gate>) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = front.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut backs = std::collections::HashMap::new();
        let mut buffer = [0; 2048];
        loop {
            let Ok((length, client)) = front.recv_from(&mut buffer) else { continue };
            let back = backs.entry(client).or_insert_with(|| {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
                back.connect(server).unwrap();
                back.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                let (front, from, gate) = (front.clone(), back.clone(), gate.clone());
                std::thread::spawn(move || bring_back(&from, &front, client, &gate));
                back
            });
            let _ = back.send(&buffer[..length]);
        }
    });
    address
}

fn bring_back(from: &UdpSocket, front: &UdpSocket, client: SocketAddr, gate: &Gate) {
    let mut buffer = [0; 2048];
    while let Ok(length) = from.recv(&mut buffer) {
        if length > 1024 && gate.pass(1024) == 0 {
            // The client is as good as dead.
            return;
        }
        let _ = front.send_to(&buffer[..length], client);
    }
}

/// A 64 KiB payload, killed at each of the offsets; each download at one of every 4096.
fn kill_small(line: impl Fn(&[u8]) -> Line, phases: impl Iterator<Item = u64>) -> u64 {
    let body = bytes(65_536, 1);
    let line = line(&body);
    phases.map(|phase| line.kill_at((phase..=65_536).step_by(4096), &body)).sum()
}

/// A 64 MiB payload, killed at random offsets, a hundred a download.
fn kill_large(line: impl Fn(&[u8]) -> Line, downloads: u64) -> u64 {
    let body = bytes(64 << 20, 2);
    let line = line(&body);
    let mut seed = 1u64;
    let mut kills = 0;
    for download in 1..=downloads {
        let mut offsets: Vec<u64> = Vec::new();
        for _ in 0..100 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            offsets.push((seed >> 20) % (body.len() as u64 + 1));
        }
        offsets.sort_unstable();
        kills += line.kill_at(offsets, &body);
        println!("64 MiB, {download} of {downloads} downloads: the same file, {kills} kills");
    }
    kills
}

#[test]
fn a_small_https_payload_survives_kills_at_any_offset() {
    let kills = kill_small(Line::https, [0, 1, 1367].into_iter());
    println!("64 KiB over https: the same file, {kills} kills");
}

#[test]
fn a_small_coaps_payload_survives_kills_at_any_block() {
    let kills = kill_small(Line::coaps, [0, 1024].into_iter());
    println!("64 KiB over coaps: the same file, {kills} kills");
}

/// `cargo test --release --test fetch killed -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn a_small_https_payload_survives_kills_at_each_of_its_65537_offsets() {
    let (every, lines) = (4096, 4);
    let kills: u64 = std::thread::scope(|scope| {
        let lines: Vec<_> = (0..lines)
            .map(|n| {
                scope.spawn(move || kill_small(Line::https, (n..every).step_by(lines as usize)))
            })
            .collect();
        lines.into_iter().map(|line| line.join().unwrap()).sum()
    });
    println!("64 KiB over https: the same file, {kills} kills, one at each offset");
    assert_eq!(kills, 65_537);
}

/// `cargo test --release --test fetch killed -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn a_small_coaps_payload_survives_kills_at_each_of_its_blocks() {
    let kills = kill_small(Line::coaps, (0..4096).step_by(1024));
    println!("64 KiB over coaps: the same file, {kills} kills, one at each block");
}

/// `cargo test --release --test fetch killed -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn a_large_payload_survives_a_thousand_kills() {
    let https = kill_large(Line::https, 10);
    let coaps = kill_large(Line::coaps, 10);
    println!("64 MiB: {https} kills over https, {coaps} over coaps: the same file each time");
}
