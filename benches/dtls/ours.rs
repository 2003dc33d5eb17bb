//! Our engine as client and as server in this process, over no network at all: one handshake, and the
//! time that the server's side of it took.

use std::time::{Duration, Instant};

use chrono::DateTime;
use freshen::clock::{self, Now};
use freshen::dtls::{
    Anchor, ClientPolicy, Endpoint, IdentityRule, Output, OwnCertificate, Path, Policy,
    PreSharedKey, SessionId,
};

pub(crate) fn path(port: u16, host: u8) -> Path {
    Path { remote: ([192, 0, 2, host], port).into(), socket: 0 }
}

pub(crate) fn now(after: Duration) -> Now {
    let mono = clock::Instant::at(Duration::from_secs(1000) + after);
    Now { wall: DateTime::from_timestamp(1_900_000_000, 0).unwrap(), mono }
}

pub(crate) fn policies() -> (ClientPolicy, Policy) {
    let root = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_der = parameters.self_signed(&root).unwrap().der().to_vec();
    let issuer = rcgen::Issuer::new(parameters, root);
    let issue = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::default();
        let der = parameters.signed_by(&key, &issuer).unwrap().der().to_vec();
        OwnCertificate::new(vec![der], &key.serialize_der()).unwrap()
    };
    let anchors = vec![Anchor::new(&root_der).unwrap()];
    let psk = PreSharedKey::new(b"bench", b"sixteen byte key");
    let server = Policy {
        psks: vec![psk.clone()],
        certificate: Some(issue()),
        anchors: anchors.clone(),
        client_identity: IdentityRule::ChainOnly,
        ..Policy::default()
    };
    let client = ClientPolicy {
        psk: Some(psk),
        certificate: Some(issue()),
        anchors,
        server_identity: IdentityRule::ChainOnly,
        ..ClientPolicy::default()
    };
    (client, server)
}

/// Plays one handshake of a new client; returns the time spent in the server.
pub(crate) fn handshake(
    server: &mut Endpoint,
    client: &mut Endpoint,
    at: Path,
    policy: ClientPolicy,
) -> (Duration, Option<SessionId>) {
    client.connect(path(5684, 1), policy, now(Duration::ZERO)).unwrap();
    let (mut spent, mut session) = (Duration::ZERO, None);
    loop {
        let mut is_quiet = true;
        while let Some(output) = client.poll_output() {
            if let Output::Datagram { bytes, .. } = output {
                is_quiet = false;
                let start = instant();
                server.handle_datagram(at, &bytes, now(Duration::ZERO));
                spent += start.elapsed();
            }
        }
        while let Some(output) = server.poll_output() {
            match output {
                Output::Datagram { bytes, .. } => {
                    is_quiet = false;
                    client.handle_datagram(path(5684, 1), &bytes, now(Duration::ZERO));
                }
                Output::Connected { session: stands, .. } => session = Some(stands),
                _ => {}
            }
        }
        if is_quiet {
            return (spent, session);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
