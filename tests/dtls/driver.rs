//! One blocking loop that drives an endpoint over a real UDP socket on loopback.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use freshen::clock::{self, Now};
use freshen::dtls::{
    ClientPolicy, Config, Endpoint, Error, Output, Path, Policy, SessionId, SessionInfo,
};

use harness::PATIENCE;

/// What an endpoint says.
#[derive(Debug)]
pub(crate) enum Event {
    Connected(SessionId, SessionInfo),
    Data(SessionId, Vec<u8>),
    Closed,
    Failed(Error),
}

/// An endpoint and its socket.
pub(crate) struct Driver {
    socket: UdpSocket,
    pub(crate) endpoint: Endpoint,
    events: Vec<Event>,
    /// Datagrams that were sent.
    pub(crate) sent: usize,
    /// The longest of them, bytes.
    pub(crate) longest: usize,
}

impl Driver {
    pub(crate) fn new(config: Config) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let endpoint = Endpoint::new(config, seed);
        Self { socket, endpoint, events: vec![], sent: 0, longest: 0 }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Waits for one datagram or deadline, at most a little while; returns what was said.
    pub(crate) fn turn(&mut self) -> Vec<Event> {
        self.flush();
        let now = clock::now();
        let wait = self.endpoint.deadline().map_or(POLL, |(due, _)| due.since(now.mono));
        self.socket.set_read_timeout(Some(wait.clamp(Duration::from_millis(1), POLL))).unwrap();
        let mut datagram = [0; 65_536];
        if let Ok((length, remote)) = self.socket.recv_from(&mut datagram) {
            self.endpoint.handle_datagram(path(remote), &datagram[..length], clock::now());
        }
        self.endpoint.handle_timeout(clock::now());
        self.flush();
        std::mem::take(&mut self.events)
    }

    pub(crate) fn flush(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Datagram { path, bytes } => {
                    self.sent += 1;
                    self.longest = self.longest.max(bytes.len());
                    // A peer that is gone makes the socket complain; that is its own affair.
                    let _ = self.socket.send_to(&bytes, path.remote);
                }
                Output::Connected { session, info, .. } => {
                    self.events.push(Event::Connected(session, info));
                }
                Output::Data { session, bytes } => self.events.push(Event::Data(session, bytes)),
                Output::Closed { .. } => self.events.push(Event::Closed),
                Output::HandshakeFailed { reason, .. } => self.events.push(Event::Failed(reason)),
            }
        }
    }

    /// Drives until an event gives a value.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        let start = clock::now().mono;
        let mut seen = vec![];
        while clock::now().mono.since(start) < PATIENCE {
            for event in self.turn() {
                if let Some(found) = wanted(&event) {
                    return found;
                }
                seen.push(event);
            }
        }
        panic!("no {what} came; instead: {seen:?}");
    }

    /// Connects as a client.
    pub(crate) fn connect(
        &mut self,
        to: SocketAddr,
        policy: ClientPolicy,
    ) -> (SessionId, SessionInfo) {
        self.endpoint.connect(path(to), policy, clock::now()).unwrap();
        self.until("session", |event| match event {
            Event::Connected(session, info) => Some((*session, info.clone())),
            Event::Failed(error) => panic!("the handshake failed: {error}"),
            _ => None,
        })
    }

    /// Waits for application data that is this.
    pub(crate) fn hear(&mut self, wanted: &[u8]) {
        self.until("answer", |event| match event {
            Event::Data(_, heard) => (heard == wanted).then_some(()),
            _ => None,
        });
    }

    pub(crate) fn say(&mut self, session: SessionId, text: &[u8]) {
        self.endpoint.send(session, text, clock::now()).unwrap();
        self.flush();
    }
}

pub(crate) fn path(remote: SocketAddr) -> Path {
    Path { remote, socket: 0 }
}

pub(crate) fn now() -> Now {
    clock::now()
}

/// A server in a thread of its own that answers everything.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a server says to what it hears.
pub(crate) type Answer = fn(&[u8]) -> Vec<u8>;

/// `echo: ` and the same again.
pub(crate) fn echo(heard: &[u8]) -> Vec<u8> {
    [b"echo: ", heard].concat()
}

impl Server {
    pub(crate) fn start(policy: Policy) -> Self {
        Self::start_with(Config::default(), policy, echo)
    }

    pub(crate) fn start_with(config: Config, policy: Policy, answer: Answer) -> Self {
        let mut driver = Driver::new(config);
        driver.endpoint.set_policy(policy, now());
        let address = driver.address();
        let (sender, events) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(&mut driver, &stopped, answer, &sender));
        Self { address, events, stop, thread: Some(thread) }
    }

    /// Waits for an event that gives a value.
    pub(crate) fn until<T>(&self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let start = clock::now().mono;
        let mut seen = vec![];
        while let Some(left) = PATIENCE.checked_sub(clock::now().mono.since(start)) {
            let Ok(event) = self.events.recv_timeout(left) else { break };
            if let Some(found) = wanted(&event) {
                return found;
            }
            seen.push(event);
        }
        panic!("no {what} came; instead: {seen:?}");
    }

    pub(crate) fn connected(&self) -> SessionInfo {
        self.until("session", |event| match event {
            Event::Connected(_, info) => Some(info.clone()),
            Event::Failed(error) => panic!("the handshake failed: {error}"),
            _ => None,
        })
    }

    pub(crate) fn failed(&self) -> Error {
        self.until("failure", |event| match event {
            Event::Failed(error) => Some(error.clone()),
            Event::Connected(..) => panic!("the handshake succeeded"),
            _ => None,
        })
    }
}

fn serve(driver: &mut Driver, stopped: &AtomicBool, answer: Answer, events: &Sender<Event>) {
    while !stopped.load(Ordering::Relaxed) {
        for event in driver.turn() {
            if let Event::Data(session, heard) = &event {
                driver.say(*session, &answer(heard));
            }
            let _ = events.send(event);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

/// How long a turn lasts when nothing happens.
const POLL: Duration = Duration::from_millis(50);
