//! Introspection: where the device's own description is, and that description.
//!
//! The description is `resources/introspection.json`, a Swagger 2.0 document, with the configured
//! path and length of `purl` written into it and encoded as CBOR for the wire.

use serde::Serialize;

use super::body;
use super::representation::{Names, common};
use super::resource::Resource;

const DOCUMENT: &str = include_str!("../../resources/introspection.json");
/// The path that the document describes the software update resource under.
const DOCUMENT_HREF: &str = "/softwareupdateResURI";

/// The description as CBOR.
pub(super) fn data(softwareupdate_href: &str, purl_max: usize) -> Vec<u8> {
    let mut document: serde_json::Value =
        serde_json::from_str(DOCUMENT).expect("a test parses the document");
    if let Some(paths) = document["paths"].as_object_mut()
        && let Some(description) = paths.remove(DOCUMENT_HREF)
    {
        paths.insert(softwareupdate_href.into(), description);
    }
    for definition in ["swupdate", "swupdate-update"] {
        document["definitions"][definition]["properties"]["purl"]["maxLength"] = purl_max.into();
    }
    body::encoded(&document)
}

/// `oic.wk.introspection`.
#[derive(Serialize)]
pub(super) struct Representation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    #[serde(rename = "urlInfo")]
    locations: Vec<Location<'a>>,
}

#[derive(Serialize)]
struct Location<'a> {
    url: String,
    protocol: &'a str,
    #[serde(rename = "content-type")]
    content_type: &'static str,
    version: u8,
}

impl<'a> Representation<'a> {
    /// `endpoints`: those at which the description can be read.
    pub(super) fn new(endpoints: impl Iterator<Item = &'a String>, baseline: bool) -> Self {
        let href = Resource::IntrospectionData.href("");
        let locations = endpoints.filter_map(|endpoint| {
            let (protocol, _) = endpoint.split_once(':')?;
            let url = format!("{endpoint}{href}");
            Some(Location { url, protocol, content_type: "application/cbor", version: 1 })
        });
        let (rt, r#if) = common(Resource::Introspection, baseline);
        Self { rt, r#if, locations: locations.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_the_configured_path_and_length() {
        let data = data("/oc/swu", 200);
        let document: ciborium::Value = ciborium::from_reader(&*data).unwrap();
        let text = format!("{document:?}");
        assert!(text.contains("/oc/swu") && text.contains("200"));
        assert!(!text.contains(DOCUMENT_HREF));
    }

    #[test]
    fn the_description_names_every_property_that_is_served() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let properties = document["definitions"]["swupdate"]["properties"].as_object().unwrap();
        let state = crate::update::State::new("1", chrono::DateTime::UNIX_EPOCH);
        let served = body::encoded(&crate::ocf::softwareupdate::Representation::new(&state, true));
        for (name, _) in body::members(&served).unwrap() {
            assert!(properties.contains_key(&name), "{name}");
        }
    }
}
