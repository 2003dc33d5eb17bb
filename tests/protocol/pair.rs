//! Two endpoints and a bad network between them, in virtual time. The same seed gives the same run.

use std::collections::BTreeMap;
use std::time::Duration;

use freshen::clock::Instant;
use freshen::coap::{
    Call, CallError, Config, Endpoint, Notify, Output, Peer, Reception, Request, Response, Ticket,
    Topic,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What the network does to a datagram. Chances are in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub loss: u32,
    pub duplication: u32,
    /// The chance that a datagram is held back by up to `jitter`.
    pub reordering: u32,
    pub delay: Duration,
    pub jitter: Duration,
}

impl Weather {
    pub(crate) const FINE: Self = Self {
        loss: 0,
        duplication: 0,
        reordering: 0,
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(400),
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What the server's application does with a request.
pub(crate) enum Reply {
    Now(Response, Option<Topic>),
    Later(Duration, Response, Option<Topic>),
    Never,
}

type Application = Box<dyn FnMut(&Request) -> Reply>;

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Response(Response, bool),
    Part(u64, Vec<u8>),
    Failed(CallError),
}

pub(crate) struct Pair {
    pub now: Instant,
    pub client: Endpoint,
    pub server: Endpoint,
    pub weather: Weather,
    pub application: Application,
    /// Requests that the application saw.
    pub executed: Vec<(Instant, Request)>,
    /// What the client's calls came to.
    pub outcomes: Vec<(Instant, Call, Outcome)>,
    /// Every datagram that was sent, lost ones too.
    pub log: Vec<(Instant, Side, Vec<u8>)>,
    /// The number-th datagram sent (counted from 0) is lost.
    pub lose: Vec<usize>,
    chance: ChaCha8Rng,
    wire: BTreeMap<(Instant, u64), (Side, Vec<u8>)>,
    later: BTreeMap<(Instant, u64), (Ticket, Response, Option<Topic>)>,
    serial: u64,
}

pub(crate) const CLIENT: Peer = peer(1, 40_000);
pub(crate) const SERVER: Peer = peer(2, 5683);

pub(crate) const fn peer(host: u8, port: u16) -> Peer {
    let address = std::net::Ipv4Addr::new(10, 0, 0, host);
    let remote = std::net::SocketAddr::new(std::net::IpAddr::V4(address), port);
    Peer { remote, socket: 0, session: 0 }
}

pub(crate) fn config() -> Config {
    Config { options_known: vec![2049, 2053], ..Config::default() }
}

impl Pair {
    pub(crate) fn new(seed: u64, application: impl FnMut(&Request) -> Reply + 'static) -> Self {
        Self::with_config(seed, config(), application)
    }

    /// Both sides alike.
    pub(crate) fn with_config(
        seed: u64,
        config: Config,
        application: impl FnMut(&Request) -> Reply + 'static,
    ) -> Self {
        Self::with_configs(seed, [config.clone(), config], application)
    }

    pub(crate) fn with_configs(
        seed: u64,
        configs: [Config; 2],
        application: impl FnMut(&Request) -> Reply + 'static,
    ) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = || {
            let mut bytes = [0; 32];
            chance.fill_bytes(&mut bytes);
            bytes
        };
        let [client, server] = configs.map(|config| Endpoint::new(config, bytes()));
        Self {
            now: Instant::at(Duration::from_secs(1000)),
            client,
            server,
            weather: Weather::FINE,
            application: Box::new(application),
            executed: vec![],
            outcomes: vec![],
            log: vec![],
            lose: vec![],
            chance,
            wire: BTreeMap::new(),
            later: BTreeMap::new(),
            serial: 0,
        }
    }

    pub(crate) fn request(&mut self, request: Request) -> Call {
        let call = self.client.request(SERVER, request, self.now);
        self.drain();
        call
    }

    pub(crate) fn notify(&mut self, topic: Topic, kind: Notify, response: &Response) {
        self.server.notify(topic, kind, self.now, |_| response.clone());
        self.drain();
    }

