//! What the links of a device say: its resources, and where each is served.

use std::net::{IpAddr, SocketAddr};

use ciborium::Value;
use uuid::Uuid;

use super::body;
use crate::coap::Peer;

/// The types of resources that the client knows.
pub(super) const SOFTWARE_UPDATE: &str = "oic.r.softwareupdate";
pub(super) const PSTAT: &str = "oic.r.pstat";
pub(super) const DOXM: &str = "oic.r.doxm";
pub(super) const UPDATE_STATUS: &str = "x.freshen.r.updatestatus";

/// Characters of a UUID; what follows, such as a zero, is not looked at.
const UUID_CHARS: usize = 36;

/// Whether a path is none of those that OCF itself gives a meaning.
pub(super) fn is_of_application(path: &str) -> bool {
    !path.starts_with("/oic/") && path != "/.well-known/core"
}

/// A link of `/oic/res`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its path.
    pub href: String,
    types: Vec<String>,
    /// `ocf://<di>`, without the scheme.
    pub device: Option<String>,
    endpoints: Vec<String>,
}

impl Link {
    /// Whether it is of this type (`rt`).
    pub fn has_type(&self, name: &str) -> bool {
        self.types.iter().any(|known| known == name)
    }

    /// Whether it is served in clear, as far as it says.
    pub fn is_clear(&self) -> bool {
        self.endpoints.is_empty() || self.endpoints.iter().any(|ep| ep.starts_with("coap://"))
    }

    /// Whether it does not say where it is served, which means: here.
    pub(super) fn names_no_endpoint(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The device, if the link says it properly.
    pub fn device_id(&self) -> Option<Uuid> {
        self.device.as_ref()?.get(..UUID_CHARS)?.parse().ok()
    }

    /// Where it is served in clear: the endpoint it names on the host that told about it, or the one
    /// that told if it names none. The link-local zone is that of the answer.
    pub fn clear_address(&self, told_by: SocketAddr) -> Option<SocketAddr> {
        if self.endpoints.is_empty() {
            return Some(told_by);
        }
        self.address("coap://", told_by)
    }

    /// Where it is served over DTLS, as far as it says.
    pub fn secure_address(&self, told_by: SocketAddr) -> Option<SocketAddr> {
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
}
