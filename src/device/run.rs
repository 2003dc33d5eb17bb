//! The loop.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::claim::Claim;
use super::engine::{Declined, Engine, Gate, Told, Woken};
use super::error::Error;
use super::keeper::Keeper;
use super::ownership::{self, Lost, Waiting};
use super::records::{Ownership, Records};
use super::said::LeftOut;
use super::secure::{Event, Secure};
use super::setup::{Opened, Parts, Ready};
use super::sleep;
use super::workshop::Workshop;
use crate::clock::{self, Instant, Now};
use crate::coap::{self, Code, Notify, Peer, Reception, Request, Response, Ticket, option};
use crate::config::Settings;
use crate::dtls;
use crate::net::{Arrival, Inbox, Path, Service, Sockets};
use crate::ocf::security::OnboardingState;
use crate::ocf::{self, Answer, Memo, Pending, Resource};
use crate::update::{self, State};

/// Batches of datagrams taken in one turn: other things must have theirs under a flood.
const BATCHES_MAX: usize = 16;

/// How often the network interfaces are looked at anew.
const INTERFACES_EVERY: Duration = Duration::from_secs(30);

/// Runs a device until it is told to stop (SIGTERM, SIGINT). `ready` is called once it can be used.
/// SIGUSR1 is the button that resets it; so is, at the start, a file `reset` in `directory`. SIGHUP
/// changes nothing.
///
/// # Errors
///
/// What kept it from starting, in words for a person.
pub async fn run(
    settings: Settings,
    directory: &std::path::Path,
    ready: impl FnOnce(&Ready),
) -> Result<(), Error> {
    let mut signals = Signals::listen()
        .map_err(|error| Error::Start(format!("the system gives no signals: {error}")))?;
    // Before anything is read: two agents with one record would each believe their own copy.
    let _claim = Claim::take(directory)?;
    let mut device = Device::start(settings, directory)?;
    ready(&device.ready);
    tell_systemd(NotifyState::Ready);
    let ended = device.live(&mut signals).await;
    tell_systemd(NotifyState::Stopping);
    ended
}

/// What people and service managers tell a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// SIGUSR1.
    button: Signal,
    /// SIGHUP. By itself it would end the process, and it means "read your configuration again" to most
    /// who send it; it also comes when the terminal of whoever started the device is closed.
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            button: signal(SignalKind::user_defined1())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Nothing happens where no service manager waits (`NOTIFY_SOCKET` is not set).
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

/// The service manager ends a process that falls silent (systemd's `WatchdogSec`): this loop speaks
/// while it turns.
struct Watchdog {
    every: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// Twice within the time that the service manager allows.
    fn new() -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|limit| limit / 2), next: Instant::ZERO }
    }

    /// Speaks when it is time; says when it will be again.
    fn feed(&mut self, now: Instant) -> Option<Instant> {
        let every = self.every?;
        if self.next <= now {
            tell_systemd(NotifyState::Watchdog);
            self.next = now + every;
        }
        Some(self.next)
    }
}

pub(super) struct Device {
    pub(super) records: Records,
    pub(super) coap: coap::Endpoint,
    pub(super) secure: Secure,
    pub(super) waiting: Waiting,
    ready: Ready,
    sockets: Sockets,
    /// The interface by which each path's datagrams came last.
    ways: Vec<u32>,
    /// What watchers were told last.
    announced: Arc<State>,
    interfaces_read: Instant,
}

impl Device {
    /// Begins a new life: what the last one left is taken up, and what it left half done is done.
    fn start(settings: Settings, directory: &std::path::Path) -> Result<Self, Error> {
        let now = clock::now();
        let mut parts = Parts::make(settings, directory)?;
        let retry = directory.join("retry");
        if retry.exists() {
            tracing::info!("the file `retry` is there: packages that failed may be tried again");
            parts.state.failed.clear();
        }
        let workshop =
            Workshop::open(parts.bench).map_err(|error| Error::Start(error.to_string()))?;
        let engine = Engine::start(parts.ledger, &parts.state, parts.rules, workshop, now)
            .map_err(Error::keep)?;
        ownership::take_file(retry)?;
        let mut guarding = vec![];
        let ownership = match parts.ownership {
            None => None,
            Some(Opened { ledger, state: Some(state), rules }) => {
                let (keeper, effects) =
                    Keeper::resume_security(ledger, &state, now).map_err(Error::keep)?;
                guarding = effects;
                Some(Ownership { keeper, rules, locked: false })
            }
            Some(Opened { ledger, state: None, rules }) => {
                Some(Ownership { keeper: Keeper::without_record(ledger), rules, locked: true })
            }
        };
        let announced = Arc::new(engine.state().clone());
        let records = Records { about: parts.about, engine, ownership, memo: Memo::default() };
        let mut device = Self {
            records,
            coap: parts.coap,
            secure: parts.secure,
            waiting: Waiting::default(),
            ready: parts.ready,
            sockets: parts.sockets,
            ways: Vec::new(),
            announced,
            interfaces_read: now.mono,
        };
        device.begin(guarding, ownership::reset_file(directory)?, now);
        Ok(device)
    }

