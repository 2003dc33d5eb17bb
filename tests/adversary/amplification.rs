//! Somebody writes to the device under another's address, so that the device's answers flood that one.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use crate::coap::{ACCEPT, BLOCK2, ECHO, Message, NON, OBSERVE, VERSION, get};
use crate::victim::Victim;

/// RFC 9175: so much goes to anybody, and three times the request.
const ANYBODY: usize = 136;
const FACTOR: usize = 3;

/// How long after the last datagram of an answer another might come.
const SILENCE: Duration = Duration::from_millis(300);

/// Everything that comes back.
fn heard(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let mut datagram = [0; 2048];
    let next = || {
        let length = socket.recv(&mut datagram).ok()?;
        Some(datagram[..length].to_vec())
    };
    std::iter::from_fn(next).collect()
}

fn stranger(victim: &Victim) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(victim.clear).unwrap();
    socket
}

const PATHS: [&str; 8] = [
    "/oic/res",
    "/oic/res?if=oic.if.baseline",
    "/oic/d",
    "/oic/p",
    "/oic/sec/doxm",
    "/oic/sec/pstat?if=oic.if.baseline",
    "/oc/wk/introspection",
    "/.well-known/core",
];

#[test]
fn no_request_of_a_stranger_brings_more_than_three_times_its_bytes() {
    let victim = Victim::start("");
    for path in PATHS {
        let options: [&[(u16, &[u8])]; 5] =
            [&[], &[(BLOCK2, &[6])], &[(BLOCK2, &[0x16])], &[(OBSERVE, &[])], &[(31, &[0x0e])]];
        for more in options {
            let socket = stranger(&victim);
            let request = get(NON, 7, b"", path, more);
            socket.send(&request).unwrap();
            let answers = heard(&socket);
            let bytes: usize = answers.iter().map(Vec::len).sum();
            let most = ANYBODY.max(FACTOR * request.len());
            assert!(bytes > 0 && bytes <= most, "{path} {more:?}: {bytes} for {}", request.len());
        }
    }
}

/// The control: one that can hear gets a kilobyte for as small a request, so there is something to
/// amplify with.
#[test]
fn who_shows_that_it_can_hear_gets_long_answers() {
    let victim = Victim::start("");
    let socket = stranger(&victim);
    socket.send(&get(NON, 1, b"1", "/oic/sec/pstat", &[(OBSERVE, &[])])).unwrap();
    let challenge = Message::read(&heard(&socket)[0]);
    assert_eq!(challenge.code, 401);
    let echo = challenge.option(ECHO).unwrap().to_vec();
    socket.send(&get(NON, 2, b"2", "/oic/d", &[(ECHO, &echo)])).unwrap();
    assert_eq!(Message::read(&heard(&socket)[0]).code, 205);
    let request = get(NON, 3, b"3", "/oic/res", &[]);
    socket.send(&request).unwrap();
    let answer = &heard(&socket)[0];
    assert!(answer.len() > 1000 && request.len() < 20, "{} for {}", answer.len(), request.len());
}

/// The requests of IoTivity-Lite's tool, as its sources make them: with the options of OCF at first, and
/// then for one block after the other with Accept alone. It knows no Echo.
#[test]
fn iotivity_lites_tool_reads_all_it_needs_in_small_blocks() {
    let victim = Victim::start("");
    for path in ["/oic/sec/doxm?owned=FALSE", "/oic/res?rt=oic.r.doxm", "/oic/d"] {
        let socket = stranger(&victim);
        let accept: &[u8] = &10000u16.to_be_bytes();
        let version: &[u8] = &2048u16.to_be_bytes();
        let token = b"8 bytes.";
        socket.send(&get(NON, 1, token, path, &[(ACCEPT, accept), (VERSION, version)])).unwrap();
        let mut body = vec![];
        for id in 2.. {
            let answer = Message::read(&heard(&socket)[0]);
            assert_eq!((answer.code, &*answer.token), (205, &token[..]), "{path}");
            body.extend(&answer.payload);
            let Some(block) = answer.uint(BLOCK2).filter(|block| block & 8 != 0) else { break };
            let next = ((block >> 4) + 1) << 4 | block & 7;
            let next: &[u8] = &next.to_be_bytes()[3..];
            socket.send(&get(0, id, token, path, &[(ACCEPT, accept), (BLOCK2, next)])).unwrap();
        }
        let value: ciborium::Value = ciborium::from_reader(&*body).unwrap();
        let text = format!("{value:?}");
        let wanted = match path {
            "/oic/d" => "piid",
            "/oic/res?rt=oic.r.doxm" => "coaps://",
            _ => "oxmsel",
        };
        assert!(body.len() > 64 && text.contains(wanted), "{path}: {text}");
    }
}

/// Clients that we did not write, without a word about Echo on their command lines.
#[test]
fn plain_clients_read_long_answers_of_a_device_that_does_not_know_them() {
    let victim = Victim::start("");
    let uri = format!("coap://{}/oic/res", victim.clear);
    let libcoap = ["coap-client-notls", "-B", "20", "-m", "get", &uri];
    let aiocoap = ["aiocoap-client", "--quiet", &uri];
    for command in [&libcoap[..], &aiocoap[..]] {
        let output = Command::new(command[0])
            .args(&command[1..])
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", command[0]));
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        for word in ["/oic/sec/doxm", "/softwareupdateResURI", "oic.r.introspection"] {
            let errors = String::from_utf8_lossy(&output.stderr);
            let short = word.rsplit('.').next().unwrap();
            assert!(seen.contains(short), "{}: {word} in {seen}{errors}", command[0]);
        }
    }
}
