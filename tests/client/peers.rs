//! Servers that we did not write, each with its own process; they end with the test.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::ports::free_address;

/// A server that runs.
pub(crate) struct Peer {
    process: Child,
    pub(crate) port: u16,
}

impl Peer {
    /// libcoap's example server, on the loopback interface.
    pub(crate) fn libcoap() -> Self {
        let port = free_address().port();
        let mut command = Command::new("coap-server-notls");
        command.args(["-A", "127.0.0.1", "-p", &port.to_string()]);
        let peer = Self::start(&mut command, port);
        wait_until_served(port);
        peer
    }

    /// The same, which makes what is put to it.
    pub(crate) fn libcoap_with_resources() -> Self {
        let port = free_address().port();
        let mut command = Command::new("coap-server-notls");
        command.args(["-A", "127.0.0.1", "-d", "10", "-p", &port.to_string()]);
        let peer = Self::start(&mut command, port);
        wait_until_served(port);
        peer
    }

    /// A device made with aiocoap, on the loopback interface.
    pub(crate) fn aiocoap() -> Self {
        let port = free_address().port();
        Self::aiocoap_by(Command::new(python()), "127.0.0.1", port, &[])
    }

    /// The same, with its clock so far ahead: seconds, or "none" where it tells no time.
    pub(crate) fn aiocoap_with_clock(ahead: &str) -> Self {
        let mut command = Command::new(python());
        command.env("AHEAD", ahead);
        Self::aiocoap_by(command, "127.0.0.1", free_address().port(), &[])
    }

    /// The same, started by `command`, which takes Python's arguments.
    pub(crate) fn aiocoap_by(mut command: Command, host: &str, port: u16, groups: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client/device.py");
        command.args([script, host, &port.to_string()]).args(groups);
        let mut peer = Self::start(command.stdout(Stdio::piped()), port);
        let mut line = String::new();
        let output = peer.process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "aiocoap and cbor2 are installed for {}", python());
        peer
    }

    /// Our own device; it has said that it is ready.
    pub(crate) fn device(command: &mut Command) -> Self {
        let mut peer = Self::start(command.stdout(Stdio::piped()), 0);
        let mut line = String::new();
        BufReader::new(peer.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("{\"event\":\"ready\""), "{line}");
        peer
    }

    pub(crate) fn start(command: &mut Command, port: u16) -> Self {
        let process = command.stderr(Stdio::inherit()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { process, port }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn python() -> String {
    "python3".into()
}

/// Pings until somebody answers with a reset (RFC 7252 section 4.3).
fn wait_until_served(port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    harness::until(format_args!("somebody serves port {port}"), || {
        let _ = socket.send(&[0x40, 0, 0, 1]);
        socket.recv(&mut [0; 16]).is_ok()
    });
}
