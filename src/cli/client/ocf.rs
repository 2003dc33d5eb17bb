//! What OCF adds to CoAP's messages, and what its links say.

use std::net::{IpAddr, SocketAddr};

use ciborium::Value;
use uuid::Uuid;

use super::body;
use crate::coap::{Code, Peer, Request, Response, option};

/// OCF-Accept-Content-Format-Version and OCF-Content-Format-Version. Both are critical.
pub(super) const CRITICAL_OPTIONS: [u16; 2] = [ACCEPT_VERSION, CONTENT_VERSION];
const ACCEPT_VERSION: u16 = 2049;
const CONTENT_VERSION: u16 = 2053;

/// 1.0.0, in their notation: what every OCF device sends.
const VERSION: u32 = 2048;

/// application/vnd.ocf+cbor and application/cbor.
const OCF_CBOR: u32 = 10_000;
const CBOR: u32 = 60;

/// The types of resources that the client knows.
pub(super) const SOFTWARE_UPDATE: &str = "oic.r.softwareupdate";
pub(super) const PSTAT: &str = "oic.r.pstat";
pub(super) const DOXM: &str = "oic.r.doxm";
pub(super) const UPDATE_STATUS: &str = "x.freshen.r.updatestatus";

/// Characters of a UUID; what follows, such as a zero, is not looked at.
const UUID_CHARS: usize = 36;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// With OCF's options and content format.
    Ocf,
    /// As any CoAP server understands it.
    Plain,
}

/// Adds what this way of asking needs.
pub(super) fn dressed(mut request: Request, way: Way) -> Request {
    let has_body = !request.payload.is_empty();
    if way == Way::Ocf {
        request.options.set_uint(option::ACCEPT, OCF_CBOR);
        request.options.set_uint(ACCEPT_VERSION, VERSION);
        if has_body {
            request.options.set_uint(option::CONTENT_FORMAT, OCF_CBOR);
            request.options.set_uint(CONTENT_VERSION, VERSION);
        }
    } else if has_body {
        request.options.set_uint(option::CONTENT_FORMAT, CBOR);
    }
    request
}

/// A GET in OCF's way.
pub(super) fn get(path: &str) -> Request {
    dressed(Request::new(Code::GET, path), Way::Ocf)
}

/// Whether a server that knows nothing of OCF gave this answer: nothing has been done, and it is
/// worth asking in the plain way.
pub(super) fn unknown(method: Code, response: &Response) -> bool {
    match response.code {
        Code::BAD_OPTION | Code::UNSUPPORTED_CONTENT_FORMAT => true,
        Code::NOT_ACCEPTABLE => method == Code::GET,
        _ => false,
    }
}

/// Whether the body is CBOR.
pub(super) fn is_cbor(response: &Response) -> bool {
    matches!(response.options.uint(option::CONTENT_FORMAT), Some(OCF_CBOR | CBOR))
}

/// The body, if it is CBOR.
pub(super) fn cbor(response: &Response) -> Option<Value> {
    is_cbor(response).then(|| body::decode(&response.payload)).flatten()
}

/// Whether a path is none of those that OCF itself gives a meaning.
pub(super) fn is_of_application(path: &str) -> bool {
    !path.starts_with("/oic/") && path != "/.well-known/core"
}

/// A link of `/oic/res`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) href: String,
    types: Vec<String>,
    /// `ocf://<di>`, without the scheme.
    pub(super) device: Option<String>,
    endpoints: Vec<String>,
}

impl Link {
    pub(super) fn has_type(&self, name: &str) -> bool {
        self.types.iter().any(|known| known == name)
    }

    /// Whether it is served in clear, as far as it says.
    pub(super) fn is_clear(&self) -> bool {
        self.endpoints.is_empty() || self.endpoints.iter().any(|ep| ep.starts_with("coap://"))
    }

