//! Golden envelopes in `tests/vectors/packages.txt`: what we make and what we read does not change
//! unnoticed. `FRESHEN_BLESS=1 cargo test --test packages vectors` writes them anew.
//!
//! Our own ECDSA signatures differ in every run, so those envelopes are compared by what is read.

use std::fmt::Write as _;
use std::fs;

use crate::corpus::{Good, corpus};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/packages.txt");

/// One envelope: its name, its public key, its bytes, and what a device reads in it.
fn entry(good: &Good, envelope: &[u8]) -> String {
    let manifest = good.verify(envelope).unwrap();
    let mut text = format!("# {}\n{}{}\n", good.name, good.key.public_pem(), hex(envelope));
    writeln!(text, "version {} sequence {}", manifest.version, manifest.sequence).unwrap();
    writeln!(text, "digest {} use before {:?}", manifest.digest, manifest.use_before).unwrap();
    for component in &manifest.components {
        writeln!(text, "{component:?}").unwrap();
    }
    text
}

#[test]
fn golden_envelopes_are_made_and_read_as_before() {
    let corpus = corpus();
    if std::env::var_os("FRESHEN_BLESS").is_some() {
        let entries: Vec<_> = corpus.iter().map(|good| entry(good, &good.envelope)).collect();
        fs::write(FILE, entries.join("\n")).unwrap();
    }
    let golden = fs::read_to_string(FILE).unwrap();
    let golden: Vec<_> = golden.split("\n\n").map(|entry| format!("{}\n", entry.trim())).collect();
    assert_eq!(golden.len(), corpus.len(), "as many as the corpus has");
    for (good, golden) in corpus.iter().zip(&golden) {
        let line = golden.lines().find(|line| line.starts_with("d86b")).unwrap();
        let envelope = unhex(line);
        assert_eq!(entry(good, &envelope), *golden, "{}: read as before", good.name);
        if !good.name.contains("ECDSA") {
            assert_eq!(good.envelope, envelope, "{}: made as before", good.name);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
