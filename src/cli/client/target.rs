//! What a person names on the command line: a device, or one of its resources.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::str::FromStr;

use anyhow::Context;
use nix::net::if_::if_nametoindex;

use crate::coap::{Code, Request, option};
use crate::net::COAP_PORT;

/// `coap://host:port/path?query`, or only the first part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
    segments: Vec<String>,
    queries: Vec<String>,
}

impl Target {
    /// The addresses that the host has, best first.
    pub(super) fn resolve(&self) -> anyhow::Result<Vec<SocketAddr>> {
        if let Some((address, zone)) = self.host.split_once('%') {
            let address: Ipv6Addr =
                address.parse().with_context(|| format!("{address} is not an IPv6 address"))?;
            let scope = match zone.parse() {
                Ok(index) => index,
                Err(_) => if_nametoindex(zone)
                    .with_context(|| format!("this machine has no interface {zone}"))?,
            };
            return Ok(vec![SocketAddrV6::new(address, self.port, 0, scope).into()]);
        }
        let addresses: Vec<SocketAddr> = (&*self.host, self.port)
            .to_socket_addrs()
            .with_context(|| format!("cannot find the host {}", self.host))?
            .collect();
        anyhow::ensure!(!addresses.is_empty(), "the host {} has no address", self.host);
        Ok(addresses)
    }

    /// Whether it names a resource, and not only a device.
    pub(super) fn has_path(&self) -> bool {
        !self.segments.is_empty()
    }

    /// A request for the resource.
    pub(super) fn request(&self, code: Code) -> Request {
        let mut request = Request::new(code, "");
        for segment in &self.segments {
            request.options.push(option::URI_PATH, segment);
        }
        for query in &self.queries {
            request.options.push(option::URI_QUERY, query);
        }
        request
    }

    /// The path, as in a link.
    pub(super) fn path(&self) -> String {
        self.segments.iter().map(|segment| format!("/{segment}")).collect()
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("coap", rest)) => rest,
            Some(("coaps", _)) => {
                return Err("this command speaks coap:// only; coaps:// needs credentials of the \
                            device's owner"
                    .into());
            }
            Some((scheme, _)) => return Err(format!("{scheme}:// is not coap://")),
            None => text,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, port) = host_and_port(authority)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('#') {
            return Err("a fragment (#...) means nothing here".into());
        }
        let split = |text: &str, by: char| -> Result<Vec<String>, String> {
            text.split(by).filter(|part| !part.is_empty()).map(decoded).collect()
        };
        Ok(Self { host, port, segments: split(path, '/')?, queries: split(query, '&')? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "coap://[{}]:{}{}", self.host, self.port, self.path()),
            false => write!(f, "coap://{}:{}{}", self.host, self.port, self.path()),
        }
    }
}

fn host_and_port(authority: &str) -> Result<(String, u16), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("an IPv6 address needs a ] after it")?;
            // RFC 6874 writes the % before a zone as %25.
            (host.replacen("%25", "%", 1), port)
        }
        // An IPv6 address without brackets has no port.
        None if authority.matches(':').count() > 1 => (authority.to_owned(), ""),
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            (decoded(host)?, port)
        }
    };
    if host.is_empty() {
        return Err("no host; write it as coap://host:port/path or host:port".into());
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => COAP_PORT,
        Some("") => COAP_PORT,
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("{digits} is not a port")),
        },
        None => return Err(format!("{port} after the address is not a port")),
    };
    Ok((host, port))
}

/// Undoes percent-encoding (RFC 7252 section 6.4).
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("% needs two hexadecimal digits after it")?);
        rest = after.get(2..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| format!("{text} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, u16, Vec<String>, Vec<String>) {
        let target: Target = text.parse().unwrap();
        (target.host, target.port, target.segments, target.queries)
    }

    #[test]
    fn uris_and_bare_addresses_are_understood() {
        let none = Vec::<String>::new;
        assert_eq!(parsed("coap://host"), ("host".into(), 5683, none(), none()));
        assert_eq!(parsed("10.0.0.1:61"), ("10.0.0.1".into(), 61, none(), none()));
        assert_eq!(parsed("fe80::1%eth0"), ("fe80::1%eth0".into(), 5683, none(), none()));
        assert_eq!(parsed("[::1]:7/a"), ("::1".into(), 7, vec!["a".into()], none()));
        let (host, port, segments, queries) =
            parsed("coap://[fe80::1%25eth0]:56830/oic/a%2Fb?rt=x&if=oic.if.r");
        assert_eq!((&*host, port), ("fe80::1%eth0", 56830));
        assert_eq!(segments, ["oic", "a/b"]);
        assert_eq!(queries, ["rt=x", "if=oic.if.r"]);
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "coap://",
            "coaps://x",
            "http://x",
            "coap://[::1",
            "coap://x:0",
            "coap://x:70000",
            "coap://x:y",
            "coap://x/%zz",
            "coap://x/%ff",
            "coap://x/a#b",
            "[::1]7",
            "coap://x/%e",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_found_without_asking_anyone() {
        let target: Target = "[::1]:61".parse().unwrap();
        assert_eq!(target.resolve().unwrap(), ["[::1]:61".parse().unwrap()]);
        let scoped: Target = "[fe80::1%7]:61".parse().unwrap();
        assert_eq!(scoped.resolve().unwrap()[0].to_string(), "[fe80::1%7]:61");
        let odd: Target = "[fe80::1%no-such-interface]".parse().unwrap();
        assert!(odd.resolve().unwrap_err().to_string().contains("no-such-interface"));
    }
}
