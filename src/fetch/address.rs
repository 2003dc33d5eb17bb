//! Which addresses a name may lead to: resolved once, judged, and connected to as judged.
//!
//! `purl` is set by whoever may write to the device, and the device sits inside a network that this
//! person may not. So a name that leads to the device itself, to its neighbours or to a cloud's
//! metadata service is refused like a host that is not on the list.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::{Error, Settings};
use crate::worker::Cancel;

/// From a host name and a port to addresses. Blocks as long as it likes.
pub type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Asks the system.
pub fn system_lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host, port).to_socket_addrs()?.collect())
}

/// The addresses of `host` that may be connected to, at least one. Nobody asks the name server again
/// before the connection stands, so the answer cannot change in between.
pub(super) fn resolve(
    lookup: Lookup,
    host: &str,
    port: u16,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<Vec<SocketAddr>, Error> {
    let mut found = lookup_within(lookup, host, port, settings.limits.resolve, cancel)?;
    if found.is_empty() {
        return Err(Error::NameUnknown(host.to_owned()));
    }
    let barred: Vec<_> = found.iter().map(|address| why_not(address.ip())).collect();
    found.retain(|address| may_connect(address.ip(), settings));
    found.truncate(ADDRESSES_MAX);
    if found.is_empty() {
        // For whoever owns the device; whoever asked learns less.
        tracing::warn!("`{host}` leads to {}", barred.join(" and to "));
        return Err(Error::HostNotAllowed(host.to_owned()));
    }
    Ok(found)
}

/// Addresses of one name that are tried. What the http client holds.
const ADDRESSES_MAX: usize = 16;

/// How often a waiting worker looks whether it should stop.
pub(super) const CANCEL_POLL: Duration = Duration::from_millis(200);

fn lookup_within(
    lookup: Lookup,
    host: &str,
    port: u16,
    limit: Duration,
    cancel: &Cancel,
) -> Result<Vec<SocketAddr>, Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let name = host.to_owned();
    // The system's resolver cannot be stopped; a thread of its own can be left behind.
    std::thread::spawn(move || sender.send(lookup(&name, port)));
    let mut left = limit;
    loop {
        let slice = left.min(CANCEL_POLL);
        match receiver.recv_timeout(slice) {
            Ok(Ok(addresses)) => return Ok(addresses),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::NameUnknown(host.to_owned()));
            }
            Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => {
                return Err(Error::Cancelled);
            }
            Err(RecvTimeoutError::Timeout) => left -= slice,
        }
        if left.is_zero() {
            return Err(Error::TimedOut { host: host.to_owned(), what: "finding its address" });
        }
    }
}

fn may_connect(address: IpAddr, settings: &Settings) -> bool {
    let written_out = || {
        settings.allow_hosts.iter().any(|host| host.parse().is_ok_and(|ip: IpAddr| ip == address))
    };
    match reach(address) {
        Reach::Public => true,
        Reach::Private => settings.private_addresses || written_out(),
        Reach::Loopback => settings.loopback_addresses || written_out(),
        Reach::Never => false,
    }
}

/// An address that may not be connected to, which rule says so, and what would change it.
fn why_not(address: IpAddr) -> String {
    match reach(address) {
        Reach::Private => format!(
            "{address}, a private address: set update.allow_private = true, or write {address} in \
             update.allow_hosts"
        ),
        Reach::Loopback => format!(
            "{address}, this machine itself: set update.allow_loopback = true, or write {address} \
             in update.allow_hosts"
        ),
        Reach::Public | Reach::Never => {
            format!("{address}, from where no package can come, whatever the configuration says")
        }
    }
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Anywhere.
    Public,
    /// Inside one network.
    Private,
    /// This machine.
    Loopback,
    /// Nowhere that a package could come from; or it hides another address in itself.
    Never,
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

/// The registry of special addresses (RFC 6890 and its successors), version 4.
fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [127, ..] => Reach::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Reach::Private,
        // This network, link-local and cloud metadata, protocol assignments, documentation,
        // benchmarks, 6to4 relays, multicast, reserved, broadcast.
        [0, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Reach::Never
        }
        [192, 88, 99, _] | [198, 18..=19, ..] | [224..=255, ..] => Reach::Never,
        _ => Reach::Public,
    }
}

/// The same, version 6. Only 2000::/3 is ever given out; in it, tunnels that carry a version 4 address
/// and blocks for documentation and benchmarks are left out.
fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
        [0xfc00..=0xfdff, ..] => Reach::Private,
        [0x2001, 0 | 2 | 0x10..=0x2f | 0xdb8, ..] | [0x2002, ..] | [0x3fff, ..] => Reach::Never,
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach_of(text: &str) -> Reach {
        reach(text.parse().unwrap())
    }

    #[test]
    fn only_addresses_that_are_given_out_are_public() {
        for text in ["8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00::1"] {
            assert_eq!(reach_of(text), Reach::Public, "{text}");
        }
    }

    #[test]
    fn the_neighbours_are_private() {
        for text in
            ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd00::1"]
        {
            assert_eq!(reach_of(text), Reach::Private, "{text}");
        }
    }

    #[test]
    fn the_machine_itself_is_loopback() {
        for text in ["127.0.0.1", "127.255.255.254", "::1"] {
            assert_eq!(reach_of(text), Reach::Loopback, "{text}");
        }
    }

    #[test]
    fn nothing_leads_to_link_local_multicast_unspecified_or_hidden_addresses() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "192.88.99.1",
            "224.0.0.251",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff05::158",
            "4000::1",
        ] {
            assert_eq!(reach_of(text), Reach::Never, "{text}");
        }
    }

    #[test]
    fn the_log_names_the_address_and_the_rule() {
        for (address, rule) in [
            ("192.168.1.7", "update.allow_private"),
            ("fd00::7", "update.allow_private"),
            ("127.0.0.1", "update.allow_loopback"),
            ("169.254.169.254", "whatever the configuration says"),
        ] {
            let words = why_not(address.parse().unwrap());
            assert!(words.contains(address) && words.contains(rule), "{words}");
        }
    }

    #[test]
    fn an_address_that_is_written_out_needs_no_other_leave() {
        let settings = Settings { allow_hosts: vec!["10.0.0.5".into()], ..Settings::default() };
        assert!(may_connect("10.0.0.5".parse().unwrap(), &settings));
        assert!(!may_connect("10.0.0.6".parse().unwrap(), &settings));
        let settings = Settings { allow_hosts: vec!["169.254.169.254".into()], ..settings };
        assert!(!may_connect("169.254.169.254".parse().unwrap(), &settings));
    }
}
