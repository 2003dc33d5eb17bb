//! What DTLS costs: handshakes a second on the server's side, bytes an idle session, and what
//! spoofed hellos do. Run by hand, on a quiet machine:
//!
//! `cargo bench --bench dtls -- handshakes`, `… -- memory`, `… -- hellos`, `… -- get`, `… -- flood`,
//! `… -- fuzz 10000000`

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

mod device;
mod ours;

use std::time::Duration;

use freshen::dtls::{ClientPolicy, Config, Endpoint, Output, Policy, Suite, fuzzing};

use ours::{handshake, instant, now, path, policies};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["memory"] => memory(),
        ["hellos"] => hellos(),
        ["get"] => device::get(),
        ["flood"] => device::flood(),
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

fn handshakes() {
    const COUNT: u16 = 2000;
    let (client_policy, server_policy) = policies();
    for suite in SUITES {
        let mut server = Endpoint::new(Config::default(), [1; 32]);
        server.set_policy(
            Policy { suites: vec![suite], ..server_policy.clone() },
            now(Duration::ZERO),
        );
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
        server.set_policy(
            Policy { suites: vec![suite], ..server_policy.clone() },
            now(Duration::ZERO),
        );
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
    server.set_policy(Policy { suites: vec![suite], ..server_policy }, now(Duration::ZERO));
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
