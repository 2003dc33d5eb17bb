//! The endpoint: many peers on the caller's sockets; the only type other rooms drive.
//!
//! A datagram finds its peer by one look-up. A stranger gets a cookie and leaves no trace; one that
//! brings the cookie back gets a handshake; a finished handshake becomes a session. A peer may have
//! both at once: one that lost its session comes back from the same port, and the old session lives
//! until the new one stands (RFC 6347 section 4.2.8).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::alert;
use super::client::Client;
use super::cookie::{Brought, COOKIE_BYTES, Cookies};
use super::half_open;
use super::handshake::{Handshake, Surroundings};
use super::message::{self, Fragment, HelloFront, kind, put_fragment_header};
use super::record::{self, DTLS_1_0, Record, Records, content};
use super::secrets::Secrets;
use super::server::Server;
use super::session::{Heard, Session};
use super::wire::{Reader, put_u16};
use super::{
    ClientPolicy, CloseReason, Config, Counters, Error, Output, Path, Policy, Role, SessionId,
    SessionInfo, Wait,
};
use crate::clock::{Instant, Now};

/// Many DTLS sessions on the caller's sockets, both roles.
pub struct Endpoint {
    config: Config,
    policy: Arc<Policy>,
    generation: u64,
    rng: ChaCha20Rng,
    cookies: Cookies,
    peers: HashMap<Path, Peer>,
    /// Where to find sessions, and handshakes that we began.
    paths: HashMap<SessionId, Path>,
    /// One entry a peer, at its deadline or before it.
    timers: BTreeMap<(Instant, Path), Wait>,
    half_open: usize,
    sessions: usize,
    last_session: u64,
    outputs: VecDeque<Output>,
    counters: Counters,
}

#[derive(Default)]
struct Peer {
    session: Option<Box<Session>>,
    pending: Option<Pending>,
    timer: Option<Instant>,
}

enum Pending {
    Server(Box<Server>),
    Client(Box<Client>),
}