    fn begin(&mut self, guarding: Vec<ocf::security::Effect>, reset: bool, now: Now) {
        match self.records.security() {
            Some(security) => self.secure.adopt(security, self.records.judged(now)),
            None => self.secure.open(self.records.judged(now)),
        }
        self.follow(now);
        self.carry_out_security(guarding, now);
        if reset {
            self.reset_by_hand("the file `reset`", now);
        }
        self.settle(now);
        match &self.records.ownership {
            Some(ownership) if ownership.locked => self.ready.locked = true,
            Some(ownership) => {
                let doxm = &ownership.keeper.state().doxm;
                (self.ready.owned, self.ready.di) = (doxm.owned, doxm.device);
            }
            None => {}
        }
    }

    async fn live(&mut self, signals: &mut Signals) -> Result<(), Error> {
        let mut inbox = Inbox::new();
        let mut watchdog = Watchdog::new();
        let ended = loop {
            let now = clock::now();
            let deadline = self.deadline(now).into_iter().chain(watchdog.feed(now.mono)).min();
            tokio::select! {
                () = self.sockets.ready() => self.receive(&mut inbox),
                woken = self.records.engine.woken() => match woken {
                    Some(woken) => self.woken(woken, clock::now()),
                    // Half a device is worse than one that begins anew.
                    None => break Err(Error::Workshop),
                },
                () = sleep::until(deadline, now.mono) => {}
                _ = signals.button.recv() => self.reset_by_hand("the button (SIGUSR1)", clock::now()),
                _ = signals.hangup.recv() => tracing::warn!(
                    "SIGHUP changes nothing: the configuration is read at the start only"
                ),
                _ = signals.terminate.recv() => break Ok(()),
                _ = signals.interrupt.recv() => break Ok(()),
            }
            self.wake(clock::now());
        };
        // Nothing is lost: what is not on disk was never said, and work is taken up again.
        self.records.engine.stop();
        self.keep_events(true, clock::now());
        self.secure.said.tell(LeftOut::Everything, clock::now().mono);
        tracing::info!("stopped");
        ended
    }

