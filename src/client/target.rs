//! What a person names on the command line: a device, or one of its resources.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use nix::net::if_::if_nametoindex;
use uuid::Uuid;

use super::Error;
use super::error::system;
use crate::coap::{Code, Request, option};
use crate::net::COAP_PORT;

/// The port of coaps (RFC 7252 section 12.7).
const COAPS_PORT: u16 = 5684;

/// `coap://host:port/path?query`, the same with `coaps` or `ocf://device`, or only the first part of
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    host: String,
    port: u16,
    segments: Vec<String>,
    queries: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Coap,
    Coaps,
    /// The host is a device identifier; where the device is has to be found out.
    Ocf,
}

impl Target {
    /// Whether the address is one for DTLS.
    pub fn is_secure(&self) -> bool {
        self.scheme == Scheme::Coaps
    }

    /// The device, where it is named by its identifier.
    pub fn device(&self) -> Option<Uuid> {
        match self.scheme {
            Scheme::Ocf => self.host.parse().ok(),
            _ => None,
        }
    }

    /// The addresses that the host has, best first; at least one.
    ///
    /// # Errors
    ///
    /// Where it has none, or is named by its identifier.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        if self.scheme == Scheme::Ocf {
            return Err(Error::Invalid("name the device by an address here: HOST:PORT".into()));
        }
        if let Some((address, zone)) = self.host.split_once('%') {
            let address: Ipv6Addr = address
                .parse()
                .map_err(|_| Error::Invalid(format!("{address} is not an IPv6 address")))?;
            let scope = match zone.parse() {
                Ok(index) => index,
                Err(_) => if_nametoindex(zone).map_err(|error| {
                    system(format!("this machine has no interface {zone}"))(error.into())
                })?,
            };
            return Ok(vec![SocketAddrV6::new(address, self.port, 0, scope).into()]);
        }
        let found = tokio::net::lookup_host((&*self.host, self.port)).await;
        let found = found.map_err(system(format!("cannot find the host {}", self.host)))?;
        let addresses: Vec<SocketAddr> = found.collect();
        match addresses.is_empty() {
            true => Err(Error::Invalid(format!("the host {} has no address", self.host))),
            false => Ok(addresses),
        }
    }

    /// Whether it names a resource, and not only a device.
    pub fn has_path(&self) -> bool {
        !self.segments.is_empty()
    }

    /// The device that serves it.
    pub fn without_path(&self) -> Self {
        Self { segments: Vec::new(), queries: Vec::new(), ..self.clone() }
    }

    /// A request for the resource.
    pub fn request(&self, code: Code) -> Request {
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
    pub fn path(&self) -> String {
        self.segments.iter().map(|segment| format!("/{segment}")).collect()
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("coap", rest)) => (Some(Scheme::Coap), rest),
            Some(("coaps", rest)) => (Some(Scheme::Coaps), rest),
            Some(("ocf", rest)) => (Some(Scheme::Ocf), rest),
            Some((scheme, _)) => {
                return Err(format!("{scheme}:// is not coap://, coaps://, ocf://"));
            }
            None => (None, text),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let is_uuid = authority.len() == UUID_CHARS && authority.parse::<Uuid>().is_ok();
        let (scheme, host, port) = match scheme {
            None | Some(Scheme::Ocf) if is_uuid => (Scheme::Ocf, authority.to_lowercase(), 0),
            Some(Scheme::Ocf) => return Err(format!("{authority} is no device identifier")),
            scheme => {
                let scheme = scheme.unwrap_or(Scheme::Coap);
                let port = if scheme == Scheme::Coaps { COAPS_PORT } else { COAP_PORT };
                let (host, port) = host_and_port(authority, port)?;
                (scheme, host, port)
            }
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('#') {
            return Err("a fragment (#...) means nothing here".into());
        }
        let split = |text: &str, by: char| -> Result<Vec<String>, String> {
            text.split(by).filter(|part| !part.is_empty()).map(decoded).collect()
        };
        Ok(Self { scheme, host, port, segments: split(path, '/')?, queries: split(query, '&')? })
    }
}

/// Characters of a device identifier.
const UUID_CHARS: usize = 36;

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, path) = (&self.host, self.port, self.path());
        let scheme = if self.is_secure() { "coaps" } else { "coap" };
        match (self.scheme, host.contains(':')) {
            (Scheme::Ocf, _) => write!(f, "ocf://{host}{path}"),
            (_, true) => write!(f, "{scheme}://[{host}]:{port}{path}"),
            (_, false) => write!(f, "{scheme}://{host}:{port}{path}"),
        }
    }
}

fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), String> {
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
        return Err(
            "no host; write it as coap://host:port/path, host:port or a device's uuid".into()
        );
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        Some("") => default,
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
    fn secure_addresses_and_device_identifiers_are_understood() {
        let secure: Target = "coaps://host/a".parse().unwrap();
        assert!(secure.is_secure() && secure.device().is_none());
        assert_eq!(secure.to_string(), "coaps://host:5684/a");
        let di = "B566b283-ef1a-46ef-791d-9b9068a91386";
        for text in [di.to_owned(), format!("ocf://{di}")] {
            let target: Target = format!("{text}/oic/d").parse().unwrap();
            assert_eq!(target.device(), di.parse().ok(), "{text}");
            assert_eq!(target.path(), "/oic/d");
            assert!(!target.is_secure());
            assert_eq!(target.to_string(), format!("ocf://{}/oic/d", di.to_lowercase()));
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "coap://",
            "coaps://",
            "ocf://x",
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
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let resolve = |target: &Target| runtime.block_on(target.resolve());
        let target: Target = "[::1]:61".parse().unwrap();
        assert_eq!(resolve(&target).unwrap(), ["[::1]:61".parse().unwrap()]);
        let scoped: Target = "[fe80::1%7]:61".parse().unwrap();
        assert_eq!(resolve(&scoped).unwrap()[0].to_string(), "[fe80::1%7]:61");
        let odd: Target = "[fe80::1%no-such-interface]".parse().unwrap();
        assert!(resolve(&odd).unwrap_err().to_string().contains("no-such-interface"));
    }
}
