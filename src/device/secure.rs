//! Secure sessions: between the sockets and CoAP, and who each peer turned out to be.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::pin::Pin;
use super::policy::{self, Configured, PIN_IDENTITY};
use crate::clock::{Instant, Now};
use crate::coap::Peer;
use crate::dtls::{
    self, Config, Endpoint, Output, OwnerTransfer, Path, PeerIdentity, Secrets, SessionId,
    SessionInfo, Suite,
};
use crate::ocf::security::{
    Method, OnboardingState, ROLES_MAX, Role, RoleChange, Secret, Security,
};
use crate::ocf::{Identified, Subject};

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
    /// What a new session can be: as the policy that let it in.
    stage: Stage,
    /// When the sessions that are nobody's any more are closed.
    closing: Option<Instant>,
    /// Keys and certificates come and go with time.
    policy_read: Instant,
}

/// How often the policy is made anew, for periods of credentials that begin or end.
const POLICY_EVERY: Duration = Duration::from_secs(60);

struct Session {
    peer: Peer,
    proof: Proof,
    roles: Vec<Role>,
}

/// What a peer has proved.
enum Proof {
    /// To be one of those whom the configuration names.
    Configured(String),
    /// Nothing, or what the chosen transfer asks for: it onboards the device.
    Onboarding,
    /// That it has the key of this one.
    Key(Uuid),
    /// That it has the key of this certificate (DER).
    Certificate(Uuid, Vec<u8>),
    /// Nothing any more: what it proved was forgotten.
    Void,
}

/// The one connection by which the device is taken into ownership.
struct Onboarding {
    session: u64,
    transfer: OwnerTransfer,
    secrets: Option<Secrets>,
    heard: Instant,
}