    /// Whether it does not say where it is served, which means: here.
    pub(super) fn names_no_endpoint(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The device, if the link says it properly.
    pub(super) fn device_id(&self) -> Option<Uuid> {
        self.device.as_ref()?.get(..UUID_CHARS)?.parse().ok()
    }

    /// Where it is served in clear: the endpoint it names on the host that told about it, or the one
    /// that told if it names none. The link-local zone is that of the answer.
    pub(super) fn clear_address(&self, told_by: SocketAddr) -> Option<SocketAddr> {
        if self.endpoints.is_empty() {
            return Some(told_by);
        }
        self.address("coap://", told_by)
    }

    /// Where it is served over DTLS, as far as it says.
    pub(super) fn secure_address(&self, told_by: SocketAddr) -> Option<SocketAddr> {
        self.address("coaps://", told_by)
    }

    /// Whether this peer serves it, as far as the link says.
    pub(super) fn is_served_at(&self, peer: Peer) -> bool {
        let scheme = if peer.session == 0 { "coap://" } else { "coaps://" };
        self.address(scheme, peer.remote) == Some(peer.remote)
    }

    fn address(&self, scheme: &str, told_by: SocketAddr) -> Option<SocketAddr> {
        let found: Vec<SocketAddr> = self
            .endpoints
            .iter()
            .filter_map(|ep| ep.strip_prefix(scheme)?.parse().ok())
            .filter(|address: &SocketAddr| address.is_ipv4() == told_by.is_ipv4())
            .collect();
        let same = |ip: IpAddr| found.iter().find(|address| address.ip() == ip);
        let found = same(told_by.ip()).or(found.first())?;
        let mut address = told_by;
        if found.ip() != told_by.ip() {
            address.set_ip(found.ip());
        }
        address.set_port(found.port());
        Some(address)
    }
}

/// The links in a representation of `/oic/res`, in its default or its baseline form.
pub(super) fn links(value: &Value) -> Vec<Link> {
    let Some(items) = value.as_array() else { return vec![] };
    let nested = items.iter().filter_map(|item| body::get(item, "links")?.as_array()).flatten();
    items.iter().chain(nested).filter_map(link).collect()
}

fn link(value: &Value) -> Option<Link> {
    let texts = |key: &str| -> Vec<String> {
        let items = body::get(value, key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_text).map(str::to_owned).collect()
    };
    let endpoints = body::get(value, "eps").and_then(Value::as_array);
    Some(Link {
        href: body::get_text(value, "href")?.to_owned(),
        types: texts("rt"),
        device: body::get_text(value, "anchor")
            .and_then(|anchor| anchor.strip_prefix("ocf://"))
            .map(str::to_owned),
        endpoints: endpoints
            .into_iter()
            .flatten()
            .filter_map(|endpoint| body::get_text(endpoint, "ep"))
            .map(str::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;

    use super::*;

    fn example() -> Vec<Link> {
        links(
            &cbor!([
                {"href" => "/swu", "rt" => [SOFTWARE_UPDATE], "anchor" => "ocf://1-2",
                 "eps" => [{"ep" => "coaps://10.0.0.1:2"}, {"ep" => "coap://10.0.0.1:1"},
                           {"ep" => "coap://[fe80::1]:3"}]},
                {"rt" => ["no href"]},
                {"href" => "/d", "rt" => ["oic.wk.d"], "eps" => []},
                {"href" => "/s", "eps" => [{"ep" => "coaps://10.0.0.1:2"}]},
                {"links" => [{"href" => "/nested"}]}
            ])
            .unwrap(),
        )
    }

    #[test]
    fn links_are_read_in_either_form_and_odd_ones_skipped() {
        let links = example();
        let hrefs: Vec<&str> = links.iter().map(|link| &*link.href).collect();
        assert_eq!(hrefs, ["/swu", "/d", "/s", "/nested"]);
        assert!(links[0].has_type(SOFTWARE_UPDATE) && !links[0].has_type(PSTAT));
        assert_eq!(links[0].device.as_deref(), Some("1-2"));
        assert!(links[0].is_clear() && links[1].is_clear() && !links[2].is_clear());
        assert!(super::links(&cbor!({"href" => "/not-a-list"}).unwrap()).is_empty());
    }

    #[test]
    fn an_endpoint_is_taken_of_the_family_and_with_the_zone_of_who_told() {
        let links = example();
        let at = |told: &str, link: &Link| {
            link.clear_address(told.parse().unwrap()).map(|address| address.to_string())
        };
        assert_eq!(at("10.0.0.1:5683", &links[0]).unwrap(), "10.0.0.1:1");
        assert_eq!(at("[fe80::1%7]:5683", &links[0]).unwrap(), "[fe80::1%7]:3");
        assert_eq!(at("10.0.0.1:5683", &links[1]).unwrap(), "10.0.0.1:5683");
        assert_eq!(at("10.0.0.1:5683", &links[2]), None);
        let secure = |told: &str, link: &Link| link.secure_address(told.parse().unwrap());
        assert_eq!(secure("10.0.0.1:5683", &links[0]), "10.0.0.1:2".parse().ok());
        assert_eq!(secure("[fe80::1%7]:5683", &links[0]), None);
        assert_eq!(secure("10.0.0.1:5683", &links[1]), None);
    }

    #[test]
    fn only_requests_in_ocfs_way_carry_its_options() {
        let mut request = Request::new(Code::POST, "/swu");
        request.payload = vec![0xa0];
        let ocf = dressed(request.clone(), Way::Ocf);
        assert_eq!(ocf.options.uint(ACCEPT_VERSION), Some(2048));
        assert_eq!(ocf.options.uint(CONTENT_VERSION), Some(2048));
        assert_eq!(ocf.options.uint(option::CONTENT_FORMAT), Some(10_000));
        let plain = dressed(request, Way::Plain);
        assert_eq!(plain.options.uint(option::CONTENT_FORMAT), Some(60));
        assert!(CRITICAL_OPTIONS.iter().all(|number| plain.options.uint(*number).is_none()));
    }
}
