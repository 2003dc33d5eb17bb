//! Secure sessions: between the sockets and CoAP, and who each peer turned out to be.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::pin::Pin;
use super::policy::{self, Configured, PIN_IDENTITY, Roster};
use super::proof::{Asserted, Proof};
use super::said::Said;
use crate::clock::{Instant, Now};
use crate::coap::Peer;
use crate::dtls::{
    self, Config, Endpoint, Output, OwnerTransfer, Path, PeerIdentity, Secrets, SessionId,
    SessionInfo, Suite,
};
use crate::ocf::Subject;
use crate::ocf::security::{
    Method, OnboardingState, ROLES_MAX, Role, RoleChange, Secret, Security,
};

/// How long a session outlives what its peer proved, as nobody's: so long that the answer to whoever
/// took that away, be it a reset, can be sent and sent again.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The longest silence on the onboarding connection. Tools finish in a second; one that is gone must
/// not keep others out.
const ONBOARDING_SILENCE_MAX: Duration = Duration::from_secs(60);

/// The sessions of a device.
pub(super) struct Secure {
    dtls: Endpoint,
    sessions: HashMap<u64, Session>,
    configured: Configured,
    onboarding: Option<Onboarding>,
    pin: Pin,
    /// What a new session can be; made with the policy that lets it in.
    roster: Roster,
    /// When the sessions that are nobody's any more are closed.
    closing: Option<Instant>,
    /// Keys and certificates come and go with time.
    policy_read: Instant,
    /// When the first of the sessions ends by itself.
    expiry: Option<Instant>,
    /// What strangers made us say, by clear or secure ways.
    pub(super) said: Said,
}

const SECOND: Duration = Duration::from_secs(1);

/// How often the policy is made anew, for periods of credentials that begin or end.
const POLICY_EVERY: Duration = Duration::from_secs(60);

struct Session {
    peer: Peer,
    proof: Proof,
    roles: Vec<Asserted>,
}

/// The one connection by which the device is taken into ownership.
struct Onboarding {
    session: u64,
    transfer: OwnerTransfer,
    secrets: Option<Secrets>,
    heard: Instant,
}

/// What the loop has to do.
pub(super) enum Event {
    /// Send this.
    Datagram { path: Path, bytes: Vec<u8> },
    /// A peer says something.
    Data { peer: Peer, bytes: Vec<u8> },
    /// A peer's session has ended.
    Ended { peer: Peer, onboarding: bool },
    /// A handshake failed for want of the right key or certificate.
    Stranger { path: Path, reason: dtls::Error },
}

impl Secure {
    /// Nobody is let in before [`Self::adopt`].
    pub(super) fn new(configured: Configured, pin: Pin, seed: [u8; 32]) -> Self {
        Self {
            dtls: Endpoint::new(Config::default(), seed),
            sessions: HashMap::new(),
            configured,
            onboarding: None,
            pin,
            roster: Roster::Nobody,
            closing: None,
            policy_read: Instant::ZERO,
            expiry: None,
            said: Said::default(),
        }
    }

    /// Everything is open to everyone; those whom the configuration names may come securely.
    pub(super) fn open(&mut self, now: Now) {
        self.roster = Roster::Configured;
        self.dtls.set_policy(self.configured.open(), now);
    }

    /// Lets in whom this state lets in, by the policy that is made here and by no other: handshakes that
    /// met another one end. Sessions whose proof is gone are nobody's from now, and end soon.
    pub(super) fn adopt(&mut self, security: &Security, now: Now) {
        self.policy_read = now.mono;
        if security.onboarding != OnboardingState::Rfotm {
            self.pin.hide();
        }
        let connected = self.onboarding.is_some();
        let (policy, roster) = self.configured.policy(security, self.pin.digits(), connected, now);
        self.dtls.set_policy(policy, now);
        self.roster = roster;
        for session in self.sessions.values_mut() {
            let proof = std::mem::replace(&mut session.proof, Proof::Void);
            session.proof = proof.settled(security, now);
        }
        self.lapse(Some(security), now);
    }

