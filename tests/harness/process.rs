//! Programs that are started, spoken to, listened to, and ended.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::{PATIENCE, until, within};

/// A program that runs until it is dropped.
pub struct Process {
    child: Child,
    name: String,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program; `package` is what to install if it is missing.
    pub fn start(program: &str, arguments: &[&str], package: &str) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} ({error}); install {package}"));
        let output = Arc::default();
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&output)),
            collect(child.stderr.take().unwrap(), Arc::clone(&output)),
        ];
        Self { child, name: program.to_owned(), output, readers }
    }

    /// Writes to its standard input.
    pub fn say(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits until the program has printed this text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let mut ended = None;
        let said = within(PATIENCE, || {
            // Asked before its output is looked at, and then all of it has been read.
            ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                self.readers.drain(..).for_each(|reader| reader.join().unwrap());
            }
            ended.is_some() || self.output().contains(text)
        });
        let (name, output) = (&self.name, self.output());
        assert!(
            said && output.contains(text),
            "{name} did not say {text:?} (ended: {ended:?}), but:\n{output}"
        );
    }

    /// What it has printed so far, on both.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }
}

fn collect(mut from: impl Read + Send + 'static, to: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            to.lock().unwrap().extend(&piece[..length]);
        }
    })
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
pub fn wait_until_taken(address: SocketAddr) {
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
    until(format_args!("something listens on {address}"), || {
        is_taken("/proc/net/udp") || is_taken("/proc/net/udp6")
    });
}
