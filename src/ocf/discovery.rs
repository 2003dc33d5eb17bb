//! What a device tells so that it can be found: `/oic/res`, `/oic/d`, `/oic/p` and, for CoAP tools
//! that do not know OCF, `/.well-known/core`.

use serde::Serialize;
use uuid::Uuid;

use super::representation::{Names, common, uuid};
use super::resource::Resource;
use super::security::{OnboardingState, SecurityDomain};
use super::site::Site;
use super::time;

/// One link of `/oic/res` (OCF Core, oic.oic-link-schema).
#[derive(Serialize)]
pub(super) struct Link<'a> {
    anchor: String,
    href: &'a str,
    rt: &'static [&'static str],
    r#if: &'static [&'static str],
    p: Policy,
    eps: Vec<Endpoint<'a>>,
}

#[derive(Serialize)]
struct Policy {
    bm: u8,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    ep: &'a str,
}

/// `/oic/res` as the baseline interface shows it: one object in an array.
#[derive(Serialize)]
pub(super) struct Discovery<'a> {
    rt: Names,
    r#if: Names,
    #[serde(rename = "sduuid", skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(rename = "sdname", skip_serializing_if = "Option::is_none")]
    domain_name: Option<&'a str>,
    links: Vec<Link<'a>>,
}

impl<'a> Discovery<'a> {
    pub(super) fn new(site: &Site<'a>, links: Vec<Link<'a>>) -> [Self; 1] {
        let (rt, r#if) = common(Resource::Discovery, true);
        let domain = shown_domain(site);
        [Self {
            rt,
            r#if,
            domain: domain.map(|sdi| sdi.domain.to_string()),
            domain_name: domain.map(|sdi| &*sdi.name),
            links,
        }]
    }
}

/// The security domain, if there is one and it does not hide.
fn shown_domain<'a>(site: &Site<'a>) -> Option<&'a SecurityDomain> {
    let sdi = site.guard.map(|guard| &guard.state.sdi)?;
    (!sdi.private && !sdi.domain.is_nil()).then_some(sdi)
}

/// Whether a search for this security domain (`sduuid`) means this device.
pub(super) fn is_in_domain(site: &Site<'_>, wanted: &str) -> bool {
    shown_domain(site).is_some_and(|sdi| Uuid::try_parse(wanted) == Ok(sdi.domain))
}

/// The links to resources that have one of the given types; to all when none is given.
pub(super) fn links<'a>(site: &Site<'a>, types: &[&str]) -> Vec<Link<'a>> {
    let about = site.about;
    resources(site)
        .filter(|resource| {
            types.is_empty() || resource.types().iter().any(|name| types.contains(name))
        })
        .map(|resource| Link {
            anchor: format!("ocf://{}", site.device()),
            href: resource.href(&about.softwareupdate_href),
            rt: resource.types(),
            r#if: resource.interfaces(),
            p: Policy { bm: resource.policy() },
            eps: site
                .endpoints
                .iter()
                .filter(|endpoint| {
                    has_clear_endpoint(site, resource) || endpoint.starts_with("coaps:")
                })
                .map(|endpoint| Endpoint { ep: endpoint })
                .collect(),
        })
        .collect()
}

/// What there is to be discovered.
fn resources(site: &Site<'_>) -> impl Iterator<Item = Resource> {
    let has = move |resource: &Resource| resource.is_discoverable() && site.has(*resource);
    Resource::ALL.into_iter().filter(has)
}

/// The security resources answer in clear only until somebody begins to onboard the device.
fn has_clear_endpoint(site: &Site<'_>, resource: Resource) -> bool {
    match site.guard {
        None => true,
        Some(_) if resource.is_secured() => false,
        Some(guard) if resource.is_security() => {
            guard.state.onboarding == OnboardingState::Rfotm && !guard.connected
        }
        Some(_) => true,
    }
}

/// `/oic/d` (oic.wk.d).
#[derive(Serialize)]
pub(super) struct Device<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    #[serde(rename = "n")]
    name: &'a str,
    #[serde(rename = "di", serialize_with = "uuid")]
    device: Uuid,
    #[serde(rename = "piid", serialize_with = "uuid")]
    protocol_independent: Uuid,
    #[serde(rename = "icv")]
    core_version: &'static str,
    #[serde(rename = "dmv")]
    model_versions: &'static str,
    #[serde(rename = "dmno")]
    model_number: &'a str,
    #[serde(rename = "sv")]
    software_version: &'a str,
}

impl<'a> Device<'a> {
    pub(super) fn new(site: &Site<'a>, baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::Device, baseline);
        let about = site.about;
        Self {
            rt,
            r#if,
            name: &about.name,
            device: site.device(),
            protocol_independent: about.protocol_independent,
            core_version: "ocf.2.2.5",
            model_versions: "ocf.res.1.3.0,ocf.sh.1.3.0",
            model_number: &about.model,
            software_version: &site.state.running.version,
        }
    }
}

/// `/oic/p` (oic.wk.p).
#[derive(Serialize)]
pub(super) struct Platform<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    #[serde(rename = "pi", serialize_with = "uuid")]
    platform: Uuid,
    #[serde(rename = "mnmn")]
    manufacturer: &'a str,
    #[serde(rename = "mnmo")]
    model: &'a str,
    #[serde(rename = "mndt")]
    manufactured: String,
    #[serde(rename = "mnfv")]
    firmware_version: &'a str,
    #[serde(rename = "st")]
    system_time: String,
}

impl<'a> Platform<'a> {
    pub(super) fn new(site: &Site<'a>, baseline: bool) -> Self {
        let about = site.about;
        let (rt, r#if) = common(Resource::Platform, baseline);
        Self {
            rt,
            r#if,
            platform: about.platform,
            manufacturer: &about.manufacturer,
            model: &about.model,
            manufactured: about.manufactured.format("%Y-%m-%d").to_string(),
            firmware_version: &site.state.running.version,
            system_time: time::written(site.now.wall),
        }
    }
}

/// `/.well-known/core` in link format (RFC 6690), filtered by one query `name=value`.
pub(super) fn link_format(site: &Site<'_>, filter: Option<(&str, &str)>) -> String {
    let about = site.about;
    let links = resources(site).filter_map(|resource| {
        let href = resource.href(&about.softwareupdate_href);
        let wanted = match filter {
            None => true,
            Some(("href", value)) => matches(href, value),
            Some(("rt", value)) => resource.types().iter().any(|name| matches(name, value)),
            Some(("if", value)) => resource.interfaces().iter().any(|name| matches(name, value)),
            Some(_) => false,
        };
        let observable = if resource.topic().is_some() { ";obs" } else { "" };
        wanted.then(|| {
            let (types, interfaces) = (resource.types().join(" "), resource.interfaces().join(" "));
            format!("<{href}>;rt=\"{types}\";if=\"{interfaces}\";ct=10000{observable}")
        })
    });
    links.collect::<Vec<_>>().join(",")
}

/// RFC 6690 section 4.1: a trailing `*` matches any rest.
fn matches(text: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => text == wanted,
    }
}