    /// What does not hold any more is void.
    fn lapse(&mut self, security: Option<&Security>, now: Now) {
        self.expiry = None;
        for session in self.sessions.values_mut() {
            if session.proof.holds(security, now) {
                let left = session.proof.until().map(|until| until - now.wall);
                // The moment after the last one; the clock may be set meanwhile.
                let left = left.map(|left| left.to_std().unwrap_or_default() + SECOND);
                let expiry = left.map(|left| now.mono + left.min(POLICY_EVERY));
                self.expiry = self.expiry.into_iter().chain(expiry).min();
                continue;
            }
            if !matches!(session.proof, Proof::Void) {
                tracing::info!("what {} proved does not hold any more", session.peer.remote);
                session.proof = Proof::Void;
            }
            self.closing.get_or_insert(now.mono + LAST_WORDS);
        }
    }

    /// Shows a PIN as soon as that may be, unless one is shown.
    pub(super) fn want_pin(&mut self, now: Instant) {
        self.pin.want(now);
    }

    /// Another method is chosen. As long as nobody owns the device, the PIN that is shown stays for
    /// whoever chooses it again: anybody can choose otherwise.
    pub(super) fn put_pin_aside(&mut self) {
        self.pin.put_aside();
    }

    /// A reset: nobody is anybody any more, and all sessions end soon.
    pub(super) fn dismiss_all(&mut self, now: Instant) {
        self.onboarding = None;
        self.sessions.values_mut().for_each(|session| session.proof = Proof::Void);
        self.closing = Some(now + LAST_WORDS);
    }

    /// Whether an onboarding connection stands.
    pub(super) fn is_onboarding(&self) -> bool {
        self.onboarding.is_some()
    }

    /// The owner's key, derived from the onboarding connection.
    pub(super) fn owner_key(&self, owner: Uuid, device: Uuid) -> Option<Secret> {
        let Onboarding { transfer, secrets, .. } = self.onboarding.as_ref()?;
        let secrets = secrets.as_ref()?;
        let key = dtls::owner_psk(secrets, *transfer, owner.as_bytes(), device.as_bytes())?;
        Some(Secret::new(key.to_vec()))
    }

