//! What CoAP downloads cost. Run by hand:
//!
//! `cargo bench --bench coap -- download coap://127.0.0.1:5683/body FILE`: our client's whole way to
//! the disk, from any server that has the contents of FILE under that URL;
//! `cargo bench --bench coap -- quick 20 500`: Q-Block2 against Block2, from a server of ours over a
//! line with that round trip in milliseconds, so many KiB, in sets of 10 blocks;
//! `cargo bench --bench coap -- quick 20 500 32`: in sets of 32, which both sides agreed on.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use freshen::clock;
use freshen::coap::{Code, Config, Endpoint, Output, Peer, Reception, Request, Response, limits};
use freshen::fetch::{Fetcher, Settings};
use freshen::package::{Component, Digest, Format, Source};
use freshen::worker::{Cancel, Progress};
use harness::line::{Line, Weather};
use sha2::Digest as _;
use url::Url;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["download", url, file] => download(url, file),
        ["quick", millis, kib, ref set @ ..] => {
            let set = set.first().map_or(limits::MAX_PAYLOADS, |set| set.parse().unwrap());
            quick(millis.parse().unwrap(), kib.parse().unwrap(), set);
        }
        _ => quick(20, 100, limits::MAX_PAYLOADS),
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn seconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn download(url: &str, file: &str) {
    let (url, body) = (Url::parse(url).unwrap(), std::fs::read(file).unwrap());
    let settings = Settings {
        allow_hosts: vec!["*".into()],
        allow_schemes: vec!["coap".into()],
        private_addresses: true,
        loopback_addresses: true,
        ..Settings::default()
    };
    let component = Component {
        id: vec!["body".into()],
        digest: Digest(sha2::Sha256::digest(&body).into()),
        size: body.len() as u64,
        format: Format::Raw,
        source: Source::Uri(url.to_string()),
    };
    let fetcher = Fetcher::new(settings).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (into, progress) = (directory.path().join("body"), Progress::new(component.size));
    let took = seconds(|| {
        fetcher.payload(&url, &component, &into, &progress, &Cancel::new()).unwrap();
    });
    let rate = body.len() as f64 / took / 1e6;
    println!("{} bytes in {took:.3} s: {rate:.1} MB/s", body.len());
}

fn quick(round_trip: u64, kib: usize, set: u32) {
    let body: Vec<u8> = (0..kib * 256).flat_map(|n| (n as u32).to_be_bytes()).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    std::thread::spawn({
        let body = body.clone();
        move || serve(&socket, &body, set)
    });
    let delay = Duration::from_millis(round_trip) / 2;
    let line = Line::to(server, Weather { delay, ..Weather::default() });
    let ping = seconds(|| drop(read(line.address, Some(set), 1)));
    let [block2, quick] = [None, Some(set)].map(|set| {
        seconds(|| assert!(read(line.address, set, usize::MAX) == body, "the body came whole"))
    });
    println!(
        "{kib} KiB; one block over the line: {:.1} ms; Block2 {block2:.3} s, Q-Block2 \
         in sets of {set} {quick:.3} s: \
         {:.1} times as fast",
        ping * 1e3,
        block2 / quick
    );
}

fn serve(socket: &UdpSocket, body: &[u8], max_payloads: u32) {
    let config = Config { max_payloads, ..Config::default() };
    let mut endpoint = Endpoint::new(config, [1; 32]);
    let mut buffer = [0; 2048];
    loop {
        let Some((length, remote)) = receive(socket, &mut endpoint, &mut buffer) else { continue };
        let (now, peer) = (clock::now().mono, Peer { remote, socket: 0, session: 0 });
        endpoint.handle_datagram(peer, Reception::Unicast, &buffer[..length], now);
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Datagram { peer, bytes } => {
                    let _ = socket.send_to(&bytes, peer.remote);
                }
                Output::Request { ticket, .. } => {
                    let response = Response::new(Code::CONTENT).with_payload(42, body.to_vec());
                    endpoint.respond(ticket, response, None, now);
                }
                _ => {}
            }
        }
    }
}

/// Reads the body from `server`, or at most so many bytes of it; in sets of so many blocks, or one
/// by one.
fn read(server: SocketAddr, set: Option<u32>, most: usize) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = Config {
        quick_downloads: set.is_some(),
        max_payloads: set.unwrap_or_default(),
        ..Config::default()
    };
    let mut endpoint = Endpoint::new(config, [2; 32]);
    let peer = Peer { remote: server, socket: 0, session: 0 };
    endpoint.download(peer, Request::new(Code::GET, "/body"), 0, clock::now().mono);
    let (mut body, mut buffer) = (vec![], [0; 2048]);
    while body.len() < most {
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Datagram { bytes, .. } => drop(socket.send_to(&bytes, server)),
                Output::Part { bytes, .. } => body.extend_from_slice(&bytes),
                Output::Response { .. } => return body,
                other => panic!("{other:?}"),
            }
        }
        if let Some((length, _)) = receive(&socket, &mut endpoint, &mut buffer) {
            let bytes = &buffer[..length];
            endpoint.handle_datagram(peer, Reception::Unicast, bytes, clock::now().mono);
        }
    }
    body
}

/// The next datagram, unless something else falls due.
fn receive(
    socket: &UdpSocket,
    endpoint: &mut Endpoint,
    buffer: &mut [u8],
) -> Option<(usize, SocketAddr)> {
    let now = clock::now().mono;
    let wait = endpoint.deadline().map_or(Duration::from_secs(1), |(due, _)| due - now);
    socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
    let came = socket.recv_from(buffer).ok();
    let now = clock::now().mono;
    if endpoint.deadline().is_some_and(|(due, _)| due <= now) {
        endpoint.handle_timeout(now);
    }
    came
}