impl Endpoint {
    /// An endpoint that lets nobody in yet. The `seed` has to be new and secret: randoms,
    /// initialisation vectors and cookies come from it. (Ephemeral keys and signatures come from
    /// `ring`, which asks the operating system.)
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self {
            config,
            policy: Arc::default(),
            generation: 0,
            rng,
            cookies: Cookies::new(secret),
            peers: HashMap::new(),
            paths: HashMap::new(),
            timers: BTreeMap::new(),
            half_open: 0,
            sessions: 0,
            last_session: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Replaces what clients may do. A handshake that is under way has met the former policy: unless
    /// the two are the same, it ends, so that whoever connects from now on was judged by this one.
    pub fn set_policy(&mut self, policy: Policy, now: Now) {
        if *self.policy == policy {
            return;
        }
        self.policy = Arc::new(policy);
        self.generation += 1;
        let is_server = |peer: &Peer| matches!(peer.pending, Some(Pending::Server(_)));
        let mut under_way: Vec<Path> =
            self.peers.iter().filter(|(_, peer)| is_server(peer)).map(|(path, _)| *path).collect();
        // The same in every life of a simulated world.
        under_way.sort_unstable();
        for path in under_way {
            self.fail(path, Error::PolicyChanged, now);
        }
    }

    /// How many times the policy was replaced by another.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes one datagram from the network.
    pub fn handle_datagram(&mut self, from: Path, bytes: &[u8], now: Now) {
        for record in Records::new(bytes) {
            match record.epoch {
                0 if self.take_plain(from, &record, now).is_break() => break,
                0 => {}
                1 => self.take_sealed(from, &record, now),
                _ => self.counters.records_dropped += 1,
            }
        }
        self.set_timer(from);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(((due, path), _)) = self.timers.first_key_value()
            && *due <= now.mono
        {
            let path = *path;
            self.timers.pop_first();
            self.take_timeout(path, now);
            self.set_timer(path);
        }
    }

    /// When [`Endpoint::handle_timeout`] has to be called at the latest, and why.
    pub fn deadline(&self) -> Option<(Instant, Wait)> {
        self.timers.first_key_value().map(|((due, _), wait)| (*due, *wait))
    }

    /// The next thing to do or to know; take them until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Sends application data.
    ///
    /// # Errors
    /// [`Error::NoSession`], or [`Error::TooLong`] beyond [`Endpoint::data_bytes_max`].
    pub fn send(&mut self, session: SessionId, bytes: &[u8], _now: Now) -> Result<(), Error> {
        let max = self.data_bytes_max(session).ok_or(Error::NoSession)?;
        if bytes.len() > max {
            return Err(Error::TooLong { bytes: bytes.len(), max });
        }
        let path = *self.paths.get(&session).ok_or(Error::NoSession)?;
        let standing = standing(&mut self.peers, path, session).ok_or(Error::NoSession)?;
        if standing.is_exhausted() {
            self.end_session(path, CloseReason::Exhausted);
            return Err(Error::NoSession);
        }
        let bytes = standing.seal(bytes, &mut self.rng);
        self.outputs.push_back(Output::Datagram { path, bytes });
        Ok(())
    }

    /// How many bytes one [`Endpoint::send`] may carry, from the path's size and the suite.
    pub fn data_bytes_max(&self, session: SessionId) -> Option<usize> {
        let peer = self.peers.get(self.paths.get(&session)?)?;
        let session = peer.session.as_ref().filter(|standing| standing.id == session)?;
        Some(session.data_bytes_max(self.config.datagram_bytes_max))
    }

    /// Begins a session with a server. [`Output::Connected`] or [`Output::HandshakeFailed`] with the
    /// same name follows. A handshake that is under way on the path is given up; a session that
    /// stands there is replaced once the new one does.
    ///
    /// # Errors
    /// [`Error::Full`], or [`Error::NoSharedSuite`] when the policy has no key for any suite.
    pub fn connect(
        &mut self,
        path: Path,
        policy: ClientPolicy,
        now: Now,
    ) -> Result<SessionId, Error> {
        self.drop_pending(path, Error::Abandoned);
        if self.half_open >= self.config.half_open_max {
            return Err(Error::Full);
        }
        let session = self.next_session();
        let mut around = surroundings(&self.config, &mut self.rng, now);
        let handshake = Handshake::new(session, Role::Client, 0, 0, &around);
        let client = Client::start(handshake, policy, &mut around)?;
        let datagrams = around.datagrams;
        self.half_open += 1;
        self.paths.insert(session, path);
        self.peers.entry(path).or_default().pending = Some(Pending::Client(Box::new(client)));
        self.push_datagrams(path, datagrams);
        self.set_timer(path);
        Ok(session)
    }

    /// Ends a session with close_notify, or gives up a handshake of ours. Unknown names are ignored.
    pub fn close(&mut self, session: SessionId, now: Now) {
        let Some(path) = self.paths.get(&session).copied() else { return };
        if standing(&mut self.peers, path, session).is_some() {
            self.end_session(path, CloseReason::Here);
        } else {
            self.fail(path, Error::Abandoned, now);
        }
    }

    /// Hands out the secrets of a session, once: the endpoint keeps no copy. `None` unless the
    /// policy of the handshake had `keep_secrets`.
    pub fn secrets(&mut self, session: SessionId) -> Option<Secrets> {
        let path = *self.paths.get(&session)?;
        standing(&mut self.peers, path, session)?.secrets.take().map(|secrets| *secrets)
    }

    /// What was dropped so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many peers something is kept for, and how many of them have a timer.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> (usize, usize) {
        assert_eq!(self.peers.is_empty(), self.paths.is_empty() && self.half_open == 0);
        (self.peers.len(), self.timers.len())
    }

    // ── records ───────────────────────────────────────────────────────────────────────────────

