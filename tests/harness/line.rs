//! A line between a client and a server, both real, that loses, doubles, delays and disorders
//! datagrams. The same seed gives the same fate to the same datagrams in the same order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// What happens to each datagram, in either direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Where chance begins.
    pub seed: u64,
    /// So many of a hundred never arrive.
    pub lost: u64,
    /// So many of a hundred arrive twice.
    pub doubled: u64,
    /// How long the way takes at least.
    pub delay: Duration,
    /// How much longer it may take, so that a later datagram overtakes an earlier one.
    pub jitter: Duration,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Datagrams that were sent over it.
    pub carried: u64,
    /// Of these, those that never arrive.
    pub lost: u64,
    /// Of these, those that arrive twice.
    pub doubled: u64,
    /// Copies handed over at the other end.
    pub arrived: u64,
}

/// The line; it is cut when this is dropped.
pub struct Line {
    /// Where clients find the server now.
    pub address: SocketAddr,
    chance: Arc<Mutex<Chance>>,
    _cut: oneshot::Sender<()>,
}

struct Chance {
    weather: Weather,
    state: u64,
    counts: Counts,
}

impl Line {
    /// A line to this server.
    pub fn to(server: SocketAddr, weather: Weather) -> Self {
        let front = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        front.set_nonblocking(true).unwrap();
        let address = front.local_addr().unwrap();
        let state = weather.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let chance = Chance { weather, state, counts: Counts::default() };
        let chance = Arc::new(Mutex::new(chance));
        let (cut, is_cut) = oneshot::channel();
        let fate = chance.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = carry(front, server, fate) => {}
                    _ = is_cut => {}
                }
            });
        });
        Self { address, chance, _cut: cut }
    }

    /// What became of the datagrams so far.
    pub fn counts(&self) -> Counts {
        self.chance.lock().unwrap().counts
    }
}

impl Counts {
    /// Whether nothing is on its way any more.
    pub fn all_arrived(&self) -> bool {
        self.arrived == self.carried - self.lost + self.doubled
    }
}

/// Each client gets a socket of its own towards the server, as a NAT would give it.
async fn carry(front: std::net::UdpSocket, server: SocketAddr, chance: Arc<Mutex<Chance>>) {
    let front = Arc::new(UdpSocket::from_std(front).unwrap());
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else { continue };
        let back = match backs.get(&client) {
            Some(back) => back.clone(),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                back.connect(server).await.unwrap();
                tokio::spawn(bring_back(back.clone(), front.clone(), client, chance.clone()));
                backs.insert(client, back.clone());
                back
            }
        };
        send(&chance, &back, server, &buffer[..length]);
    }
}

async fn bring_back(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    chance: Arc<Mutex<Chance>>,
) {
    let mut buffer = [0; 2048];
    loop {
        match back.recv(&mut buffer).await {
            Ok(length) => send(&chance, &front, client, &buffer[..length]),
            // Nobody listens there just now.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn send(chance: &Arc<Mutex<Chance>>, by: &Arc<UdpSocket>, to: SocketAddr, bytes: &[u8]) {
    for wait in chance.lock().unwrap().fate() {
        let (by, bytes, chance) = (by.clone(), bytes.to_vec(), chance.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // A connected socket wants no address.
            let _ = match by.peer_addr() {
                Ok(_) => by.send(&bytes).await,
                Err(_) => by.send_to(&bytes, to).await,
            };
            chance.lock().unwrap().counts.arrived += 1;
        });
    }
}

impl Chance {
    /// When the copies of one datagram arrive.
    fn fate(&mut self) -> Vec<Duration> {
        let Weather { lost, doubled, delay, jitter, .. } = self.weather;
        self.counts.carried += 1;
        if self.below(100) < lost {
            self.counts.lost += 1;
            return vec![];
        }
        let twice = self.below(100) < doubled;
        self.counts.doubled += u64::from(twice);
        let micros = jitter.as_micros() as u64 + 1;
        let copies = 1 + usize::from(twice);
        (0..copies).map(|_| delay + Duration::from_micros(self.below(micros))).collect()
    }

    fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) % end
    }
}
