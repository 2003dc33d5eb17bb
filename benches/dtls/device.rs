//! GETs over DTLS of the real device beside libcoap's server with OpenSSL, under the same load; and
//! beside itself, with and without strangers who send hellos.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freshen::dtls::{ClientPolicy, Config, Endpoint, Output, Path, PreSharedKey, SessionId, Suite};

use crate::ours::{instant, now};

const KEY: &str = "abcdefghijklmnop";
const SESSIONS: usize = 8;
const ROUNDS: usize = 7;

/// A server in a process of its own, ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    path: &'static str,
}

impl Server {
    fn freshen(directory: &std::path::Path) -> Self {
        let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
        let text = format!(
            "[credentials]\npsk = [{{ identity = \"client-1\", key_hex = \"{hex}\" }}]\n[listen]\nmulticast = false\n"
        );
        let file = directory.join("device.toml");
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_freshen"))
            .args(["device", "--coap", "127.0.0.1:0", "--coaps", "127.0.0.1:0", "--config"])
            .arg(file)
            .arg("--state")
            .arg(directory.join("state"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ready["coaps"][0].as_str().unwrap().parse().unwrap();
        Self { child, address, path: "softwareupdateResURI" }
    }

    fn libcoap() -> Self {
        // It takes two ports: this one for coap, the next one for coaps.
        let mut address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = address.port().to_string();
        let child = Command::new("coap-server-openssl")
            .args(["-A", "127.0.0.1", "-p", &port, "-k", KEY, "-v", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install libcoap3-bin");
        std::thread::sleep(Duration::from_secs(1));
        address.set_port(address.port() + 1);
        Self { child, address, path: "" }
    }

    /// Processor time so far, all threads.
    fn processor_time(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
        // utime and stime, of a hundredth of a second each (proc(5)).
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(10 * ticks)
    }

    fn resident_kib(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One client of ours, with its session, on a socket of its own.
struct Client {
    socket: UdpSocket,
    endpoint: Endpoint,
    session: Option<SessionId>,
    request: Vec<u8>,
    number: u16,
}

impl Client {
    fn connect(to: &Server, seed: u8) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(to.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut endpoint = Endpoint::new(Config::default(), [seed; 32]);
        let path = Path { remote: to.address, socket: 0 };
        endpoint.connect(path, policy(), now(Duration::ZERO)).unwrap();
        let mut request = vec![0x44, 0x01, 0, 0, 1, 2, 3, seed];
        if !to.path.is_empty() {
            request.extend([0xBD, (to.path.len() - 13) as u8]);
            request.extend(to.path.bytes());
        }
        let mut client = Self { socket, endpoint, session: None, request, number: 0 };
        while client.session.is_none() {
            client.turn();
        }
        client
    }

    /// What there is to send, then one datagram; whether application data came.
    fn turn(&mut self) -> bool {
        let mut is_answered = self.drain();
        let mut datagram = [0; 2048];
        if let Ok(length) = self.socket.recv(&mut datagram) {
            let path = Path { remote: self.socket.peer_addr().unwrap(), socket: 0 };
            self.endpoint.handle_datagram(path, &datagram[..length], now(Duration::ZERO));
        }
        is_answered |= self.drain();
        is_answered
    }

    fn drain(&mut self) -> bool {
        let mut is_answered = false;
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Datagram { bytes, .. } => drop(self.socket.send(&bytes).unwrap()),
                Output::Connected { session, .. } => self.session = Some(session),
                Output::Data { bytes, .. } => is_answered = bytes[1] == 0x45,
                other => panic!("{other:?}"),
            }
        }
        is_answered
    }

    /// One GET and its 2.05 (Content). Whether it came in half a second.
    fn get(&mut self) -> bool {
        self.number = self.number.wrapping_add(1);
        self.request[2..4].copy_from_slice(&self.number.to_be_bytes());
        let (session, request) = (self.session.unwrap(), self.request.clone());
        self.endpoint.send(session, &request, now(Duration::ZERO)).unwrap();
        self.turn()
    }
}

fn policy() -> ClientPolicy {
    ClientPolicy {
        suites: vec![Suite::PskAes128Ccm8],
        psk: Some(PreSharedKey::new("client-1", KEY)),
        ..ClientPolicy::default()
    }
}

/// GETs answered in this time, by all clients, each with one outstanding.
fn load(clients: &mut [Client], time: Duration) -> u64 {
    let start = instant();
    std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(move || {
                    let mut answered = 0;
                    while start.elapsed() < time {
                        answered += u64::from(client.get());
                    }
                    answered
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn connected(server: &Server) -> Vec<Client> {
    (0..SESSIONS).map(|seed| Client::connect(server, seed as u8 + 1)).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processor time a GET over 0xC0A8, ours and libcoap's in turn.
pub(crate) fn get() {
    let directory = tempfile::tempdir().unwrap();
    let servers = [Server::freshen(directory.path()), Server::libcoap()];
    let mut clients = servers.each_ref().map(connected);
    let mut each = [vec![], vec![]];
    for _ in 0..ROUNDS {
        for side in 0..2 {
            let before = servers[side].processor_time();
            let answered = load(&mut clients[side], Duration::from_secs(2));
            let spent = servers[side].processor_time() - before;
            each[side].push(spent.as_secs_f64() * 1e6 / answered as f64);
        }
    }
    let [ours, theirs] = each.map(median);
    println!(
        "freshen {ours:.1} us a GET, libcoap with OpenSSL {theirs:.1} us: {:.2}",
        ours / theirs
    );
}

/// The rate of honest clients while 3,000 strangers a second say hello, and while nobody does.
pub(crate) fn flood() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::freshen(directory.path());
    let mut clients = connected(&server);
    let mut endpoint = Endpoint::new(Config::default(), [99; 32]);
    let path = Path { remote: server.address, socket: 0 };
    endpoint.connect(path, policy(), now(Duration::ZERO)).unwrap();
    let Some(Output::Datagram { bytes: hello, .. }) = endpoint.poll_output() else { return };
    load(&mut clients, Duration::from_secs(1));
    let before = server.resident_kib();
    let (mut quiet, mut flooded, mut ratios, mut sent) = (vec![], vec![], vec![], 0);
    for _ in 0..ROUNDS {
        let alone = load(&mut clients, Duration::from_secs(1)) as f64;
        let is_over = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            let strangers = scope.spawn(|| strangers(server.address, &hello, &is_over));
            let answered = load(&mut clients, Duration::from_secs(1)) as f64;
            is_over.store(true, Ordering::Relaxed);
            sent += strangers.join().unwrap();
            answered
        });
        quiet.push(alone);
        flooded.push(beside);
        ratios.push(beside / alone);
    }
    let kib = server.resident_kib() - before;
    println!(
        "{sent} hellos in {ROUNDS} s: {kib} KiB more; {:.0} GETs a second alone, {:.0} beside them: {:.2}",
        median(quiet),
        median(flooded),
        median(ratios)
    );
}

/// Three hellos a millisecond, each from a port of its own; how many.
fn strangers(to: SocketAddr, hello: &[u8], is_over: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..3 {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            sent += u64::from(socket.send_to(hello, to).is_ok());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
}