    /// Breaks off with a datagram that was answered with a cookie: one is enough, and whoever borrowed
    /// the address brings no more than that upon its owner.
    fn take_plain(&mut self, path: Path, record: &Record<'_>, now: Now) -> ControlFlow<()> {
        if let Some((fragment, front)) = hello_in(record) {
            match self.cookies.judge(path, &front, now.mono) {
                Brought::Ours(cookie) => {
                    self.take_hello(path, record, &fragment, (&front, cookie), now);
                }
                Brought::NotOurs => {
                    let cookie = self.cookies.bake(path, &front, now.mono);
                    let bytes = hello_verify_request(record.sequence, fragment.sequence, &cookie);
                    self.counters.cookies_sent += 1;
                    self.outputs.push_back(Output::Datagram { path, bytes });
                    return ControlFlow::Break(());
                }
                Brought::TooLittle => self.counters.records_dropped += 1,
            }
            return ControlFlow::Continue(());
        }
        let Some(Peer { pending: Some(pending), .. }) = self.peers.get_mut(&path) else {
            // Nothing in the clear concerns a session that stands.
            self.counters.records_dropped += 1;
            return ControlFlow::Continue(());
        };
        let mut around = surroundings(&self.config, &mut self.rng, now);
        let taken = pending.handshake().take_plain(record, &mut around);
        let done = taken.and_then(|()| pending.advance(&mut around));
        let datagrams = around.datagrams;
        self.settle(path, done, datagrams, now);
        ControlFlow::Continue(())
    }