    pub(super) fn handle_datagram(&mut self, from: Path, bytes: &[u8], now: Now) {
        self.dtls.handle_datagram(from, bytes, now);
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, security: Option<&Security>, now: Now) {
        self.dtls.handle_timeout(now);
        if self.closing.is_some_and(|at| at <= now.mono) {
            self.closing = None;
            let void = |(number, session): (&u64, &Session)| {
                matches!(session.proof, Proof::Void).then_some(*number)
            };
            let void: Vec<u64> = self.sessions.iter().filter_map(void).collect();
            void.into_iter().for_each(|number| self.close(number, now));
        }
        if let Some(silent) = self.onboarding.as_ref().filter(|one| one.silence_ends() <= now.mono)
        {
            tracing::warn!("the onboarding tool has gone silent");
            self.close(silent.session, now);
        }
        if self.expiry.is_some_and(|at| at <= now.mono) {
            self.lapse(security, now);
        }
        let Some(security) = security else { return };
        if self.pin.show_due(now.mono) || now.mono - self.policy_read >= POLICY_EVERY {
            self.adopt(security, now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let dtls = self.dtls.deadline().map(|(at, _)| at);
        let silence = self.onboarding.as_ref().map(Onboarding::silence_ends);
        let owned = matches!(self.roster, Roster::Owned { .. });
        let policy = owned.then(|| self.policy_read + POLICY_EVERY);
        let ends = [self.closing, self.expiry, self.pin.deadline()];
        [dtls, silence, policy].into_iter().chain(ends).flatten().min()
    }

    /// Encrypts for the session of this peer. What cannot be sent is lost, as on any network.
    pub(super) fn send(&mut self, peer: Peer, bytes: &[u8], now: Now) {
        let Some(session) = SessionId::new(peer.session) else { return };
        if let Err(error) = self.dtls.send(session, bytes, now) {
            tracing::debug!("to {}: {error}", peer.remote);
        }
    }

    /// Who is at the other end: nobody in particular, once what it proved does not hold any more.
    pub(super) fn subject(&self, peer: Peer, security: Option<&Security>, now: Now) -> Subject {
        match self.sessions.get(&peer.session) {
            Some(session) => session.proof.subject(&session.roles, security, now),
            None => Subject::Anonymous,
        }
    }

    /// What a peer says of its roles.
    ///
    /// # Errors
    ///
    /// Words for the peer.
    pub(super) fn change_roles(
        &mut self,
        peer: Peer,
        change: RoleChange,
        security: &Security,
        now: Now,
    ) -> Result<(), String> {
        let nobody = || String::from("roles go with a session that has a certificate");
        let session = self.sessions.get_mut(&peer.session).ok_or_else(nobody)?;
        let Proof::Certificate { leaf, .. } = &session.proof else { return Err(nobody()) };
        let mut roles = session.roles.clone();
        match change {
            RoleChange::Forget(None) => roles.clear(),
            RoleChange::Forget(Some(n)) if (1..=roles.len()).contains(&n) => {
                roles.remove(n - 1);
            }
            RoleChange::Forget(Some(_)) => return Err("there is no such role".into()),
            RoleChange::Assert(chains) => {
                let (entries, anchors): (Vec<_>, Vec<_>) =
                    policy::anchors(security, now).into_iter().unzip();
                for chain in chains {
                    let role = dtls::verify_role(chain.as_bytes(), leaf, &anchors, now)
                        .map_err(|error| error.to_string())?;
                    let dtls::VerifiedRole { name, authority, voucher } = role;
                    let anchor = entries.get(voucher.anchor).cloned().ok_or_else(nobody)?;
                    let role = Role { name, authority };
                    roles.retain(|known| known.role != role);
                    roles.push(Asserted { role, anchor, until: voucher.until });
                }
            }
        }
        if roles.len() > ROLES_MAX {
            return Err(format!("a session has at most {ROLES_MAX} roles"));
        }
        session.roles = roles;
        Ok(())
    }

    pub(super) fn poll_event(&mut self, security: Option<&Security>, now: Now) -> Option<Event> {
        loop {
            match self.dtls.poll_output()? {
                Output::Datagram { path, bytes } => return Some(Event::Datagram { path, bytes }),
                Output::Connected { session, path, info } => {
                    self.connected(session, path, &info, security, now);
                }
                Output::Data { session, bytes } => {
                    let number = session.get();
                    if let Some(one) = self.onboarding.as_mut().filter(|one| one.session == number)
                    {
                        one.heard = now.mono;
                    }
                    if let Some(Session { peer, .. }) = self.sessions.get(&number) {
                        return Some(Event::Data { peer: *peer, bytes });
                    }
                }
                Output::Closed { session, reason } => {
                    let number = session.get();
                    let onboarding = self.onboarding.take_if(|one| one.session == number).is_some();
                    if let Some(Session { peer, .. }) = self.sessions.remove(&number) {
                        if self.said.may_say("is gone", now.mono) {
                            tracing::info!("{} is gone: {reason:?}", peer.remote);
                        }
                        return Some(Event::Ended { peer, onboarding });
                    }
                }
                Output::HandshakeFailed { path, reason, guessed, .. } => {
                    if self.said.may_say("could not connect", now.mono) {
                        tracing::warn!("{} could not connect: {reason}", path.remote);
                    }
                    if guessed
                        && self.pin.was_wrong(now.mono)
                        && let Some(security) = security
                    {
                        let compared = self.dtls.counters().guesses;
                        tracing::info!("PINs compared so far: {compared}");
                        self.adopt(security, now);
                    }
                    if is_strange(&reason) {
                        return Some(Event::Stranger { path, reason });
                    }
                }
            }
        }
    }

    fn connected(
        &mut self,
        session: SessionId,
        path: Path,
        info: &SessionInfo,
        security: Option<&Security>,
        now: Now,
    ) {
        let number = session.get();
        let peer = Peer { remote: path.remote, socket: path.socket, session: number };
        let proof = self.proof(info).filter(|proof| proof.holds(security, now));
        let Some(proof) = proof else {
            if self.said.may_say("came too late, or as nobody", now.mono) {
                tracing::warn!("{} came too late, or as nobody", path.remote);
            }
            return self.dtls.close(session, now);
        };
        match &proof {
            Proof::Onboarding if self.said.may_say("onboards the device", now.mono) => {
                tracing::info!("{} onboards the device", path.remote);
            }
            Proof::Onboarding => {}
            Proof::Configured { name, .. } => tracing::info!("{} is {name}", path.remote),
            Proof::Owner { uuid, .. }
            | Proof::Key { uuid, .. }
            | Proof::Certificate { uuid, .. } => {
                tracing::info!("{} is {uuid}", path.remote);
            }
            Proof::Void => {}
        }
        if let Proof::Onboarding = proof {
            if matches!(self.roster, Roster::Unowned(Some(Method::RandomPin))) {
                self.pin.was_right();
            }
            let transfer = match self.roster {
                Roster::Unowned(Some(Method::RandomPin)) => OwnerTransfer::RandomPin,
                Roster::Unowned(Some(Method::ManufacturerCertificate)) => {
                    OwnerTransfer::ManufacturerCertificate
                }
                _ => OwnerTransfer::JustWorks,
            };
            let secrets = self.dtls.secrets(session);
            self.onboarding =
                Some(Onboarding { session: number, transfer, secrets, heard: now.mono });
        }
        self.sessions.insert(number, Session { peer, proof, roles: vec![] });
        match security {
            // Nobody else is let in now.
            Some(security) if self.onboarding.is_some() => self.adopt(security, now),
            // It may be the first one to end.
            security => self.lapse(security, now),
        }
    }

    /// What this session proves, by the policy that let it in; none if that is another one now, or if
    /// there is no place for it.
    fn proof(&self, info: &SessionInfo) -> Option<Proof> {
        if info.generation != self.dtls.generation() {
            return None;
        }
        let free = self.onboarding.is_none();
        let anonymous_suite = info.suite == Suite::EcdhAnonAes128CbcSha256;
        match (&self.roster, &info.peer) {
            (Roster::Unowned(Some(Method::JustWorks)), PeerIdentity::Anonymous) => {
                (free && anonymous_suite).then_some(Proof::Onboarding)
            }
            (Roster::Unowned(Some(Method::ManufacturerCertificate)), PeerIdentity::Anonymous) => {
                (free && !anonymous_suite).then_some(Proof::Onboarding)
            }
            (Roster::Unowned(Some(Method::RandomPin)), PeerIdentity::Psk(identity))
                if identity == PIN_IDENTITY =>
            {
                (free && self.pin.digits().is_some()).then_some(Proof::Onboarding)
            }
            (Roster::Configured | Roster::Unowned(_), PeerIdentity::Psk(identity)) => {
                let name = String::from_utf8_lossy(identity).escape_debug().to_string();
                let known = self.configured.knows(identity);
                known.then_some(Proof::Configured { name, until: None })
            }
            (
                Roster::Configured | Roster::Unowned(_),
                PeerIdentity::Certificate { uuid, voucher, .. },
            ) => {
                let name = uuid.map_or("a certificate".into(), |uuid| uuid.to_string());
                Some(Proof::Configured { name, until: Some(voucher.until) })
            }
            (Roster::Owned { keys, .. }, PeerIdentity::Psk(identity)) => {
                let (uuid, entry) = keys.get(identity)?.clone();
                Some(Proof::Key { uuid, entry })
            }
            (
                Roster::Owned { anchors, .. },
                PeerIdentity::Certificate { chain, uuid: Some(uuid), voucher },
            ) => Some(Proof::Certificate {
                uuid: *uuid,
                leaf: chain.first()?.clone(),
                anchor: anchors.get(voucher.anchor)?.clone(),
                until: voucher.until,
            }),
            _ => None,
        }
    }

    fn close(&mut self, number: u64, now: Now) {
        if let Some(session) = SessionId::new(number) {
            self.dtls.close(session, now);
        }
    }
}

impl Onboarding {
    fn silence_ends(&self) -> Instant {
        self.heard + ONBOARDING_SILENCE_MAX
    }
}

/// Whether a handshake failed for want of the right key or certificate.
fn is_strange(reason: &dtls::Error) -> bool {
    use dtls::Error as E;
    matches!(reason, E::KeyMismatch | E::UnknownPskIdentity | E::NoCertificate | E::Certificate(_))
}

#[cfg(test)]
mod model;
