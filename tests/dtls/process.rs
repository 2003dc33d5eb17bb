//! Programs that are started, spoken to, listened to, and ended.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use freshen::clock;

/// Longer than anything honest takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A program that runs until it is dropped.
pub(crate) struct Process {
    child: Child,
    name: String,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    /// Starts a program; `package` is what to install if it is missing.
    pub(crate) fn start(program: &str, arguments: &[&str], package: &str) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} ({error}); install {package}"));
        let output = Arc::default();
        collect(child.stdout.take().unwrap(), Arc::clone(&output));
        collect(child.stderr.take().unwrap(), Arc::clone(&output));
        Self { child, name: program.to_owned(), output }
    }

    pub(crate) fn say(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits until the program has printed this text.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let start = clock::now().mono;
        loop {
            if self.output().contains(text) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                // What it printed last may still be on its way.
                std::thread::sleep(Duration::from_millis(200));
                if self.output().contains(text) {
                    return;
                }
            }
            if ended.is_some() || clock::now().mono.since(start) > PATIENCE {
                let (name, said) = (&self.name, self.output());
                panic!("{name} did not say {text:?} (ended: {ended:?}), but:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }
}

fn collect(mut from: impl Read + Send + 'static, to: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            to.lock().unwrap().extend(&piece[..length]);
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.name, self.output());
        }
    }
}

/// Waits until a program has taken a UDP port. (Trying to bind it could take it away from the
/// program at the wrong moment.)
pub(crate) fn wait_until_taken(address: SocketAddr) {
    let start = clock::now().mono;
    let local = format!(":{:04X} ", address.port());
    let is_taken = |table: &str| {
        let sockets = std::fs::read_to_string(table).unwrap_or_default();
        sockets.lines().any(|line| {
            line.split_once(&local).is_some_and(|(before, _)| {
                // The first address of a line is the local one.
                before.split_whitespace().count() == 2
            })
        })
    };
    while !is_taken("/proc/net/udp") && !is_taken("/proc/net/udp6") {
        assert!(clock::now().mono.since(start) < PATIENCE, "nothing listens on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