    /// Takes a hello, or its first fragment, that brings a cookie of ours.
    fn take_hello(
        &mut self,
        path: Path,
        record: &Record<'_>,
        fragment: &Fragment<'_>,
        (front, cookie): (&HelloFront<'_>, [u8; COOKIE_BYTES]),
        now: Now,
    ) {
        let is_of = |peer: &Peer, random: &[u8; 32]| {
            let session = peer.session.as_ref().is_some_and(|one| one.client_random == *random);
            (session, peer.pending.as_ref().map(|pending| pending.is_server_of(random)))
        };
        match self.peers.get(&path).map_or((false, None), |peer| is_of(peer, &front.random)) {
            // Another piece or copy of a hello that is being answered: below.
            (_, Some(Some(true))) => {}
            // A late copy, or two hellos that crossed.
            (true, _) | (_, Some(None)) => {
                self.counters.records_dropped += 1;
                return;
            }
            _ => {
                if !self.begin_server(path, record, fragment, (front, cookie), now) {
                    self.counters.hellos_refused += 1;
                    return;
                }
            }
        }
        let Some(Peer { pending: Some(pending), .. }) = self.peers.get_mut(&path) else { return };
        let mut around = surroundings(&self.config, &mut self.rng, now);
        let taken = pending.handshake().take_plain(record, &mut around);
        let done = taken.and_then(|()| pending.advance(&mut around));
        let datagrams = around.datagrams;
        self.settle(path, done, datagrams, now);
    }

    /// Makes room for a handshake with a client that has proven its address; false if there is none.
    fn begin_server(
        &mut self,
        path: Path,
        record: &Record<'_>,
        fragment: &Fragment<'_>,
        (front, cookie): (&HelloFront<'_>, [u8; COOKIE_BYTES]),
        now: Now,
    ) -> bool {
        // The client began anew: what it left behind will not be finished.
        self.drop_pending(path, Error::Abandoned);
        if self.half_open >= self.config.half_open_max {
            let under_way = self.peers.iter().filter_map(|(path, peer)| match &peer.pending {
                Some(Pending::Server(server)) => Some((*path, server.handshake.give_up())),
                _ => None,
            });
            let Some(other) = half_open::gives_way(path, under_way) else { return false };
            self.drop_pending(other, Error::Abandoned);
        }
        let session = self.next_session();
        let around = surroundings(&self.config, &mut self.rng, now);
        let mut handshake =
            Handshake::new(session, Role::Server, fragment.sequence, record.sequence, &around);
        handshake.client_random = front.random;
        let policy = Arc::clone(&self.policy);
        let server = Server::new(handshake, cookie, policy, self.generation);
        self.peers.entry(path).or_default().pending = Some(Pending::Server(Box::new(server)));
        self.half_open += 1;
        true
    }

    fn take_sealed(&mut self, path: Path, record: &Record<'_>, now: Now) {
        let Some(peer) = self.peers.get_mut(&path) else {
            self.counters.records_dropped += 1;
            return;
        };
        // First the session that stands: what it can open is no guess at the key of a new one.
        let heard = peer.session.as_mut().map_or(Heard::Nothing, |session| {
            session.take(record, now.mono, &self.config, &mut self.rng)
        });
        if heard != Heard::Nothing {
            return self.act(path, heard);
        }
        let Some(pending) = &mut peer.pending else {
            self.counters.records_dropped += 1;
            return;
        };
        let mut around = surroundings(&self.config, &mut self.rng, now);
        let done = match pending.handshake().take_sealed(record, &mut around) {
            Ok(false) => {
                self.counters.records_dropped += 1;
                return;
            }
            Ok(true) => pending.advance(&mut around),
            Err(error) => Err(error),
        };
        let datagrams = around.datagrams;
        self.settle(path, done, datagrams, now);
    }

    /// Acts on a record of a session that stands.
    fn act(&mut self, path: Path, heard: Heard) {
        let id = self.peers.get(&path).and_then(|peer| peer.session.as_ref()).map(|one| one.id);
        match (heard, id) {
            (Heard::Data(bytes), Some(session)) => {
                self.outputs.push_back(Output::Data { session, bytes });
            }
            (Heard::Repeat(datagrams), _) => self.push_datagrams(path, datagrams),
            (Heard::Closed(reason), _) => self.end_session(path, reason),
            _ => {}
        }
    }

    // ── what becomes of handshakes and sessions ───────────────────────────────────────────────

    fn settle(&mut self, path: Path, done: Result<bool, Error>, datagrams: Vec<Vec<u8>>, now: Now) {
        self.push_datagrams(path, datagrams);
        match done {
            Ok(false) => {}
            Ok(true) => self.complete(path, now),
            Err(error) => self.fail(path, error, now),
        }
    }

    fn complete(&mut self, path: Path, now: Now) {
        let Some(pending) = self.take_pending(path) else { return };
        let around = surroundings(&self.config, &mut self.rng, now);
        let (session, guessed) = (pending.began_by_us(), pending.guessed());
        let finished = match pending {
            Pending::Server(server) => server.finish(&around),
            Pending::Client(client) => client.finish(&around),
        };
        match finished {
            Ok((session, info)) => self.enter(path, session, info),
            Err(reason) => {
                self.forget_if_empty(path);
                self.outputs.push_back(Output::HandshakeFailed { path, session, reason, guessed });
            }
        }
    }

    fn enter(&mut self, path: Path, session: Session, info: SessionInfo) {
        let is_replaced = self.peers.get(&path).is_some_and(|peer| peer.session.is_some());
        if is_replaced {
            self.end_session(path, CloseReason::Replaced);
        } else if self.sessions >= self.config.sessions_max
            && let Some(idle) = self.longest_idle()
        {
            self.end_session(idle, CloseReason::Evicted);
        }
        let id = session.id;
        self.sessions += 1;
        self.paths.insert(id, path);
        self.peers.entry(path).or_default().session = Some(Box::new(session));
        self.outputs.push_back(Output::Connected { session: id, path, info });
    }

    fn longest_idle(&self) -> Option<Path> {
        let heard = |(path, peer): (&Path, &Peer)| Some((peer.session.as_ref()?.heard, *path));
        self.peers.iter().filter_map(heard).min().map(|(_, path)| path)
    }

    /// Ends the session of a path; tells the peer where it can still hear it.
    fn end_session(&mut self, path: Path, reason: CloseReason) {
        let Some(peer) = self.peers.get_mut(&path) else { return };
        let Some(mut session) = peer.session.take() else { return };
        self.sessions -= 1;
        self.paths.remove(&session.id);
        // A peer that has come back anew has forgotten the old keys.
        if !matches!(reason, CloseReason::Replaced | CloseReason::Alert(_)) {
            let bytes = session.close_notify(&mut self.rng);
            self.outputs.push_back(Output::Datagram { path, bytes });
        }
        self.outputs.push_back(Output::Closed { session: session.id, reason });
        self.forget_if_empty(path);
    }

    /// Ends a handshake and tells both sides.
    fn fail(&mut self, path: Path, error: Error, now: Now) {
        let Some(mut pending) = self.take_pending(path) else { return };
        if let Some(description) = alert::description(&error) {
            let mut around = surroundings(&self.config, &mut self.rng, now);
            pending.handshake().send_alert(description, &mut around);
            let datagrams = around.datagrams;
            self.push_datagrams(path, datagrams);
        }
        self.report_failure(path, &pending, error);
    }

    /// Ends a handshake without a word to the peer.
    fn drop_pending(&mut self, path: Path, error: Error) {
        if let Some(pending) = self.take_pending(path) {
            self.report_failure(path, &pending, error);
        }
    }

    fn report_failure(&mut self, path: Path, pending: &Pending, error: Error) {
        self.forget_if_empty(path);
        let session = pending.began_by_us();
        if let Some(session) = session {
            self.paths.remove(&session);
        }
        let (reason, guessed) = (pending.explain(error), pending.guessed());
        self.outputs.push_back(Output::HandshakeFailed { path, session, reason, guessed });
    }

    /// Every handshake ends here, however it ends.
    fn take_pending(&mut self, path: Path) -> Option<Pending> {
        let pending = self.peers.get_mut(&path)?.pending.take()?;
        self.half_open -= 1;
        self.counters.guesses += u64::from(pending.guesses());
        Some(pending)
    }

    fn forget_if_empty(&mut self, path: Path) {
        let Some(peer) = self.peers.get(&path) else { return };
        if peer.session.is_none() && peer.pending.is_none() {
            if let Some(due) = peer.timer {
                self.timers.remove(&(due, path));
            }
            self.peers.remove(&path);
        }
    }

    fn next_session(&mut self) -> SessionId {
        self.last_session += 1;
        SessionId::new(self.last_session).expect("it starts at 1, and 2^64 handshakes never happen")
    }

    fn push_datagrams(&mut self, path: Path, datagrams: Vec<Vec<u8>>) {
        self.outputs.extend(datagrams.into_iter().map(|bytes| Output::Datagram { path, bytes }));
    }

    // ── time ──────────────────────────────────────────────────────────────────────────────────

    fn take_timeout(&mut self, path: Path, now: Now) {
        let Some(peer) = self.peers.get_mut(&path) else { return };
        peer.timer = None;
        let is_idle = peer
            .session
            .as_ref()
            .is_some_and(|session| session.heard + self.config.idle_max <= now.mono);
        if let Some(pending) = &mut peer.pending {
            let mut around = surroundings(&self.config, &mut self.rng, now);
            let done = pending.handshake().handle_timeout(&mut around).map(|()| false);
            let datagrams = around.datagrams;
            self.settle(path, done, datagrams, now);
        }
        if is_idle {
            self.end_session(path, CloseReason::Idle);
        }
    }

    /// Sees to it that the peer is looked at in time. A timer that is too early is left alone: it
    /// is cheaper to look once too often than to move it with every record.
    fn set_timer(&mut self, path: Path) {
        let Some(peer) = self.peers.get_mut(&path) else { return };
        let pending = peer.pending.as_mut().map(Pending::handshake);
        let waits = pending.map(|handshake| {
            let again = (handshake.retransmission_due(), Wait::Retransmission);
            again.min((handshake.give_up(), Wait::Handshake))
        });
        let idle =
            peer.session.as_ref().map(|session| (session.heard + self.config.idle_max, Wait::Idle));
        let Some((due, wait)) = waits.into_iter().chain(idle).min() else { return };
        if peer.timer.is_some_and(|timer| timer <= due) {
            return;
        }
        if let Some(later) = peer.timer.replace(due) {
            self.timers.remove(&(later, path));
        }
        self.timers.insert((due, path), wait);
    }
}

impl Pending {
    fn handshake(&mut self) -> &mut Handshake {
        match self {
            Self::Server(server) => &mut server.handshake,
            Self::Client(client) => &mut client.handshake,
        }
    }

    fn advance(&mut self, around: &mut Surroundings<'_>) -> Result<bool, Error> {
        match self {
            Self::Server(server) => server.advance(around),
            Self::Client(client) => client.advance(around),
        }
    }

    /// Whether this answers the hello with that random; none if it answers no hello at all.
    fn is_server_of(&self, random: &[u8; 32]) -> Option<bool> {
        match self {
            Self::Server(server) => Some(server.handshake.client_random == *random),
            Self::Client(_) => None,
        }
    }

    fn began_by_us(&self) -> Option<SessionId> {
        match self {
            Self::Server(_) => None,
            Self::Client(client) => Some(client.handshake.session),
        }
    }

    fn guesses(&self) -> u8 {
        match self {
            Self::Server(server) => server.handshake.guesses(),
            Self::Client(client) => client.handshake.guesses(),
        }
    }

    fn guessed(&self) -> bool {
        self.guesses() > 0
    }

    fn explain(&self, error: Error) -> Error {
        match self {
            Self::Server(server) => server.explain(error),
            Self::Client(_) => error,
        }
    }
}

fn surroundings<'a>(config: &'a Config, rng: &'a mut ChaCha20Rng, now: Now) -> Surroundings<'a> {
    Surroundings { now, config, rng, datagrams: vec![] }
}

/// The session of this name, if it stands.
fn standing(
    peers: &mut HashMap<Path, Peer>,
    path: Path,
    session: SessionId,
) -> Option<&mut Session> {
    let standing = peers.get_mut(&path)?.session.as_deref_mut()?;
    (standing.id == session).then_some(standing)
}

/// The front of a ClientHello, if the record begins with one.
fn hello_in<'a>(record: &Record<'a>) -> Option<(Fragment<'a>, HelloFront<'a>)> {
    if record.content != content::HANDSHAKE {
        return None;
    }
    let fragment = Fragment::read(&mut Reader::new(record.body, "ClientHello")).ok()?;
    if fragment.kind != kind::CLIENT_HELLO || fragment.offset != 0 {
        return None;
    }
    let front = HelloFront::read(&mut Reader::new(fragment.body, "ClientHello")).ok()?;
    Some((fragment, front))
}

/// A datagram with a cookie. It is shorter than any hello, so that it is of no use to amplify with.
fn hello_verify_request(record: u64, sequence: u16, cookie: &[u8]) -> Vec<u8> {
    let body = message::write_hello_verify_request(cookie);
    let mut out = Vec::with_capacity(record::HEADER_BYTES + message::HEADER_BYTES + body.len());
    out.push(content::HANDSHAKE);
    put_u16(&mut out, DTLS_1_0);
    out.extend(record::number(0, record).to_be_bytes());
    put_u16(&mut out, (message::HEADER_BYTES + body.len()) as u16);
    let verify = kind::HELLO_VERIFY_REQUEST;
    put_fragment_header(&mut out, verify, body.len(), sequence, 0, body.len());
    out.extend(body);
    out
}
