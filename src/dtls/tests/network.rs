//! A client, a server, datagrams on their way, and a clock that only goes when it is told to.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::{Instant, Now};
use crate::dtls::{
    Anchor, ClientCertificates, ClientPolicy, CloseReason, Config, Endpoint, Error, IdentityRule,
    Output, OwnCertificate, Path, Policy, PreSharedKey, SessionId, SessionInfo, Suite,
};

pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;
pub(super) const KEY: &[u8] = b"sixteen byte key";
/// With zeros in it, as the UUIDs of OCF have.
pub(super) const IDENTITY: &[u8] = &[0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0];
pub(super) const CLIENT_NAME: &str = "uuid:00000000-0000-4000-8000-0000000000c1";
pub(super) const SERVER_NAME: &str = "uuid:00000000-0000-4000-8000-0000000000d1";

/// One datagram on its way.
#[derive(Clone, Debug)]
pub(super) struct Travelling {
    pub(super) from: usize,
    pub(super) bytes: Vec<u8>,
}

/// What an endpoint said beside datagrams.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) connected: Vec<(SessionId, SessionInfo)>,
    pub(super) data: Vec<(SessionId, Vec<u8>)>,
    pub(super) closed: Vec<(SessionId, CloseReason)>,
    pub(super) failed: Vec<Error>,
}

/// Both ends and what is between them.
pub(super) struct Pair {
    pub(super) ends: [Endpoint; 2],
    pub(super) said: [Said; 2],
    pub(super) wire: VecDeque<Travelling>,
    pub(super) now: Now,
}

/// Where one end sees the other.
pub(super) fn path_at(end: usize) -> Path {
    let port = if end == CLIENT { 5684 } else { 40_000 };
    Path { remote: ([192, 0, 2, 1], port).into(), socket: 0 }
}

pub(super) fn start() -> Now {
    let wall: DateTime<Utc> = "2030-01-09T14:30:00Z".parse().unwrap();
    Now { wall, mono: Instant::at(Duration::from_secs(1000)) }
}

impl Pair {
    pub(super) fn new(config: Config, policy: Policy) -> Self {
        let mut ends = [1, 2].map(|seed| Endpoint::new(config.clone(), [seed; 32]));
        ends[SERVER].set_policy(policy, start());
        let said = Default::default();
        Self { ends, said, wire: VecDeque::new(), now: start() }
    }

    pub(super) fn connect(&mut self, policy: ClientPolicy) -> SessionId {
        let session = self.ends[CLIENT].connect(path_at(CLIENT), policy, self.now).unwrap();
        self.collect();
        session
    }

    /// Takes what both ends have to say.
    pub(super) fn collect(&mut self) {
        for end in [CLIENT, SERVER] {
            while let Some(output) = self.ends[end].poll_output() {
                let said = &mut self.said[end];
                match output {
                    Output::Datagram { path, bytes } => {
                        assert!(bytes.len() <= 1232);
                        // Tests may play other peers by hand; what is for those goes nowhere.
                        if path == path_at(end) {
                            self.wire.push_back(Travelling { from: end, bytes });
                        }
                    }
                    Output::Connected { session, info, .. } => said.connected.push((session, info)),
                    Output::Data { session, bytes } => said.data.push((session, bytes)),
                    Output::Closed { session, reason } => said.closed.push((session, reason)),
                    Output::HandshakeFailed { reason, .. } => said.failed.push(reason),
                }
            }
        }
    }

    /// Hands a datagram to the other end.
    pub(super) fn deliver(&mut self, datagram: &Travelling) {
        let to = 1 - datagram.from;
        self.ends[to].handle_datagram(path_at(to), &datagram.bytes, self.now);
        self.collect();
    }

    /// Delivers whatever is on its way until nothing is.
    pub(super) fn settle(&mut self) {
        while let Some(datagram) = self.wire.pop_front() {
            self.deliver(&datagram);
        }
    }

    /// Lets time pass up to the next deadline of either end; false if there is none before `limit`.
    pub(super) fn wait(&mut self, limit: Instant) -> bool {
        let deadlines = self.ends.iter().filter_map(Endpoint::deadline);
        let Some((due, _)) = deadlines.min() else { return false };
        if due > limit {
            return false;
        }
        self.pass(due.since(self.now.mono));
        true
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.wall += time;
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        self.collect();
    }

    /// The names of the session at both ends, when both stand.
    pub(super) fn sessions(&self) -> Option<[SessionId; 2]> {
        let last = |end: usize| self.said[end].connected.last().map(|(session, _)| *session);
        Some([last(CLIENT)?, last(SERVER)?])
    }

    /// Sends a word each way and checks that it arrives.
    pub(super) fn talk(&mut self) {
        let sessions = self.sessions().expect("both stand");
        for end in [CLIENT, SERVER] {
            let text = format!("{end} at {:?}", self.now.mono).into_bytes();
            self.ends[end].send(sessions[end], &text, self.now).unwrap();
            self.collect();
            self.settle();
            let other = 1 - end;
            assert_eq!(self.said[other].data.pop(), Some((sessions[other], text)));
        }
    }
}

/// A certificate authority for tests.
pub(super) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(super) der: Vec<u8>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let der = parameters.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: rcgen::Issuer::new(parameters, key), der }
    }

    pub(super) fn anchor(&self) -> Anchor {
        Anchor::new(&self.der).unwrap()
    }

    /// A certificate as OCF wants it, changed as the test wants it.
    pub(super) fn issue_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut rcgen::CertificateParams),
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> OwnCertificate {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.key_usages =
            vec![rcgen::KeyUsagePurpose::DigitalSignature, rcgen::KeyUsagePurpose::KeyAgreement];
        parameters.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
            rcgen::ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 44924, 1, 6]),
        ];
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        OwnCertificate::new(vec![certificate.der().to_vec()], &key.serialize_der()).unwrap()
    }

    pub(super) fn issue(&self, name: &str) -> OwnCertificate {
        self.issue_with(name, |_| {}, &rcgen::PKCS_ECDSA_P256_SHA256)
    }
}

/// Policies that fit together, for one suite.
pub(super) fn policies(suite: Suite) -> (ClientPolicy, Policy) {
    let authority = Authority::new("root");
    let psk = PreSharedKey::new(IDENTITY, KEY);
    let server = Policy {
        suites: vec![suite],
        psks: vec![PreSharedKey::new(b"other", b"another key"), psk.clone()],
        identity_hint: b"hint".to_vec(),
        certificate: Some(authority.issue(SERVER_NAME)),
        anchors: vec![authority.anchor()],
        client_certificates: ClientCertificates::Required,
        client_identity: IdentityRule::Ocf,
        keep_secrets: true,
    };
    let client = ClientPolicy {
        suites: vec![suite],
        psk: Some(psk),
        psks_by_hint: vec![],
        certificate: Some(authority.issue(CLIENT_NAME)),
        anchors: vec![authority.anchor()],
        server_identity: IdentityRule::Ocf,
        keep_secrets: true,
    };
    (client, server)
}
