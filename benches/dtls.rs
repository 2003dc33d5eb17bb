//! What DTLS costs: handshakes a second on the server's side, bytes an idle session, and what
//! spoofed hellos do. Run by hand, on a quiet machine:
//!
//! `cargo bench --bench dtls -- handshakes`, `… -- memory`, `… -- hellos`, `… -- fuzz 10000000`

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::time::{Duration, Instant};

use chrono::DateTime;
use freshen::clock::{self, Now};
use freshen::dtls::{
    Anchor, ClientPolicy, Config, Endpoint, IdentityRule, Output, OwnCertificate, Path, Policy,
    PreSharedKey, SessionId, Suite, fuzzing,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["memory"] => memory(),
        ["hellos"] => hellos(),
        ["fuzz", executions] => fuzz(executions.parse().unwrap()),
        _ => handshakes(),
    }
}

const SUITES: [Suite; 4] = [
    Suite::EcdhePskAes128CbcSha256,
    Suite::PskAes128Ccm8,
    Suite::EcdhAnonAes128CbcSha256,
    Suite::EcdheEcdsaAes128Ccm8,
];

fn path(port: u16, host: u8) -> Path {
    Path { remote: ([192, 0, 2, host], port).into(), socket: 0 }
}

fn now(after: Duration) -> Now {
    let mono = clock::Instant::at(Duration::from_secs(1000) + after);
    Now { wall: DateTime::from_timestamp(1_900_000_000, 0).unwrap(), mono }
}

fn policies() -> (ClientPolicy, Policy) {
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
fn handshake(
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
fn instant() -> Instant {
    Instant::now()
}

fn handshakes() {
    const COUNT: u16 = 2000;
    let (client_policy, server_policy) = policies();
    for suite in SUITES {
        let mut server = Endpoint::new(Config::default(), [1; 32]);
        server.set_policy(Policy { suites: vec![suite], ..server_policy.clone() });
        let mut client = Endpoint::new(Config::default(), [2; 32]);
        let mut spent = vec![];
        for port in 1..=COUNT {
            let policy = ClientPolicy { suites: vec![suite], ..client_policy.clone() };
            let (time, session) = handshake(&mut server, &mut client, path(port, 2), policy);
            assert!(session.is_some());
            spent.push(time);
        }
        // The median: what others do on the machine hits some handshakes and not others.
        spent.sort();
        let each = spent[spent.len() / 2];
        println!("{suite:?}: {:.0}/s in the server ({each:?} each)", 1.0 / each.as_secs_f64());
    }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn memory() {
    const COUNT: u16 = 4000;
    // Kept, so that no suite is given the memory of the one before.
    let mut servers = vec![];
    let (client_policy, server_policy) = policies();
    for suite in SUITES {
        let config = Config { sessions_max: 10_000, ..Config::default() };
        let mut server = Endpoint::new(config, [1; 32]);
        server.set_policy(Policy { suites: vec![suite], ..server_policy.clone() });
        let before = resident_bytes();
        for port in 1..=COUNT {
            let mut client = Endpoint::new(Config::default(), [(port % 256) as u8; 32]);
            let policy = ClientPolicy { suites: vec![suite], ..client_policy.clone() };
            let (_, session) = handshake(&mut server, &mut client, path(port, 2), policy);
            assert!(session.is_some());
        }
        let each = (resident_bytes() - before) / usize::from(COUNT);
        println!("{suite:?}: {each} bytes an idle session");
        servers.push(server);
    }
}

fn hellos() {
    let (client_policy, server_policy) = policies();
    let suite = Suite::EcdhePskAes128CbcSha256;
    let mut server = Endpoint::new(Config::default(), [1; 32]);
    server.set_policy(Policy { suites: vec![suite], ..server_policy });
    let mut client = Endpoint::new(Config::default(), [2; 32]);
    let policy = ClientPolicy { suites: vec![suite], ..client_policy };
    client.connect(path(5684, 1), policy, now(Duration::ZERO)).unwrap();
    let Some(Output::Datagram { bytes, .. }) = client.poll_output() else { return };
    let before = resident_bytes();
    let start = instant();
    for port in 1..=30_000 {
        server.handle_datagram(path(port, 2), &bytes, now(Duration::ZERO));
        while server.poll_output().is_some() {}
    }
    let each = start.elapsed() / 30_000;
    println!("30,000 spoofed hellos: {} bytes kept, {each:?} each", resident_bytes() - before);
}

fn fuzz(executions: u64) {
    for (name, target) in
        [("parsers", fuzzing::parsers as fn(&[u8])), ("endpoint", fuzzing::endpoint)]
    {
        let start = instant();
        fuzzing::campaign(target, 3, executions);
        println!("{name}: {executions} executions without a panic in {:?}", start.elapsed());
    }
}