    /// When to wake at the latest: the nearest of everything that is ever waited for.
    fn deadline(&self, now: Now) -> Option<Instant> {
        [
            self.records.engine.deadline(now),
            self.coap.deadline().map(|(at, _)| at),
            self.secure.deadline(),
            self.waiting.deadline(),
            self.secure.said.deadline(),
            Some(self.interfaces_read + INTERFACES_EVERY),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn receive(&mut self, inbox: &mut Inbox) {
        for _ in 0..BATCHES_MAX {
            if !self.sockets.receive(inbox) {
                break;
            }
            let now = clock::now();
            for arrival in inbox.arrivals() {
                self.arrived(&arrival, now);
                // One after the other: what waits for nothing stays in the processor's cache.
                self.drain(now);
            }
            self.settle(now);
        }
    }

    fn arrived(&mut self, arrival: &Arrival<'_>, now: Now) {
        let way = usize::from(arrival.path.0);
        if self.ways.len() <= way {
            self.ways.resize(way + 1, 0);
        }
        self.ways[way] = arrival.interface;
        if arrival.service == Service::Secure {
            let from = dtls::Path { remote: arrival.remote, socket: arrival.path.0 };
            return self.secure.handle_datagram(from, arrival.bytes, self.records.judged(now));
        }
        let peer = Peer { remote: arrival.remote, socket: arrival.path.0, session: 0 };
        let reception = if arrival.multicast { Reception::Multicast } else { Reception::Unicast };
        self.coap.handle_datagram(peer, reception, arrival.bytes, now.mono);
    }

    /// Whatever has fallen due.
    fn wake(&mut self, now: Now) {
        if self.coap.deadline().is_some_and(|(at, _)| at <= now.mono) {
            self.coap.handle_timeout(now.mono);
        }
        if self.secure.deadline().is_some_and(|at| at <= now.mono) {
            self.secure.handle_timeout(self.records.security(), self.records.judged(now));
            // Credentials end by themselves.
            self.end_observations(Lost::Access, now);
        }
        self.keep_events(false, now);
        self.secure.said.tell(LeftOut::WhatIsDue, now.mono);
        if self.records.engine.wake(now) {
            self.tell(Resource::UpdateStatus, Notify::NonConfirmable, now);
        }
        if now.mono - self.interfaces_read >= INTERFACES_EVERY {
            self.interfaces_read = now.mono;
            self.sockets.refresh();
        }
        self.settle(now);
    }

    /// Carries on until nothing is left to do now: the engine's next stages, answers, datagrams.
    fn settle(&mut self, now: Now) {
        loop {
            self.drain(now);
            self.finish_reset(now);
            self.follow(now);
            if !self.records.engine.tick(now) {
                break;
            }
        }
        self.drain(now);
        self.sockets.flush();
    }

    fn drain(&mut self, now: Now) {
        self.drain_sessions(now);
        while let Some(output) = self.coap.poll_output() {
            match output {
                coap::Output::Datagram { peer, bytes } if peer.session == 0 => {
                    self.sockets.send(Path(peer.socket), peer.remote, bytes);
                }
                coap::Output::Datagram { peer, bytes } => {
                    self.secure.send(peer, &bytes, now);
                    self.drain_sessions(now);
                }
                coap::Output::Request { ticket, peer, reception, request } => {
                    self.requested(ticket, peer, reception, request, now);
                }
                // The device asks nobody anything.
                coap::Output::Response { .. }
                | coap::Output::Part { .. }
                | coap::Output::Failed { .. } => {}
            }
        }
    }

    fn drain_sessions(&mut self, now: Now) {
        let judged = self.records.judged(now);
        while let Some(event) = self.secure.poll_event(self.records.security(), judged) {
            match event {
                Event::Datagram { path, bytes } => {
                    self.sockets.send(Path(path.socket), path.remote, bytes);
                }
                Event::Data { peer, bytes } => {
                    self.coap.handle_datagram(peer, Reception::Unicast, &bytes, now.mono);
                }
                Event::Ended { peer, onboarding } => {
                    self.coap.session_ended(peer);
                    if onboarding {
                        self.onboarding_lost(now);
                    }
                }
                Event::Stranger { path, reason } => self.stranger(path, &reason, now),
            }
        }
    }

    fn requested(
        &mut self,
        ticket: Ticket,
        peer: Peer,
        reception: Reception,
        request: Request,
        now: Now,
    ) {
        let endpoints =
            if Resource::needs_endpoints(&request) { self.endpoints(peer) } else { Vec::new() };
        let subject = self.secure.subject(peer, self.records.security(), self.records.judged(now));
        let spoken = tracing::enabled!(tracing::Level::DEBUG).then(|| spoken(&request));
        let site = self.records.site(&endpoints, self.secure.is_onboarding(), now);
        let (response, watched) = match ocf::answer(&site, &subject, reception, request) {
            Answer::Silence => return self.coap.ignore(ticket, now.mono),
            Answer::Reply(response, watched) => (response, watched),
            Answer::Denied(response, resource) => {
                self.denied(resource, &subject, peer, now);
                (response, None)
            }
            Answer::Refused(response) => {
                self.refused(&response, &subject, peer, now);
                (response, None)
            }
            Answer::Write(write, pending) => (self.write(write, &pending, peer, now), None),
            Answer::Roles(change, pending) => {
                (self.change_roles(change, &pending, peer, now), None)
            }
            Answer::Order(command, pending) => (self.order(command, &pending, peer, now), None),
        };
        if let Some(spoken) = spoken {
            let code = response.code.0;
            tracing::debug!("{}: {spoken}: {}.{:02}", peer.remote, code >> 5, code & 31);
        }
        let topic = watched.and_then(Resource::topic);
        self.coap.respond(ticket, response, topic, now.mono);
        self.follow(now);
    }

    /// A door that is a task asks, or a piece of work has ended.
    fn woken(&mut self, woken: Woken, now: Now) {
        match woken {
            Woken::Report(work, report) => self.records.engine.reported(work, report, now),
            Woken::Request(request) => {
                let gate = self.gate();
                if let Some((command, declined)) = self.records.engine.serve(request, gate, now) {
                    self.audit_declined(&command, &declined, now);
                }
            }
        }
        self.follow(now);
    }

    /// Whether doors may order, as ownership has it.
    fn gate(&self) -> Gate {
        if self.records.ownership.as_ref().is_some_and(|ownership| ownership.locked) {
            return Gate::Locked;
        }
        match self.records.security().map(|security| security.onboarding) {
            None | Some(OnboardingState::Rfpro | OnboardingState::Rfnop) => Gate::Open,
            Some(OnboardingState::Rfotm) => Gate::Unowned,
            Some(OnboardingState::Sreset) => Gate::Repairing,
            Some(OnboardingState::Reset) => Gate::Resetting,
        }
    }

    /// An order by CoAP. What it sets going begins after the answer.
    fn order(
        &mut self,
        mut command: update::Command,
        pending: &Pending,
        peer: Peer,
        now: Now,
    ) -> Response {
        command.came_from(&peer.remote);
        let asker = command.origin().map_or("", |origin| &origin.principal);
        tracing::info!("{asker} at {} asks: {command}", peer.remote);
        let result = self.records.engine.command(command.clone(), now);
        self.audit_order(&command, result.as_ref().err(), now);
        let site = self.records.site(&[], self.secure.is_onboarding(), now);
        match result {
            Ok(_) => pending.done(&site, None),
            Err(Declined::Refused(refusal)) => pending.done(&site, Some(&refusal)),
            Err(Declined::NotDurable(_) | Declined::Closed(_)) => Pending::not_durable(),
        }
    }

    /// What follows from the steps taken so far: everyone who watches is told, then the work begins.
    pub(super) fn follow(&mut self, now: Now) {
        while let Some(told) = self.records.engine.poll_told() {
            self.announce(told, now);
        }
        self.records.engine.act(now);
    }

    fn announce(&mut self, told: Told, now: Now) {
        let Told { state, terminal, .. } = told;
        log(&self.announced, &state);
        let changed = ocf::changed(&self.announced, &state, terminal);
        self.announced = state;
        let kind = if terminal { Notify::Confirmable } else { Notify::NonConfirmable };
        for resource in changed {
            self.tell(resource, kind, now);
        }
    }

    pub(super) fn tell(&mut self, resource: Resource, kind: Notify, now: Now) {
        let Some(topic) = resource.topic() else { return };
        // Nobody is told by what opened the door once: credentials and permissions end with time.
        self.end_observations(Lost::Access, now);
        let site = self.records.site(&[], self.secure.is_onboarding(), now);
        self.coap
            .notify(topic, kind, now.mono, |watcher| ocf::render(&site, resource, watcher.request));
    }

    /// The endpoints that this peer could use, as links name them.
    fn endpoints(&self, peer: Peer) -> Vec<String> {
        let way = self.ways.get(usize::from(peer.socket)).copied().unwrap_or_default();
        self.sockets
            .endpoints(way, peer.remote)
            .map(|(service, address)| match service {
                Service::Clear => format!("coap://{address}"),
                Service::Secure => format!("coaps://{address}"),
            })
            .collect()
    }
}

/// A request in words; never its body, which may hold keys.
fn spoken(request: &Request) -> String {
    let method = match request.code {
        Code::GET if request.options.uint(option::OBSERVE) == Some(0) => "GET (observe)",
        Code::GET => "GET",
        Code::POST => "POST",
        Code::DELETE => "DELETE",
        _ => "another method",
    };
    let path: Vec<&str> = request.path().map(|segment| segment.unwrap_or("?")).collect();
    let queries: Vec<&str> = request.queries().map(|query| query.unwrap_or("?")).collect();
    let mark = if queries.is_empty() { "" } else { "?" };
    format!("{method} /{}{mark}{}", path.join("/"), queries.join("&")).escape_debug().to_string()
}

/// The update's life story.
fn log(before: &State, after: &State) {
    let (from, to) = (before.phase.name(), after.phase.name());
    if from != to {
        let version = after.phase.offer().or(before.phase.offer());
        let version = version.map_or("", |offer| &*offer.version);
        tracing::info!("{from} -> {to} {version}");
    }
    match &after.outcome {
        outcome if *outcome == before.outcome => {}
        update::Outcome::None => {}
        update::Outcome::Success => tracing::info!("success: {} runs", after.running.version),
        update::Outcome::Failed(failure) => tracing::warn!("failed: {}", failure.detail),
    }
}
