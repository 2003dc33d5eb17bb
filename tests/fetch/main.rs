//! Downloads from real servers: nginx and libcoap's, which we did not write, and one of our own that
//! misbehaves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod coap;
mod faults;
mod faulty;
mod killed;
mod limits;
mod mirrors;
mod plain;
mod ssrf;

use std::path::Path;

use freshen::fetch::{Error, Fetcher, Limits, Roots, Settings};
use freshen::package::{Component, Digest, Format, Source};
use freshen::worker::{Cancel, Progress};
use sha2::Digest as _;
use url::Url;

/// Bytes that do not repeat within any block, the same for the same seed.
fn bytes(len: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    (0..len).map(|_| next()).collect()
}

fn component(body: &[u8], uri: &str) -> Component {
    Component {
        id: vec!["app".into()],
        digest: Digest(sha2::Sha256::digest(body).into()),
        size: body.len() as u64,
        format: Format::Raw,
        source: Source::Uri(uri.into()),
    }
}

/// Loopback only, our own authority, and no long waits.
fn settings(ca: &str) -> Settings {
    Settings {
        allow_hosts: vec!["*".into()],
        allow_schemes: vec!["https".into()],
        roots: Roots::Pem(ca.to_owned()),
        loopback_addresses: true,
        limits: Limits { pause_first: std::time::Duration::from_millis(1), ..Limits::default() },
        ..Settings::default()
    }
}

fn fetch(fetcher: &Fetcher, base: &Url, component: &Component, into: &Path) -> Result<(), Error> {
    fetcher.payload(base, component, into, &Progress::new(component.size), &Cancel::new())
}
