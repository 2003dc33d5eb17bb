//! What a device may fetch from, and how long it waits.

use std::time::Duration;

use url::Url;

use crate::coap::limits;
use crate::dtls::ClientPolicy;
use crate::source;

/// What a device may fetch from, and how long it waits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts that may be asked: `updates.example.com`, a suffix such as `.example.com`, an address, or
    /// `*` for every public one. Empty: the host of [`Self::builtin_url`] only.
    pub allow_hosts: Vec<String>,
    /// Schemes that may be used, of `https`, `coaps`, `http`, `coap`.
    pub allow_schemes: Vec<String>,
    /// Ports that may be asked. Empty: every one.
    pub allow_ports: Vec<u16>,
    /// The URL for an empty `purl`; empty when there is none.
    pub builtin_url: String,
    /// Other places with the same files, asked in turn when one cannot be reached. Each is the URL of a
    /// directory, ends in `/`, and stands for the directory of the envelope. Their hosts need no leave
    /// in [`Self::allow_hosts`].
    pub mirrors: Vec<Url>,
    /// Whom https servers must be certified by.
    pub roots: Roots,
    /// What coaps servers are offered, and whom of them is believed. The name in their certificate has
    /// to be the host of the URL, whatever this says of it. Without suites no coaps server is asked.
    pub coaps: ClientPolicy,
    /// The most that is taken from the network, bytes a second; 0 for no limit.
    pub bandwidth_max: u64,
    /// Blocks asked for at once over CoAP, 1 to 32; more than [`limits::MAX_PAYLOADS`] only where the
    /// servers send as many (RFC 9177 section 7.2).
    pub max_payloads: u32,
    /// Whether names may lead to private addresses (RFC 1918, RFC 4193, RFC 6598). An address that is
    /// written out in [`Self::allow_hosts`] needs no such leave.
    pub private_addresses: bool,
    /// Whether names may lead to this machine itself. For the demo and for tests.
    pub loopback_addresses: bool,
    /// How long to wait, and how often to try.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_hosts: vec![],
            allow_schemes: vec!["https".into(), "coaps".into()],
            allow_ports: vec![],
            builtin_url: String::new(),
            mirrors: vec![],
            roots: Roots::WebPki,
            coaps: ClientPolicy::default(),
            bandwidth_max: 0,
            max_payloads: limits::MAX_PAYLOADS,
            private_addresses: false,
            loopback_addresses: false,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Which URLs may be asked for.
    pub fn sources(&self) -> source::Policy {
        source::Policy {
            hosts: self.allow_hosts.clone(),
            schemes: self.allow_schemes.clone(),
            ports: self.allow_ports.clone(),
            builtin_url: self.builtin_url.clone(),
            mirrors: self.mirrors.clone(),
        }
    }
}

/// Whom https servers must be certified by.
#[derive(Clone, Debug)]
pub enum Roots {
    /// The certificates in this PEM text.
    Pem(String),
    /// The public authorities that browsers believe.
    WebPki,
}

/// How long to wait, and how often to try. The defaults suit a slow radio link.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From a name to its addresses.
    pub resolve: Duration,
    /// From an address to a secured connection.
    pub connect: Duration,
    /// From a request to the end of the answer's header.
    pub header: Duration,
    /// Between two reads that bring something.
    pub read: Duration,
    /// How long a server is watched before its average is judged.
    pub rate_window: Duration,
    /// The least average over that time, bytes a second.
    pub rate_min: u64,
    /// What a whole download may take at least, however small it is. Large ones get the time that
    /// [`Self::rate_min`] gives them.
    pub total_min: Duration,
    /// Attempts that bring nothing new before one gives up.
    pub attempts: u32,
    /// Pause after the first such attempt; it doubles each time, and varies by half.
    pub pause_first: Duration,
    /// The longest pause, also when the server asks for a longer one (Retry-After).
    pub pause_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(10),
            connect: Duration::from_secs(30),
            header: Duration::from_secs(30),
            read: Duration::from_secs(30),
            rate_window: Duration::from_secs(60),
            rate_min: 1024,
            total_min: Duration::from_secs(600),
            attempts: 5,
            pause_first: Duration::from_secs(1),
            pause_max: Duration::from_secs(3600),
        }
    }
}