    /// Runs until nothing is left to do, but not longer than `most`.
    pub(crate) fn run(&mut self, most: Duration) {
        let end = self.now + most;
        self.drain();
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.step(next);
        }
        self.now = end;
    }

    /// Runs until `done`; `false` if that never came within `most`.
    pub(crate) fn run_until(&mut self, most: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + most;
        self.drain();
        while !done(self) {
            match self.next().filter(|next| *next <= end) {
                Some(next) => self.step(next),
                None => return false,
            }
        }
        true
    }

    /// The last thing that became of a call, apart from parts.
    pub(crate) fn outcome(&self, call: Call) -> Option<&Outcome> {
        self.outcomes.iter().rev().find(|(_, other, _)| *other == call).map(|(_, _, it)| it)
    }

    /// The response of a call that has one.
    pub(crate) fn response(&self, call: Call) -> &Response {
        match self.outcome(call) {
            Some(Outcome::Response(response, _)) => response,
            other => panic!("no response: {other:?}"),
        }
    }

    /// What one side has sent.
    pub(crate) fn sent(&self, side: Side) -> Vec<&[u8]> {
        let of_side =
            |(_, other, bytes): &'_ &(Instant, Side, Vec<u8>)| *other == side && !bytes.is_empty();
        self.log.iter().filter(of_side).map(|(_, _, bytes)| &**bytes).collect()
    }

    /// Puts a datagram on the wire as if `from` had sent it.
    pub(crate) fn inject(&mut self, from: Side, bytes: &[u8]) {
        self.serial += 1;
        self.wire.insert((self.now, self.serial), (from, bytes.to_vec()));
    }

    fn next(&self) -> Option<Instant> {
        let deadline = |endpoint: &Endpoint| endpoint.deadline().map(|(at, _)| at);
        let first = self.wire.keys().next().map(|(at, _)| *at);
        let later = self.later.keys().next().map(|(at, _)| *at);
        [first, later, deadline(&self.client), deadline(&self.server)].into_iter().flatten().min()
    }

    fn step(&mut self, at: Instant) {
        self.now = self.now.max(at);
        let now = self.now;
        while let Some(first) = self.wire.first_entry().filter(|it| it.key().0 <= now) {
            let (from, bytes) = first.remove();
            let (to, peer) = match from {
                Side::Client => (&mut self.server, CLIENT),
                Side::Server => (&mut self.client, SERVER),
            };
            to.handle_datagram(peer, Reception::Unicast, &bytes, now);
            self.drain();
        }
        while let Some(first) = self.later.first_entry().filter(|it| it.key().0 <= now) {
            let (ticket, response, topic) = first.remove();
            self.server.respond(ticket, response, topic, now);
        }
        self.client.handle_timeout(now);
        self.server.handle_timeout(now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.server.poll_output() {
                idle = false;
                self.serve(output);
            }
            while let Some(output) = self.client.poll_output() {
                idle = false;
                self.take(output);
            }
            if idle {
                return;
            }
        }
    }

    fn serve(&mut self, output: Output) {
        match output {
            Output::Datagram { peer, bytes } if peer == CLIENT => self.send(Side::Server, bytes),
            Output::Datagram { .. } => {}
            Output::Request { ticket, request, .. } => {
                let reply = (self.application)(&request);
                self.executed.push((self.now, request));
                match reply {
                    Reply::Now(response, topic) => {
                        self.server.respond(ticket, response, topic, self.now);
                    }
                    Reply::Later(delay, response, topic) => {
                        self.serial += 1;
                        let at = (self.now + delay, self.serial);
                        self.later.insert(at, (ticket, response, topic));
                    }
                    Reply::Never => self.server.ignore(ticket, self.now),
                }
            }
            other => panic!("a server has no use for {other:?}"),
        }
    }

    fn take(&mut self, output: Output) {
        let (call, outcome) = match output {
            Output::Datagram { bytes, .. } => return self.send(Side::Client, bytes),
            Output::Response { call, response, more, .. } => {
                (call, Outcome::Response(response, more))
            }
            Output::Part { call, offset, bytes, .. } => (call, Outcome::Part(offset, bytes)),
            Output::Failed { call, error } => (call, Outcome::Failed(error)),
            Output::Request { .. } => panic!("the client serves nothing"),
        };
        self.outcomes.push((self.now, call, outcome));
    }

    fn send(&mut self, from: Side, bytes: Vec<u8>) {
        let lost = self.lose.contains(&self.log.len()) || self.chance(self.weather.loss);
        self.log.push((self.now, from, bytes.clone()));
        let copies = if self.chance(self.weather.duplication) { 2 } else { 1 };
        for _ in 0..if lost { 0 } else { copies } {
            let mut at = self.now + self.weather.delay;
            if self.chance(self.weather.reordering) {
                let part = f64::from(self.chance.next_u32()) / f64::from(u32::MAX);
                at = at + self.weather.jitter.mul_f64(part);
            }
            self.serial += 1;
            self.wire.insert((at, self.serial), (from, bytes.clone()));
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.chance.next_u32() % 100 < percent
    }
}
