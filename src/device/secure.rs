//! Secure sessions: between the sockets and CoAP, and who each peer turned out to be.

use std::collections::HashMap;

use super::setup::Error;
use crate::clock::{Instant, Now};
use crate::coap::Peer;
use crate::config::{Certified, Credentials};
use crate::dtls::{
    Anchor, ClientCertificates, Config, Endpoint, IdentityRule, Output, OwnCertificate, Path,
    PeerIdentity, Policy, PreSharedKey, SessionId, Suite,
};
use crate::ocf::Subject;

/// The sessions of a device.
pub(super) struct Secure {
    dtls: Endpoint,
    sessions: HashMap<u64, Session>,
}

struct Session {
    peer: Peer,
    subject: Subject,
}

/// What the loop has to do.
pub(super) enum Event {
    /// Send this.
    Datagram { path: Path, bytes: Vec<u8> },
    /// A peer says something.
    Data { peer: Peer, bytes: Vec<u8> },
    /// A peer's session has ended.
    Ended(Peer),
}

impl Secure {
    /// Sessions with those whom the configuration names.
    pub(super) fn new(credentials: &Credentials, seed: [u8; 32]) -> Result<Self, Error> {
        let mut dtls = Endpoint::new(Config::default(), seed);
        dtls.set_policy(policy(credentials)?);
        Ok(Self { dtls, sessions: HashMap::new() })
    }

    pub(super) fn handle_datagram(&mut self, from: Path, bytes: &[u8], now: Now) {
        self.dtls.handle_datagram(from, bytes, now);
    }

    pub(super) fn handle_timeout(&mut self, now: Now) {
        self.dtls.handle_timeout(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.dtls.deadline().map(|(at, _)| at)
    }

    /// Encrypts for the session of this peer. What cannot be sent is lost, as on any network.
    pub(super) fn send(&mut self, peer: Peer, bytes: &[u8], now: Now) {
        let Some(session) = SessionId::new(peer.session) else { return };
        if let Err(error) = self.dtls.send(session, bytes, now) {
            tracing::debug!("to {}: {error}", peer.remote);
        }
    }

    /// Who is at the other end.
    pub(super) fn subject(&self, peer: Peer) -> Subject {
        match self.sessions.get(&peer.session) {
            Some(session) => session.subject.clone(),
            None => Subject::Anonymous,
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        loop {
            match self.dtls.poll_output()? {
                Output::Datagram { path, bytes } => return Some(Event::Datagram { path, bytes }),
                Output::Connected { session, path, info } => {
                    let subject = subject(&info.peer);
                    tracing::info!("{} is connected as {subject:?}", path.remote);
                    let number = session.get();
                    let peer = Peer { remote: path.remote, socket: path.socket, session: number };
                    self.sessions.insert(number, Session { peer, subject });
                }
                Output::Data { session, bytes } => {
                    let number = session.get();
                    if let Some(Session { peer, .. }) = self.sessions.get(&number) {
                        return Some(Event::Data { peer: *peer, bytes });
                    }
                }
                Output::Closed { session, reason } => {
                    let number = session.get();
                    if let Some(Session { peer, .. }) = self.sessions.remove(&number) {
                        tracing::info!("{} is gone: {reason:?}", peer.remote);
                        return Some(Event::Ended(peer));
                    }
                }
                Output::HandshakeFailed { path, reason, .. } => {
                    tracing::warn!("{} could not connect: {reason}", path.remote);
                }
            }
        }
    }
}

fn subject(identity: &PeerIdentity) -> Subject {
    match identity {
        PeerIdentity::Psk(identity) => {
            Subject::Known(String::from_utf8_lossy(identity).escape_debug().to_string())
        }
        PeerIdentity::Certificate { uuid, .. } => {
            Subject::Known(uuid.map_or("a certificate".into(), |uuid| uuid.to_string()))
        }
        PeerIdentity::Anonymous => Subject::Anonymous,
    }
}

/// What a device allows that nobody owns yet: those whom its configuration names.
fn policy(credentials: &Credentials) -> Result<Policy, Error> {
    let mut policy = Policy::default();
    if !credentials.psk.is_empty() {
        policy.suites.extend([Suite::EcdhePskAes128CbcSha256, Suite::PskAes128Ccm8]);
    }
    policy.psks = credentials
        .psk
        .iter()
        .map(|psk| PreSharedKey::new(psk.identity.as_bytes(), psk.key.expose()))
        .collect();
    if let Some(certified) = &credentials.certificate {
        let (own, anchors) = certificate(certified).map_err(Error::Credentials)?;
        policy.certificate = Some(own);
        policy.anchors = anchors;
        policy.client_certificates = ClientCertificates::Required;
        policy.client_identity = IdentityRule::ChainOnly;
        policy.suites.extend([
            Suite::EcdheEcdsaAes128Ccm8,
            Suite::EcdheEcdsaAes128Ccm,
            Suite::EcdheEcdsaAes256Ccm8,
            Suite::EcdheEcdsaAes256Ccm,
            Suite::EcdheEcdsaAes128GcmSha256,
            Suite::EcdheEcdsaAes128CbcSha256,
        ]);
    }
    Ok(policy)
}

fn certificate(certified: &Certified) -> Result<(OwnCertificate, Vec<Anchor>), crate::dtls::Error> {
    let own = OwnCertificate::from_pem(certified.chain.as_bytes(), certified.key.expose())?;
    let mut anchors = Vec::new();
    for roots in &certified.roots {
        anchors.extend(Anchor::from_pem(roots.as_bytes())?);
    }
    Ok((own, anchors))
}