/// What is asked of whoever connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be named by the configuration.
    Open,
    /// The same, or to onboard the device by this method.
    Transfer(Option<Method>),
    /// To be provided for by the owner.
    Owned,
    /// Nobody is let in.
    Closed,
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
            stage: Stage::Closed,
            closing: None,
            policy_read: Instant::ZERO,
        }
    }

    /// Everything is open to everyone; those whom the configuration names may come securely.
    pub(super) fn open(&mut self, now: Now) {
        self.stage = Stage::Open;
        self.dtls.set_policy(self.configured.open(), now);
    }

    /// Lets in whom this state lets in; sessions that it would not have let in are nobody's from now.
    pub(super) fn adopt(&mut self, security: &Security, now: Now) {
        self.stage = match security.onboarding {
            OnboardingState::Reset => Stage::Closed,
            OnboardingState::Rfotm => Stage::Transfer(security.doxm.selected),
            _ => Stage::Owned,
        };
        self.policy_read = now.mono;
        let connected = self.onboarding.is_some();
        let policy = self.configured.policy(security, self.pin.digits(), connected, now);
        self.dtls.set_policy(policy, now);
        let void = |proof: &Proof| match proof {
            Proof::Configured(_) => security.doxm.owned,
            Proof::Onboarding | Proof::Void => false,
            Proof::Key(uuid) => !has_key(security, *uuid, now),
            Proof::Certificate(..) => policy::anchors(security, now).is_empty(),
        };
        for session in self.sessions.values_mut().filter(|session| void(&session.proof)) {
            session.proof = Proof::Void;
            self.closing.get_or_insert(now.mono + LAST_WORDS);
        }
    }

    /// Shows a new PIN as soon as that may be.
    pub(super) fn want_pin(&mut self, now: Instant) {
        self.pin.want(now);
    }

    /// Shows no PIN any more.
    pub(super) fn hide_pin(&mut self) {
        self.pin.hide();
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
        let Some(security) = security else { return };
        if self.pin.show_due(now.mono) || now.mono - self.policy_read >= POLICY_EVERY {
            self.adopt(security, now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let dtls = self.dtls.deadline().map(|(at, _)| at);
        let silence = self.onboarding.as_ref().map(Onboarding::silence_ends);
        let policy = (self.stage == Stage::Owned).then(|| self.policy_read + POLICY_EVERY);
        [dtls, silence, policy, self.closing, self.pin.deadline()].into_iter().flatten().min()
    }

    /// Encrypts for the session of this peer. What cannot be sent is lost, as on any network.
    pub(super) fn send(&mut self, peer: Peer, bytes: &[u8], now: Now) {
        let Some(session) = SessionId::new(peer.session) else { return };
        if let Err(error) = self.dtls.send(session, bytes, now) {
            tracing::debug!("to {}: {error}", peer.remote);
        }
    }

    /// Who is at the other end.
    pub(super) fn subject(&self, peer: Peer, security: Option<&Security>, now: Now) -> Subject {
        let Some(session) = self.sessions.get(&peer.session) else { return Subject::Anonymous };
        let identified =
            |uuid, by_key| Subject::Peer(Identified { uuid, by_key, roles: session.roles.clone() });
        match (&session.proof, security) {
            (Proof::Configured(name), _) => Subject::Known(name.clone()),
            (Proof::Onboarding, Some(security)) => match security.onboarding {
                OnboardingState::Rfotm | OnboardingState::Rfpro => Subject::Onboarding,
                // It has made itself the owner, and is no more than that now.
                _ => identified(security.doxm.owner, false),
            },
            (Proof::Key(uuid), Some(security)) if has_key(security, *uuid, now) => {
                identified(*uuid, true)
            }
            (Proof::Certificate(uuid, _), Some(_)) => identified(*uuid, false),
            _ => Subject::Anonymous,
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
        let Proof::Certificate(_, holder) = &session.proof else { return Err(nobody()) };
        let mut roles = session.roles.clone();
        match change {
            RoleChange::Forget(None) => roles.clear(),
            RoleChange::Forget(Some(n)) if (1..=roles.len()).contains(&n) => {
                roles.remove(n - 1);
            }
            RoleChange::Forget(Some(_)) => return Err("there is no such role".into()),
            RoleChange::Assert(chains) => {
                let anchors = policy::anchors(security, now);
                for chain in chains {
                    let (name, authority) =
                        dtls::verify_role(chain.as_bytes(), holder, &anchors, now)
                            .map_err(|error| error.to_string())?;
                    let role = Role { name, authority };
                    if !roles.contains(&role) {
                        roles.push(role);
                    }
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
                        tracing::info!("{} is gone: {reason:?}", peer.remote);
                        return Some(Event::Ended { peer, onboarding });
                    }
                }
                Output::HandshakeFailed { path, reason, guessed, .. } => {
                    tracing::warn!("{} could not connect: {reason}", path.remote);
                    if guessed
                        && self.pin.was_wrong(now.mono)
                        && let Some(security) = security
                    {
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
        let proof = self.proof(info);
        match &proof {
            Some(Proof::Onboarding) => tracing::info!("{} onboards the device", path.remote),
            Some(Proof::Configured(name)) => tracing::info!("{} is {name}", path.remote),
            Some(Proof::Key(uuid) | Proof::Certificate(uuid, _)) => {
                tracing::info!("{} is {uuid}", path.remote);
            }
            Some(Proof::Void) | None => {
                tracing::warn!("{} came too late, or as nobody", path.remote);
                return self.dtls.close(session, now);
            }
        }
        if let Some(Proof::Onboarding) = proof {
            self.pin.was_right();
            let transfer = match self.stage {
                Stage::Transfer(Some(Method::RandomPin)) => OwnerTransfer::RandomPin,
                Stage::Transfer(Some(Method::ManufacturerCertificate)) => {
                    OwnerTransfer::ManufacturerCertificate
                }
                _ => OwnerTransfer::JustWorks,
            };
            let secrets = self.dtls.secrets(session);
            self.onboarding =
                Some(Onboarding { session: number, transfer, secrets, heard: now.mono });
        }
        let proof = proof.unwrap_or(Proof::Void);
        self.sessions.insert(number, Session { peer, proof, roles: vec![] });
        match security {
            Some(security) if self.onboarding.is_some() => self.adopt(security, now),
            _ => {}
        }
    }

    /// What this session proves at this stage; none if it has no place there.
    fn proof(&self, info: &SessionInfo) -> Option<Proof> {
        let free = self.onboarding.is_none();
        match (self.stage, &info.peer) {
            (Stage::Closed, _) => None,
            (Stage::Transfer(Some(Method::JustWorks)), PeerIdentity::Anonymous) => {
                (free && info.suite == Suite::EcdhAnonAes128CbcSha256).then_some(Proof::Onboarding)
            }
            (Stage::Transfer(Some(Method::ManufacturerCertificate)), PeerIdentity::Anonymous) => {
                (free && info.suite != Suite::EcdhAnonAes128CbcSha256).then_some(Proof::Onboarding)
            }
            (Stage::Transfer(Some(Method::RandomPin)), PeerIdentity::Psk(identity))
                if identity == PIN_IDENTITY =>
            {
                (free && self.pin.digits().is_some()).then_some(Proof::Onboarding)
            }
            (Stage::Open | Stage::Transfer(_), PeerIdentity::Psk(identity)) => {
                let name = String::from_utf8_lossy(identity).escape_debug().to_string();
                self.configured.knows(identity).then_some(Proof::Configured(name))
            }
            (Stage::Open | Stage::Transfer(_), PeerIdentity::Certificate { uuid, .. }) => {
                let name = uuid.map_or("a certificate".into(), |uuid| uuid.to_string());
                Some(Proof::Configured(name))
            }
            (Stage::Owned, PeerIdentity::Psk(identity)) => {
                policy::uuid_of(identity).map(Proof::Key)
            }
            (Stage::Owned, PeerIdentity::Certificate { chain, uuid: Some(uuid) }) => {
                chain.first().map(|leaf| Proof::Certificate(*uuid, leaf.clone()))
            }
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

fn has_key(security: &Security, uuid: Uuid, now: Now) -> bool {
    security.cred.shared_keys(now.wall).any(|(subject, _)| subject == uuid)
}
